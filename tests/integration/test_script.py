"""What a script finds around itself, and that Python behaves there as its users expect."""

import re
import sys

import pytest

from answers import failed, ok, result


def run(service, script, **fields):
    """The result of a script that must succeed."""
    return result(service.execute(script, **fields))


# --- entry ----------------------------------------------------------------------------------------


def test_other_entry(service):
    """Any callable of the module will do."""
    script = "def f(): return 'f'\nclass C:\n    def __new__(cls): return 'C'\ng = lambda: 'g'"
    assert [run(service, script, entry=name) for name in "fCg"] == ["f", "C", "g"]
    assert run(service, "def grüße(): return 1", entry="grüße") == 1


def test_main_guard_does_not_run(service):
    """With an entry the script is a module, not the program."""
    data = ok(service.execute("print(__name__)\nif __name__ == '__main__':\n    print('guard')\n"
                              "def main(): return 1"))
    assert data["stdout"] == "script\n"


def test_entry_null_is_a_program(service):
    """It runs as __main__, and its guard blocks run."""
    data = ok(service.execute("def main(): return 'not called'\n"
                              "if __name__ == '__main__':\n    print('guard')\n", entry=None))
    assert data["stdout"] == "guard\n"
    assert data["result"] is None


@pytest.mark.parametrize("script, value", [
    ("6 * 7", 42), ("x = 1", None), ("1\n2\n3", 3), ("x = 5\nx + 1  # comment\n\n", 6),
    ("for i in range(3): i", None), ("if True:\n    5", None), ("'''doc'''", "doc"),
    ("def f(): return 1\nf()", 1), ("x = [1]; x", [1]), ("x = [1]; x;", [1]), ("pass", None),
    ("print('a')", None), ("(y := 7)", 7), ("'x'; y = 1", None), ("# nothing", None),
    ("import sys\nsys.modules['__main__'].__dict__ is globals()", True),
    ("import sys, __main__\n__main__.__name__", "__main__"),
    ("[x for x in range(3)]", [0, 1, 2]), ("lambda: 0\nNone", None),
    ("(\n1 +\n2\n)", 3),
])
def test_entry_null_returns_the_last_expression(service, script, value):
    """The value of the last statement if that is an expression, else null."""
    assert run(service, script, entry=None) == value


def test_entry_null_with_future_import_and_docstring(service):
    """What must stand first still does."""
    script = "'''doc'''\nfrom __future__ import annotations\ndef f(x: nowhere): pass\n__doc__"
    assert run(service, script, entry=None) == "doc"


def test_entry_null_errors_have_lines(service):
    """The last expression has its own line."""
    data = failed(service.execute("x = 0\n\n1 / x", entry=None), "exception")
    assert data["cause"]["line"] == 3
    assert "    1 / x\n" in data["traceback"]


def test_entry_null_pickles(service):
    """Classes of a program can be pickled, and its functions sent to a pool."""
    assert run(service, "import pickle\nclass A:\n    def __init__(self): self.x = 5\n"
                        "pickle.loads(pickle.dumps(A())).x", entry=None) == 5
    assert run(service, "from multiprocessing import Pool\ndef f(x): return x * x\nr = None\n"
                        "if __name__ == '__main__':\n    with Pool(2) as p: r = p.map(f, [1, 2, 3])\n"
                        "r", entry=None) == [1, 4, 9]


def test_async_main(service):
    """It is awaited; so is what it awaits."""
    assert run(service, "import asyncio\nasync def part(x):\n    await asyncio.sleep(0.01)\n"
                        "    return x\nasync def main():\n"
                        "    return await asyncio.gather(part(1), part(2))") == [1, 2]
    data = failed(service.execute("async def main():\n    1 / 0"), "exception")
    assert data["cause"] == {"kind": "exception", "type": "ZeroDivisionError", "line": 2}


def test_asyncio_run(service):
    """main() may as well run a loop of its own, with threads and tasks."""
    script = ("import asyncio, time\nasync def go():\n    loop = asyncio.get_running_loop()\n"
              "    a = loop.run_in_executor(None, lambda: (time.sleep(.05), 1)[1])\n"
              "    async with asyncio.timeout(5):\n        return await a\n"
              "def main(): return asyncio.run(go())")
    assert run(service, script) == 1


