"""Nothing of one run is seen by the next, though both ran in the same cell."""

import json
import random
import threading

import pytest

from answers import failed, ok, result
from conftest import Service

TRACE = """
import builtins, os, signal, socket, sys, threading, time

def main():
    def attempt(call, *arguments):
        try:
            return call(*arguments)
        except BaseException as error:
            return type(error).__name__
    mask = os.umask(0o22)
    os.umask(mask)
    return {
        "globals": sorted(globals()),
        "builtins": [hash_of(builtins), len(vars(builtins)), len("abc")],
        "modules": sorted(set(sys.modules) - {"script"}),
        "files": sorted(os.listdir("/tmp")),
        "environment": dict(os.environ),
        "cwd": os.getcwd(),
        "umask": mask,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "zone": [time.tzname, time.localtime(0).tm_hour],
        "handlers": [str(signal.getsignal(n)).split(" at ")[0] for n in range(1, 65)
                     if n not in (9, 19, 32, 33)],
        "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "pending": sorted(map(int, signal.sigpending())),
        "timers": [signal.getitimer(n) for n in range(3)],
        "descriptors": [n for n in range(1024) if attempt(os.fstat, n) != "OSError"],
        "paths": [sys.path, sys.argv, sys.meta_path.__len__(), len(sys.path_hooks)],
        "limits": limits(),
        "threads": threading.active_count(),
        "settings": [sys.getrecursionlimit(), sys.getswitchinterval(),
                     sys.get_int_max_str_digits(), sys.gettrace(), sys.getprofile()],
        "streams": [sys.stdout is sys.__stdout__, sys.stdout.line_buffering,
                    sys.excepthook is sys.__excepthook__],
        "children": attempt(os.waitpid, -1, os.WNOHANG),
        "group": os.getpgrp() == os.getpid() or os.getpgrp(),
        "scheduler": [os.sched_getscheduler(0), sorted(os.sched_getaffinity(0))],
        "name": open("/proc/self/comm").read() if os.path.exists("/proc/self/comm") else None,
        "host": os.uname().nodename,
        "tmp": [os.stat("/tmp").st_mode, os.stat("/tmp").st_uid],
    }

def hash_of(module):
    return sorted(name for name, value in vars(module).items() if callable(value)
                  and getattr(value, "__module__", "") not in ("builtins", "_sitebuiltins"))

def limits():
    import resource
    return [resource.getrlimit(getattr(resource, name)) for name in sorted(dir(resource))
            if name.startswith("RLIMIT_") and name not in ("RLIMIT_DATA", "RLIMIT_AS")]
"""

