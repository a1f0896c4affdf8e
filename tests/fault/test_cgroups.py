"""Control groups: who is in which, what is written to them, and that they go with the service.

What a machine offers differs (v2, v1, one controller of two, nothing): each test asks what is in
force and holds for all of that. tests/vm runs these in a machine with systemd and cgroup v2.
"""

import os
import re
import time
from pathlib import Path

import pytest

from supervision import (TRIVIAL, Flight, Tree, all_processes, answers_again, eventually, is_gone, kill,
                         standing_cells, take_off)

CONTROLLERS = ("memory", "pids", "cpu")
PROMISED = CONTROLLERS[:2]  # those by which /health and `cgroup = required` go
SIZES = {"workers": 1, "cells_per_worker": 1, "library_sets": "base"}


@pytest.fixture
def instance(make_service):
    return make_service(workers=1, cells_per_worker=2, library_sets="base")


def mount_points():
    """{controller, or "" for v2: directory}, as far as they can be seen."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        root, point = left.split()[3:5]
        kind, _, options = right.split()[:3]
        if kind == "cgroup2":
            found[""] = root, point
        elif kind == "cgroup":
            found.update((option, (root, point)) for option in options.split(","))
    return found


def leaves(pid):
    """The directories of the control groups of a process that belong to some instance of ours."""
    found = {}
    points = mount_points()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not re.search(r"/vivarium-\d+/", path):
            continue
        for controller in controllers.split(","):
            root, point = points[controller]
            found[controller] = Path(point + path.removeprefix(root if root != "/" else ""))
    return found


def leaf_of(pid, controller):
    """The one that limits this; None: nothing does."""
    found = leaves(pid)
    if controller in found:
        return found[controller]
    unified = found.get("")
    return unified if unified and (unified / f"{controller}.max").exists() else None


def facts(service):
    isolation = service.get("/health").data["isolation"]
    in_force = {controller: isolation[f"{controller}_cgroup"] for controller in PROMISED}
    return {**in_force, "cpu": "cpu: control groups v" in service.log()}


def tops(service):
    """All subtrees of the instance."""
    return {leaf.parent for process in Tree(service).all if not is_gone(process)
            for leaf in leaves(process.pid).values()}


def keepers():
    return {p.key: p for p in all_processes().values()
            if p.name == "vivarium-keeper" and p.state != "Z"}


def assert_left_nothing(directories, seconds=8):
    assert eventually(lambda: not [path for path in directories if path.exists()], seconds)


def test_health_says_what_is_in_force(instance):
    """A fact and no claim: the leaf of each warden has the files that limit it."""
    in_force = facts(instance)
    for warden in standing_cells(instance).wardens:
        for controller in CONTROLLERS:
            assert bool(leaf_of(warden.pid, controller)) is in_force[controller], controller
    for controller in CONTROLLERS:
        lines = re.findall(rf"\b{controller}: ([^;\n]+)", instance.log())
        assert len(lines) == 1, instance.log()
        assert lines[0].startswith("control groups v") is in_force[controller], lines


def test_executions_are_born_in_the_leaf_of_their_cell(instance):
    """Each cell has one of its own; the service is in none."""
    tree = standing_cells(instance)
    for controller, is_limited in facts(instance).items():
        if not is_limited:
            continue
        cells = {warden.pid: leaf_of(warden.pid, controller) for warden in tree.wardens}
        assert len(set(cells.values())) == len(cells)
        assert {path.name for path in cells.values()} == {"cell-0", "cell-1"}
        for execution in tree.executions:
            assert leaf_of(execution.pid, controller) == cells[execution.parent]
        for process in tree.service_processes:
            assert leaf_of(process.pid, controller) not in cells.values()


def test_children_of_scripts_are_in_the_leaf(instance):
    """Also with a session of their own, and orphaned; afterwards none is left in it."""
    standing_cells(instance)
    script = ("import os, time\ndef main():\n    for _ in range(3):\n        if not os.fork():\n"
              "            os.setsid()\n            if os.fork(): os._exit(0)\n"
              "            break\n    time.sleep(20)\n")
    flight = Flight(instance.execute, script, timeout=1)

    def look():
        tree = Tree(instance)
        cells = {w.pid: [p for p in tree.executions if p.parent == w.pid] for w in tree.wardens}
        return [(w, found) for w, found in cells.items() if len(found) == 4]
    found = eventually(look, 5, pause=0.02)
    assert found, Tree(instance).all
    warden, processes = found[0]
    assert [leaves(p.pid) for p in processes] == [leaves(warden)] * 4
    assert flight.answer().status == 408
    tree = standing_cells(instance)
    for warden in tree.wardens:
        for path in leaves(warden.pid).values():
            pids = {int(pid) for pid in (path / "cgroup.procs").read_text().split()}
            assert pids == {warden.pid} | {p.pid for p in tree.executions if p.parent == warden.pid}


def test_limits_of_a_leaf(instance):
    """Written for a new warden, and for each job what that may have."""
    for warden in standing_cells(instance).wardens:
        path = leaf_of(warden.pid, "pids")
        if path:
            assert int((path / "pids.max").read_text()) == 128 + 8
        path = leaf_of(warden.pid, "cpu")
        if path:
            weight = path / ("cpu.weight" if (path / "cpu.weight").exists() else "cpu.shares")
            assert weight.read_text() == "100\n"
        path = leaf_of(warden.pid, "memory")
        if path and (path / "memory.max").exists():
            assert (path / "memory.max").read_text() == "max\n"
            assert (path / "memory.oom.group").read_text() == "1\n"
    flight, execution = take_off(instance, seconds=1, memory=64)
    path = leaf_of(execution.pid, "memory")
    if path:
        name = "memory.max" if (path / "memory.max").exists() else "memory.limit_in_bytes"
        assert 64 << 20 < int((path / name).read_text()) < 128 << 20
    assert flight.answer().status == 200


def test_nobody_of_the_service_may_write(instance):
    """Their files belong to whoever started it; the service has open ones, and no others."""
    tree = standing_cells(instance)
    for path in tops(instance):
        for file in [path, *path.rglob("*")]:
            status = file.stat()
            assert status.st_uid not in {uid for p in tree.wardens for uid in p.uids} or \
                os.geteuid() != 0
            if file.name != "cgroup.event_control":  # v1 leaves that open to everybody
                assert not status.st_mode & 0o022, file


def test_stop_removes_them(instance):
    standing_cells(instance)
    directories, before = tops(instance), keepers()
    assert bool(directories) is any(facts(instance).values())
    assert instance.stop() == 0
    assert_left_nothing(directories)
    assert eventually(lambda: set(keepers()) != set(before) or not directories, 3)


@pytest.mark.parametrize("role", ["launcher", "master"])
def test_kill_removes_them(instance, role):
    """SIGKILL to the heads of the service: the keeper sees their end."""
    tree = standing_cells(instance)
    directories = tops(instance)
    kill(getattr(tree, role))
    assert instance.process.wait(15) == 1
    assert_left_nothing(directories)


@pytest.mark.parametrize("role", ["worker", "warden", "base", "dispatcher"])
def test_leaves_outlive_other_roles(instance, role):
    """Who is started again, or built again, is in the same leaves."""
    tree = standing_cells(instance)
    before = {path for warden in tree.wardens for path in leaves(warden.pid).values()}
    kill({"worker": tree.workers[0], "warden": tree.wardens[0], "base": tree.base,
          "dispatcher": tree.dispatcher}[role])
    assert answers_again(instance)
    tree = standing_cells(instance)
    assert {path for warden in tree.wardens for path in leaves(warden.pid).values()} == before


def test_next_start_removes_what_a_killed_keeper_left(make_service):
    """Not even the keeper is needed for good; a subtree of the living is left alone."""
    living = make_service(**SIZES)
    others = keepers()
    dead = make_service(**SIZES)
    tree = standing_cells(dead)
    directories = tops(dead)
    for key, keeper in keepers().items():
        if key not in others and directories:
            parent = Path(f"/proc/{keeper.pid}/fd")
            if any(os.readlink(link) in map(str, directories) for link in parent.iterdir()):
                kill(keeper)
    kill(tree.launcher)
    dead.process.wait(15)
    time.sleep(0.3)
    if not Path("/run/systemd/system").exists():  # who removes it himself, with the scope
        assert all(path.exists() for path in directories)
    third = make_service(**SIZES)
    assert tops(third) - tops(living) == tops(third)
    assert answers_again(living) and answers_again(third)
    third.stop()
    assert_left_nothing(directories)


def test_off(make_service):
    """Nothing is made, and /health says so."""
    service = make_service(cgroup="off", **SIZES)
    assert not any(facts(service).values())
    assert not tops(service)
    assert service.execute(TRIVIAL).status == 200
    kids = ("import os, time\ndef main():\n    for _ in range(4):\n        if not os.fork():\n"
            "            x = bytearray(b'x') * (32 << 20)\n            break\n    time.sleep(9)")
    assert service.execute(kids, memory=64).data["cause"]["kind"] == "memory"


def test_required(make_service, instance):
    """Both, or no start, and the reason in one line."""
    try:
        service = make_service(cgroup="required", **SIZES)
    except RuntimeError as refused:
        assert not all(facts(instance)[controller] for controller in PROMISED)
        assert len(re.findall(r'"cgroup = required, but .*"', str(refused))) == 1
    else:
        assert all(facts(service)[controller] for controller in PROMISED)
        assert answers_again(service)


def test_without_the_scale_a_worker_ends(make_service):
    """It could not tell what is shared any more: started again, with another one."""
    service = make_service(cgroup="off", **SIZES)

    def scales():
        return [p for p in Tree(service).all if p.name == "vivarium-scale" and p.state != "Z"]
    tree = standing_cells(service)
    assert [p.parent for p in scales()] == [tree.workers[0].pid]
    kill(scales()[0])
    assert eventually(lambda: is_gone(tree.workers[0]), 5)
    assert answers_again(service)
    assert len(scales()) == 1