# --- the module -----------------------------------------------------------------------------------


def test_module(service):
    """The script is a real module of the name script, in a file of the name script.py."""
    script = ("import sys, inspect\ndef main():\n    import script\n"
              "    return [__name__, __file__, script.main is main, sys.modules['script'].main is main,\n"
              "            main.__module__, main.__code__.co_filename, inspect.getsource(main)[:8],\n"
              "            __builtins__ is not None]")
    assert run(service, script) == ["script", "script.py", True, True, "script", "script.py",
                                    "def main", True]


def test_nothing_of_the_service_is_a_global(service):
    """The namespace starts as that of a new module does."""
    names = run(service, "def main(): return sorted(globals())")
    assert set(names) <= {"main", "__name__", "__file__", "__builtins__", "__doc__", "__loader__",
                          "__package__", "__spec__"}


def test_working_directory_and_path(service):
    """/tmp is where it works, and the last place where modules are looked for."""
    script = ("import os, sys\ndef main():\n"
              "    open('mine.py', 'w').write('x = 5')\n    open('json.py', 'w').write('1 / 0')\n"
              "    import mine, json, mailbox\n"
              "    return [os.getcwd(), sys.path[-1], sys.argv, mine.x, mine.__file__,\n"
              "            os.listdir('/tmp').count('mine.py'), '' in sys.path]")
    assert run(service, script) == ["/tmp", "/tmp", ["script.py"], 5, "/tmp/mine.py", 1, False]


def test_environment(service):
    """The time zone is UTC; the environment is short, and none of the service's."""
    script = ("import os, time, datetime\ndef main():\n"
              "    return [time.tzname[0], time.timezone, time.localtime(0).tm_hour,\n"
              "            datetime.datetime.now().astimezone().utcoffset().total_seconds(),\n"
              "            os.environ['TZ'], dict(os.environ)]")
    *zone, tz, environment = run(service, script)
    assert zone == ["UTC", 0, 0, 0.0] and tz == "UTC"
    assert not any(name.startswith(("LD_", "PYTHON", "VIVARIUM", "SUDO", "FCGI", "HTTP"))
                   for name in environment)
    assert environment["HOME"] == "/tmp"


def test_identity(service):
    """Nobody in particular; process 2 or later of the cell."""
    uid, gid, pid, version = run(service, "import os, sys\ndef main(): return [os.getuid(), "
                                          "os.getgid(), os.getpid(), list(sys.version_info[:2])]")
    assert (uid, gid) == (65534, 65534) and pid >= 2
    assert version == list(sys.version_info[:2])


def test_standard_input_is_empty(service):
    """input() meets the end of the file."""
    assert run(service, "import sys\ndef main(): return sys.stdin.read()") == ""
    assert failed(service.execute("def main(): input()"), "exception")["cause"]["type"] == "EOFError"


def test_interpreter_state(service):
    """Signals, threads and limits are those of a new Python."""
    script = ("import signal, threading, sys, atexit\ndef main():\n"
              "    return [signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,\n"
              "            signal.getsignal(signal.SIGINT) is signal.default_int_handler,\n"
              "            signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN,\n"
              "            signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,\n"
              "            sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),\n"
              "            signal.getitimer(signal.ITIMER_REAL), threading.active_count(),\n"
              "            threading.current_thread() is threading.main_thread(),\n"
              "            sys.getrecursionlimit(), sys.gettrace(), sys.flags.utf8_mode]")
    assert run(service, script) == [True, True, True, True, [], [0.0, 0.0], 1, True, 1000, None, 1]


def test_warnings_go_to_standard_error(service):
    """As they do anywhere, with the script's name and line."""
    data = ok(service.execute("import warnings\ndef main():\n    warnings.warn('careful')\n"
                              "    return 1"))
    assert data["stderr"].startswith("script.py:3: UserWarning: careful\n")


def test_tracebacks_that_the_script_prints(service):
    """print_exc and unraisable errors work, with source lines."""
    data = ok(service.execute("import traceback\ndef main():\n    try:\n        1 / 0\n"
                              "    except ZeroDivisionError: traceback.print_exc()"))
    assert 'File "script.py", line 4, in main\n    1 / 0\n' in data["stderr"]


