"""What nginx answers by itself: every such answer is ASCII JSON of the contract's shape.

Most of it is asked of the running service over raw sockets, because no well-behaved client sends
such requests. What needs a service that is absent, dying or silent is asked of a second nginx,
rendered from the same template, with stand-ins behind its sockets.
"""

import datetime
import json
import re
import socket
import time

import pytest

import described
from edge import (BODY_LIMIT, CHUNKED, HOST, Answer, Nginx, ask, check_error, hang_up, post, request,
                   say_garbage, say_nothing, talk)


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
        (b"//health", "GET, HEAD, OPTIONS"),
        (b"/?a=b", "GET, HEAD, OPTIONS"),
        (b"/openapi.json", "GET, HEAD, OPTIONS"),
        (b"/metrics", "GET, HEAD, OPTIONS"),
    ],
)
def test_trace_and_connect_are_405_with_allow(service, method, target, allow):
    answer = ask(service, request(method + b" " + target))
    check_error(answer, 405, "method_not_allowed")
    assert answer.one("allow") == allow


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT"])
@pytest.mark.parametrize("target", [b"/executes", b"/execute/x", b"/nothing?/execute", b"/openapixjson"])
def test_trace_and_connect_elsewhere_are_404(service, method, target):
    """As with every other method, a path that is not there is not found."""
    answer = ask(service, request(method + b" " + target))
    check_error(answer, 404, "not_found")
    assert not answer.all("allow")


def test_every_path_is_known_to_nginx(service):
    """The dispatcher's routes and the list of paths in nginx's configuration are the same."""
    for path in described.of_the_tree().document["paths"]:
        answer = ask(service, request(b"TRACE " + path.encode()))
        check_error(answer, 405, "method_not_allowed")


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
    raw = talk(service, data)
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
    raw = talk(service, b"TRACE /\r\n")
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
    raw = talk(nginx, request(b"HEAD /health", b"Connection: close"))
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


def test_access_log_is_one_json_object_a_line(nginx):
    ask(nginx, request(b'GET /a"b\\c', b"X-Request-Id: logged", b'User-Agent: "\\\t\x01'))
    ask(nginx, b"garbage\r\n\r\n")
    talk(nginx, b"TRACE /\r\n")
    deadline = time.monotonic() + 5
    while len(nginx.log.read_text().splitlines()) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    lines = [json.loads(line) for line in nginx.log.read_text().splitlines()]
    assert len(lines) == 3
    [logged] = [line for line in lines if line["request_id"] == "logged"]  # in any order
    assert logged["path"] == '/a"b\\c'
    assert logged["status"] == 503 and logged["kind"] == "overloaded"
    for line in lines:
        assert datetime.datetime.fromisoformat(line["time"]).utcoffset() == datetime.timedelta(0)
        assert set(line) == {
            "time", "level", "role", "request_id", "client", "method", "path", "status", "kind",
            "total_ms", "request_bytes", "answer_bytes",
        }
