"""What one execution leaves to the next one of the same cell: nothing."""

import ctypes
import re
from pathlib import Path

import pytest

from attacks import (NUMBERS, assert_serves, cell, new_mark, one_cell, run,  # noqa: F401
                     search_memory)


def leave_marks(service, word):
    """Executions that carry the word everywhere, and end in every way."""
    everywhere = f"""
# {word} in a comment
KEPT = ["{word}" + str(i) for i in range(100)]
def spread(word="{word}"):
    print(word, flush=True)
    print(word, file=sys.stderr, flush=True)
    os.environ["MARK"] = os.environ[word] = word
    os.mkdir("/tmp/" + word)
    with open("/tmp/" + word + "/" + word, "w") as file:
        file.write(word * 1000)
    exec("def " + word + "(): return '" + word + "'", globals())
    sys.modules[word] = os
    KEPT.append(bytearray(word * 10000, "ascii"))
    LIBC.strdup(word.encode())
    say(frame(9999, word.encode() * 100))
"""
    ends = {
        f"return {{'{word}': '{word}'}}": 200, f"raise ValueError('{word}')": 400,
        f"sys.exit('{word}')": 400, f"return '{word}' * 1000000": 400, "os._exit(0)": 400,
        "os.kill(os.getpid(), 9)": 400, "time.sleep(9)": 408, "os.close(1000)": 400}
    for end, status in ends.items():
        answer = run(service, f"{everywhere}\ndef main():\n    spread()\n    {end}",
                     timeout=1)
        assert answer.status == status, answer
        assert word in answer.body.decode()
    broken = service.post('{"script": "def ' + word + '(: pass"}', X_Request_Id=word)
    assert broken.status == 400 and word in broken.body.decode()


def test_memory_of_earlier_executions_is_not_there(make_service, monkeypatch):
    """Every readable page is searched: the search finds itself, and nothing of others."""
    secret, word = new_mark(), new_mark()
    monkeypatch.setenv("VIVARIUM_TEST_SECRET", secret)
    service = make_service(workers=1, cells_per_worker=1, library_sets="base")
    leave_marks(service, word)
    _, found, own, size = search_memory(service, [word, secret])
    assert own[0] >= 1 and own[1] >= 2, "the search does not see"
    assert size > 8 << 20
    assert found == [0, 0]
    assert_serves(service)


SAME = object()  # as it was before
TRACES = {  # what to leave behind, where to look for it, what is to be seen before and after
    "globals": ("script.KEPT = 1; import json; json.KEPT = 1; __builtins__.KEPT = 1",
                "[hasattr(m, 'KEPT') for m in (script, __import__('json'), __builtins__)]",
                [False] * 3),
    "builtins": ("__builtins__.print = __builtins__.len = lambda *a: 13", "len([])", 0),
    "modules": ("sys.modules['planted'] = os; sys.path.insert(0, '/tmp/p')",
                "['planted' in sys.modules, '/tmp/p' in sys.path]", [False, False]),
    "environment": ("os.environ['KEPT'] = '1'; LIBC.setenv(b'KEPT2', b'1', 1)",
                    "[os.environ.get('KEPT'), LIBC.getenv(b'KEPT2')]", [None, 0]),
    "directory": ("os.mkdir('/tmp/d'); os.chdir('/tmp/d')", "os.getcwd()", "/tmp"),
    "root directory": ("os.chdir('/')", "os.getcwd()", "/tmp"),
    "umask": ("os.umask(0o777)", "os.umask(0o22)", SAME),
    "priority": ("os.nice(15); call('setpriority', 2, 0, 19); call('setpriority', 1, 0, 19)",
                 "[os.nice(0), os.getpriority(os.PRIO_PROCESS, 1)]", SAME),
    "affinity": ("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
                 "sorted(os.sched_getaffinity(0))", SAME),
    "limits": ("__import__('resource').setrlimit(7, (20, 20))",
               "__import__('resource').getrlimit(7)", [256, 256]),
    "files": ("os.makedirs('/tmp/a/b/c'); open('/tmp/.hidden', 'w').close()",
              "os.listdir('/tmp')", []),
    "a file that is open": ("open('/tmp/x', 'w'); KEEP.append(open('/tmp/x'))",
                            "os.listdir('/tmp')", []),
    "access to /tmp": ("os.chmod('/tmp', 0o500)", "oct(os.stat('/tmp').st_mode)", "0o41777"),
    "times of /tmp": ("os.utime('/tmp', (1, 1))", "os.stat('/tmp').st_mtime > 1", True),
    "a name without a file": ("os.close(os.open('/tmp', os.O_TMPFILE | os.O_RDWR))",
                              "os.listdir('/tmp')", []),
    "room in /tmp": ("open('/tmp/big', 'wb').write(bytes(64 << 20))",
                     "attempt(os.posix_fallocate, os.open('/tmp/all', os.O_RDWR | os.O_CREAT), 0,"
                     " 240 << 20)", "done"),
    "shared memory": ("__import__('multiprocessing.shared_memory').shared_memory"
                      ".SharedMemory('kept', True, 4096)", "os.listdir('/dev/shm')", []),
    "a fifo": ("os.mkfifo('/tmp/f')", "os.path.exists('/tmp/f')", False),
    "signals": ("signal.signal(10, signal.SIG_IGN); signal.pthread_sigmask(0, {12})",
                "[signal.getsignal(10) == signal.SIG_DFL, list(signal.pthread_sigmask(0, []))]",
                [True, []]),
    "timers": ("signal.setitimer(signal.ITIMER_REAL, 60); signal.setitimer(1, 60)",
               "[signal.getitimer(number) for number in (0, 1, 2)]", [[0, 0]] * 3),
    "locks on files of all": ("__import__('fcntl').lockf(KEEP.append(open(os.__file__)) or KEEP[0], 1)",
                              "struct.unpack('hhqqi4x', __import__('fcntl').fcntl(os.open("
                              "os.__file__, 0), 5, struct.pack('hhqqi4x', 1, 0, 0, 0, 0)))[0]", 2),
    "thread name": ("call('prctl', 15, b'kept')",
                    "(call('prctl', 16, NAME), NAME.value != b'kept')[1]", True),
}


