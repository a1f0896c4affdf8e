"""The whole stack as an ordinary user: no root anywhere, the same answers, the same jail."""

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import BUILD, TOP, Service, free_port
from keyring import KeyFile
from supervision import (Flight, Footprint, Tree, all_processes, eventually, kill, standing_cells,
                         take_off)

# Nobody's number on any machine, so that all its processes and files are this test's.
USER = 1234567 if os.geteuid() == 0 else None
PARTS = ["conf", "deploy", "nginx", "runner"]


@pytest.fixture(scope="module")
def checkout():
    """A copy that everybody can read, programs included."""
    top = Path(tempfile.mkdtemp(prefix="vivarium-copy-"))
    for part in PARTS:
        shutil.copytree(TOP / part, top / part)
    (top / "build").mkdir()
    for program in ("vivarium", "vivarium-template"):
        shutil.copy(BUILD / program, top / "build" / program)
    for path in [top, *top.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(0o755 if stat.S_ISDIR(mode) or mode & 0o100 else 0o644)
    yield top
    shutil.rmtree(top)


class OrdinaryService(Service):
    """deploy/run.sh of the copy, by a user with no other groups and no home."""

    def __init__(self, top, **settings):
        self.host = "127.0.0.1"
        self.port = free_port()
        self.log_path = tempfile.NamedTemporaryFile(prefix="vivarium-test-", delete=False).name
        arguments = [part for item in settings.items() for part in ("--set", "%s=%s" % item)]
        environment = {"PATH": os.environ["PATH"], "PORT": str(self.port), "LISTEN": self.host,
                       "CONF": str(top / "conf" / "vivarium.conf"), "BUILD": str(top / "build"),
                       "ACCESS_LOG": "off"}
        self.process = subprocess.Popen(
            [str(top / "deploy" / "run.sh"), *arguments], env=environment, cwd="/",
            stdin=subprocess.DEVNULL, stdout=open(self.log_path, "w"), stderr=subprocess.STDOUT,
            start_new_session=True, **ordinary())
        self._await_ready()


def ordinary():
    return {} if USER is None else {"user": USER, "group": USER, "extra_groups": []}


@pytest.fixture(scope="module")
def service(checkout):
    with OrdinaryService(checkout, workers=2, cells_per_worker=2) as instance:
        footprint = Footprint(instance)
        yield instance
    footprint.assert_gone(5)


def test_everything_is_that_user(service):
    """Every process of it, nginx's too, has that one id on the host."""
    tree = standing_cells(service)
    expected = os.geteuid() if USER is None else USER
    assert {uid for process in tree.all for uid in process.uids} == {expected}
    assert len(tree.workers) == 2 and len(tree.wardens) == 4 and tree.dispatcher


def test_value_and_output(service):
    answer = service.execute("def main():\n    print('hi')\n    return {'a': 1}")
    assert answer.status == 200, answer
    assert answer.data["result"] == {"a": 1} and answer.data["stdout"] == "hi\n"


def test_pandas(service):
    answer = service.execute(
        "import pandas as pd, numpy as np\n"
        "def main():\n"
        "    df = pd.DataFrame({'x': np.arange(1, 11), 'y': np.arange(1, 11) ** 2})\n"
        "    return {'x': int(df['x'].sum()), 'c': round(float(df['x'].corr(df['y'])), 6)}\n")
    assert answer.status == 200, answer
    assert answer.data["result"] == {"x": 55, "c": 0.974559}


def test_keys(checkout):
    """The key reader is that user, too, and sees what becomes of the user's own file."""
    directory = Path(tempfile.mkdtemp(prefix="vivarium-keys-"))
    ring = KeyFile(directory / "keys")
    key = ring.add("first")
    for path in (directory, ring.path):
        os.chown(path, USER or -1, USER or -1)
    with OrdinaryService(checkout, workers=1, cells_per_worker=1, library_sets="base",
                         key_file=ring.path) as instance:
        def status():
            return instance.post('{"script": "def main(): pass"}', X_Api_Key=key).status
        assert status() == 200
        assert instance.execute("def main(): pass").status == 401
        ring.revoke("first")
        assert eventually(lambda: status() == 401, 5), instance.log()
    shutil.rmtree(directory)


def test_timeout(service):
    answer = service.execute("def main():\n    while True: pass\n", timeout=0.3)
    assert answer.status == 408, answer
    assert answer.data["cause"]["kind"] == "time"
    assert answer.data["cause"]["limit"] == 0.3


@pytest.mark.parametrize("body,kind", [
    ("import os; os._exit(0)", "exit"), ("import os; os.kill(os.getpid(), 9)", "signal"),
    ("import os; os.kill(-1, 9)", "exception"), ("import ctypes; ctypes.string_at(0)", "signal"),
    ("raise SystemExit(3)", "exit"), ("return 'x' * 100_000_000", "result_too_large"),
    ("import os; os.closerange(0, 5000)", "exit"), ("return bytearray(2 << 30)", "memory")])
def test_hostile(service, body, kind):
    """Documented verdicts, and the service goes on."""
    answer = service.execute(f"def main():\n    {body}\n    import os; os._exit(7)", memory=512)
    assert answer.status == 400, answer
    assert answer.data["cause"]["kind"] == kind, answer
    assert service.execute("def main(): return 1").status == 200


REACH = """
import os, signal
PIDS = %r
PATHS = %r
def attempt(call, *arguments):
    try:
        call(*arguments)
        return "done"
    except OSError as error:
        return type(error).__name__
def main():
    import ctypes, socket, subprocess
    libc = ctypes.CDLL(None, use_errno=True)
    return {
        "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
        "pid": os.getpid() < 100,
        "kill": [attempt(os.kill, pid, 0) for pid in PIDS],
        "paths": [path for path in PATHS if os.path.exists(path)],
        "root": sorted(os.listdir("/")),
        "socket": attempt(socket.socket),
        "execute": attempt(subprocess.run, ["/bin/sh"]),
        "setuid": attempt(os.setuid, 0),
        "unshare": libc.unshare(0x10000000),
        "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
        "chroot": attempt(os.chroot, "/tmp"),
        "write": attempt(open, "/etc/new", "w"),
        "environment": sorted(os.environ),
    }
"""


def test_isolation_is_the_same(service):
    """What a script reaches does not depend on who started the service."""
    tree = Tree(service)
    pids = [process.pid for process in tree.all if process.name != "sleep"]
    paths = ["/root", "/home", "/bin/sh", "/proc/1", "/run", "/sys", "/var", "/etc/shadow",
             "/etc/hostname", str(TOP)]
    answer = service.execute(REACH % (pids, paths))
    assert answer.status == 200, answer
    result = answer.data["result"]
    assert result["uid"] == 65534 and result["gid"] == 65534, result
    assert result["groups"] in ([], [65534]), result
    assert set(result["kill"]) == {"ProcessLookupError"}, result
    assert not result["paths"], result
    assert result["pid"] is True
    for refused in ("socket", "execute", "chroot"):
        assert result[refused] == "PermissionError", result
    assert result["setuid"] in ("PermissionError", "OSError"), result
    assert result["write"] in ("OSError", "PermissionError", "FileNotFoundError"), result
    assert result["unshare"] == -1 and result["mount"] == -1


def test_health_names_the_layers(service):
    isolation = service.get("/health").data["isolation"]
    layers = ("user", "pid", "mount", "network", "ipc", "uts", "cgroup", "seccomp",
              "capabilities", "no_new_privs", "rlimits")
    assert all(isolation[layer] is True for layer in layers), isolation


def test_tmp_is_fresh(service):
    script = ("import os\ndef main():\n    found = os.listdir('/tmp')\n"
              "    open('/tmp/left', 'w').write('x' * 100)\n    return found\n")
    assert [service.execute(script).data["result"] for _ in range(8)] == [[]] * 8


def test_processes_are_counted_by_execution(service):
    """One id for all cells on the host: a bomb in one of them takes nothing from the others."""
    bomb = ("import os, time\ndef main():\n    while True:\n        try:\n"
            "            if os.fork() == 0:\n                time.sleep(60)\n"
            "        except OSError:\n            time.sleep(0.01)\n")
    flights = [Flight(service.execute, bomb, timeout=2) for _ in range(2)]
    spawner = ("import os\ndef main():\n    children = []\n    for _ in range(20):\n"
               "        pid = os.fork()\n        if pid == 0:\n            os._exit(0)\n"
               "        children.append(pid)\n"
               "    return [os.waitpid(pid, 0)[1] for pid in children]\n")
    for _ in range(3):
        answer = service.execute(spawner)
        assert answer.status == 200 and answer.data["result"] == [0] * 20, answer
    for flight in flights:
        assert flight.answer().status == 408


def test_a_dead_worker_comes_back(service):
    """Supervision needs no root either."""
    before = standing_cells(service)
    flight, _ = take_off(service, seconds=1)
    for worker in before.workers:
        kill(worker)
    assert flight.answer().status == 500
    assert eventually(lambda: service.execute("def main(): return 1").status == 200, 5)
    assert len(standing_cells(service).workers) == 2


# --- vivarium run ------------------------------------------------------------------------------


def run(checkout, *arguments, text="", seconds=30):
    command = [str(checkout / "build" / "vivarium"), "run", "--config",
               str(checkout / "conf" / "vivarium.conf"), *arguments, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=seconds,
                          cwd="/", env={"PATH": os.environ["PATH"]}, **ordinary())


@pytest.mark.parametrize("script,arguments,status,output", [
    ("def main():\n    print('hi')\n    return {'a': [1, 2]}", [], 0, '{"a": [1, 2]}\n'),
    ("import pandas as pd\ndef main():\n    return int(pd.Series([1, 2]).sum())", [], 0, "3\n"),
    ("def main():\n    raise ValueError('bad')", [], 1, ""),
    ("def main():\n    while True: pass", ["--timeout", "0.2"], 124, ""),
    ("import os\ndef main():\n    return os.getuid()", [], 0, "65534\n")])
def test_run(checkout, script, arguments, status, output):
    """The same jail from the shell: result on standard output, exit code by verdict."""
    done = run(checkout, *arguments, text=script)
    assert done.returncode == status, done
    assert done.stdout == output, done
    if status == 1:
        assert done.stderr.endswith("vivarium: ValueError: bad\n"), done


def test_nothing_is_left_of_run(checkout):
    """Two at a time, killed in the middle."""
    processes = [subprocess.Popen(
        [str(checkout / "build" / "vivarium"), "run", "--config",
         str(checkout / "conf" / "vivarium.conf"), "-"], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **ordinary())
        for _ in range(2)]
    for process in processes:
        process.stdin.write(b"import time\ndef main(): time.sleep(60)")
        process.stdin.close()

    def below():
        everybody = all_processes()
        found = {process.pid for process in processes}
        for _ in range(6):
            found |= {p.pid for p in everybody.values() if p.parent in found}
        return {everybody[pid].key for pid in found if pid in everybody}
    assert eventually(lambda: len(below()) >= 10, 10)
    seen = below()
    for process in processes:
        process.kill()
        process.wait(5)

    def left():
        return {p.key for p in all_processes().values() if p.state != "Z"} & seen
    assert eventually(lambda: not left(), 5), left()


def test_the_log_of_somebody_else(checkout):
    """Standard output may be a file that this user cannot open again."""
    with OrdinaryService(checkout, workers=1, cells_per_worker=1, library_sets="base") as service:
        assert "Ready on" in service.log()
        assert service.execute("def main(): return 1").data["result"] == 1