def test_exception_in_a_thread(service):
    """It is printed, and does not end the script."""
    data = ok(service.execute("import threading\ndef f(): 1 / 0\ndef main():\n"
                              "    t = threading.Thread(target=f)\n    t.start()\n    t.join()\n"
                              "    return 'on'"))
    assert data["result"] == "on" and "ZeroDivisionError" in data["stderr"]


# --- the standard library -------------------------------------------------------------------------

LIBRARY = {
    "pickle": ("import pickle\nclass A:\n    def __init__(s): s.x = 1\n"
               "def main(): return pickle.loads(pickle.dumps([A()]))[0].x", 1),
    "dataclass": ("from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\n"
                  "class P:\n    x: int\n    y: list[int] = dataclasses.field(default_factory=list)\n"
                  "def main(): return dataclasses.asdict(P(1))", {"x": 1, "y": []}),
    "enum, typing": ("import enum, typing\nclass E(enum.Enum):\n    A = 1\nclass T(typing.NamedTuple):\n"
                     "    x: int\ndef f(x: 'T') -> E: ...\n"
                     "def main(): return [E.A.value, T(2).x, len(typing.get_type_hints(f))]",
                     [1, 2, 2]),
    "pool": ("import multiprocessing\ndef f(x): return x * x\ndef main():\n"
             "    with multiprocessing.Pool(3) as p: return p.map(f, range(5))", [0, 1, 4, 9, 16]),
    "process, queue": ("import multiprocessing as m\ndef f(q, v):\n    v.value += 1\n    q.put('x')\n"
                       "def main():\n    q, v = m.Queue(), m.Value('i', 4)\n"
                       "    p = m.Process(target=f, args=(q, v))\n    p.start()\n    r = q.get()\n"
                       "    p.join()\n    return [r, v.value, p.exitcode]", ["x", 5, 0]),
    "pipe, event, barrier": ("import multiprocessing as m\ndef f(c, e, b):\n    e.wait()\n    b.wait()\n"
                             "    c.send([1])\ndef main():\n    (a, c), e, b = m.Pipe(), m.Event(), m.Barrier(2)\n"
                             "    p = m.Process(target=f, args=(c, e, b), daemon=True)\n    p.start()\n"
                             "    e.set()\n    b.wait()\n    return a.recv()", [1]),
    "shared memory": ("from multiprocessing import shared_memory\ndef main():\n"
                      "    s = shared_memory.SharedMemory(create=True, size=100)\n    s.buf[0] = 7\n"
                      "    t = shared_memory.SharedMemory(name=s.name)\n    r = t.buf[0]\n"
                      "    t.close(); s.close(); s.unlink()\n    return r", 7),
    "thread pool": ("from concurrent.futures import ThreadPoolExecutor\ndef main():\n"
                    "    with ThreadPoolExecutor(8) as p: return list(p.map(str, range(3)))",
                    ["0", "1", "2"]),
    "process pool": ("from concurrent.futures import ProcessPoolExecutor\ndef f(x): return x + 1\n"
                     "def main():\n    with ProcessPoolExecutor(2) as p: return list(p.map(f, [1, 2]))",
                     [2, 3]),
    "threads": ("import threading\ndef main():\n    out = []\n"
                "    ts = [threading.Thread(target=out.append, args=(i,)) for i in range(50)]\n"
                "    [t.start() for t in ts]; [t.join() for t in ts]\n    return sorted(out)",
                list(range(50))),
    "fork": ("import os\ndef main():\n    pid = os.fork()\n    if not pid: os._exit(7)\n"
             "    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])", 7),
    "sqlite3": ("import sqlite3\ndef main():\n    out = []\n    for name in (':memory:', '/tmp/x.db'):\n"
                "        c = sqlite3.connect(name)\n        c.execute('create table t(x)')\n"
                "        c.execute('insert into t values (5)')\n        c.commit()\n"
                "        out += c.execute('select x from t').fetchone()\n    return out", [5, 5]),
    "zoneinfo": ("import zoneinfo, datetime\ndef main():\n"
                 "    z = zoneinfo.ZoneInfo('Europe/Berlin')\n"
                 "    t = datetime.datetime(2024, 7, 1, 12, tzinfo=z)\n"
                 "    return [t.isoformat(), len(zoneinfo.available_timezones()) > 400]",
                 ["2024-07-01T12:00:00+02:00", True]),
    "uuid": ("import uuid\ndef main():\n    uuid.uuid1()\n    return [uuid.uuid4().version, "
             "str(uuid.uuid5(uuid.NAMESPACE_DNS, 'python.org'))]",
             [4, "886313e1-3b8a-5372-9b90-0c9aee199e5d"]),
    "tempfile": ("import tempfile, os\ndef main():\n    with tempfile.TemporaryDirectory() as d:\n"
                 "        with tempfile.NamedTemporaryFile(dir=d) as f: f.write(b'x')\n"
                 "    with tempfile.TemporaryFile() as f:\n        f.write(b'abc'); f.seek(0)\n"
                 "        return [f.read().decode(), tempfile.gettempdir(), os.path.exists(d)]",
                 ["abc", "/tmp", False]),
    "decimal, fractions": ("import decimal, fractions\ndef main(): return [str(decimal.Decimal(1) / 3), "
                           "str(fractions.Fraction(1, 3))]",
                           ["0.3333333333333333333333333333", "1/3"]),
    "ssl": ("import ssl\ndef main():\n    c = ssl.create_default_context()\n"
            "    return [c.verify_mode == ssl.CERT_REQUIRED, len(ssl.RAND_bytes(9))]",
            [True, 9]),
    "hashlib": ("import hashlib, hmac, secrets\ndef main():\n    secrets.token_hex()\n"
                "    return hashlib.sha256(b'').hexdigest()[:8] + hashlib.md5(b'').hexdigest()[:4]",
                "e3b0c442d41d"),
    "compression": ("import zlib, gzip, bz2, lzma, zipfile, io\ndef main():\n"
                    "    return [m.decompress(m.compress(b'x' * 9)).decode() for m in "
                    "(zlib, gzip, bz2, lzma)]", ["x" * 9] * 4),
    "locale, unicode": ("import locale, unicodedata\ndef main(): return [unicodedata.name('\xe9'), "
                        "open('/tmp/\xe9', 'w').encoding.lower()]",
                        ["LATIN SMALL LETTER E WITH ACUTE", "utf-8"]),
    "ctypes": ("import ctypes\ndef main(): return ctypes.CDLL(None).abs(-5)", 5),
    "mmap": ("import mmap\ndef main():\n    m = mmap.mmap(-1, 4096)\n    m[:2] = b'ab'\n"
             "    return m[:2].decode()", "ab"),
    "files": ("import pathlib, shutil, os\ndef main():\n    p = pathlib.Path('/tmp/a/b'); p.mkdir(parents=True)\n"
              "    (p / 'f').write_text('x'); os.symlink('f', p / 'l'); os.link(p / 'f', p / 'h')\n"
              "    os.chmod(p / 'f', 0o600); shutil.copytree('/tmp/a', '/tmp/c')\n"
              "    shutil.rmtree('/tmp/a')\n    return sorted(os.listdir('/tmp/c/b'))",
              ["f", "h", "l"]),
    "/dev": ("def main():\n    open('/dev/null', 'w').write('x')\n"
             "    return [open('/dev/zero', 'rb').read(2).hex(), len(open('/dev/urandom', 'rb').read(4))]",
             ["0000", 4]),
    "signals": ("import signal, os\ndef main():\n    got = []\n"
                "    signal.signal(signal.SIGUSR1, lambda *a: got.append(1))\n"
                "    os.kill(os.getpid(), signal.SIGUSR1)\n    return got", [1]),
    "socketpair": ("import socket\ndef main():\n    a, b = socket.socketpair()\n    a.send(b'x')\n"
                   "    return b.recv(1).decode()", "x"),
    "logging, csv": ("import logging, csv, io\ndef main():\n    logging.warning('w')\n"
                     "    return list(csv.reader(io.StringIO('a,b')))", [["a", "b"]]),
    "imports": ("import unittest, doctest, xml.etree.ElementTree, urllib.request, http.client, email, "
                "statistics, heapq, graphlib, tomllib, argparse, cProfile, difflib, textwrap\n"
                "def main(): return 1", 1),
}


