"""Resources taken without measure: contained, with a documented verdict, at nobody else's cost.

Each row runs twice at once while a neighbour works beside it and /health is asked; afterwards the
host is what it was. What is expected is the kind of the verdict, or, for a script that is told of
its limit by an ordinary error and goes on, the value it returns.
"""

from dataclasses import dataclass, field

import pytest

from conftest import Service
from neighbourhood import Neighbourhood

MIB = 1 << 20


@pytest.fixture(scope="module")
def neighbourhood():
    with Service(workers=2, cells_per_worker=3, library_sets="base") as service:
        yield Neighbourhood(service)


@dataclass
class Abuse:
    """A script, what it is sent with, and what it must come to."""
    script: str
    kind: str = "ok"  # several: separated by blanks
    check: object = None  # of the answer's data
    fields: dict = field(default_factory=dict)
    takes_processors: bool = False

    def assert_contained(self, answer):
        data = answer.data
        kind = "ok" if data["success"] else data["cause"]["kind"]
        assert kind in self.kind.split(), answer
        assert answer.status == {"ok": 200, "time": 408, "cpu": 408}.get(kind, 400)
        assert self.check is None or self.check(data), answer


def result(expected):
    return lambda data: data["result"] == expected


def signal(*names):
    return lambda data: data["cause"]["kind"] != "signal" or data["cause"]["signal"] in names


def until_refused(action, returning="errno.errorcode[error.errno]", setup=""):
    """A script that does one thing again and again until the kernel says no, and returns how."""
    return f"""
import fcntl, mmap, resource, socket, threading
KEPT = []
{setup}
def main():
    done = 0
    try:
        while True:
            {action}
            done += 1
    except OSError as error:
        return [{returning}, done]
"""


def refused_after(name, least, most):
    return lambda data: data["result"][0] == name and least <= data["result"][1] <= most


SECOND = {"timeout": 1}
SMALL = {"memory": 64, "timeout": 10}

PROCESSES = {
    "forks": Abuse("""
def main():
    while True:
        attempt(os.fork)
""", "time", fields=SECOND),
    "forks that end at once": Abuse("""
def main():
    first = os.getpid()
    while True:
        attempt(os.fork)
        if os.getpid() != first and os.getpid() % 3 == 0:
            os._exit(0)
""", "time", fields=SECOND),
    "a chain: each forks the next and ends": Abuse("""
def main():
    first = os.getpid()
    for i in range(20):
        attempt(os.fork)
        if os.getpid() != first:
            while True:
                if attempt(os.fork) == "done" and os.getppid() == 1:
                    os._exit(0)
    time.sleep(0.5)
    return "left them"
""", check=result("left them")),
    "sessions of their own": Abuse("""
def main():
    while True:
        if attempt(os.fork) == "done":
            attempt(os.setsid)
# To the scheduler each session is a group of its own (autogroup), with the share of a whole service.
""", "time", fields=SECOND, takes_processors=True),
    "threads": Abuse("""
import threading
def main():
    while True:
        attempt(threading.Thread(target=time.sleep, args=(60,), daemon=True).start)
""", "time", fields=SECOND),
    "process numbers": Abuse(until_refused(
        "if not os.fork(): time.sleep(60)"), check=refused_after("EAGAIN", 100, 127)),
    "process numbers, one after another": Abuse("""
def main():
    for i in range(1500):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    return os.getpid() < child
""", check=result(True), fields={"timeout": 30}),
    "zombies": Abuse(until_refused(
        "if not os.fork(): os._exit(0)"), check=refused_after("EAGAIN", 100, 127)),
    "one that computes": Abuse("def main():\n    while True: pass", "time", fields=SECOND),
    "many that compute": Abuse("""
def main():
    for i in range(5):
        os.fork()
    while True:
        pass
""", "time", fields=SECOND),
    "computing that Python cannot interrupt": Abuse(
        "def main():\n    return len(str(7 ** (10 ** 8)))", "time", fields=SECOND),
    "CPU time of many threads": Abuse("""
import hashlib, threading
def burn():
    while True:
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 1000000)
def main():
    for i in range(16):
        threading.Thread(target=burn, daemon=True).start()
    burn()
""", "time cpu", fields={"timeout": 0.5}),
    "stopped": Abuse(
        "def main():\n    os.kill(os.getpid(), signal.SIGSTOP)", "time", fields=SECOND),
    "stopped children": Abuse("""
def main():
    for i in range(20):
        if not os.fork():
            os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.2)
    return "left them"
""", check=result("left them")),
    "deaf": Abuse("""
def main():
    for number in range(1, 65):
        attempt(signal.signal, number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True:
        time.sleep(1)
""", "time", fields=SECOND),
    "daemons": Abuse("""
def main():
    for i in range(10):
        if not os.fork():
            os.setsid()
            if not os.fork():
                for number in range(1, 65):
                    attempt(signal.signal, number, signal.SIG_IGN)
                os.closerange(0, 2000)
                while True:
                    attempt(open, "/tmp/mark", "a")
            os._exit(0)
    time.sleep(0.2)
    return "left them"
""", check=result("left them")),
    "waiting as vfork waits": Abuse("""
def main():
    if call("clone", 0x4000 | signal.SIGCHLD, 0, 0, 0, 0) == 0:  # CLONE_VFORK: until it execs
        os.kill(os.getpid(), signal.SIGSTOP)
    return "not reached"
""", "time", fields=SECOND),
    "a row of vforks": Abuse("""
def main():
    while call("clone", 0x4000 | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        pass
    while True:
        call("pause")
""", "time", fields=SECOND),
    "signals between many": Abuse("""
def main():
    signal.signal(signal.SIGUSR1, lambda *arguments: None)
    for i in range(5):
        os.fork()
    while True:
        os.kill(0, signal.SIGUSR1)
""", "time signal", fields=SECOND),
}