# What a thoughtless or a malicious script may leave behind. Each runs before TRACE.
LITTER = {
    "module globals": "global_name = 5\nimport script\nscript.other = 6\nsetattr(script, 'x', 7)",
    "patched builtins": "import builtins\nbuiltins.len = lambda x: 99\nbuiltins.mark = 1\n"
                        "builtins.print = None\nbuiltins.isinstance = None",
    "patched library": "import json, os, sys\njson.dumps = None\nos.getcwd = lambda: 'x'\n"
                       "json.JSONEncoder.encode = lambda *a: '1'\nsys.getrecursionlimit = None",
    "modules": "import sys, decimal, sqlite3, types\nsys.modules['fake'] = types.ModuleType('fake')\n"
               "sys.modules['random'] = None",
    "files": "import os\nos.makedirs('/tmp/a/b')\nopen('/tmp/a/b/f', 'w').write('secret')\n"
             "os.symlink('/etc', '/tmp/l')\nos.mkfifo('/tmp/p')\nopen('/tmp/.hidden', 'w')\n"
             "open('/tmp/json.py', 'w').write('1 / 0')\nopen('/tmp/sitecustomize.py', 'w').write('x')",
    "mode of /tmp": "import os\nos.chmod('/tmp', 0o700)",
    "many files": "for i in range(5000): open(f'/tmp/{i}', 'w').close()",
    "full /tmp": "try:\n    f = open('/tmp/big', 'wb')\n    while True: f.write(bytes(1 << 20))\n"
                 "except OSError: pass",
    "environment": "import os\nos.environ['MARK'] = 'x'\nos.environ['TZ'] = 'Asia/Tokyo'\n"
                   "os.environ.pop('HOME', None)\nos.putenv('OTHER', 'y')",
    "directory": "import os\nos.mkdir('/tmp/d')\nos.chdir('/tmp/d')",
    "umask": "import os\nos.umask(0o777)",
    "nice": "import os\nos.nice(19)",
    "time zone": "import os, time\nos.environ['TZ'] = 'Asia/Tokyo'\ntime.tzset()",
    "signal handlers": "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
                       "    except (OSError, ValueError): pass",
    "signal mask": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
    "timers": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 600)\n"
              "signal.setitimer(signal.ITIMER_PROF, 600)",
    "limits": "import resource\nfor n in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE,\n"
              "          resource.RLIMIT_STACK):\n    resource.setrlimit(n, (20, 20))",
    "settings": "import sys\nsys.setrecursionlimit(50)\nsys.setswitchinterval(1)\n"
                "sys.set_int_max_str_digits(0)\nsys.path.append('/x')\nsys.argv.append('y')\n"
                "sys.excepthook = None",
    "tracing": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)",
    "streams": "import sys, os\nsys.stdout = None\nsys.stderr.close()\nos.close(1)\nos.close(2)",
    "descriptors": "import os\nfor i in range(100): os.dup(1)",
    "processor": "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])",
    "process group": "import os\ntry: os.setpgid(0, 0)\nexcept OSError: pass\n"
                     "try: os.setsid()\nexcept OSError: pass",
    "orphans": "import os, time\nfor i in range(5):\n    if not os.fork():\n        os.setsid()\n"
               "        if os.fork(): os._exit(0)\n        time.sleep(600)",
    "threads": "import threading, time\n"
               "for i in range(5): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "shared memory": "from multiprocessing import shared_memory\n"
                     "m = shared_memory.SharedMemory('mark', create=True, size=4096)\nm.buf[0] = 7",
    "semaphores": "import _multiprocessing\n"
                  "_multiprocessing.SemLock(0, 1, 1, '/mark', False)",
    "memory": "import mmap\nm = mmap.mmap(-1, 50 << 20)\nm.write(b'x' * (50 << 20))",
    "exception": "raise ValueError('x')",
    "sudden end": "import os\nopen('/tmp/x', 'w').write('x')\nos._exit(3)",
    "kill": "import os\nopen('/tmp/x', 'w').write('x')\nos.kill(os.getpid(), 9)",
    "kill all": "import os\nopen('/tmp/x', 'w').write('x')\nos.kill(-1, 9)",
    "stop": "import os, signal\nopen('/tmp/x', 'w').write('x')\nos.kill(os.getpid(), signal.SIGSTOP)",
    "endless loop": "open('/tmp/x', 'w').write('x')\nwhile True: pass",
}


def test_references_to_the_warm_interpreter_are_not_counted(service):
    """Where Python can do so: a script copies no page by using what is there already."""
    data = service.execute(
        "import json, sys, weakref\nclass Own: pass\ndef main():\n    own = Own()\n"
        "    gone = weakref.ref(own)\n    del own\n"
        "    counts = [sys.getrefcount(x) for x in (json, json.dumps, json.dumps.__code__)]\n"
        "    return [sys.version_info[:2], counts, gone() is None, sys.getrefcount(Own)]").data
    version, counts, is_gone, own_count = data["result"]
    assert [count >= 1 << 31 for count in counts] == [[3, 12] <= version <= [3, 13]] * 3
    assert is_gone and own_count < 100  # what is a script's own comes and goes as ever


@pytest.fixture(scope="module")
def one_cell():
    """A service with a single cell, so that every run is the next one of the same cell."""
    with Service(workers=1, cells_per_worker=1, library_sets="base") as instance:
        yield instance


def traced(service):
    """What a script finds, without what may differ between any two."""
    return result(service.execute(TRACE))


def litter(service, code):
    lines = "".join("    " + line + "\n" for line in code.splitlines())
    return service.execute("def main():\n" + lines, timeout=1, memory=128)


@pytest.fixture(scope="module")
def pristine(one_cell):
    """What a script finds that nobody ran before."""
    return traced(one_cell)


def test_first_run_finds_nothing(pristine):
    """The state to compare with is itself clean."""
    assert pristine["files"] == []
    assert pristine["cwd"] == "/tmp" and pristine["nice"] == 0 and pristine["zone"][1] == 0
    assert pristine["descriptors"][:3] == [0, 1, 2] and len(pristine["descriptors"]) <= 4
    assert pristine["children"] == "ChildProcessError"
    assert pristine["mask"] == [] and pristine["pending"] == []
    assert pristine["builtins"][2] == 3 and pristine["threads"] == 1


