"""The ends that limits and signals put to a script, and what happens when there is no room."""

import concurrent.futures
import re
import threading
import time

import pytest

from answers import CORES, ended, failed, refused, result

MAIN = "def main():\n    "


# --- memory ---------------------------------------------------------------------------------------


def check_memory(data, limit):
    assert data["error"] == f"Script execution failed: memory limit exceeded ({limit} MiB)"
    cause = data["cause"]
    assert cause["limit"] == limit and cause["unit"] == "MiB"
    return cause["used"]


def test_refused_allocation_names_what_was_asked_for(service):
    """One large block that was never there."""
    data = failed(service.execute("print('a')\ndef main():\n    return len(bytearray(1 << 30))",
                                  memory=64), "memory")
    assert data["stdout"] == "a\n"
    assert 1024 <= check_memory(data, 64) < 1200


def test_slow_growth_is_memory(service):
    """Many small objects until there is no room."""
    data = failed(service.execute("def main():\n    x = []\n    while True: x.append(bytearray(65536))",
                                  memory=64), "memory")
    assert 40 < check_memory(data, 64) < 100


def test_numpy_allocation_is_memory(service):
    """numpy's own kind of MemoryError is one."""
    data = failed(service.execute("import numpy as np\ndef main():\n    np.ones(1 << 27)",
                                  memory=128), "memory")
    check_memory(data, 128)


@pytest.mark.parametrize("end, kind", [("raise ValueError('full')", "exception"),
                                       ("raise SystemExit(3)", "exit"), ("raise", "memory"),
                                       ("return object()", "not_json"), ("return 1", "ok")])
def test_words_are_found_without_memory(service, end, kind):
    """A script that holds all of its memory can still be told about."""
    script = ("kept = []\ndef main():\n    try:\n        size = 1 << 20\n        while True:\n"
              "            try:\n                while True: kept.append(bytearray(size))\n"
              "            except MemoryError:\n                if size < 64: raise\n"
              f"                size //= 2\n    except MemoryError:\n        {end}")
    data = service.execute(script, memory=64).data
    assert data["success"] is (kind == "ok"), data
    assert kind == "ok" or data["cause"]["kind"] in (kind, "memory"), data


OWN = "    raise MemoryError('of my own')"
REFUSED = "    bytearray(1 << 40)"


@pytest.mark.parametrize("body, kind", [
    (OWN, "exception"),
    ("    class Mine(MemoryError): pass\n    raise Mine('of my own')", "exception"),
    ("    try:\n        1 / 0\n    except ZeroDivisionError:\n    " + OWN, "exception"),
    ("    try:\n    " + OWN + "\n    except MemoryError as error:\n        raise error", "exception"),
    ("    import asyncio\n    async def wait():\n    " + OWN + "\n    asyncio.run(wait())", "exception"),
    (REFUSED, "memory"),
    ("    try:\n    " + REFUSED + "\n    except MemoryError:\n    " + OWN, "memory"),
    ("    try:\n    " + REFUSED + "\n    except MemoryError as error:\n        raise error", "memory"),
    ("    try:\n    " + REFUSED + "\n    finally:\n        print('on')", "memory"),
    ("    import concurrent.futures as f\n    with f.ThreadPoolExecutor() as p:\n"
     "        p.submit(bytearray, 1 << 40).result()", "memory"),
])
def test_memory_error_that_the_script_raises(service, body, kind):
    """It is an exception as any other; one at the limit, or in the face of one there, is not."""
    data = failed(service.execute("def main():\n" + body, memory=64), kind)
    if kind == "memory":
        check_memory(data, 64)
    else:
        assert data["error"].endswith(": of my own") and "limit" not in data["cause"]


def test_refused_allocation_can_be_caught(service):
    """It is first a MemoryError, after which the script goes on."""
    script = ("def main():\n    try:\n        bytearray(1 << 30)\n    except MemoryError:\n"
              "        return 'caught'")
    assert result(service.execute(script, memory=64)) == "caught"