@pytest.mark.parametrize("name", LIBRARY)
def test_standard_library(service, name):
    """A part of the standard library that people use."""
    script, value = LIBRARY[name]
    data = ok(service.execute(script))
    assert data["result"] == value
    assert data["stderr"] == "" or name == "logging, csv"


# --- the libraries --------------------------------------------------------------------------------


def test_numpy(service):
    """Linear algebra, random numbers, files."""
    script = ("import numpy as np\ndef main():\n    a = np.array([[2., 0.], [0., 3.]])\n"
              "    np.save('/tmp/a.npy', a)\n    np.random.default_rng(1).random(3)\n"
              "    return [np.linalg.det(np.load('/tmp/a.npy')).round(6), (a @ a).tolist(),\n"
              "            abs(np.fft.fft([1, 0]))[0]]")
    assert run(service, script) == [6.0, [[4.0, 0.0], [0.0, 9.0]], 1.0]


def test_pandas(service):
    """Frames, groups, dates with zones, CSV."""
    script = ("import pandas as pd, io\ndef main():\n"
              "    df = pd.read_csv(io.StringIO('k,v\\na,1\\na,2\\nb,5'))\n"
              "    df['t'] = pd.date_range('2024-01-01', periods=3, tz='Europe/Berlin')\n"
              "    df.to_csv('/tmp/x.csv')\n"
              "    return [df.groupby('k')['v'].sum().to_dict(), df['t'].iloc[0].isoformat(),\n"
              "            df['v'].corr(df['v'] ** 2).round(3)]")
    assert run(service, script, memory=128) == [{"a": 3, "b": 5}, "2024-01-01T00:00:00+01:00", 0.992]


