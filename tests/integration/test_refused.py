"""A refused system call is named in the cause of the answer, and in the log."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import BUILD, CONF, Service
from supervision import eventually

CALL = """
import ctypes, os, signal, socket, subprocess, sys, threading, time
LIBC = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    value = LIBC.syscall(number, *map(ctypes.c_long, arguments))
    if value == -1:
        raise OSError(ctypes.get_errno(), "a raw system call")
    return value
def refused():
    try:
        os.setuid(0)
    except PermissionError:
        return True
"""


@pytest.fixture(scope="module")
def one_cell():
    """One cell: what runs next runs where the last one ran."""
    with Service(workers=1, cells_per_worker=1, library_sets="base") as service:
        yield service


def cause_of(service, body, status=400, **fields):
    """The cause of a script whose main has this body, which must fail."""
    answer = service.execute(CALL + f"\ndef main():\n    {body}\n", **fields)
    assert answer.status == status, answer
    return answer.data["cause"]


@pytest.mark.parametrize("body, name, words", [
    ("subprocess.run(['/bin/true'])", "execve", "no other program can be started"),
    ("subprocess.check_output('id', shell=True)", "execve", "program"),
    ("os.execv('/bin/sh', ['sh'])", "execve", "program"),
    ("sys.exit(os.system('id'))", "execve", "program"),
    ("socket.socket()", "socket", "there is no network here"),
    ("socket.socket(socket.AF_UNIX)", "socket", "socketpair"),
    ("socket.create_connection(('127.0.0.1', 80))", "socket", "network"),
    ("__import__('urllib.request').request.urlopen('http://127.0.0.1/')", "socket", "network"),
    ("socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)", "socketpair", "stream"),
    ("os.setuid(0)", "setuid", "another user"),
    ("os.chown('/tmp', 0, 0)", "chown", "given to another user"),
    ("os.chroot('/tmp')", "chroot", "root directory"),
    ("os.memfd_create('x')", "memfd_create", "/tmp is in memory"),
    ("os.mknod('/tmp/x', 0o20666, 259)", "mknodat", "named pipes"),
    ("os.sched_setaffinity(1, {0})", "sched_setaffinity", "itself only"),
    ("os.sched_setscheduler(0, 0, os.sched_param(0))", "sched_setscheduler", "schedules"),
    ("os.sync() or os.setgid(0)", "sync", "flushed"),
    ("time.clock_settime(0, 0)", "clock_settime", "clock cannot be set"),
    ("__import__('fcntl').ioctl(0, 0x5412, b'x')", "ioctl", "ioctl"),
    ("__import__('fcntl').fcntl(0, 1024, 1)", "fcntl", "leases"),
    ("call(101, 0, 0, 0, 0)", "ptrace", "trace processes"),
    ("call(272, 0x10000000)", "unshare", "namespaces"),
    ("call(56, 0x10000000 | 17, 0, 0, 0, 0)", "clone", "namespaces"),
    ("call(165, 0, 0, 0, 0, 0)", "mount", "mount"),
    ("call(321, 0, 0, 0)", "bpf", "kernel"),
    ("call(425, 8, 0)", "io_uring_setup", "asyncio works"),
    ("call(317, 1, 0, 0)", "seccomp", "confinement"),
    ("call(157, 4, 1, 0, 0, 0)", "prctl", "attribute of a process"),
    ("call(222, 0, 0, 0)", "timer_create", "setitimer"),
    ("call(-1)", "an unknown system call", "not permitted"),
    ("call(999)", "an unknown system call", "not permitted"),
])
def test_call_is_named(service, body, name, words):
    """Its name, and what its refusal usually means, beside an ordinary exception."""
    cause = cause_of(service, body)
    assert set(cause["refused"]) == {"call", "meaning"}
    assert cause["refused"]["call"] == name
    assert words in cause["refused"]["meaning"]
    if cause["kind"] == "exception":
        assert cause["type"] in ("PermissionError", "URLError")


@pytest.mark.parametrize("body", [
    "raise ValueError('bad')", "open('/nowhere')", "open('/etc/passwd', 'w')", "os.kill(1, 0) or 1/0",
    "os.mkdir('/x')", "import threading; threading.Thread(target=print).start(); 1/0",
    "os.waitpid(os.fork() or os._exit(0), 0); 1/0", "return {1, 2}",
    "open('/tmp/a', 'w').close(); __import__('shutil').copy2('/tmp/a', '/tmp/b'); 1/0",
    "__import__('pwd').getpwuid(65534); os.path.expanduser('~nobody'); 1/0",
    "__import__('sqlite3').connect('/tmp/x.db').execute('create table t(a)'); 1/0",
    "__import__('multiprocessing').Pool(2).map(abs, [-1]); 1/0",
    "__import__('asyncio').run(__import__('asyncio').sleep(0)); 1/0",
])
def test_other_failures_name_none(service, body):
    """What no filter refused is not explained by one: ordinary work makes no refused call."""
    assert "refused" not in cause_of(service, body)


def test_the_first_one_is_named(service):
    """Later ones are what follows from it."""
    cause = cause_of(service, "refused()\n    refused()\n    socket.socket()")
    assert cause["refused"]["call"] == "setuid"


@pytest.mark.parametrize("body, status, kind", [
    ("sys.exit(3)", 400, "exit"), ("os._exit(0)", 400, "exit"), ("return set()", 400, "not_json"),
    ("os.kill(os.getpid(), 9)", 400, "signal"), ("os.abort()", 400, "signal"),
    ("time.sleep(9)", 408, "time"), ("bytearray(1 << 40)", 400, "memory"),
    ("return 'x' * (5 << 20)", 400, "result_too_large"),
])
def test_whatever_the_verdict(service, body, status, kind):
    """It is there with every cause that a run can have."""
    cause = cause_of(service, f"refused()\n    {body}", status, timeout=2)
    assert cause["kind"] == kind
    assert cause["refused"]["call"] == "setuid"


def test_before_main_is_missed(service):
    """Also when the script ends before its main is found missing."""
    answer = service.execute(CALL + "\nrefused()")
    assert answer.data["cause"]["kind"] == "no_main"
    assert answer.data["cause"]["refused"]["call"] == "setuid"


@pytest.mark.parametrize("where", [
    "refused()",
    "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSYS}); refused()",
    "signal.signal(signal.SIGSYS, signal.SIG_IGN); refused()",
    "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); refused()",
    "t = threading.Thread(target=refused); t.start(); t.join()",
    "os.waitpid(os.fork() or os._exit(refused() is True), 0)",
    "os.waitpid(os.fork() or os._exit(os.fork() or refused()), 0); time.sleep(0.2)",
    "os.setsid() if not os.fork() else time.sleep(0.2); refused()",
], ids=range(8))
def test_whoever_makes_it(service, where):
    """Main thread, thread, child, orphan; SIGSYS blocked, ignored or neither."""
    assert cause_of(service, f"{where}\n    1/0")["refused"]["call"] == "setuid"


def test_success_is_no_error(service):
    """A value has no cause: libraries try, and do without."""
    answer = service.execute(CALL + "\ndef main():\n    return refused()")
    assert answer.status == 200, answer
    assert answer.data["result"] is True
    assert not {"cause", "error", "warnings"} & set(answer.data)


def test_log_names_it(service):
    """Once for each execution, with the request's id, for values as well."""
    for body, word in (("raise ValueError(refused())", "exception"), ("return refused()", "ok")):
        name = f"refused-{word}-{os.getpid()}"
        service.post(json.dumps(
            {"script": CALL + f"\ndef main():\n    refused()\n    {body}"}), X_Request_Id=name)
        assert eventually(lambda name=name: name in service.log(), 5)
        lines = [json.loads(line) for line in service.log().splitlines() if name in line]
        assert len(lines) == 1, lines
        assert (lines[0]["kind"], lines[0]["refused"]) == (word, "setuid")