@pytest.mark.parametrize("memory, mib", [(16, 10), (64, 50), (512, 450)])
def test_memory_below_the_limit_is_there(service, memory, mib):
    """What was promised can be used."""
    script = f"def main():\n    x = bytearray(b'x') * ({mib} << 20)\n    return len(x)"
    assert result(service.execute(script, memory=memory)) == mib << 20


def children(count, body, before="pass", seconds=10):
    """A script whose children each do something and then live on; its value says how they ended."""
    return (f"import mmap, os, sys, time\ndef main():\n    {before}\n    kids = []\n"
            f"    for n in range({count}):\n        kid = os.fork()\n        if not kid:\n"
            f"            {body}\n            time.sleep({seconds})\n            os._exit(0)\n"
            "        kids.append(kid)\n    return [os.waitpid(kid, 0)[1] for kid in kids]")


@pytest.mark.parametrize("body", [
    "x = bytearray(b'x') * (32 << 20)",
    "x = mmap.mmap(-1, 32 << 20); x.write(bytes(32 << 20))",
    "open(f'/tmp/{n}', 'wb').write(bytes(32 << 20))",
], ids=["heap", "shared", "files"])
def test_memory_of_all_processes_counts(service, body):
    """Four children with half of the limit each: none is over it, together they are."""
    data = ended(service.execute(children(4, body), memory=64), "memory")
    assert 64 < check_memory(data, 64) <= 64 + 160


def test_memory_of_many_small_processes_counts(service):
    """A hundred children with a little each."""
    data = ended(service.execute(children(100, "x = bytearray(b'x') * (2 << 20)"), memory=64),
                 "memory")
    assert 64 < check_memory(data, 64) < 400


def test_memory_of_grandchildren_counts(service):
    """Their parents have gone, and they have a session of their own."""
    body = ("os.setsid()\n            if os.fork(): os._exit(0)\n"
            "            x = bytearray(b'x') * (32 << 20)")
    script = children(4, body).replace("return [", "ends = [") + "\n    time.sleep(10)"
    check_memory(ended(service.execute(script, memory=64), "memory"), 64)


def test_memory_shared_by_fork_counts_once(service):
    """Six children of a large parent that only look at it: there is one copy."""
    script = children(6, "sum(x[::4096])", "x = bytearray(b'x') * (40 << 20)", seconds=0.3)
    assert result(service.execute(script, memory=64)) == [0] * 6


def test_files_in_tmp_count(service):
    """They are the script's memory, and none of them need be open or mapped."""
    script = ("import time\ndef main():\n    for n in range(100):\n"
              "        open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))\n    time.sleep(10)")
    check_memory(ended(service.execute(script, memory=64), "memory"), 64)
    assert result(service.execute("import os\ndef main(): return os.listdir('/tmp')")) == []


def test_files_in_tmp_below_the_limit_are_there(service):
    """As much as was promised, and time for a look at it."""
    script = ("import os, time\ndef main():\n    open('/tmp/x', 'wb').write(bytes(50 << 20))\n"
              "    time.sleep(0.2)\n    return os.stat('/tmp/x').st_size")
    assert result(service.execute(script, memory=64)) == 50 << 20