def test_scipy(service):
    """Integration, optimisation, statistics."""
    script = ("from scipy import integrate, optimize, stats, linalg\ndef main():\n"
              "    return [round(integrate.quad(lambda x: x * x, 0, 3)[0], 6),\n"
              "            round(float(optimize.minimize(lambda x: (x[0] - 2) ** 2, [0]).x[0]), 3),\n"
              "            round(stats.norm.cdf(0), 3), linalg.inv([[2.0]]).tolist()]")
    assert run(service, script, timeout=60) == [9.0, 2.0, 0.5, [[0.5]]]


def test_matplotlib(service):
    """Agg without being asked, text with fonts, a file."""
    script = ("import matplotlib, matplotlib.pyplot as plt\ndef main():\n"
              "    fig, ax = plt.subplots()\n    ax.plot([1, 2, 3]); ax.set_title('h\xe9llo $x^2$')\n"
              "    fig.savefig('/tmp/f.png'); fig.savefig('/tmp/f.pdf'); plt.close(fig)\n"
              "    return [matplotlib.get_backend().lower(), open('/tmp/f.png', 'rb').read(4)[1:].decode(),\n"
              "            open('/tmp/f.pdf', 'rb').read(4).decode()]")
    data = ok(service.execute(script, timeout=60))
    assert data["result"] == ["agg", "PNG", "%PDF"]
    assert data["stderr"] == ""


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [
    "import subprocess; subprocess.run(['ls'])", "import subprocess; subprocess.run('ls', shell=True)",
    "import subprocess, sys; subprocess.check_output([sys.executable, '-c', 'pass'])",
    "import os; os.execv('/usr/bin/python3', ['python3'])", "import os; os.posix_spawn('/bin/sh', ['sh'], {})",
    "import socket; socket.socket()", "import socket; socket.create_connection(('127.0.0.1', 80))",
    "import socket; socket.socket(socket.AF_UNIX)",
    "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "import os; os.setuid(0)", "import os; os.chroot('/tmp')"])
def test_refused_operations(service, code):
    """No program is started, no socket opened: a clear PermissionError that can be caught."""
    data = failed(service.execute("def main():\n    " + code), "exception")
    assert data["cause"]["type"] == "PermissionError", data
    assert data["error"].startswith("PermissionError: [Errno 1] Operation not permitted")
    caught = f"def main():\n    try:\n        {code}\n    except PermissionError:\n        return 'caught'"
    assert run(service, caught) == "caught"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("code", [
    "c.Process(target=print).start()", "c.Pool(2)",
    "with m.pool.Pool(2, context=c): pass",
    "with f.ProcessPoolExecutor(2, mp_context=c) as p: p.submit(abs, 1).result()",
    "m.set_start_method(c.get_start_method()); m.Process(target=print).start()"])
def test_start_methods_that_need_a_program(service, method, code):
    """The error says what there is instead; what starts no process works."""
    script = ("import multiprocessing as m, multiprocessing.pool, concurrent.futures as f\n"
              f"def main():\n    c = m.get_context({method!r})\n    q = c.SimpleQueue()\n"
              f"    q.put(1)\n    print(q.get(), c.Value('i', 2).value)\n    {code}")
    data = failed(service.execute(script), "exception")
    assert data["stdout"] == "1 2\n" and data["cause"]["type"] == "PermissionError"
    assert data["error"] == (
        f"PermissionError: [Errno 1] the start method '{method}' runs a new Python, which is not "
        "allowed here: processes can only be started by 'fork'")


def test_managers_need_sockets(service):
    """multiprocessing.Manager() is a server; what its EOFError is about is told."""
    data = failed(service.execute("import multiprocessing\ndef main(): multiprocessing.Manager()"),
                  "exception")
    assert data["error"] == "EOFError" and data["cause"]["refused"]["call"] == "socket"
    assert "PermissionError" in data["stderr"]


@pytest.mark.parametrize("path", ["/etc/x", "/usr/lib/x", "/x", "/dev/x"])
def test_only_tmp_can_be_written(service, path):
    """Everything else is read-only."""
    data = failed(service.execute(f"def main():\n    open({path!r}, 'w')"), "exception")
    assert re.match(r"(PermissionError|OSError): \[Errno (13|30)\]", data["error"])


# --- after the value ------------------------------------------------------------------------------


def test_atexit_and_threads_end_in_time(service):
    """Both have their time after the value, and their output is there."""
    script = ("import atexit, threading, time\ndef late():\n    time.sleep(0.2)\n    print('thread')\n"
              "def main():\n    atexit.register(print, 'atexit')\n"
              "    threading.Thread(target=late).start()\n    return 1")
    data = ok(service.execute(script))
    assert data["result"] == 1 and data["stdout"] == "thread\natexit\n"
    assert "warnings" not in data


@pytest.mark.parametrize("script", [
    "import atexit, time\ndef main():\n    print('a')\n    atexit.register(time.sleep, 30)\n    return 1",
    "import threading, time\ndef main():\n    print('a')\n"
    "    threading.Thread(target=time.sleep, args=(30,)).start()\n    return 1",
    "import atexit\ndef spin():\n    while True: pass\ndef main():\n    print('a')\n"
    "    atexit.register(spin)\n    return 1"])
def test_what_lasts_longer_is_cut(service, script):
    """A second at most, then the answer is 200 with a warning."""
    data = ok(service.execute(script))
    assert data["result"] == 1 and data["stdout"] == "a\n"
    assert len(data["warnings"]) == 1 and "atexit" in data["warnings"][0]
    assert 950 < data["usage"]["wall_ms"] < 4000


def test_the_rest_of_the_time_may_be_less(service):
    """The timeout goes on counting."""
    data = ok(service.execute("import atexit, time\ndef main():\n    atexit.register(time.sleep, 30)",
                              timeout=0.3))
    assert data["usage"]["wall_ms"] < 900 and data["warnings"]


def test_daemon_threads_and_children_are_not_waited_for(service):
    """Nobody waits for them, and they are no reason for a warning."""
    script = ("import threading, time, os\ndef main():\n"
              "    threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n"
              "    if not os.fork():\n        time.sleep(30)\n    return 1")
    data = ok(service.execute(script))
    assert "warnings" not in data and data["usage"]["wall_ms"] < 900


@pytest.mark.parametrize("code, warnings", [
    ("1 / 0", None), ("sys.exit(3)", None), ("os._exit(0)", None),
    ("os._exit(3)", ["the script ended with exit code 3 after the value was there"]),
    ("os.kill(os.getpid(), 9)", ["the script was killed by SIGKILL after the value was there"]),
    ("__import__('ctypes').string_at(0)",
     ["the script was killed by SIGSEGV after the value was there"])])
def test_failing_atexit_handlers_do_not_change_the_value(service, code, warnings):
    """The value was there before; a death is told."""
    data = ok(service.execute(f"import atexit, os, sys\ndef late():\n    {code}\ndef main():\n"
                              "    atexit.register(late)\n    return 'kept'"))
    assert data["result"] == "kept"
    assert data.get("warnings") == warnings


def test_thread_that_kills_after_the_value(service):
    """As an atexit handler would; also what a finalizer of that thread does."""
    data = ok(service.execute(
        "import os, threading, time\nclass Last:\n    def __del__(self): os.kill(os.getpid(), 15)\n"
        "def late(last):\n    time.sleep(0.1)\n    print('late')\n"
        "def main():\n    threading.Thread(target=late, args=(Last(),)).start()\n    return 1"))
    assert (data["result"], data["stdout"]) == (1, "late\n")
    assert data["warnings"] == ["the script was killed by SIGTERM after the value was there"]


def test_memory_limit_after_the_value(service):
    """Children that an atexit handler forks have too much together."""
    data = ok(service.execute(
        "import atexit, os, time\ndef crowd():\n    for i in range(8):\n        if not os.fork():\n"
        "            x = bytearray(b'x') * (40 << 20)\n            time.sleep(30)\n    time.sleep(30)\n"
        "def main():\n    atexit.register(crowd)\n    return 1", memory=64))
    assert data["result"] == 1
    assert data["warnings"] == [
        "the script was ended after the value was there: memory limit exceeded (64 MiB)"]


# --- chance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [
    "import random\ndef main(): return random.random()",
    "import numpy\ndef main(): return numpy.random.rand()",
    "import numpy\ndef main(): return float(numpy.random.default_rng().random())",
    "import ssl\ndef main(): return ssl.RAND_bytes(8).hex()",
    "import uuid\ndef main(): return str(uuid.uuid4())",
    "import tempfile\ndef main(): return tempfile.mktemp()",
    "import tempfile\ndef main(): return tempfile.NamedTemporaryFile().name",
    "import os, secrets\ndef main(): return secrets.token_hex(8)",
    "import scipy.stats\ndef main(): return float(scipy.stats.norm.rvs())",
    "import random, os\ndef main():\n    r, w = os.pipe()\n    if not os.fork():\n"
    "        os.write(w, str(random.random()).encode()); os._exit(0)\n    return os.read(r, 99).decode()"])
