"""No execution finds a trace of another, of a request, or of the service's own settings.

A thousand executions carry a mark everywhere a request can. Then executions of every library set
search all memory they can read; and all memory of templates, wardens and parked executions is
searched from the host, for what those hold every later script could read.
"""

import concurrent.futures
import os
import re
from pathlib import Path

import pytest

import conftest
from attacks import assert_serves, new_mark, search_memory
from conftest import BUILD, CONF, TOP, Service
from supervision import eventually, standing_cells

SETS = {"base": "json", "numpy": "numpy", "pandas": "pandas", "scipy": "scipy.stats",
        "matplotlib": "matplotlib.pyplot"}
RUNS = 1000


class Marks:
    """One for what requests bring, one for each place in which the service is told something."""

    def __init__(self):
        self.common = new_mark()
        self.request, self.environment, self.command_line, self.configuration = (
            self.common + name for name in ("Request", "Environment", "Arguments", "Settings"))

    @property
    def all(self):
        return [self.request, self.environment, self.command_line, self.configuration]


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A service whose environment, command line and configuration file carry marks, and these."""
    marks = Marks()
    top = tmp_path_factory.mktemp("secrecy")
    (top / marks.command_line).symlink_to(TOP / "runner")
    (top / f"{marks.command_line}-programs").symlink_to(BUILD)
    conf = top / f"{marks.configuration}.conf"
    policy = top / f"{marks.configuration}.policy"
    policy.symlink_to(CONF.parent / "seccomp.policy")
    for role in ("dispatcher", "worker"):  # theirs lie beside the configuration
        (top / f"{role}.policy").symlink_to(CONF.parent / f"{role}.policy")
    (top / "libraries.json").symlink_to(CONF.parent / "libraries.json")
    conf.write_text(f"# {marks.configuration}\nseccomp_policy = {policy}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "CONF", conf)
        patch.setenv("VIVARIUM_TEST_SECRET", marks.environment)
        patch.setenv("PYTHONPATH", f"/tmp/{marks.environment}")
        service = Service(workers=2, cells_per_worker=4, template_quick_age=0.1,
                          harness_dir=top / marks.command_line,
                          template_program=top / f"{marks.command_line}-programs"
                          / "vivarium-template")
    with service:
        service.await_placed()
        yield service, marks


ENDS = ["return {MARK: MARK}", "raise ValueError(MARK)", "sys.exit(MARK)", "os._exit(3)",
        "return MARK * 100000", "os.kill(os.getpid(), 9)", "os.close(1000)", "return {1, MARK}"]


def leave_marks(service, mark, number):
    """One request with the mark in each of its parts; nine in ten want no more than the base."""
    name = list(SETS.values())[number // 10 % len(SETS) if number % 10 == 0 else 0]
    script = f"""# {mark}
import os, sys, {name}
MARK = "{mark}{number}"
def {mark}(*arguments, **named):
    print(MARK, arguments, named, flush=True)
    print(MARK, file=sys.stderr, flush=True)
    os.environ[MARK] = MARK
    with open("/tmp/" + MARK, "w") as file:
        file.write(MARK * 1000)
    globals()["KEPT"] = [bytearray(MARK * 1000, "ascii"), MARK.encode() * 1000]
    {ENDS[number % len(ENDS)]}
"""
    headers = {"X_Request_Id": mark, "Authorization": f"Bearer {mark}", "Cookie": mark,
               "User_Agent": mark}
    body = conftest.json.dumps({
        "script": script, "entry": mark, "timeout": 20, "args": [mark], "kwargs": {mark: mark},
        "argv": [mark], "env": {"MARK": mark}, "stdin": mark, mark: mark,
        "files": [{"path": mark, "content": mark}], "outputs": ["*"]})
    answer = service.post(body, **headers)
    assert answer.status in (200, 400), answer
    assert mark in answer.body.decode() or mark in answer.headers["X-Request-Id"]


@pytest.fixture(scope="module")
def used(marked):
    """The same after a thousand marked executions."""
    service, marks = marked
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda number: leave_marks(service, marks.request, number), range(RUNS)))
    standing_cells(service)
    return marked


def find_cell(service, name):
    """Asks for the library set until a cell that is free holds it."""
    script = f"import {SETS[name]}\ndef main():\n    pass"
    return any(service.execute(script).data["usage"]["template"] == name for _ in range(100))


@pytest.mark.parametrize("name", SETS)
def test_an_execution_finds_nothing(used, name):
    """All memory of its own that it can read, in a cell that has served others, of each set."""
    service, marks = used
    for _ in range(3):
        assert find_cell(service, name)
        standing_cells(service)  # that one, too: it is the one that fits
        data, found, own, size = search_memory(service, marks.all, f"import {SETS[name]}",
                                               timeout=60, memory=1024)
        template = data["usage"]["template"]
        assert own[0] >= 1 and own[1] >= 2, "the search does not see"
        assert found == [0] * len(found), (template, dict(zip(marks.all, found)))
        if template == name:
            break
    assert template == name
    assert size > 8 << 20
    assert_serves(service)


def memory_of(pid):
    """(what, bytes) of each mapping that a process could have written to, as the host sees it."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, permissions, *_, inode = (fields := line.split(None, 5))[:5]
            what = fields[5] if len(fields) > 5 else ""
            if permissions[0] != "r" or what in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            if inode != "0" and permissions[1] != "w" and "r--p" != permissions:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            yield what, memory.read(end - start)
    for name in ("environ", "cmdline"):
        yield name, Path(f"/proc/{pid}/{name}").read_bytes()


def find(process, word):
    """Where the word is in the memory of a process, and how much was searched."""
    found, size = [], 0
    for what, content in memory_of(process.pid):
        size += len(content)
        if word.encode() in content:
            found.append(what)
    return found, size


def test_templates_wardens_and_parked_executions_hold_nothing(used):
    """Seen by the host: every page of every process that scripts are forked from."""
    service, marks = used
    # a cell that is just being built has one process more for a moment
    assert eventually(lambda: len(standing_cells(service).sets) == len(SETS) - 1, 10)
    tree = standing_cells(service)
    for process in (tree.base, *tree.sets, *tree.wardens, *tree.executions):
        found, size = find(process, marks.common)
        assert size > 8 << 20, process
        assert found == [], process
    # the same search sees what is there: in processes that no script is forked from
    assert find(tree.launcher, marks.environment)[0]
    assert find(tree.master, marks.command_line)[0]
    assert find(tree.master, marks.configuration)[0]


def test_descriptors_of_wardens_and_parked_executions(used):
    """Sockets and pipes, /dev/null, a signalfd, the warden's log: nothing else is open."""
    service, _ = used
    tree = standing_cells(service)
    for process in (*tree.wardens, *tree.executions):
        for fd in os.listdir(f"/proc/{process.pid}/fd"):
            target = os.readlink(f"/proc/{process.pid}/fd/{fd}")
            if process.pid in {warden.pid for warden in tree.wardens} and fd in "012":
                continue
            assert re.match(r"(socket|pipe):|anon_inode:\[signalfd\]$|(/dev)?/null$", target), (
                process, fd, target)