MEMORY = {
    "heap": Abuse("""
def main():
    kept = []
    while True:
        kept.append(bytearray(65536))
""", "memory", fields=SMALL),
    "one large block": Abuse("def main():\n    return len(bytearray(1 << 40))", "memory",
                             fields=SMALL),
    # "memory" as soon as something watches the sum, the value until then
    "heap of many": Abuse("""
def main():
    for i in range(8):
        if not os.fork():
            kept = bytearray(b"x") * (48 << 20)
            time.sleep(60)
    time.sleep(1)
    return "done"
""", "ok memory", fields=SMALL),
    "mmap": Abuse(until_refused("KEPT.append(mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE)); "
                                "KEPT[-1][::4096] = b'x' * 256"),
                  check=refused_after("ENOMEM", 30, 128), fields=SMALL),
    "shared mmap": Abuse(until_refused("KEPT.append(mmap.mmap(-1, 1 << 20)); "
                                       "KEPT[-1][::4096] = b'x' * 256"),
                         "ok memory", lambda data: not data["success"] or
                         refused_after("ENOMEM", 30, 2048)(data), fields=SMALL),
    "shared memory of multiprocessing": Abuse("""
from multiprocessing import shared_memory
def main():
    blocks = [shared_memory.SharedMemory(name, True, 150 << 20) for name in ("one", "two")]
    for block in blocks:
        block.buf[::4096] = b"x" * len(block.buf[::4096])
""", "signal memory", signal("SIGBUS"), fields=SMALL),
    "shared memory, one block": Abuse("""
from multiprocessing import shared_memory
def main():
    return attempt(shared_memory.SharedMemory, "block", True, 300 << 20)
""", check=result(["OSError", "EFBIG"]), fields=SMALL),
    "memfd": Abuse(until_refused("os.memfd_create('x')"), check=result(["EPERM", 0])),
    "tmpfs": Abuse(until_refused("os.write(FILE, bytes(1 << 20))",
                                 setup="FILE = os.open('/tmp/x', os.O_CREAT | os.O_RDWR)"),
                   "ok memory", lambda data: not data["success"] or
                   data["result"][0] in ("ENOSPC", "EFBIG") and data["result"][1] <= 256,
                   fields=SMALL),
    "stack of the main thread": Abuse("""
def main():
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    numbers = (ctypes.c_int * 2)(2, 1)
    @compare
    def deeper(one, two):
        LIBC.qsort(numbers, 2, 4, deeper)
        return 0
    sys.setrecursionlimit(1 << 30)
    LIBC.qsort(numbers, 2, 4, deeper)
""", "signal exception", signal("SIGSEGV"), fields=SMALL),
    "stacks of threads": Abuse("""
import threading
def main():
    threading.stack_size(512 << 20)
    threads = []
    try:
        while True:
            threads.append(threading.Thread(target=time.sleep, args=(60,), daemon=True))
            threads[-1].start()
    except RuntimeError:
        return len(threads) <= 8
""", check=result(True), fields=SMALL),
    "page tables": Abuse("""
import mmap
def main():
    size, touched = 1 << 40, 0
    while size >= 2 << 20:
        try:
            area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | 0x4000, mmap.PROT_READ)
        except OSError:
            size //= 2
            continue
        for start in range(0, size, 2 << 20):
            touched += area[start] + 1
        globals().setdefault("KEPT", []).append(area)
    return touched < 4096
""", check=result(True), fields=SMALL),
    "mappings": Abuse("""
LIBC.mmap.restype = ctypes.c_void_p
def main():
    base, made = LIBC.mmap(None, ctypes.c_size_t(600 << 20), 1, 0x4022, -1, 0), 0
    while LIBC.mprotect(ctypes.c_void_p(base + 8192 * made), ctypes.c_size_t(4096), 0) == 0:
        made += 1
    return [errno.errorcode[ctypes.get_errno()], made]
""", check=refused_after("ENOMEM", 30000, 35000), fields={"memory": 512, "timeout": 20}),
    "pipes": Abuse(until_refused("""KEPT.append(os.pipe()); os.set_blocking(KEPT[-1][1], False)
            attempt(os.write, KEPT[-1][1], bytes(1 << 20))"""),
                   check=refused_after("EMFILE", 100, 128), fields=SMALL),
    "pipes, enlarged": Abuse("""
import fcntl
def main():
    reading, writing = os.pipe()
    return attempt(fcntl.fcntl, writing, 1031, 1 << 20)
""", check=result(["PermissionError", "EPERM"])),
    "socket buffers": Abuse(until_refused("""KEPT.append(socket.socketpair())
            for end in KEPT[-1]:
                end.setblocking(False)
                attempt(end.sendall, bytes(1 << 20))"""),
                            check=refused_after("EMFILE", 100, 128), fields=SMALL),
    "sockets in flight": Abuse("""
import array, socket
def main():
    one, two = socket.socketpair()
    one.setblocking(False)
    said = set()
    for i in range(2000):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                   array.array("i", [one.fileno(), two.fileno()] * 100))]
        said.add(str(attempt(one.sendmsg, [b"x"], rights)))
    return sorted(said)
""", check=lambda data: set(data["result"]) & {"['OSError', 'ETOOMANYREFS']",
                                                 "['BlockingIOError', 'EAGAIN']"}),
    "locked memory": Abuse("""
import mmap
def main():
    area = ctypes.create_string_buffer(1 << 20)
    return [call("mlock", area, 1 << 20), call("mlockall", 3), call("mlock2", area, 4096, 0),
            attempt(mmap.mmap, -1, 1 << 20, mmap.MAP_PRIVATE | 0x2000)]
""", check=result(["ENOMEM", "EPERM", "EPERM", ["PermissionError", "EPERM"]])),
    "a number with many digits": Abuse(
        "def main():\n    n = 1\n    while True: n <<= n.bit_length()", "memory", fields=SMALL),
    "what unpacks to much": Abuse("""
import zlib
def main():
    bomb = zlib.compress(bytes(100 << 20), 9)
    return len(zlib.decompress(bomb))
""", "memory", fields=SMALL),
    "extended attributes": Abuse("""
def main():
    open("/tmp/x", "w").close()
    return attempt(os.setxattr, "/tmp/x", "user.a", bytes(60000))
""", check=result(["OSError", "ENOTSUP"])),
}

