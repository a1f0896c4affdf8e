"""Slow and abandoned senders are nginx's to bear: they cost the service, and others, nothing."""

import contextlib
import re
import socket
import statistics
import time
from pathlib import Path

import pytest

from edge import HOST, post

SENDERS = 300
HEAD = b"POST /execute HTTP/1.1\r\n" + HOST
BODY = post(b"Content-Type: application/json", b"Content-Length: 1000000")
LARGE = post(b"Content-Type: application/json", b"Content-Length: 20000000")


def half_close(connection):
    connection.sendall(BODY + b'{"script": "')
    connection.shutdown(socket.SHUT_WR)


def reset(connection):
    connection.sendall(BODY + b"{")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()


# What each of them does first, and what it does again and again while others want to be served.
SLOW = {
    "nothing_at_all": (lambda connection: None, b""),
    "header_byte_by_byte": (lambda connection: connection.sendall(HEAD + b"X-A: "), b"a"),
    "header_line_by_line": (lambda connection: connection.sendall(HEAD), b"X-B: b\r\n"),
    "body_byte_by_byte": (lambda connection: connection.sendall(BODY + b'{"script": "'), b"a"),
    "large_body_halfway": (lambda connection: connection.sendall(LARGE + b" " * 300000), b" "),
    "chunks_of_a_byte": (lambda connection: connection.sendall(
        post(b"Content-Type: application/json", b"Transfer-Encoding: chunked")), b"1\r\n \r\n"),
    "half_closed": (half_close, b""),
    "reset": (reset, b""),
}


def measure(service):
    """Seconds of /health, and of an execution."""
    started = time.monotonic()
    assert service.get("/health", timeout=10).status == 200
    middle = time.monotonic()
    assert service.execute("def main(): return 42", http_timeout=10).data["result"] == 42
    return middle - started, time.monotonic() - middle


def passed_on(service):
    """How many connections nginx has to the service: each is a thread there."""
    path = re.search(r"^==> Service: starting .* in (/\S+)$", service.log(), re.M)[1]
    return Path("/proc/net/unix").read_text().count(f" {path}/execute.sock\n")


@pytest.mark.parametrize("name", SLOW)
def test_slow_senders_do_not_delay_others(service, name):
    """With hundreds of them /health and executions are soon served; the service sees none of them."""
    first, again = SLOW[name]
    measure(service)
    before = passed_on(service)
    assert before
    with contextlib.ExitStack() as stack:
        senders = []
        for _ in range(SENDERS):
            senders.append(stack.enter_context(
                socket.create_connection((service.host, service.port), timeout=10)))
            first(senders[-1])
        taken = []
        for round_ in range(10):
            for sender in senders[round_::10] if again else ():
                sender.sendall(again)
            taken.append(measure(service))
        assert passed_on(service) < before + 10
    for times in zip(*taken):
        assert statistics.median(times) < 0.25 and max(times) < 2, times
