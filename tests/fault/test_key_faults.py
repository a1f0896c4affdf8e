"""API keys while things break: the dispatcher dies, the file changes under load, the reader dies."""

import concurrent.futures
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from keyring import KeyFile
from supervision import (TRIVIAL, Tree, all_processes, eventually, is_gone, kill, standing_cells)

BODY = json.dumps({"script": TRIVIAL})


@pytest.fixture
def ring(tmp_path):
    ring = KeyFile(tmp_path / "keys")
    ring.add("steady")
    return ring


@pytest.fixture
def guarded(make_service, ring):
    return make_service(workers=1, cells_per_worker=2, library_sets="base", key_file=ring.path)


def ask(service, key):
    return service.post(BODY, X_Api_Key=key).status


def reader_of(ring):
    """The key reader of the instance whose command line names this file."""
    found = [p for p in all_processes().values() if p.name == "vivarium-keys"
             and str(ring.path) in Path(f"/proc/{p.pid}/cmdline").read_text()]
    assert len(found) == 1, found
    return found[0]


def test_a_new_dispatcher_has_the_newest_keys(guarded, ring):
    """Not those of the start: what was added is known, what was revoked is not."""
    ring.add("later")
    assert eventually(lambda: ask(guarded, ring.keys["later"]) == 200, 5)
    for _ in range(2):
        dispatcher = standing_cells(guarded).dispatcher
        kill(dispatcher)

        def comes_back(dispatcher=dispatcher):
            return is_gone(dispatcher) and ask(guarded, ring.keys["later"]) == 200
        assert eventually(comes_back, 8), guarded.log()
        assert ask(guarded, "unknown") == 401
    ring.revoke("steady")
    assert eventually(lambda: ask(guarded, ring.keys["steady"]) == 401, 5)
    dispatcher = standing_cells(guarded).dispatcher
    kill(dispatcher)
    assert eventually(lambda: is_gone(dispatcher) and ask(guarded, ring.keys["later"]) == 200, 8)
    assert ask(guarded, ring.keys["steady"]) == 401


def test_changes_under_load(guarded, ring):
    """Keys come, go and are read again while others are used: nobody is turned away by mistake."""
    launcher, end = Tree(guarded).launcher, time.monotonic() + 3

    def use(_):
        statuses = set()
        while time.monotonic() < end:
            statuses.add(ask(guarded, ring.keys["steady"]))
        return statuses
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        flights = [clients.submit(use, number) for number in range(8)]
        number = 0
        while time.monotonic() < end:
            number += 1
            ring.add(f"passing-{number}", "--concurrent", "1")
            os.kill(launcher.pid, signal.SIGHUP)
            ask(guarded, ring.keys[f"passing-{number}"])
            if number % 2:
                ring.revoke(f"passing-{number}")
            os.kill(launcher.pid, signal.SIGHUP)
        assert {status for flight in flights for status in flight.result()} == {200}
    assert number > 5 and guarded.log().count("was read again") > 5
    standing_cells(guarded)


def test_two_who_edit_at_once(ring):
    """Each of twenty concurrent edits is in the file, and the comment between them, too."""
    with open(ring.path, "a") as file:
        file.write("# kept\n")
    with concurrent.futures.ThreadPoolExecutor(8) as hands:
        list(hands.map(lambda number: ring.add(f"n{number}"), range(20)))
        list(hands.map(lambda number: ring.revoke(f"n{number}"), range(0, 20, 2)))
    text = ring.path.read_text()
    assert set(re.findall(r"^(\S+) sha256:[0-9a-f]{64} created=\S+$", text, re.M)) == {
        "steady", *(f"n{number}" for number in range(1, 20, 2))}
    assert "\n# kept\n" in text and len(text.splitlines()) == 12
    assert os.stat(ring.path).st_mode & 0o777 == 0o600
    assert os.listdir(ring.path.parent) == ["keys"]


def test_the_file_is_a_link(tmp_path, make_service):
    """As secrets are mounted: the link stays, and another target is a change."""
    first, second = KeyFile(tmp_path / "first"), KeyFile(tmp_path / "second")
    first.add("one")
    second.add("two")
    link = tmp_path / "link"
    link.symlink_to("first")
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", key_file=link)
    assert ask(service, first.keys["one"]) == 200
    other = tmp_path / "other"
    other.symlink_to("second")
    other.replace(link)
    assert eventually(lambda: ask(service, second.keys["two"]) == 200, 5)
    assert ask(service, first.keys["one"]) == 401
    via = KeyFile.__new__(KeyFile)
    via.path, via.keys = link, {}
    key = via.add("three")
    assert link.is_symlink() and "three" in (tmp_path / "second").read_text()
    assert eventually(lambda: ask(service, key) == 200, 5)


def test_the_reader_dies(guarded, ring):
    """The keys stay, the log says that changes are not seen any more; the service goes on."""
    reader = reader_of(ring)
    kill(reader)
    assert eventually(lambda: "the key reader has ended" in guarded.log(), 5)
    assert ask(guarded, ring.keys["steady"]) == 200
    os.kill(Tree(guarded).launcher.pid, signal.SIGHUP)
    dispatcher = standing_cells(guarded).dispatcher
    kill(dispatcher)
    assert eventually(lambda: is_gone(dispatcher) and ask(guarded, ring.keys["steady"]) == 200, 8)
    assert guarded.log().count("the key reader has ended") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_reader_goes_with_the_service(guarded, ring, number):
    reader, master = reader_of(ring), Tree(guarded).master
    assert Path(f"/proc/{reader.pid}/status").read_text().count("Uid:\t0\t0\t0\t0") == (
        os.geteuid() == 0)
    kill(master, number)
    assert eventually(lambda: is_gone(reader), 8)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_a_file_of_somebody_else(guarded, ring):
    """Root's service reads it all the same, and root's edits leave it to its owner."""
    os.chown(ring.path, 1234567, 1234567)
    key = ring.add("later")
    assert os.stat(ring.path).st_uid == os.stat(ring.path).st_gid == 1234567
    assert eventually(lambda: ask(guarded, key) == 200, 5), guarded.log()