@pytest.mark.parametrize("kind", LITTER)
def test_nothing_is_left(one_cell, pristine, kind):
    """Whatever one script leaves, the next one finds what the first one found."""
    answer = litter(one_cell, LITTER[kind])
    assert answer.status in (200, 400, 408), answer
    assert traced(one_cell) == pristine


def test_the_litter_is_noticed(one_cell, pristine):
    """The trace would show it: within one run it does."""
    seen = 0
    for kind in ("files", "environment", "umask", "nice", "signal mask", "settings", "descriptors"):
        script = TRACE.replace("def main():", "def trace():") + "\ndef main():\n" + "".join(
            "    " + line + "\n" for line in LITTER[kind].splitlines()) + "    return trace()\n"
        answer = one_cell.execute(script)
        assert answer.status == 200, (kind, answer)
        seen += answer.data["result"] != pristine
    assert seen == 7


@pytest.mark.parametrize("leave, look", [
    ("from multiprocessing import shared_memory\n"
     "    m = shared_memory.SharedMemory('mark', create=True, size=4096)",
     "from multiprocessing import shared_memory\n    shared_memory.SharedMemory('mark')"),
    ("open('/dev/shm/mark', 'w').write('x')", "open('/dev/shm/mark')"),
    ("open('/tmp/mark', 'w').write('x')", "open('/tmp/mark')"),
    ("import _multiprocessing as m\n    m.SemLock(0, 1, 1, '/mark', False)",
     "import _multiprocessing as m\n    m.SemLock._rebuild(0, 0, 1, '/mark')"),
    ("import os\n    os.mkfifo('/tmp/pipe')", "import os\n    os.open('/tmp/pipe', os.O_RDWR)"),
])
def test_named_things_are_gone(one_cell, leave, look):
    """Files, shared memory and semaphores by name; each can be found by the run that made it."""
    ok(one_cell.execute(f"def main():\n    {leave}\n    {look}"))
    data = failed(one_cell.execute(f"def main():\n    {look}"), "exception")
    assert data["cause"]["type"] == "FileNotFoundError"


def test_processes_are_gone(one_cell):
    """No process of an earlier run can be signalled."""
    left = litter(one_cell, LITTER["orphans"])
    assert left.status == 200
    script = ("import os\ndef main():\n    found = []\n    for pid in range(2, 33000):\n"
              "        try:\n            os.kill(pid, 0)\n        except ProcessLookupError:\n"
              "            continue\n        except PermissionError:\n            pass\n"
              "        found.append(pid)\n    return [found, os.getpid()]")
    found, own = result(one_cell.execute(script))
    assert found == [own]


def test_output_is_not_mixed(one_cell):
    """What orphans of one run print never reaches the answer of the next."""
    script = ("import os, time\ndef main():\n    if not os.fork():\n        while True:\n"
              "            os.write(1, b'orphan\\n')\n            time.sleep(0.001)\n    return 1")
    for _ in range(5):
        ok(one_cell.execute(script))
        data = ok(one_cell.execute("import time\ndef main():\n    time.sleep(0.05)\n    print('mine')"))
        assert data["stdout"] == "mine\n"


def test_markers_in_memory_are_gone(one_cell):
    """What a script held is nowhere in the memory that the next one can read."""
    marker = "".join(random.choices("abcdefghijklmnop", k=24))
    ok(one_cell.execute(f"kept = ['{marker}' + str(i) for i in range(20000)]\n"
                        "def main(): print(kept[0]); return kept[:3]"))
    script = ("import ctypes, gc\ndef main():\n    half = MARK\n"
              "    return sum(bytes(reversed(half)).decode() in str(o)[:200] for o in gc.get_objects())")
    script = script.replace("MARK", json.dumps(list(reversed(marker.encode()))))
    assert result(one_cell.execute(script)) == 0


def test_cell_is_the_same(one_cell):
    """All this did run in one cell: process numbers go on rising, a new cell starts at 2."""
    numbers = []
    for kind in ("files", "exception", "kill", "endless loop", "sudden end"):
        litter(one_cell, LITTER[kind])
        numbers.append(result(one_cell.execute("import os\ndef main(): return os.getpid()")))
    assert numbers == sorted(set(numbers)) and numbers[0] > 20


def test_parallel_runs_do_not_see_each_other(service):
    """Two cells at the same time: no file, no process in common."""
    script = ("import os, time\ndef main():\n    open(f'/tmp/{os.urandom(8).hex()}', 'w')\n"
              "    time.sleep(0.5)\n    return [len(os.listdir('/tmp')), os.getpid()]")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(service.execute(script)))
               for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result(answer)[0] for answer in answers] == [1] * 6