FILES = {
    "inodes": Abuse(until_refused("os.close(os.open('/tmp/%d' % done, os.O_CREAT))"),
                    check=refused_after("ENOSPC", 16000, 16384), fields={"timeout": 20}),
    "hard links": Abuse(until_refused(
        "os.link('/tmp/x', '/tmp/x%d' % done)", setup="open('/tmp/x', 'w').close()"),
        check=refused_after("ENOSPC", 16000, 16384), fields={"timeout": 20}),
    "directories in directories": Abuse(until_refused("os.mkdir('d'); os.chdir('d')"),
                                        check=refused_after("ENOSPC", 16000, 16384),
                                        fields={"timeout": 20}),
    "files without a name": Abuse(until_refused(
        "KEPT.append(os.open('/tmp', os.O_TMPFILE | os.O_RDWR))"),
        check=refused_after("EMFILE", 200, 256)),
    "open files": Abuse(until_refused("KEPT.append(os.open('/dev/null', 0))"),
                        check=refused_after("EMFILE", 200, 256)),
    "open files of many": Abuse("""
def main():
    for i in range(100):
        if not os.fork():
            while attempt(os.dup, 0) == "done":
                pass
            time.sleep(60)
    time.sleep(0.7)
    return "left them"
""", check=result("left them")),
    "giant file": Abuse(until_refused(
        "os.ftruncate(FILE, 1 << 40)", setup="FILE = os.open('/tmp/x', os.O_CREAT | os.O_RDWR)"),
        check=result(["EFBIG", 0])),
    "giant file, allocated": Abuse(until_refused(
        "os.posix_fallocate(FILE, 0, 1 << 40)",
        setup="FILE = os.open('/tmp/x', os.O_CREAT | os.O_RDWR)"),
        check=lambda data: data["result"] in (["EFBIG", 0], ["ENOSPC", 0])),
    "giant file, signal not ignored": Abuse("""
def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.ftruncate(os.open("/tmp/x", os.O_CREAT | os.O_RDWR), 1 << 40)
""", "signal", signal("SIGXFSZ")),
    "sparse files": Abuse(until_refused("""FILE = os.open('/tmp/%d' % done, os.O_CREAT | os.O_RDWR)
            os.ftruncate(FILE, 256 << 20)
            os.pwrite(FILE, b'x', (256 << 20) - 1)
            os.close(FILE)"""), check=refused_after("ENOSPC", 4000, 16384), fields={"timeout": 20}),
    "locks on one file": Abuse("""
import fcntl
def main():
    file = os.open("/tmp/x", os.O_CREAT | os.O_RDWR)
    for i in range(20000):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 2 * i)
    return i
""", "ok time", fields={"timeout": 5}),
}

