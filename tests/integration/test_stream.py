"""POST /execute with Accept: text/event-stream."""

import json
import re
import socket
import statistics
import struct
import subprocess
import threading
import time

import pytest

from answers import ok, refused
from certificates import Authority
from conftest import Service
from streams import ACCEPT, Stream, end, parse, printed, public_client
from supervision import Flight, Tree, answers_again, eventually, kill

MIB = 1 << 20
CHANNEL = 1000  # the descriptor that an execution answers over


@pytest.fixture(scope="module")
def small():
    """An instance with one cell: whoever holds it is noticed."""
    with Service(workers=1, cells_per_worker=1, library_sets="base") as service:
        yield service


def busy(service):
    return service.get("/health").data["workers"]["busy"]


# --- what comes -----------------------------------------------------------------------------------


def test_events_and_their_end(service):
    """Output in the order of its stream, last the whole ordinary answer and its status."""
    script = ("import sys, time\ndef main():\n    for i in range(5):\n        print('out', i)\n"
              "        print('err', i, file=sys.stderr)\n        time.sleep(0.02)\n"
              "    return {'a': [1, 'h\xe9']}\n")
    events = Stream(service, script).events()
    data = end(events)
    assert printed(events, "stdout") == data["stdout"] == "".join(f"out {i}\n" for i in range(5))
    assert printed(events, "stderr") == data["stderr"] == "".join(f"err {i}\n" for i in range(5))
    assert len(events) == 11
    assert data.pop("status") == 200
    ordinary = ok(service.execute(script))
    assert set(data) == set(ordinary)
    for key in ("success", "result", "stdout", "stderr"):
        assert data[key] == ordinary[key]
    assert set(data["usage"]) == set(ordinary["usage"])


def test_headers(service):
    """Those of every answer of /execute, and no length; neither gzip nor nginx's own words."""
    stream = Stream(service, "def main(): return 'x' * 10000",
                    headers={"Accept-Encoding": "gzip", "X-Request-Id": "my-stream.1"})
    assert stream.status == 200
    assert stream.headers.get_all("Content-Type") == ["text/event-stream"]
    assert stream.headers.get_all("Cache-Control") == ["no-store"]
    assert stream.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert stream.headers.get_all("X-Request-Id") == ["my-stream.1"]
    for absent in ("Content-Encoding", "Content-Length", "X-Accel-Buffering", "Server-Timing"):
        assert absent not in stream.headers
    assert end(stream.events())["request_id"] == "my-stream.1"


def test_nothing_printed(service):
    """The result alone."""
    events = Stream(service, "def main(): pass").events()
    assert [event.name for event in events] == ["result"]
    assert end(events)["stdout"] == ""


def test_an_independent_client(service):
    """A public library for such streams reads the same."""
    stream = Stream(service, "print('a\\n\\nb\\r\\n: c\\nevent: x')\nprint('\\u2028\\0')\n"
                             "def main(): return '\\r\\n'")
    events = stream.events()
    theirs = list(public_client()([stream.raw]).events())
    assert [(e.event, e.data) for e in theirs] == [(e.name, e.text) for e in events]
    assert printed(events, "stdout") == "a\n\nb\r\n: c\nevent: x\n\u2028\0\n"
    assert end(events)["result"] == "\r\n"


def test_promptness(service):
    """From print() to the client, through worker, dispatcher and nginx: a few milliseconds."""
    stream = Stream(service, "import time\ndef main():\n    for i in range(40):\n"
                             "        print(time.monotonic())\n        time.sleep(0.01)\n")
    delays = [event.at - float(line) for event in stream.events() if event.name == "stdout"
              for line in event.data.splitlines()[-1:]]
    print(f"median {statistics.median(delays) * 1000:.2f} ms, worst {max(delays) * 1000:.1f} ms")
    assert len(delays) > 20
    assert statistics.median(delays) < 0.02


def test_heartbeat(service):
    """A comment every 10 s, while nothing is printed; it says nothing to a client."""
    begun = time.monotonic()
    stream = Stream(service, "import time\ndef main(): time.sleep(10.5)")
    came = list(stream)
    assert [event.name for event in came] == [None, "result"]
    assert came[0].text == ": heartbeat"
    assert 9.5 < came[0].at - begun < 10.5
    assert [e.event for e in public_client()([stream.raw]).events()] == ["result"]