def test_files_of_the_one_before_do_not_count(make_service):
    """Also when the size of /tmp was asked for at the very end of the script that filled it."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base")
    for n in range(10):
        fill = ("import time\ndef main():\n    begun = time.monotonic()\n"
                "    open('/tmp/x', 'wb').write(bytes(100 << 20))\n"
                f"    time.sleep(max(0, {(n % 5 + 1) * 0.03} - time.monotonic() + begun))")
        assert result(service.execute(fill, memory=256)) is None
        assert result(service.execute("import time\ndef main(): time.sleep(0.05)",
                                      memory=16)) is None


def test_memory_with_a_neighbour(service):
    """Whoever runs beside it does not notice."""
    script = "import time\ndef main():\n    time.sleep(1)\n    return len(bytearray(1 << 24))"
    with concurrent.futures.ThreadPoolExecutor(3) as clients:
        neighbours = [clients.submit(service.execute, script, memory=64) for _ in range(2)]
        check_memory(ended(service.execute(children(4, "x = bytearray(b'x') * (32 << 20)"),
                                           memory=64), "memory"), 64)
        assert [result(one.result()) for one in neighbours] == [1 << 24] * 2


# --- signal ---------------------------------------------------------------------------------------

SIGNALS = ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGHUP",
           "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGTRAP", "SIGSYS", "SIGPROF",
           "SIGVTALRM"]


@pytest.mark.parametrize("name", SIGNALS)
def test_signal(service, name):
    """A script that kills itself ends as on any Linux."""
    data = ended(service.execute(f"import os, signal\ndef main():\n    print('a')\n"
                                 f"    os.kill(os.getpid(), signal.{name})\n"
                                 f"    signal.pause()"), "signal")
    assert data["error"] == f"Script was killed by {name}"
    assert data["cause"] == {"kind": "signal", "signal": name}
    assert data["stdout"] == "a\n"


@pytest.mark.parametrize("code, name", [
    ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ("import os; os.abort()", "SIGABRT"),
    ("import signal; signal.alarm(1); signal.pause()", "SIGALRM"),
    ("import signal; signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause()", "SIGALRM"),
    ("import faulthandler; faulthandler._sigabrt()", "SIGABRT"),
    ("import faulthandler; faulthandler._stack_overflow()", "SIGSEGV"),
])
def test_faults(service, code, name):
    """Real faults, an abort, a timer."""
    data = ended(service.execute(MAIN + code), "signal")
    assert data["cause"]["signal"] == name


def test_interrupt_is_an_exception(service):
    """SIGINT is a KeyboardInterrupt, as in any Python."""
    data = failed(service.execute("import os, signal, time\ndef main():\n"
                                  "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(5)"),
                  "exception")
    assert data["cause"]["type"] == "KeyboardInterrupt"


def test_ignored_signals(service):
    """SIGCHLD and friends do nothing; a closed pipe is an exception."""
    script = ("import os, signal\ndef main():\n"
              "    for s in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG, signal.SIGCONT):\n"
              "        os.kill(os.getpid(), s)\n    r, w = os.pipe()\n    os.close(r)\n"
              "    try:\n        os.write(w, b'x')\n    except BrokenPipeError:\n        return 'pipe'")
    assert result(service.execute(script)) == "pipe"


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["time.sleep(30)", "while True: pass",
                                  "threading.Event().wait()", "lock.acquire(); lock.acquire()",
                                  "sum(iter(int, 1))"])
def test_time(service, body):
    """408 in time, what was printed, where it stood, and no invitation to retry."""
    started = time.monotonic()
    data = failed(service.execute("import time, threading\nlock = threading.Lock()\ndef main():\n"
                                  "    print('line')\n    print('part', end='')\n    " + body,
                                  timeout=0.5), "time", 408)
    assert 0.45 < time.monotonic() - started < 3
    assert data["error"] == "Script execution timed out after 0.5 seconds"
    cause = data["cause"]
    assert (cause["kind"], cause["limit"], cause["unit"]) == ("time", 0.5, "s")
    assert 0.5 <= cause["used"] < 2
    assert data["stdout"].startswith("line\n")
    assert data["usage"]["wall_ms"] >= 500


def test_time_shows_where_the_main_thread_stood(service):
    """The traceback has the script's frames down to the one that was running."""
    script = ("import time\ndef wait():\n    while True:\n        time.sleep(0.01)\n\n"
              "def main():\n    wait()\n")
    data = failed(service.execute(script, timeout=1), "time", 408)
    assert data["traceback"].startswith("Traceback (most recent call last):\n")
    assert '  File "script.py", line 7, in main\n    wait()\n' in data["traceback"]
    assert re.search(r'  File "script.py", line [34], in wait\n', data["traceback"])
    assert set(re.findall(r'File "([^"]+)"', data["traceback"])) == {"script.py"}