KERNEL_OBJECTS = {
    "message queues": Abuse("""
def main():
    return [call("mq_open", b"/q", 0o102, 0o600, 0), call("msgget", 0, 0o1600),
            call("semget", 0, 1, 0o1600), call("shmget", 0, 1 << 20, 0o1600)]
""", check=result(["EPERM"] * 4)),
    "signals queued": Abuse("""
def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    for i in range(100000):
        os.kill(os.getpid(), signal.SIGRTMIN + i % 30)
    return len(signal.sigpending()) == 30
""", check=result(True), fields={"timeout": 20}),
    "timers": Abuse("""
def main():
    return call("timer_create", 0, 0, ctypes.byref(ctypes.c_int()))
""", check=result("EPERM")),
    "a timer every microsecond": Abuse("""
def main():
    signal.signal(signal.SIGALRM, lambda *arguments: None)
    signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
    while True:
        pass
""", "time", fields=SECOND),
    "watches": Abuse("""
import select
def main():
    polls, made = [], 0
    try:
        while True:
            polls.append(select.epoll())
            for other in polls[:-1]:
                attempt(polls[-1].register, other.fileno())
                made += 1
    except OSError as error:
        return [errno.errorcode[error.errno], made]
""", check=refused_after("EMFILE", 10000, 40000), fields={"timeout": 20}),
    "event descriptors": Abuse(until_refused("KEPT.append(call('timerfd_create', 1, 0))\n"
                                             "            if KEPT[-1] == 'EMFILE': return "
                                             "['EMFILE', done]"),
                               check=refused_after("EMFILE", 200, 256)),
    "core dumps": Abuse("def main():\n    os.abort()", "signal", signal("SIGABRT")),
    "core dumps of children": Abuse("""
import resource
def main():
    raised = attempt(resource.setrlimit, resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    for i in range(10):
        if not os.fork():
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            ctypes.string_at(8)
    return [raised, {os.WCOREDUMP(os.wait()[1]) for i in range(10)} == {False}]
""", check=result([["ValueError", None], True])),
}