def test_whole_characters(service):
    """Bytes of a character that come one by one are one character."""
    text = "a\xe9\u20ac\U0001f40d"
    script = (f"import os, time\ndef main():\n    for byte in {text.encode()!r}:\n"
              "        os.write(1, bytes([byte]))\n        time.sleep(0.03)\n")
    events = Stream(service, script).events()
    assert [event.data for event in events if event.name == "stdout"] == list(text)
    assert end(events)["stdout"] == text


@pytest.mark.parametrize("pieces", [
    [b"\xff", b"\xc3"], [b"a\xe2\x82"], [b"\xf0\x9f", b"\x90", b"x"], [b"\xed\xa0", b"\x80"],
    [b"\xc3", b"\x28"], [b"\x80\x80\x80\x80", b"\x80"], [b"\xf5", b"\x80\x80\x80"],
    [b"\xe2", b"\xe2\x82", b"\xac"]], ids=range(8))
def test_bytes_that_are_not_utf_8(service, pieces):
    """They become U+FFFD, live as in the ordinary answer."""
    script = (f"import os, time\nfor piece in {pieces!r}:\n    os.write(1, piece)\n"
              "    time.sleep(0.03)\ndef main(): pass")
    events = Stream(service, script).events()
    data = end(events)
    assert printed(events, "stdout") == data["stdout"]
    assert data["stdout"] == b"".join(pieces).decode("utf-8", "replace")


def test_floods(service):
    """1 MiB of each stream comes live; the answer has head and tail and says what is left out."""
    script = ("import sys\ndef main():\n    for i in range(300000):\n        print(i, '\xe9')\n"
              "        print(i, file=sys.stderr)\n")
    whole = {"stdout": "".join(f"{i} \xe9\n" for i in range(300000)).encode(),
             "stderr": "".join(f"{i}\n" for i in range(300000)).encode()}
    events = Stream(service, script).events()
    data = end(events)
    for name, text in whole.items():
        live = printed(events, name).encode()
        assert MIB - 4 < len(live) <= MIB and text.startswith(live)
        kept, at = data[name].encode(), data["truncated"][name + "_at"]
        assert text.startswith(kept[:at]) and text.endswith(kept[at:])
        assert len(kept) + data["truncated"][name] == len(text)
    assert "warnings" not in data


def test_unprintable_flood(service):
    """Whatever is printed, events are ASCII, each with one line of data."""
    events = Stream(service, "import os\ndef main():\n    for i in range(16):\n"
                             "        os.write(1, bytes(range(256)) * 200)").events()
    data = end(events)
    assert printed(events, "stdout") == data["stdout"]
    assert data["stdout"] == (bytes(range(256)) * 3200).decode("utf-8", "replace")


def test_figures_and_files(service):
    """They come with the end, as in the ordinary answer."""
    script = ("import matplotlib.pyplot as plt\ndef main():\n    plt.plot([1, 2])\n"
              "    open('a.txt', 'w').write('x')\n    print('drawn')\n    return 1\n")
    data = end(Stream(service, script, outputs=["*.txt"], unknown=1).events())
    assert data["files"] == [{"path": "a.txt", "size": 1, "content_base64": "eA=="}]
    assert data["visualizations"][0]["data"].startswith("data:image/png;base64,")
    assert data["warnings"] == ["unknown field: unknown"]


def test_forged_lines(service):
    """A value that a script writes by itself, with line breaks in it, ends no event."""
    value = b'[1,\n\nevent: result\r\n2]'.replace(b"event: result", b"")
    script = (f"import os, struct\ndef main():\n    os.write({CHANNEL}, struct.pack('=II', 34, "
              f"{len(value)}) + {value!r})\n    os._exit(0)\n")
    events = Stream(service, script).events()
    assert [event.name for event in events] == ["result"]
    assert end(events)["result"] == [1, 2]


