"""What nginx answers by itself: every such answer is ASCII JSON of the contract's shape.

Most of it is asked of the running service over raw sockets, because no well-behaved client sends
such requests. What needs a service that is absent, dying or silent is asked of a second nginx,
rendered from the same template, with stand-ins behind its sockets.
"""

import datetime
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BODY_LIMIT = 20 * 1024 * 1024
HOST = b"Host: vivarium.test\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


class Answer:
    def __init__(self, raw):
        while raw.startswith(b"HTTP/1.1 100"):
            raw = raw.partition(b"\r\n\r\n")[2]
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        pairs = [line.split(":", 1) for line in lines[1:]]
        self.headers = [(name.lower(), value.strip()) for name, value in pairs]

    def all(self, name):
        return [value for key, value in self.headers if key == name]

    def one(self, name):
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values}"
        return values[0]


def talk(port, data, host="127.0.0.1", timeout=20):
    """Send data, return all that comes back until the other side closes or an answer is whole."""
    with socket.create_connection((host, port), timeout=timeout) as connection:
        try:
            connection.sendall(data)
        except OSError:
            pass  # refused before all of it was sent: the answer is there all the same
        received = b""
        while not is_whole(received):
            try:
                piece = connection.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            received += piece
        return received


def is_whole(received):
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    return bool(end and length and len(body) >= int(length[1]))


def ask(service, data):
    raw = talk(service.port, data, host=service.host)
    assert raw, "the connection was closed without an answer"
    return Answer(raw)


def check_error(answer, status, kind):
    assert answer.status == status
    assert answer.one("content-type") == "application/json"
    assert answer.one("cache-control") == "no-store"
    assert answer.one("x-content-type-options") == "nosniff"
    assert answer.body.isascii()
    body = json.loads(answer.body)
    assert body["success"] is False
    assert "result" not in body
    assert isinstance(body["error"], str) and body["error"] and "\n" not in body["error"]
    assert body["cause"]["kind"] == kind
    assert body["stdout"] == ""
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", body["request_id"])
    assert body["request_id"] == answer.one("x-request-id")
    when = datetime.datetime.fromisoformat(body["timestamp"])
    assert when.utcoffset() == datetime.timedelta(0)
    age = datetime.datetime.now(datetime.timezone.utc) - when
    assert abs(age.total_seconds()) < 60
    return body


def request(line, *headers, body=b""):
    return line + b" HTTP/1.1\r\n" + HOST + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


def post(*headers, body=b"", version=b"HTTP/1.1"):
    head = b"POST /execute " + version + b"\r\n" + HOST
    return head + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


