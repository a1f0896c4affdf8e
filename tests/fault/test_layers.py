"""Machines that hold back some of what isolation is made of: what `isolation` makes of each.

confined.py stands for the machine: a filter like a container's, a kernel without user namespaces,
mounts refused, a masked /proc, as root and as an ordinary user.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from conftest import Service, free_port
from supervision import HOST_IDS_FIRST, HOST_IDS_RANGE, Flight, all_processes, eventually, kill, sleeper
from test_ordinary_user import USER, checkout  # noqa: F401 (a fixture)
from venvs import make_venv

CONFINED = str(Path(__file__).with_name("confined.py"))
NAMESPACES = {"user", "pid", "mount", "network", "ipc", "uts", "cgroup"}
LEAST = {"seccomp", "capabilities", "no_new_privs", "rlimits"}
ALL = NAMESPACES | LEAST
CELL_FIRST, EXECUTION_FIRST = 1000, 10000  # ids of sandbox/identity.h
HOST_IDS_OFFSET = HOST_IDS_FIRST % HOST_IDS_RANGE

# What is withheld; whether an ordinary user starts it; what is in force all the same.
MACHINES = {
    "container": (["--docker"], False, LEAST | {"own_uid", "landlock"}),
    "container, ordinary user": (["--docker"], True, LEAST | {"landlock"}),
    "no user namespaces": (["--no-user-namespaces"], True, LEAST | {"landlock"}),
    "no mounts": (["--no-mounts"], False, ALL - {"mount"} | {"own_uid", "landlock"}),
    "no mounts, ordinary user": (["--no-mounts"], True, ALL - {"mount"} | {"landlock"}),
    "masked /proc": (["--masked-proc"], False, ALL | {"own_uid"}),
}


def confine(withheld, ordinary, *command):
    user = ["--user", str(USER)] if ordinary and USER is not None else []
    return [sys.executable, CONFINED, *withheld, *user, *command]


def environment(top, **more):
    return {"PATH": os.environ["PATH"], "CONF": str(top / "conf" / "vivarium.conf"),
            "BUILD": str(top / "build"), "ACCESS_LOG": "off", **more}


def vivarium(top, withheld, ordinary, *arguments, text="", seconds=60):
    command, *rest = arguments
    return subprocess.run(
        confine(withheld, ordinary, str(top / "build" / "vivarium"), command, "--config",
                str(top / "conf" / "vivarium.conf"), *rest),
        input=text, capture_output=True, text=True, timeout=seconds, cwd="/",
        env=environment(top))


class ConfinedService(Service):
    def __init__(self, top, withheld, ordinary, **settings):
        self.host = "127.0.0.1"
        self.port = free_port()
        self.log_path = tempfile.NamedTemporaryFile(prefix="vivarium-test-", delete=False).name
        sets = [part for item in settings.items() for part in ("--set", "%s=%s" % item)]
        self.process = subprocess.Popen(
            confine(withheld, ordinary, str(top / "deploy" / "run.sh"), *sets), cwd="/",
            env=environment(top, PORT=str(self.port), LISTEN=self.host),
            stdin=subprocess.DEVNULL, stdout=open(self.log_path, "w"), stderr=subprocess.STDOUT,
            start_new_session=True)
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise


def work_directories():
    return set(Path("/tmp").glob("vivarium-??????"))


@pytest.fixture(scope="module", params=MACHINES)
def machine(request, checkout):  # noqa: F811
    """(name, service): an instance on that machine, which leaves nothing behind."""
    withheld, ordinary, _ = MACHINES[request.param]
    before = work_directories()
    with ConfinedService(checkout, withheld, ordinary, isolation="available", workers=1,
                         cells_per_worker=2, library_sets="base numpy:base:numpy") as service:
        seen = {pid: process.key for pid, process in all_processes().items()
                if pid in service.pids()}
        yield request.param, service
    left = [p for p in all_processes().values() if seen.get(p.pid) == p.key and p.state != "Z"]
    assert not left and work_directories() <= before, left


def in_force(service):
    return {name for name, on in service.get("/health").data["isolation"].items() if on}


def test_what_is_in_force(machine):
    """/health has the facts, the start-up lines too, with what is missing and its cure."""
    name, service = machine
    expected = MACHINES[name][2]
    assert in_force(service) - {"memory_cgroup", "pids_cgroup"} == expected
    log = service.log()
    for layer in ALL - expected:
        assert f"missing: {layer} (" in log, log
    if expected != ALL | {"own_uid"}:
        assert "Cure: " in log
    line = [line for line in log.splitlines() if "layers in force: " in line][0]
    named = set(line.partition("layers in force: ")[2].partition(" (")[0].split())
    assert named - {"procfs"} == expected


def test_values(machine):
    """It is the same service."""
    _, service = machine
    answer = service.execute("import numpy, tempfile\n"
                             "def main():\n    print('out')\n"
                             "    with tempfile.TemporaryFile() as f: f.write(b'x' * 1000)\n"
                             "    return int(numpy.arange(10).sum())")
    assert answer.status == 200 and answer.data["result"] == 45, answer
    assert answer.data["stdout"] == "out\n"
    answer = service.execute("def main():\n    while True: pass", timeout=0.3)
    assert answer.status == 408 and "line 2" in answer.data["traceback"], answer
    assert service.execute("def main(): return bytearray(1 << 30)", memory=64).data[
        "cause"]["kind"] == "memory"


def test_virtual_environment(machine, checkout):  # noqa: F811
    """Its packages are there without mounts too, and so is the list, where nobody may fork."""
    name, _ = machine
    venv = make_venv(checkout, {"vessel.py": "__version__ = '1.5'\n",
                                "broken.py": "import no_such_module_here\n"})
    catalogue = checkout / "libraries.json"
    entries = {name: {"import": f"import {name}", "example": "pass", "description": "d"}
               for name in ("vessel", "broken", "json")}
    catalogue.write_text(json.dumps({"c": {"title": "C", "libraries": entries}}))
    withheld, ordinary, expected = MACHINES[name]
    with ConfinedService(checkout, withheld, ordinary, isolation="available", workers=1,
                         library_sets="base", python_venv=venv,
                         library_catalogue=catalogue) as service:
        answer = service.execute("import vessel\ndef main(): return vessel.__file__")
        place = "/venv" if "mount" in expected else str(venv)
        assert answer.data["result"].startswith(place + "/lib/"), answer
        found = service.get("/libraries").data["categories"]["c"]["libraries"]
        assert {name: library["version"] for name, library in found.items()
                if library["installed"]}.keys() == {"vessel", "json"}
        assert found["vessel"]["version"] == "1.5"
    shutil.rmtree(venv)


FACTS = """
import ctypes, os, resource
def main():
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    def opens(path):
        try:
            os.close(os.open(path, os.O_RDONLY))
            return True
        except OSError:
            return False
    return {"seccomp": libc.prctl(21, 0, 0, 0, 0), "no_new_privs": libc.prctl(39, 0, 0, 0, 0),
            "dumpable": libc.prctl(3, 0, 0, 0, 0), "capabilities": list(data),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            "opened": [p for p in ("/etc/shadow", "/etc/hostname", "/root", "/tmp/..", "/proc/1",
                                   "/bin/sh", "/var/log", os.getcwd() + "/..") if opens(p)],
            "uid": os.getuid(), "directory": os.getcwd(), "tmp": os.environ["TMPDIR"]}