# --- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("script, kind, status, live", [
    ("def main(): 1 / 0", "exception", 400, ""),
    ("def main(:", "syntax", 400, ""),
    ("print('hi')", "no_main", 400, "hi\n"),
    ("def main():\n    print('before')\n    raise SystemExit(3)", "exit", 400, "before\n"),
    ("import os\ndef main():\n    print('before')\n    os.kill(os.getpid(), 11)", "signal", 400,
     "before\n"),
    ("def main():\n    print('before')\n    while True: pass", "time", 408, "before\n"),
    ("import sys\ndef main():\n    sys.stdout.write('no line')\n    return object()", "not_json",
     400, "no line"),
    ("def main():\n    print('before')\n    return 'x' * (5 << 20)", "result_too_large", 400,
     "before\n"),
])
def test_failures(service, script, kind, status, live):
    """An error event with the ordinary object, and what was printed before it."""
    events = Stream(service, script, timeout=0.5).events()
    data = end(events, "error")
    assert data["status"] == status and data["success"] is False
    assert data["cause"]["kind"] == kind
    assert printed(events, "stdout") == data["stdout"] == live


def test_worker_that_dies(make_service):
    """The stream ends with an error, as an ordinary answer would."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base")
    stream = Stream(service, "import time\nprint('on')\ndef main(): time.sleep(20)")
    assert stream.next("stdout").data == "on\n"
    kill(Tree(service).workers[0])
    data = end(stream.events(), "error")
    assert (data["status"], data["cause"]["kind"]) == (500, "internal")


def test_dispatcher_that_dies(make_service):
    """The stream ends without a last event, which is how a client knows; the script ends, too."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base")
    stream = Stream(service, "import time\nprint('on')\ndef main(): time.sleep(20)")
    stream.next("stdout")
    kill(Tree(service).dispatcher)
    assert stream.events() == []
    assert answers_again(service)


def test_service_that_stops(make_service):
    """A stream that is under way comes to its end."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base")
    stream = Stream(service, "import time\nprint('on')\ndef main(): time.sleep(1)\n")
    stream.next("stdout")
    stopping = Flight(service.stop)
    assert end(stream.events())["stdout"] == "on\n"
    assert stopping.answer() == 0


BEFORE = [
    (b"", {}, "invalid_request", 400), (b"{", {}, "invalid_request", 400),
    (b'{"script": ""}', {}, "invalid_request", 400),
    (b'{"script": "x", "timeout": 1e9}', {}, "invalid_request", 400),
    (b'{"script": "x"}', {"Content_Type": "text/plain"}, "unsupported_media_type", 415),
    (b'{"script": "x"}', {"Content_Encoding": "gzip"}, "unsupported_media_type", 415),
    (b"x" * (20 * MIB + 1), {}, "payload_too_large", 413),
]


@pytest.mark.parametrize("body, headers, kind, status", BEFORE, ids=range(len(BEFORE)))
def test_errors_before_admission(service, body, headers, kind, status):
    """Ordinary answers, with their status."""
    refused(service.post(body, Accept=ACCEPT, **headers), kind, status)


def test_refused_admission(make_service):
    """503 is an ordinary answer, too, whether the queue is full or the wait too long."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", queue=1,
                           queue_timeout=0.5)
    holder = Stream(service, "import time\nprint(1)\ndef main(): time.sleep(2)")
    holder.next("stdout")
    waiting = Flight(service.post, '{"script": "def main(): pass"}', Accept=ACCEPT)
    assert eventually(lambda: service.get("/health").data["queue"]["waiting"] == 1, 3)
    full = service.post('{"script": "def main(): pass"}', Accept=ACCEPT)
    for answer in (full, waiting.answer()):
        refused(answer, "overloaded", 503)
        assert answer.headers["Retry-After"] == "1"
    end(holder.events())


@pytest.mark.parametrize("accept, streams", [
    ("text/event-stream, application/json", True), ("application/json, text/event-stream", False),
    ("application/json;q=0.5, text/event-stream", True), ("text/event-stream;q=0", False),
    ("*/*", False), ("TEXT/EVENT-STREAM", True)])
def test_accept(service, accept, streams):
    """The type that is named first, unless the other one has more weight."""
    answer = service.post('{"script": "def main(): return 1"}', Accept=accept)
    assert answer.headers["Content-Type"] == (ACCEPT if streams else "application/json")