MALFORMED = {
    "binary": b"\x00\x01\x02\x03\r\n\r\n",
    "tls_hello": bytes.fromhex("160301020001000001fc0303") + b"a" * 200,
    "lower_case_method": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no_such_protocol": b"GET / HTTX/1.1\r\n" + HOST + b"\r\n",
    "uri_without_slash": request(b"GET foo"),
    "uri_with_space": request(b"GET /a b"),
    "uri_with_nul": request(b"GET /%00"),
    "uri_bad_escape": request(b"GET /%zz"),
    "uri_above_root": request(b"GET /../../etc/passwd"),
    "connect_authority": request(b"CONNECT example.com:443"),
    "options_asterisk": request(b"OPTIONS *"),
    "no_host": b"GET / HTTP/1.1\r\n\r\n",
    "bad_host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "two_hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "nul_in_header": request(b"GET /", b"X-Thing: a\x00b"),
    "space_before_colon": request(b"GET /", b"X-Thing : a"),
    "length_not_a_number": post(b"Content-Length: abc"),
    "length_negative": post(b"Content-Length: -1"),
    "length_empty": post(b"Content-Length:"),
    "length_astronomic": post(b"Content-Length: " + b"9" * 30),
    "length_twice": post(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"),
    "length_and_chunked": post(b"Content-Length: 3", CHUNKED[:-2], body=b"0\r\n\r\n"),
    "chunked_in_http_1_0": post(CHUNKED[:-2], body=b"0\r\n\r\n", version=b"HTTP/1.0"),
    "chunk_size_not_hex": post(CHUNKED[:-2], body=b"zz\r\nfoo\r\n"),
    "chunk_size_astronomic": post(CHUNKED[:-2], body=b"f" * 17 + b"\r\nfoo\r\n"),
    "trace_with_bad_chunk": b"TRACE /execute HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\nzz\r\nfoo\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_is_400(service, name):
    check_error(ask(service, MALFORMED[name]), 400, "invalid_request")


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9"])
def test_unknown_http_version_is_505(service, version):
    answer = ask(service, b"GET / " + version + b"\r\n" + HOST + b"\r\n")
    check_error(answer, 505, "invalid_request")


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"nonsense"])
def test_other_transfer_encoding_is_501(service, coding):
    answer = ask(service, post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n"))
    check_error(answer, 501, "invalid_request")


def test_long_uri_is_414(service):
    check_error(ask(service, request(b"GET /" + b"a" * 20000)), 414, "invalid_request")


def test_one_long_header_is_431(service):
    check_error(ask(service, request(b"GET /", b"X-Long: " + b"a" * 20000)), 431, "invalid_request")


def test_many_headers_are_431(service):
    headers = [b"X-%d: " % i + b"a" * 1000 for i in range(100)]
    check_error(ask(service, request(b"GET /", *headers)), 431, "invalid_request")


def test_id_sent_before_a_long_header_is_kept(service):
    answer = ask(service, request(b"GET /", b"X-Request-Id: mine", b"X-Long: " + b"a" * 20000))
    assert check_error(answer, 431, "invalid_request")["request_id"] == "mine"


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT"])
@pytest.mark.parametrize(
    "target, allow",
    [
        (b"/execute", "POST, OPTIONS"),
        (b"/execute?a=b", "POST, OPTIONS"),
        (b"http://vivarium.test/execute", "POST, OPTIONS"),
        (b"/health", "GET, HEAD, OPTIONS"),
        (b"/executes", "GET, HEAD, OPTIONS"),
    ],
)
def test_trace_and_connect_are_405_with_allow(service, method, target, allow):
    answer = ask(service, request(method + b" " + target))
    check_error(answer, 405, "method_not_allowed")
    assert answer.one("allow") == allow


def test_refused_method_with_a_body_over_the_limit_is_still_405(service):
    answer = ask(service, request(b"TRACE /execute", b"Content-Length: 40000000"))
    check_error(answer, 405, "method_not_allowed")


def test_declared_body_over_the_limit_is_413(service):
    answer = ask(service, post(b"Content-Length: %d" % (BODY_LIMIT + 1)))
    check_error(answer, 413, "payload_too_large")


def test_sent_body_over_the_limit_is_413(service):
    size = BODY_LIMIT + 1
    answer = ask(service, post(b"Content-Length: %d" % size, body=b" " * size))
    check_error(answer, 413, "payload_too_large")


def test_413_comes_instead_of_100_continue(service):
    data = post(b"Expect: 100-continue", b"Content-Length: %d" % (BODY_LIMIT + 1))
    raw = talk(service.port, data, host=service.host)
    assert raw.startswith(b"HTTP/1.1 413")
    check_error(Answer(raw), 413, "payload_too_large")


def test_chunked_body_over_the_limit_is_413(service):
    mebibyte = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = ask(service, post(CHUNKED[:-2], body=mebibyte * 21 + b"0\r\n\r\n"))
    check_error(answer, 413, "payload_too_large")


def test_chunk_that_announces_too_much_is_413(service):
    answer = ask(service, post(CHUNKED[:-2], body=b"2000000\r\nabc"))
    check_error(answer, 413, "payload_too_large")


def test_http_0_9_error_is_bare_json(service):
    raw = talk(service.port, b"TRACE /\r\n", host=service.host)
    body = json.loads(raw)
    assert raw.isascii() and body["success"] is False
    assert body["cause"]["kind"] == "invalid_request"


@pytest.mark.parametrize("chosen", ["a", "A.b_c-9", "0" * 64])
def test_client_id_is_kept(service, chosen):
    answer = ask(service, request(b"TRACE /execute", b"X-Request-Id: " + chosen.encode()))
    assert check_error(answer, 405, "method_not_allowed")["request_id"] == chosen


@pytest.mark.parametrize(
    "chosen", [b"", b"0" * 65, b'a"b', b"a b", b"a/b", b"\xc3\xa9", b"a\\", b"${jndi}", b"a,b"]
)
def test_unfit_client_id_is_replaced(service, chosen):
    answer = ask(service, request(b"TRACE /execute", b"X-Request-Id: " + chosen))
    given = check_error(answer, 405, "method_not_allowed")["request_id"]
    assert re.fullmatch(r"[0-9a-f]{32}", given)


def test_ids_differ(service):
    answers = [ask(service, request(b"TRACE /execute")) for _ in range(5)]
    assert len({answer.one("x-request-id") for answer in answers}) == 5


def test_served_answer_has_one_id(service):
    answer = ask(service, request(b"GET /live", b"X-Request-Id: mine.1"))
    assert answer.status == 200
    assert answer.one("x-request-id") == "mine.1"


def test_served_answer_has_an_id_of_its_own(service):
    answer = ask(service, request(b"GET /live"))
    assert re.fullmatch(r"[0-9a-f]{32}", answer.one("x-request-id"))


def test_a_slow_sender_does_not_hold_up_others(service):
    with socket.create_connection((service.host, service.port), timeout=10) as slow:
        slow.sendall(post(b"Content-Length: 1000", body=b"{"))
        started = time.monotonic()
        assert ask(service, request(b"GET /live")).status == 200
        assert time.monotonic() - started < 5


# --- A second nginx, with stand-ins for the service ----------------------------------------------


class StandIn:
    """Takes connections on a unix socket and does with each what it is told."""

    def __init__(self, path, handle):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        os.chmod(path, 0o666)
        self.listener.listen(16)
        self.handle = handle
        self.kept = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.kept.append(connection)
            self.handle(connection)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        for each in [self.listener, *self.kept]:
            each.close()


def hang_up(connection):
    """Read the whole request (an empty FCGI_STDIN ends it), then close without an answer."""
    end_of_body = b"\x01\x05\x00\x01\x00\x00\x00\x00"
    tail = b""
    while not tail.endswith(end_of_body):
        piece = connection.recv(1 << 20)
        if not piece:
            break
        tail = (tail + piece)[-len(end_of_body):]
    connection.close()


def say_nothing(_connection):
    pass


def say_garbage(connection):
    connection.sendall(b"this is no FastCGI\n")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nginx:
    """An nginx of its own, from the template, in a directory that its workers can reach."""

    def __init__(self, change=lambda text: text):
        self.port = free_port()
        self.host = "127.0.0.1"
        self.run = pathlib.Path(tempfile.mkdtemp(prefix="vivarium-nginx."))
        os.chmod(self.run, 0o755)
        self.log = self.run / "access.log"
        self.stand_ins = []
        variables = dict(RUN=str(self.run), PORT=str(self.port), READ_TIMEOUT="1")
        variables["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
        text = subprocess.run(
            [TOP / "deploy" / "render-nginx.sh"],
            env=variables, capture_output=True, text=True, check=True,
        ).stdout
        (self.run / "nginx.conf").write_text(change(text))
        self.process = subprocess.Popen(
            ["nginx", "-e", "stderr", "-p", self.run, "-c", self.run / "nginx.conf"],
            env=dict(variables, TZ="UTC"), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.await_start()

    def await_start(self):
        deadline = time.monotonic() + 10
        while True:
            assert self.process.poll() is None, "nginx did not start"
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "nginx does not listen"
                time.sleep(0.02)

    def stand_in(self, name, handle):
        self.stand_ins.append(StandIn(self.run / name, handle))

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=10)
        for each in self.stand_ins:
            each.close()
        shutil.rmtree(self.run)


@pytest.fixture
def nginx():
    one = Nginx()
    yield one
    one.close()


def test_absent_service_is_503(nginx):
    for line in (b"POST /execute", b"GET /health"):
        answer = ask(nginx, request(line))
        check_error(answer, 503, "overloaded")
        assert int(answer.one("retry-after")) >= 1


def test_head_has_no_body(nginx):
    raw = talk(nginx.port, request(b"HEAD /health", b"Connection: close"))
    assert raw.startswith(b"HTTP/1.1 503") and b"\r\nX-Request-Id: " in raw
    assert raw.endswith(b"\r\n\r\n") and raw.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    "path", [b"//error", b"//error/502", b"/%2Ferror", b"/.//error", b"/error"]
)
def test_every_path_belongs_to_the_service(nginx, path):
    """Nobody reaches nginx's own error pages, which would make it answer 404 by itself."""
    check_error(ask(nginx, request(b"GET " + path)), 503, "overloaded")


def test_service_that_dies_is_502(nginx):
    nginx.stand_in("execute.sock", hang_up)
    answer = ask(nginx, post(b"Content-Length: 2", body=b"{}"))
    check_error(answer, 502, "internal")
    assert answer.all("retry-after") == []


def test_service_that_talks_nonsense_is_502(nginx):
    nginx.stand_in("execute.sock", say_garbage)
    check_error(ask(nginx, post(b"Content-Length: 2", body=b"{}")), 502, "internal")


def test_silent_service_is_504(nginx):
    nginx.stand_in("execute.sock", say_nothing)
    started = time.monotonic()
    check_error(ask(nginx, post(b"Content-Length: 2", body=b"{}")), 504, "internal")
    assert 0.9 < time.monotonic() - started < 5


def test_body_of_exactly_the_limit_passes(nginx):
    nginx.stand_in("execute.sock", hang_up)
    body = b" " * BODY_LIMIT
    check_error(ask(nginx, post(b"Content-Length: %d" % BODY_LIMIT, body=body)), 502, "internal")


def test_rate_limit_is_429():
    def with_limit(text):
        zone = "\tlimit_req_zone $binary_remote_addr zone=test:1m rate=1r/m;\n\tserver {\n"
        assert text.count("\tserver {\n") == 1
        text = text.replace("\tserver {\n", zone)
        return text.replace("location = /execute {", "location = /execute {\nlimit_req zone=test;")

    one = Nginx(with_limit)
    try:
        check_error(ask(one, request(b"POST /execute")), 503, "overloaded")
        answer = ask(one, request(b"POST /execute"))
        check_error(answer, 429, "rate_limited")
        assert int(answer.one("retry-after")) >= 1
    finally:
        one.close()


def test_access_log_is_one_json_object_a_line(nginx):
    ask(nginx, request(b'GET /a"b\\c', b"X-Request-Id: logged", b'User-Agent: "\\\t\x01'))
    ask(nginx, b"garbage\r\n\r\n")
    talk(nginx.port, b"TRACE /\r\n")
    deadline = time.monotonic() + 5
    while len(nginx.log.read_text().splitlines()) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    lines = [json.loads(line) for line in nginx.log.read_text().splitlines()]
    assert len(lines) == 3
    assert lines[0]["request_id"] == "logged"
    assert lines[0]["uri"] == '/a"b\\c'
    assert lines[0]["status"] == 503
    for line in lines:
        assert datetime.datetime.fromisoformat(line["time"]).utcoffset() == datetime.timedelta(0)
        assert set(line) == {
            "time", "request_id", "remote_addr", "method", "uri", "status", "request_length",
            "bytes_sent", "request_time", "upstream_response_time", "upstream_status",
            "user_agent",
        }
