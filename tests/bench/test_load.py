"""The open loop keeps its schedule, and a contender that fails is named."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest

import load
import services

TOP = Path(__file__).resolve().parent.parent.parent
PROGRAMS = Path(os.environ.get("VIVARIUM_BUILD", TOP / "build" / "release")) / "bench"
STALL_S = 0.4
ANSWER = b"HTTP/1.1 %d Some words\r\nContent-Length: 2\r\n\r\n{}"


class OneAtATime:
    """A server that answers one request after the other; before the first it sleeps."""

    def __init__(self, stall_s=0, status=200):
        self.stall_s, self.status = stall_s, status
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address, self.name = self.listener.getsockname(), "one at a time"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                time.sleep(self.stall_s)
                self.stall_s = 0
                connection.sendall(ANSWER % self.status)

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)    # wakes the thread, which close() would not
        except OSError:
            return      # closed already
        self.listener.close()


@pytest.fixture
def make_server():
    made = []

    def make(**arguments):
        made.append(OneAtATime(**arguments))
        return made[-1]
    yield make
    for server in made:
        server.close()


@pytest.fixture
def tools(tmp_path):
    return load.Tools(str(tmp_path), str(PROGRAMS))


def test_open_loop_charges_a_stall_to_all_that_were_due(make_server, tools):
    """No coordinated omission: the requests behind the first one wait as long as they did."""
    figures = tools.open_loop(make_server(stall_s=STALL_S), "trivial", 50, 30)
    waited_ms = [us / 1000 for us in figures["latencies_us"]]
    assert figures["failed"] == 0 and len(waited_ms) == 30
    for i in range(15):     # request i was due 20 ms after the one before
        assert waited_ms[i] >= STALL_S * 1000 - 20 * i - 1


def test_open_loop_keeps_its_rate(make_server, tools):
    begun = time.monotonic()
    tools.open_loop(make_server(), "trivial", 50, 25)
    assert 24 / 50 <= time.monotonic() - begun


def test_open_loop_counts_other_statuses_as_failed(make_server, tools):
    figures = tools.open_loop(make_server(status=503), "trivial", 200, 10)
    assert figures["failed"] == 10 and figures["latencies_us"] == []


def test_open_loop_survives_a_service_that_is_gone(make_server, tools):
    server = make_server()
    server.close()
    assert tools.open_loop(server, "trivial", 200, 10)["failed"] == 10


def test_tool_that_fails_is_an_error(make_server, tools):
    with pytest.raises(load.ToolError, match="usage: open_loop"):
        tools.open_loop(make_server(), "trivial", 1, 0)


def test_contender_that_does_not_start_is_named(tmp_path):
    service = services.Service("a contender", ("127.0.0.1", services.free_port()),
                               ["sh", "-c", "echo its last words; exit 3"], folder=str(tmp_path))
    service.start()
    with pytest.raises(services.ServiceError, match="a contender ended with status 3") as error:
        service.wait_healthy(10)
    assert "its last words" in str(error.value)


def test_contender_that_ended_is_not_started_again(tmp_path):
    """A rival whose queue is thrown away by a restart must not hide its own end by that."""
    service = services.Service("a rival", ("127.0.0.1", services.free_port()), ["false"],
                               folder=str(tmp_path), is_rival=True)
    service.start()
    service.process.wait(10)
    with pytest.raises(services.ServiceError, match="a rival ended by itself, with status 1"):
        service.restart()


def test_contender_that_stays_is_ended(tmp_path):
    service = services.Service("a contender", ("127.0.0.1", services.free_port()),
                               ["sh", "-c", "trap '' TERM; sleep 100 & wait; wait"],
                               folder=str(tmp_path))
    service.start()
    time.sleep(0.2)
    complaints = service.stop(0.3)
    assert complaints and "still running" in complaints[0]
    assert service.process is None


@pytest.mark.parametrize("status, text, right", [
    (200, b'{"success": true, "result": {"a": 1}, "stdout": "hi\\n"}', True),
    (200, b'{"success": true, "result": {"a": 2}, "stdout": "hi\\n"}', False),
    (200, b'{"success": true, "result": {"a": 1}, "stdout": ""}', False),
    (400, b'{"success": true, "result": {"a": 1}, "stdout": "hi\\n"}', False),
    (200, b"not JSON", False)])
def test_answers_are_checked(status, text, right):
    assert load.is_right("trivial", status, text) is right