"""


def test_never_less(machine):
    """A filter, no_new_privs, no capability, rlimits, an id, and no file of the host."""
    name, service = machine
    facts = service.execute(FACTS).data["result"]
    directory, tmp, opened = facts.pop("directory"), facts.pop("tmp"), facts.pop("opened")
    uid = facts.pop("uid")
    assert facts == {"seccomp": 2, "no_new_privs": 1, "dumpable": 0, "capabilities": [0] * 6,
                     "files": 256}
    assert directory == tmp
    expected = MACHINES[name][2]
    assert (directory == "/tmp") == ("mount" in expected)
    # a root of its own may be opened, being empty but for the tree; the host's may not
    assert set(opened) <= ({"/tmp/..", "/tmp/..".replace("/tmp", directory)} if "mount" in expected
                           else set()), opened
    if "user" in expected:
        assert uid == 65534
    elif "own_uid" in expected:
        assert uid not in (0, os.getuid())


LEAVING = """
import os, signal, time
def main():
    os.makedirs("a/b/c/" * 60)
    open("file", "w").write("x")
    os.symlink("/etc", "link")
    for path in ("a", "."):
        try:
            os.chmod(path, 0)
        except PermissionError:
            continue  # where files of the service's own id would be in reach
    children = 0
    for _ in range(4):
        try:
            if os.fork() == 0:
                signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
                if os.fork() == 0:
                    os.setsid()
                time.sleep(600)
        except PermissionError:
            continue
        children += 1
    return children