SLEEP = "    await asyncio.sleep(60)\n"
IN_MAIN, IN_WORK = ("main", "await work()"), ("work", "await asyncio.sleep(60)")


@pytest.mark.parametrize("script, frames", [
    ("async def main():\n" + SLEEP, [("main", IN_WORK[1])]),
    ("async def work():\n" + SLEEP + "async def main():\n    await work()", [IN_MAIN, IN_WORK]),
    ("async def work():\n    while True:\n        await asyncio.sleep(0.01)\n"
     "async def main():\n    await work()", [IN_MAIN, ("work", "await asyncio.sleep(0.01)")]),
    ("async def main():\n    await asyncio.gather(asyncio.sleep(60), asyncio.sleep(70))",
     [("main", "await asyncio.gather(asyncio.sleep(60), asyncio.sleep(70))")]),
    ("class Wait:\n    def __await__(self):\n        yield from asyncio.sleep(60).__await__()\n"
     "async def main():\n    await Wait()",
     [("main", "await Wait()"), ("__await__", "yield from asyncio.sleep(60).__await__()")]),
    ("async def main():\n    while True: pass", [("main", "while True: pass")]),
    ("async def work():\n" + SLEEP + "def main():\n    asyncio.run(work())",
     [("main", "asyncio.run(work())")]),
])
def test_time_shows_where_a_coroutine_waits(service, script, frames):
    """The main thread is in the event loop then, and in no frame of the script."""
    data = failed(service.execute("import asyncio\n" + script, timeout=0.5), "time", 408)
    lines = re.findall(r'  File "script.py", line \d+, in (\w+)\n    (.+)\n', data["traceback"])
    assert lines == frames
    assert set(re.findall(r'File "([^"]+)"', data["traceback"])) == {"script.py"}


@pytest.mark.parametrize("script", [
    "class Long(dict):\n    pass\ndef main():\n    x = ['x' * 1000] * 20000\n    return [x] * 20000",
    "import asyncio\nasync def main():\n    task = asyncio.current_task()\n"
    "    for name in ('all_tasks', 'current_task'): setattr(asyncio, name, None)\n"
    "    import types\n    types.CoroutineType = types.GeneratorType = int\n    await asyncio.sleep(60)"])
def test_time_with_no_frame_of_the_script(service, script):
    """Then there is no traceback, rather than an empty one."""
    data = failed(service.execute(script, timeout=0.5, memory=2048), "time", 408)
    assert "traceback" not in data


@pytest.mark.parametrize("script", [
    "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\ndef main():\n    while True: pass",
    "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
    "def main():\n    while True: pass",
    "import os, signal\ndef main():\n    os.kill(os.getpid(), signal.SIGSTOP)",
    "def main():\n    'a' * 25 == __import__('re').match('(a+)+$', 'a' * 40 + 'b')",
    "import os\ndef main():\n    os.closerange(0, 1024)\n    while True: pass",
])
def test_time_against_resistance(service, script):
    """Ignoring, blocking, stopping or a loop inside C is no way around the clock."""
    started = time.monotonic()
    answer = service.execute(script, timeout=0.5)
    assert answer.status == 408, answer
    assert answer.data["cause"]["kind"] == "time"
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("timeout, words", [
    (0.01, "0.01"), (0.25, "0.25"), (1, "1"), (1.0, "1"), (0.1239, "0.124")])
def test_time_is_said_shortly(service, timeout, words):
    """%g, to the millisecond."""
    data = failed(service.execute("while True: pass", timeout=timeout), "time", 408)
    assert data["error"] == f"Script execution timed out after {words} seconds"