def test_command_names_it():
    """`vivarium run` says it below the error."""
    done = subprocess.run(
        [BUILD / "vivarium", "run", "--config", CONF, "-"], capture_output=True, text=True,
        input="import socket\ndef main(): socket.socket()", timeout=60)
    assert done.returncode == 1
    assert "vivarium: PermissionError: [Errno 1] Operation not permitted\nvivarium: system call " \
           "socket was refused: there is no network here" in done.stderr


def test_next_execution_knows_nothing_of_it(one_cell):
    """Not of the one before, nor of what its orphans still try while they are swept."""
    orphans = """
for i in range(8):
    if not os.fork():
        os.setsid()
        while True:
            refused()
"""
    for i in range(20):
        before = one_cell.execute(CALL + orphans + "\ndef main():\n    return refused()")
        assert before.status == 200, before
        assert "refused" not in cause_of(one_cell, "time.sleep(0.01); 1/0")


def test_after_the_value(one_cell):
    """A call that an atexit handler or a thread makes after the value changes nothing."""
    answer = one_cell.execute(CALL + """
import atexit
def main():
    atexit.register(refused)
    threading.Thread(target=lambda: (time.sleep(0.1), refused())).start()
    return 1
""")
    assert answer.status == 200 and answer.data["result"] == 1, answer
    assert "refused" not in cause_of(one_cell, "1/0")