"""
FINDING = """
import os
def main():
    alive = []
    for pid in range(2, max(33000, os.getpid() + 2000)):
        try:
            if pid != os.getpid():
                os.kill(pid, 0)
                alive.append(pid)
        except OSError:
            continue
    return [os.listdir("."), oct(os.stat(".").st_mode & 0o700), alive]
"""


def test_nothing_is_left_for_the_next(machine):
    """Files of any depth and mode, links, processes that will not go: all gone."""
    _, service = machine
    for _ in range(6):
        answer = service.execute(LEAVING)
        assert answer.status == 200, answer
    for _ in range(6):
        assert service.execute(FINDING).data["result"] == [[], "0o700", []]


def test_neighbours_are_out_of_reach(machine):
    """A script that kills whatever it can kills nobody else."""
    _, service = machine
    flight = Flight(service.execute, sleeper(1.5))
    time.sleep(0.3)
    killer = ("import os\ndef main():\n    for pid in [-1, *range(1, 33000)]:\n"
              "        if pid == os.getpid(): continue\n"
              "        try: os.kill(pid, 9)\n        except OSError: pass\n    return 'killed'")
    for _ in range(2):
        assert service.execute(killer).data["result"] == "killed"
    assert flight.answer().data["result"] == "slept"


def test_a_cell_that_dies_takes_its_scripts_along(checkout):  # noqa: F811
    """No PID namespace ends with the warden: the next one sweeps the cell's id before it serves."""
    with ConfinedService(checkout, ["--docker"], False, isolation="available", workers=1,
                         cells_per_worker=1, library_sets="base") as service:
        flight = Flight(service.execute, LEAVING.replace("return children", "time.sleep(60)"),
                        timeout=60)

        def of_cell(first):
            return [p for p in all_processes().values() if p.name == "vivarium-templa"
                    and p.state != "Z" and p.uids[0] % HOST_IDS_RANGE == first + HOST_IDS_OFFSET
                    and p.pid in service.pids()]
        assert eventually(lambda: len(of_cell(EXECUTION_FIRST)) == 9, 3), of_cell(EXECUTION_FIRST)
        left = {p.key for p in of_cell(EXECUTION_FIRST)}
        kill(of_cell(CELL_FIRST)[0])
        assert flight.answer(5).status == 500
        assert service.execute(FINDING).data["result"] == [[], "0o700", []]
        assert not left & {p.key for p in all_processes().values() if p.state != "Z"}


def test_full_does_not_start(machine, checkout):  # noqa: F811
    """A required layer that is missing: its name, what the kernel said, and the cure."""
    name, _ = machine
    withheld, ordinary, expected = MACHINES[name]
    done = vivarium(checkout, withheld, ordinary, "run", "-", text="def main(): return 1")
    assert done.returncode == 125, done
    missing = sorted(ALL - expected) or ["procfs"]
    for layer in missing:
        assert f"missing: {layer} (" in done.stderr, done.stderr
    assert "Cure: " in done.stderr and "isolation = full" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["container", "container, ordinary user", "no mounts"])