def test_time_includes_imports_and_the_encoding(service):
    """What main() has not seen counts as well."""
    failed(service.execute("import time\ntime.sleep(5)\ndef main(): pass", timeout=0.3), "time", 408)
    failed(service.execute("class T(dict):\n    def items(self):\n        while True: pass\n"
                           "def main(): return [T(a=1)]", timeout=0.3), "time", 408)


# --- cpu ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout, limit", [(0.5, 2), (1, 3), (1.2, 4), (15, 31), (300, 601)])
def test_cpu_limit_is_in_force(service, timeout, limit):
    """Twice the timeout, rounded up, plus a second; hard as well as soft."""
    script = "import resource\ndef main(): return resource.getrlimit(resource.RLIMIT_CPU)"
    assert result(service.execute(script, timeout=timeout)) == [limit, limit]


def test_cpu(service):
    """Threads that compute on many processors run out of CPU time before the clock says so."""
    timeout = 8 if CORES >= 3 else 2
    script = ("import hashlib, threading\ndef burn():\n    data = bytes(1 << 24)\n"
              "    while True: hashlib.sha256(data)\ndef main():\n    print('a')\n"
              f"    for i in range({CORES}): threading.Thread(target=burn).start()\n"
              "    threading.Event().wait()")
    answer = service.execute(script, timeout=timeout)
    assert answer.status == 408, answer
    assert answer.data["stdout"] == "a\n"
    if CORES < 3:  # two processors cannot use up twice the time and one second
        assert answer.data["cause"]["kind"] == "time"
        return
    data = ended(answer, "cpu", 408)
    limit = 2 * timeout + 1
    assert data["error"] == f"Script execution timed out: {limit} seconds of CPU time used"
    cause = data["cause"]
    assert (cause["limit"], cause["unit"]) == (limit, "s")
    assert limit - 0.1 <= cause["used"] < limit + 2


def test_lowering_the_own_cpu_limit(service):
    """A script that limits itself is killed by the kernel, and that is what is said."""
    script = ("import resource\ndef main():\n    resource.setrlimit(resource.RLIMIT_CPU, (1, 3))\n"
              "    while True: pass")
    data = ended(service.execute(script, timeout=20), "signal")
    assert data["cause"]["signal"] == "SIGXCPU"


# --- no room --------------------------------------------------------------------------------------


def test_overloaded(make_service):
    """A full queue is 503 with Retry-After, and the service goes on."""
    service = make_service(workers=1, cells_per_worker=1, queue=0)
    slow = []
    thread = threading.Thread(target=lambda: slow.append(
        service.execute("import time\ndef main():\n    time.sleep(3)\n    return 'slow'")))
    thread.start()
    deadline = time.monotonic() + 10
    while service.get("/health").data["workers"]["busy"] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    answer = service.execute("def main(): return 1")
    refused(answer, "overloaded", 503)
    assert int(answer.headers["Retry-After"]) >= 1
    assert "X-Should-Retry" not in answer.headers
    thread.join()
    assert result(slow[0]) == "slow"


def test_too_long_a_wait(make_service):
    """Who waited for longer than the queue's time is refused as well; who fits in runs."""
    service = make_service(workers=1, cells_per_worker=1, queue=5, queue_timeout=0.5)
    slow = []
    script = "import time\ndef main():\n    time.sleep(%s)\n    return 'slow'"
    thread = threading.Thread(target=lambda: slow.append(service.execute(script % 2)))
    thread.start()
    deadline = time.monotonic() + 10
    while service.get("/health").data["workers"]["busy"] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    started = time.monotonic()
    answer = service.execute("def main(): return 1")
    cause = refused(answer, "overloaded", 503)["cause"]
    assert (cause["limit"], cause["unit"]) == (0.5, "s") and 0.5 <= cause["used"] < 1.9
    assert 0.4 < time.monotonic() - started < 1.9
    assert int(answer.headers["Retry-After"]) >= 1
    thread.join()
    assert result(slow[0]) == "slow"
    assert result(service.execute("def main(): return 1")) == 1