def test_signals_do_not_disturb_it(service):
    """A timer strikes all the time: each call is refused, or repeated by whoever asks."""
    answer = service.execute(CALL + """
def main():
    signal.signal(signal.SIGALRM, lambda *a: None)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    return sum(refused() for i in range(800))
""")
    assert answer.status == 200 and answer.data["result"] == 800, answer


FLOOD = CALL + """
def flood():
    while True:
        refused()
for i in range(8):
    if not os.fork():
        for j in range(3):
            threading.Thread(target=flood).start()
        flood()
def main():
    flood()
"""


def test_flood_harms_nobody(make_service):
    """32 threads that do nothing else: the worker's other cell and /health answer as ever."""
    service = make_service(workers=1, cells_per_worker=2, library_sets="base")
    answers, slowest = [], 0
    flooding = threading.Thread(target=lambda: answers.append(service.execute(FLOOD, timeout=3)))
    flooding.start()
    time.sleep(0.5)
    worker, = filter(listeners, service.pids())
    before = cpu_ticks(worker)
    for i in range(20):
        begun = time.monotonic()
        assert service.execute("def main(): return 1").status == 200
        assert service.get("/health").status == 200
        slowest = max(slowest, time.monotonic() - begun)
    used = (cpu_ticks(worker) - before) / os.sysconf("SC_CLK_TCK")
    flooding.join()
    assert slowest < 1
    assert used < 1, "the worker's own time is not charged to the script"
    assert answers[0].status == 408, answers
    assert answers[0].data["cause"]["refused"]["call"] == "setuid"
    assert service.execute("def main(): return 1").status == 200


def cpu_ticks(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def listeners(pid):
    """How many filters' listeners a process holds."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += os.readlink(entry) == "anon_inode:seccomp notify"
        except FileNotFoundError:
            pass
    return count


def test_listeners_are_the_workers_alone(make_service):
    """One for each cell; whoever holds one can let refused calls pass."""
    service = make_service(workers=2, cells_per_worker=3, library_sets="base")
    assert sorted(filter(None, map(listeners, service.pids()))) == [3, 3]


def test_vivarium_itself_is_refused_nothing(make_service):
    """Neither wardens nor parked executions make a call that the policy refuses."""
    service = make_service(workers=1, cells_per_worker=2)
    assert service.execute("def main(): return 1").status == 200
    assert "refuses Vivarium itself" not in service.log()