def test_check(checkout, name):  # noqa: F811
    """Exit 1 for `full`, which cannot be had; 0 for `available`, whose jail holds."""
    withheld, ordinary, expected = MACHINES[name]
    done = vivarium(checkout, withheld, ordinary, "check", "--json")
    assert done.returncode == 1, done
    data = json.loads(done.stdout)
    assert data["satisfied"] is False and data["attacks"] is None
    done = vivarium(checkout, withheld, ordinary, "check", "--set", "isolation=available", "--json")
    assert done.returncode == 0, done
    data = json.loads(done.stdout)
    assert data["isolation"] == "available" and data["satisfied"] and data["contained"]
    rows = {row["layer"]: row for row in data["layers"]}
    for layer in ALL:
        assert rows[layer]["found"] == (layer in expected), rows[layer]
        if layer not in expected:
            assert rows[layer]["said"] and rows[layer]["cure"]
    assert len(data["attacks"]) > 20 and all(row["contained"] for row in data["attacks"])
    assert [row["controller"] for row in data["controllers"]] == ["memory", "pids", "cpu"]
    for row in data["controllers"]:
        assert row["version"] in ("v1", "v2") if row["found"] else \
            row["said"] and row["left"] and row["cure"], row


# --- where even that is too much ----------------------------------------------------------------


def test_available_is_never_less_than_landlock(checkout):  # noqa: F811
    """No mounts and no Landlock: the host's files would be open."""
    done = vivarium(checkout, ["--docker", "--no-landlock"], False, "run", "--set",
                    "isolation=available", "-", text="def main(): return 1")
    assert done.returncode == 125 and "landlock" in done.stderr, done


def test_platform(checkout):  # noqa: F811
    """The operator says that the platform is the sandbox: what can be had is had."""
    done = vivarium(checkout, ["--docker", "--no-landlock"], False, "run", "--set",
                    "isolation=platform", "-", text=FACTS)
    assert done.returncode == 0, done
    facts = json.loads(done.stdout)
    assert facts["seccomp"] == 2 and facts["no_new_privs"] == 1 and not any(facts["capabilities"])


def test_full_is_full(service):
    """On a machine that has everything, nothing is said to be missing."""
    log = service.log()
    assert "missing: " not in log
    line = [line for line in log.splitlines() if "layers in force: " in line][0]
    assert ALL | {"procfs"} <= set(line.partition("layers in force: ")[2].split())
    assert in_force(service) >= ALL


@pytest.mark.skipif(USER is None, reason="only root can become somebody with other groups")
def test_check_as_an_ordinary_user(checkout):  # noqa: F811
    """A table for people: every layer, the groups that cannot be dropped, attacks, and exit 0."""
    done = subprocess.run(
        [str(checkout / "build" / "vivarium"), "check", "--config",
         str(checkout / "conf" / "vivarium.conf")], capture_output=True, text=True, timeout=60,
        cwd="/", env=environment(checkout), user=USER, group=USER, extra_groups=[1234568])
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    for layer in ALL | {"procfs"}:
        assert any(line.startswith(layer + " ") and " yes " in line for line in lines), done.stdout
    assert any(line.startswith("own_uid") and "MISSING" in line for line in lines)
    assert any(line.startswith("groups") and "(1234568)" in line for line in lines)
    assert lines[-1].endswith(" attacks, 0 escaped") and "ESCAPED" not in done.stdout


@pytest.mark.parametrize("arguments", [["check", "--no-such"], ["check", "more"],
                                       ["check", "--set", "isolation=some"]])
def test_check_used_wrongly(checkout, arguments):  # noqa: F811
    done = vivarium(checkout, [], False, *arguments)
    assert done.returncode == 2 and done.stdout == "" and done.stderr, done