def test_same_connection_afterwards(service):
    """It is kept: requests of both kinds follow each other on it."""
    stream = Stream(service, "print(1)\ndef main(): pass")
    for number in range(3):
        end(stream.events())
        stream.connection.request("POST", "/execute", '{"script": "def main(): return 2"}',
                                  {"Content-Type": "application/json"})
        assert json.loads(stream.connection.getresponse().read())["result"] == 2
        stream = Stream(service, f"print({number})\ndef main(): pass", connection=stream.connection)
    end(stream.events())


def test_http_1_0(service):
    """No chunks: the stream ends with the connection, and events come as promptly."""
    body = json.dumps({"script": "import time\nprint('now')\ndef main(): time.sleep(0.5)"}).encode()
    with socket.create_connection((service.host, service.port), timeout=20) as connection:
        connection.sendall(b"POST /execute HTTP/1.0\r\nContent-Type: application/json\r\n"
                           b"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
                           + body)
        received, first = b"", None
        while piece := connection.recv(65536):
            received += piece
            if first is None and b"event: stdout" in received:
                first = time.monotonic()
        ended = time.monotonic()
    head, _, events = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"chunked" not in head.lower()
    assert ended - first > 0.3
    *blocks, rest = events.split(b"\n\n")
    assert rest == b""
    assert end([parse(block, 0) for block in blocks])["stdout"] == "now\n"


def test_http_2(make_service, tmp_path):
    """Over TLS nginx speaks HTTP/2: as prompt, and a reset stream ends its script."""
    service = make_service(tls=Authority(tmp_path).issue("server"), workers=1, cells_per_worker=1,
                           library_sets="base")
    command = ["curl", "--silent", "--no-buffer", "--http2", "--cacert", service.tls.authority,
               "-D", tmp_path / "headers", "-H", "Content-Type: application/json", "-H",
               f"Accept: {ACCEPT}", f"https://localhost:{service.port}/execute", "--data"]
    body = json.dumps({"script": "import time\nprint('now')\ndef main(): time.sleep(20)"})
    with subprocess.Popen([*command, body], stdout=subprocess.PIPE) as curl:
        begun = time.monotonic()
        lines = [curl.stdout.readline() for _ in range(3)]
        assert lines == [b"event: stdout\n", b'data: "now\\n"\n', b"\n"]
        assert time.monotonic() - begun < 5 and busy(service) == 1
        curl.kill()
    assert (tmp_path / "headers").read_bytes().startswith(b"HTTP/2 200")
    assert eventually(lambda: busy(service) == 0, 3)
    done = subprocess.run([*command, '{"script": "def main(): return 1"}'], capture_output=True)
    assert done.stdout.startswith(b'event: result\ndata: {"success": true')


# --- readers that are slow, or gone ---------------------------------------------------------------


def send_and_wait(service, script, **fields):
    """A client with little room that has sent its request and reads nothing."""
    body = json.dumps({"script": script, **fields}).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect((service.host, service.port))
    connection.sendall(b"POST /execute HTTP/1.0\r\nContent-Type: application/json\r\n"
                       b"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
                       + body)
    return connection


def read_at_last(slow, received=b""):
    """The events that such a client gets when it takes all that there is."""
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
    with slow:
        while piece := slow.recv(1 << 16):
            received += piece
    *blocks, rest = received.partition(b"\r\n\r\n")[2].split(b"\n\n")
    assert rest == b""
    return [event for event in (parse(block, 0) for block in blocks) if event.name]


# Fills the buffers on the way, then prints to both streams in turn, in as many small events as there
# can be: the service joins some of them, more of them on a busy machine.
PIECEMEAL = """
import array, fcntl, os, termios

def drain(fd):
    left = array.array("i", [1])
    while left[0]:
        fcntl.ioctl(fd, termios.FIONREAD, left)

def main():
    for fd in 1, 2:
        os.write(fd, b"\\1" * 220000)
    for _ in range(400000):
        for fd in 1, 2:
            os.write(fd, b"xy")
            drain(fd)
"""


def test_reader_that_is_too_slow_for_live_output(small):
    """What is kept for it has a limit: then the beginning is what it gets, and a warning."""
    slow = send_and_wait(small, PIECEMEAL, timeout=200)
    assert eventually(lambda: busy(small) == 1, 5)
    taken = b""
    while busy(small):  # nginx closes one that takes nothing at all for a minute
        taken += slow.recv(8192)
        time.sleep(0.25)
    events = read_at_last(slow, taken)
    data = end(events)
    assert data["warnings"] == ["live output was not read in time, and is not complete"]
    assert data["status"] == 200 and "truncated" not in data
    for name in ("stdout", "stderr"):
        live = printed(events, name)
        assert data[name] == "\1" * 220000 + "xy" * 400000
        assert data[name].startswith(live) and 220000 < len(live) < len(data[name])