OUTPUT = {
    "a million small writes": Abuse("""
def main():
    for i in range(1000000):
        os.write(1, b"x")
    return "done"
""", check=lambda data: data["result"] == "done" and len(data["stdout"]) == 1000000,
        fields={"timeout": 30}),
    "standard output": Abuse("""
def main():
    block = b"x" * 65536
    while True:
        os.write(1, block)
""", "time", lambda data: len(data["stdout"]) == MIB and data["truncated"]["stdout"] > MIB,
        fields=SECOND),
    "standard error": Abuse("""
def main():
    while True:
        print("x" * 1000, file=sys.stderr)
""", "time", lambda data: len(data["stderr"]) == MIB, fields=SECOND),
    "both, by many": Abuse("""
def main():
    for i in range(16):
        if not os.fork():
            while True:
                os.write(1 + i % 2, b"x" * 65536)
    time.sleep(0.7)
    return "own"
""", check=lambda data: data["result"] == "own" and
        len(data["stdout"]) == len(data["stderr"]) == MIB),
    "the value": Abuse("def main():\n    return 'x' * (200 << 20)", "result_too_large",
                       fields={"memory": 1024, "timeout": 20}),
    "the exception": Abuse("def main():\n    raise ValueError('x' * (50 << 20))", "exception",
                           lambda data: len(data["error"]) <= 4096, fields={"timeout": 20}),
    "the traceback": Abuse("""
def main(depth=0):
    try:
        main(depth + 1) if depth < 300 else 1 / 0
    finally:
        raise ValueError("x" * 10000)
""", "exception", lambda data: len(data["traceback"]) <= 65536),
    "the channel": Abuse("""
def main():
    junk = struct.pack("II", 9999, 0) * 8192
    while True:
        os.write(1000, junk)
""", "time", fields=SECOND),
    "the channel, by many": Abuse("""
def main():
    junk = struct.pack("II", 9999, 65528) + bytes(65528)
    for i in range(30):
        if not os.fork():
            while True:
                os.write(1000, junk)
    time.sleep(0.5)
    os._exit(3)
""", "exit", lambda data: data["cause"]["exit_code"] == 3),
    "the channel, never read": Abuse("""
def main():
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    while True:
        say(frame(34, b"[" + b"1," * 100000))
""", "not_json signal"),
}

COMPILER = {
    "brackets": Abuse("def main():\n    return " + "(" * 5000 + ")" * 5000, "syntax"),
    "operators": Abuse("def main():\n    return " + "-" * 300000 + "1",
                       "syntax memory signal exception", signal("SIGSEGV")),
    "a constant": Abuse("def main():\n    return len([0] * (1 << 40))", "memory"),
    "a table of names": Abuse("\n".join(f"name{i} = {i}" for i in range(50000)) +
                              "\ndef main():\n    return name49999", check=result(49999)),
    "a value without a bottom": Abuse("""
def main():
    value = []
    for i in range(100000):
        value = [value]
    return value
""", "not_json"),
    "a value that contains itself": Abuse(
        "def main():\n    value = []\n    value.append(value)\n    return value", "not_json"),
}

ALL = {"processes": PROCESSES, "memory": MEMORY, "files": FILES, "kernel objects": KERNEL_OBJECTS,
       "output": OUTPUT, "compiler": COMPILER}


@pytest.mark.parametrize("group, name", [(group, name) for group in ALL for name in ALL[group]])
def test_abuse(neighbourhood, group, name):
    """Two at once; the verdict, the neighbour, /health, and the host afterwards."""
    abuse = ALL[group][name]
    for answer in neighbourhood.endure(*[(abuse.script, abuse.fields)] * 2,
                                       takes_processors=abuse.takes_processors):
        abuse.assert_contained(answer)
    neighbourhood.assert_quiet()