def test_no_two_runs_draw_the_same(service, code):
    """Everything is reseeded at the fork."""
    values = [run(service, code, timeout=30) for _ in range(8)]
    assert len(set(values)) == 8, values


# --- a child process that comes to the end of the script ------------------------------------------


@pytest.mark.parametrize("end, status", [
    ("sys.exit(3)", 3), ("return 'child'", 0), ("raise ValueError('in the child')", 1),
    ("return {1, 2}", 1), ("os._exit(7)", 7)])
def test_child_that_ends(service, end, status):
    """It has an exit status, as on any Linux, and the answer is its parent's."""
    data = ok(service.execute(
        f"import os, sys, time\ndef main():\n    if os.fork() == 0:\n        {end}\n"
        "    status = os.waitstatus_to_exitcode(os.wait()[1])\n    time.sleep(0.1)\n"
        "    print('parent')\n    return status"))
    assert data["result"] == status and data["stdout"] == "parent\n"
    assert ("in the child" in data["stderr"]) == ("in the child" in end)


def test_child_of_a_program(service):
    """With entry null as well; atexit handlers run in both."""
    data = ok(service.execute(
        "import atexit, os\natexit.register(lambda: os.write(1, b'end\\n'))\npid = os.fork()\n"
        "if pid: os.wait()\npid > 0", entry=None))
    assert data["result"] is True and data["stdout"] == "end\nend\n"