@pytest.mark.parametrize("name", TRACES)
def test_no_trace_is_left(cell, name):
    """Set by one execution, seen at its end, not seen by the next."""
    leave, look, clean = TRACES[name]
    script = f"""
import script
KEEP = []
NAME = ctypes.create_string_buffer(16)
def main():
    {{}}
    return {look}
"""
    before = run(cell, script.format("pass")).data["result"]
    assert clean is SAME or before == clean
    during = run(cell, script.format(leave))
    assert during.status == 200, during
    answer = run(cell, script.format("pass"))
    assert answer.status == 200, answer
    assert answer.data["result"] == before
    assert_serves(cell)


LEAVES = {
    "names": ("[open('/tmp/%d' % i, 'w').close() for i in range(9)]", ""),
    "nameless files": ("[os.close(os.open('/tmp', os.O_TMPFILE | os.O_RDWR)) for i in range(65)]",
                       ""),
    "one nameless file": ("os.close(os.open('/tmp', os.O_TMPFILE | os.O_RDWR))", ""),
    "standard input": ("None", "some"),
}


@pytest.mark.parametrize("name", LEAVES)
def test_numbers_of_files_start_anew(cell, name):
    """A file without a name shows in no directory, but a /tmp that had one counts on from it."""
    leave, stdin = LEAVES[name]
    look = "def main():\n    return os.fstat(os.open('/tmp', os.O_TMPFILE | os.O_RDWR)).st_ino"
    run(cell, look)
    before = run(cell, look).data["result"]
    answer = run(cell, f"def main():\n    {leave}", stdin=stdin)
    assert answer.status == 200, answer
    assert run(cell, look).data["result"] == before < 9


def test_random_numbers_differ(cell):
    """No two executions draw the same, from any source."""
    seen = [run(cell, """
import random, ssl, tempfile, uuid, secrets
def main():
    return [random.random(), ssl.RAND_bytes(8).hex(), uuid.uuid4().hex, uuid.uuid1().hex,
            secrets.token_hex(8), tempfile.mkdtemp(), os.urandom(8).hex()]
""").data["result"] for _ in range(4)]
    for column in zip(*seen):
        assert len(set(column)) == 4


def host_can_queue_signals():
    """Whether root of the host still gets a timer, which takes one place of its queue."""
    libc, timer = ctypes.CDLL(None, use_errno=True), ctypes.c_int()
    if libc.syscall(NUMBERS["timer_create"], 0, 0, ctypes.byref(timer)) != 0:
        return False
    libc.syscall(NUMBERS["timer_delete"], timer)
    return True


def queued_signals():
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"SigQ:\s*(\d+)/", text).group(1))


def test_signals_to_process_1_do_not_pile_up(one_cell):
    """They are counted against all users above: timers of neighbours and of the host would fail."""
    before = queued_signals()
    answer = run(one_cell, """
def main():
    for i in range(200000):
        call("kill", 1, 34 + i % 30)
    return "done"
""", timeout=60)
    assert answer.data["result"] == "done"
    assert host_can_queue_signals()
    assert queued_signals() < before + 2000
    assert_serves(one_cell)


def test_neighbours_reading_is_not_seen(cell):
    """F_NOTIFY on the tree, which all cells share, would tell what others import."""
    answer = run(cell, """
import fcntl
def main():
    fd = os.open(os.path.dirname(os.__file__), os.O_RDONLY)
    return [call("fcntl", fd, command, 1) for command in (1026, 1024)]
""")
    assert answer.data["result"] == ["EPERM", "EPERM"]
