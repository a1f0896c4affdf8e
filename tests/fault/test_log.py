"""The log cannot be written: nobody waits, nothing ends, and what was lost is told."""

import fcntl
import os
import re
import subprocess
import time

import pytest

from conftest import BUILD, CONF
from test_logs import Started, json_lines

ROUNDS = 30


def drops(service):
    text = service.get("/metrics").body.decode()
    return int(re.search(r"^vivarium_log_lines_dropped_total (\d+)$", text, re.M)[1])


def serve_for_a_while(service):
    """Requests with large lines, each of which has its answer in time."""
    slowest = 0
    for number in range(ROUNDS):
        begun = time.monotonic()
        answer = service.execute(f"# {'x' * 3000}\ndef main():\n    print('y' * 900)\n"
                                 f"    return {number}")
        assert answer.status == 200 and answer.data["result"] == number, answer
        slowest = max(slowest, time.monotonic() - begun)
    assert slowest < 2


def read_all(reader):
    os.set_blocking(reader, False)
    text = b""
    while True:
        try:
            text += os.read(reader, 65536)
        except BlockingIOError:
            return text.decode()


@pytest.fixture
def start():
    """A service with outputs of a test's own, whose request lines are large."""
    made = []

    def begin(stdout, stderr, **environment):
        made.append(Started(stdout, stderr, "--set=log_scripts=on", **environment))
        made[-1].await_answer()
        return made[-1]
    yield begin
    for service in made:
        service.stop()


def test_reader_that_sleeps(start):
    """A full pipe: lines are dropped; when somebody reads again, their number is there."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    with open(os.devnull, "w") as null:
        service = start(null, writer)
    serve_for_a_while(service)
    before = drops(service)
    serve_for_a_while(service)
    lost = drops(service) - before
    assert ROUNDS - 3 <= lost <= ROUNDS + 3, lost
    assert os.get_blocking(writer)  # it is not ours to change
    text = read_all(reader)
    assert service.get("/live").status == 200
    total = drops(service)
    time.sleep(0.3)
    text += read_all(reader)
    lines = json_lines(text)
    told = [re.fullmatch(r"(\d+) lines were dropped: the log did not take them", line["message"])
            for line in lines if line["role"] == "log"]
    assert sum(int(match[1]) for match in told) == total, (told, total)
    os.close(reader)
    os.close(writer)


def test_reader_that_is_gone(start):
    """A closed pipe ends nobody, from the launcher to the workers."""
    reader, writer = os.pipe()
    with open(os.devnull, "w") as null:
        service = start(null, writer)
    os.close(reader)
    serve_for_a_while(service)
    assert drops(service) >= ROUNDS
    os.close(writer)
    assert service.stop() == 0


@pytest.fixture
def small_disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def test_full_disk(start, small_disk):
    """No room: dropped. Room again: written, on a line of their own."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a file system: run it as root")
    log = small_disk / "log"
    with open(os.devnull, "w") as null, open(log, "a") as out:
        service = start(null, out)
    serve_for_a_while(service)
    serve_for_a_while(service)
    lost = drops(service)
    assert lost >= ROUNDS
    os.truncate(log, 0)
    serve = [service.get("/live") for _ in range(3)]
    assert all(answer.status == 200 for answer in serve)
    time.sleep(0.3)
    lines = [line for line in log.read_text().splitlines() if line]
    assert "\0" not in log.read_text()
    assert len(json_lines("\n".join(lines))) == len(lines)
    assert any("lines were dropped" in line for line in lines), lines


def test_no_log_at_all(tmp_path):
    """Standard error is closed: it starts, and no socket or file takes the lines for its own."""
    ready, told = os.pipe()
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", str(BUILD / "vivarium"), "serve", "--config",
         str(CONF), "--set", f"runtime_dir={tmp_path}", "--set", "library_sets=base",
         "--set", "workers=1", "--ready-fd", str(told)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[told])
    os.close(told)
    try:
        assert os.read(ready, 1) == b"\n"
        assert os.readlink(f"/proc/{process.pid}/fd/2") == "/dev/null"
    finally:
        os.close(ready)
        process.terminate()
        assert process.wait(15) == 0
