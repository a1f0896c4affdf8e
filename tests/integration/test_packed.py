"""Large answers are gzipped on request: by nginx, and those of which nginx packs none by the dispatcher."""

import gzip
import http.client
import json
import socket
import threading
import time

import pytest

from answers import failed

NOISE = "import sys\nprint('some output ' * 20000)\n"
ENDS = {
    "value": (NOISE + "def main(): return 1", {}, 200),
    "exception": (NOISE + "def main(): 1 / 0", {}, 400),
    "no_main": (NOISE, {}, 400),
    "signal": (NOISE + "import os\ndef main(): os.abort()", {}, 400),
    "time": (NOISE + "def main():\n    while True: pass", {"timeout": 0.2}, 408),
}


def ask(service, script, encoding, **fields):
    headers = {"Accept-Encoding": encoding} if encoding is not None else {}
    return service.request("POST", "/execute", json.dumps({"script": script, **fields}),
                           {"Content-Type": "application/json", **headers})


def content(answer):
    """The body as an object, whatever it came as."""
    packed = answer.headers.get_all("Content-Encoding") == ["gzip"]
    assert packed or "Content-Encoding" not in answer.headers
    return json.loads(gzip.decompress(answer.body) if packed else answer.body)


def lasting(answer):
    """What two runs of the same script have in common."""
    data = content(answer)
    data["cause"] = dict(data.get("cause", {}), used=None)
    kept = {"success", "result", "cause", "stdout", "stderr", "warnings", "truncated"}
    return {key: data[key] for key in kept & set(data)}


@pytest.mark.parametrize("name", ENDS)
def test_packed_on_request(service, name):
    """Once, whatever the status, and no other than what comes without."""
    script, fields, status = ENDS[name]
    plain, packed = (ask(service, script, encoding, **fields) for encoding in (None, "gzip, br"))
    assert plain.status == packed.status == status
    assert "Content-Encoding" not in plain.headers
    assert packed.headers.get_all("Content-Encoding") == ["gzip"]
    assert len(packed.body) < len(plain.body) / 20
    assert lasting(packed) == lasting(plain)
    assert content(packed)["success"] is (status == 200)
    for answer in (plain, packed):
        assert answer.headers.get_all("Vary") == ["Accept-Encoding"]
        assert answer.headers.get_all("Content-Type") == ["application/json"]
        assert answer.headers.get_all("X-Request-Id") == [content(answer)["request_id"]]
    changed = {"Content-Encoding", "Content-Length", "Transfer-Encoding", "ETag"}
    assert set(plain.headers) - changed == set(packed.headers) - changed


@pytest.mark.parametrize("encoding, is_packed", [
    ("gzip", True), ("br;q=1, GZIP;q=0.1", True), ("x-gzip", True), ("*", True),
    ("gzip;q=0", False), ("gzip;q=0, *", False), ("*;q=0", False), ("identity", False), ("br", False),
    ("", False)])
def test_who_takes_it(service, encoding, is_packed):
    """By the weight that a client gives it; * is everything that is not named."""
    answer = ask(service, ENDS["exception"][0], encoding)
    assert ("Content-Encoding" in answer.headers) is is_packed
    assert failed(type(answer)(answer.status, answer.headers, json.dumps(content(answer)).encode()),
                  "exception")["stdout"].startswith("some output ")


def test_small_answers_are_not_packed(service):
    """From 4 KiB on, as nginx has it: the body's length decides."""
    for extra in range(3000, 3600, 20):
        script = f"print('x' * {extra})\ndef main(): 1 / 0"
        plain, packed = ask(service, script, None), ask(service, script, "gzip")
        if abs(len(plain.body) - 4096) < 20:
            continue  # times in it have more digits or fewer
        assert ("Content-Encoding" in packed.headers) is (len(plain.body) > 4096)
        assert ("Vary" in packed.headers) is (len(plain.body) > 4096)


def test_incompressible_output(service):
    """Megabytes of base 64, whole and in order."""
    script = ("import random\ndef main():\n    open('a', 'wb').write(random.Random(1).randbytes(8 << 20))\n"
              "    raise ValueError")
    plain, packed = (ask(service, script, encoding, outputs=["*"]) for encoding in (None, "gzip"))
    assert len(packed.body) < len(plain.body) * 0.8
    assert content(packed)["files"] == content(plain)["files"]


def test_kept_connections(service):
    """Nothing of a packed answer is left for the next one, on either connection."""
    connection = service.connection()
    for name in ("exception", "value", "time", "exception", "no_main"):
        script, fields, status = ENDS[name]
        for encoding in ("gzip", "identity"):
            connection.request("POST", "/execute", json.dumps({"script": script, **fields}),
                               {"Content-Type": "application/json", "Accept-Encoding": encoding})
            response = connection.getresponse()
            body = response.read()
            assert response.status == status
            assert response.headers.get("Content-Encoding") == ("gzip" if encoding == "gzip" else None)
            json.loads(gzip.decompress(body) if encoding == "gzip" else body)
    connection.close()


def test_http_1_0(service):
    """Its end is the connection's."""
    body = json.dumps({"script": ENDS["exception"][0]}).encode()
    with socket.create_connection((service.host, service.port), timeout=30) as connection:
        connection.sendall(b"POST /execute HTTP/1.0\r\nContent-Type: application/json\r\n"
                           b"Accept-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        data = response.read()
    if response.headers.get("Content-Encoding") == "gzip":
        data = gzip.decompress(data)
    assert json.loads(data)["cause"]["type"] == "ZeroDivisionError"


def test_streams_and_mcp(service):
    """A stream is never packed; the answer of a tool is as any other."""
    answer = service.request("POST", "/execute", json.dumps({"script": ENDS["exception"][0]}),
                             {"Content-Type": "application/json", "Accept": "text/event-stream",
                              "Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers and b"event: error\n" in answer.body
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "run_python", "arguments": {"script": ENDS["exception"][0]}}}
    answer = service.request("POST", "/mcp", json.dumps(call), {"Content-Type": "application/json",
                                                               "Accept-Encoding": "gzip"})
    assert content(answer)["result"]["isError"] is True
    assert answer.headers.get_all("Content-Encoding") == ["gzip"]


def test_no_room_to_pack(make_service):
    """While requests hold all the memory that they may, answers come as they are; and with CORS."""
    service = make_service(workers=1, cells_per_worker=3, library_sets="base", request_memory=128,
                           cors_origins="https://app.example")
    body = b'{"script": "import time\\ndef main(): time.sleep(3)", "timeout": 20, "x": "%s"}'
    threads = [threading.Thread(target=service.post, args=(body % (b"x" * size),))
               for size in ((20 << 20) - 200, (12 << 20) - 50000)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while service.get("/health").data["workers"]["busy"] < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    held = ask(service, ENDS["exception"][0], "gzip")
    for thread in threads:
        thread.join()
    free = ask(service, ENDS["exception"][0], "gzip")
    assert held.status == free.status == 400
    assert "Content-Encoding" not in held.headers and "Content-Length" in held.headers
    assert free.headers["Content-Encoding"] == "gzip"
    assert lasting(held) == lasting(free)
    for answer in (held, free):
        assert set(answer.headers.get_all("Vary")) == {"Accept-Encoding", "Origin"}