def test_slow_reader(small):
    """It holds neither the cell nor the worker, and misses nothing when it reads in the end."""
    slow = send_and_wait(small, "import os, sys\ndef main():\n    for i in range(300):\n"
                                "        os.write(1, b'\\1' * 4096)\n        os.write(2, b'\\2' * 4096)\n"
                                "    return 'x' * 1000000\n")
    begun = time.monotonic()
    for _ in range(20):
        assert ok(small.execute("def main(): return 1"))["result"] == 1
    assert time.monotonic() - begun < 5
    events = read_at_last(slow)
    data = end(events)
    assert printed(events, "stdout") == "\1" * MIB and printed(events, "stderr") == "\2" * MIB
    assert data["truncated"]["stdout"] == 300 * 4096 - MIB and "warnings" not in data


def test_crowd_that_does_not_read(make_service):
    """They hold neither the threads of others nor their memory; a reader that keeps pace gets all."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", queue=4,
                           request_memory=128)
    script = "def main(): return 'x' * 4000000"
    crowd = []
    for _ in range(40):
        crowd.append(send_and_wait(service, script))
        time.sleep(0.05)
        assert eventually(lambda: busy(service) == 0, 5)
    for _ in range(3):
        begun = time.monotonic()
        assert ok(service.execute("def main(): return 1", http_timeout=10))["result"] == 1
        assert time.monotonic() - begun < 2
    assert len(end(Stream(service, script).events())["result"]) == 4000000
    received = b""
    while piece := crowd[0].recv(1 << 16):
        received += piece
    assert received.startswith(b"HTTP/1.1 200 ") and b'"status": 200}' not in received
    for connection in crowd:
        connection.close()


@pytest.mark.parametrize("script", [
    "import time\ndef main():\n    print('on')\n    time.sleep(60)",
    "def main():\n    print('on')\n    while True: pass",
    "def main():\n    print('on')\n    while True: print('x' * 1000)",
    "import os, time\ndef main():\n    print('on')\n    for i in range(3): os.fork()\n    time.sleep(60)",
], ids=["sleeping", "computing", "printing", "forked"])
def test_hang_up(small, script):
    """The execution ends, nothing of it is left, and the cell serves again."""
    stream = Stream(small, script, timeout=60)
    assert stream.next("stdout").data.startswith("on\n")
    stream.close()
    begun = time.monotonic()
    assert ok(small.execute("import os\ndef main(): return os.listdir('/tmp')"))["result"] == []
    assert time.monotonic() - begun < 2
    assert eventually(lambda: len(Tree(small).executions) == 1 and not busy(small), 3)


@pytest.mark.parametrize("accept", ["application/json", ACCEPT])
def test_nobody_gets_the_answer_of_another(small, accept):
    """Clients that hang up as their answer comes, while others wait for the cell."""
    wrong, stop = [], threading.Event()

    def honest(number):
        for turn in range(1000):
            if stop.is_set():
                return
            mark = f"{number}-{turn}"
            data = small.execute(f"def main(): print('{mark}'); return '{mark}'").data
            if (data.get("result"), data["stdout"]) != (mark, mark + "\n"):
                wrong.append((mark, data))
    others = [threading.Thread(target=honest, args=(i,)) for i in range(4)]
    for thread in others:
        thread.start()
    body = b'{"script": "def main(): print(1); return 1"}'
    request = (b"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               b"Accept: %s\r\nContent-Length: %d\r\n\r\n" % (accept.encode(), len(body)) + body)
    deadline = time.monotonic() + 4
    turn = 0
    while time.monotonic() < deadline and not wrong:
        with socket.create_connection((small.host, small.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(request)
            time.sleep(0.0005 * (turn % 40))
        turn += 1
    stop.set()
    for thread in others:
        thread.join()
    assert wrong == []
    assert re.search("its worker is gone", small.log()) is None
