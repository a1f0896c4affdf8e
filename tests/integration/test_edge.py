"""What nginx does by configuration: CORS, limits by address, proxies, who reads /metrics, streams.

Each test has an nginx of its own, rendered from the template, and where something is to answer
behind it, a stand-in that tells what nginx sent.
"""

import json
import os
import subprocess
import time

import pytest

from conftest import TOP
from edge import (BODY_LIMIT, CHUNKED, Answer, Events, Nginx, Responder, ask, check_error, connect,
                  post, read_until, request, tell_parameters)

APP = b"Origin: https://app.example"
STRANGER = b"Origin: https://evil.example"
PREFLIGHT = b"Access-Control-Request-Method: POST"


@pytest.fixture
def make_nginx():
    """A factory of nginxes, each with stand-ins that tell the parameters they were sent."""
    made = []

    def make(handle=tell_parameters, **settings):
        one = Nginx(**settings)
        made.append(one)
        if handle:
            one.stand_in("execute.sock", Responder(handle))
            one.stand_in("control.sock", Responder(handle))
        return one

    yield make
    for one in made:
        one.close()


def get(where, path=b"/", *headers, source=None):
    return ask(where, request(b"GET " + path, *headers), source=source)


def parameters(where, *headers, source=None):
    answer = get(where, b"/", *headers, source=source)
    assert answer.status == 200, answer
    return json.loads(answer.body)


def cross_origin(answer):
    """The headers of CORS, and whether caches are told that they depend on the origin."""
    found = {name: value for name, value in answer.headers if name.startswith("access-control-")}
    assert len(found) == sum(name.startswith("access-control-") for name, _ in answer.headers)
    return found, "Origin" in answer.all("vary")


# --- CORS -----------------------------------------------------------------------------------------

EXPOSED = "X-Request-Id, Retry-After, Server-Timing, X-Should-Retry, Mcp-Session-Id"


def test_no_cors_unless_configured(make_nginx):
    """Off at first: not a header of it, and a preflight is the service's OPTIONS."""
    nginx = make_nginx()
    assert cross_origin(get(nginx, b"/", APP)) == ({}, False)
    assert cross_origin(get(nginx, b"/%zz", APP)) == ({}, False)
    answer = ask(nginx, request(b"OPTIONS /execute", APP, PREFLIGHT))
    assert cross_origin(answer) == ({}, False)
    assert json.loads(answer.body)["REQUEST_METHOD"] == "OPTIONS"


@pytest.mark.parametrize("ask_for, status", [
    (request(b"GET /", APP), 200),
    (request(b"GET /", APP, b"Host: two"), 400),
    (request(b"GET /metrics", APP), 404),
    (request(b"TRACE /execute", APP), 405),
    (post(APP, b"Content-Length: %d" % (BODY_LIMIT + 1)), 413),
    (request(b"GET /", APP, b"X-Long: " + b"a" * 20000), 431),
    (post(APP, b"Transfer-Encoding: gzip"), 501),
    (post(APP, CHUNKED[:-2], body=b"zz\r\n"), 400),
])
def test_every_answer_can_be_read_by_a_listed_origin(make_nginx, ask_for, status):
    """Errors too, whoever made them."""
    nginx = make_nginx(cors_origins="https://app.example http://localhost:3000", metrics_allow="")
    answer = ask(nginx, ask_for)
    assert answer.status == status, answer
    assert cross_origin(answer) == ({"access-control-allow-origin": "https://app.example",
                                     "access-control-expose-headers": EXPOSED}, True)


@pytest.mark.parametrize("path, status", [(b"/%zz", 400), (b"/" + b"a" * 20000, 414)])
@pytest.mark.parametrize("origin", [APP, STRANGER])
def test_bad_request_line_can_be_read_by_all(make_nginx, path, status, origin):
    """Nobody has looked at the origin yet, and there is nothing in that answer to keep from anyone."""
    answer = get(make_nginx(cors_origins="https://app.example"), path, origin)
    check_error(answer, status, "invalid_request")
    assert cross_origin(answer) == ({"access-control-allow-origin": "*",
                                     "access-control-expose-headers": EXPOSED}, True)


def test_absent_service_can_be_read(make_nginx):
    """A page is let through to the answer that says so."""
    nginx = make_nginx(handle=None, cors_origins="https://app.example")
    assert ask(nginx, request(b"OPTIONS /execute", APP, PREFLIGHT)).status == 204
    answer = ask(nginx, post(APP, b"Content-Length: 2", body=b"{}"))
    check_error(answer, 503, "overloaded")
    assert answer.one("access-control-allow-origin") == "https://app.example"


@pytest.mark.parametrize("origin", [
    b"https://evil.example", b"http://app.example", b"https://app.example:444",
    b"https://app.example.evil.example", b"https://app.exampl", b"https://app.example/",
    b"https://a.app.example", b"https://app_example", b"null", b"*",
    b"https://app.example https://evil.example",
])
def test_other_origins_get_nothing(make_nginx, origin):
    """A listed origin is compared as a whole; caches learn that the answer depends on it."""
    nginx = make_nginx(cors_origins="https://app.example")
    for ask_for in (request(b"GET /", b"Origin: " + origin), request(b"TRACE /", b"Origin: " + origin)):
        assert cross_origin(ask(nginx, ask_for)) == ({"access-control-expose-headers": EXPOSED}, True)
    answer = ask(nginx, request(b"OPTIONS /execute", b"Origin: " + origin, PREFLIGHT))
    assert cross_origin(answer) == ({"access-control-expose-headers": EXPOSED}, True)
    assert json.loads(answer.body)["REQUEST_METHOD"] == "OPTIONS"


@pytest.mark.parametrize("path", [b"/execute", b"/mcp", b"/health", b"/nowhere", b"/metrics", b"/a?b"])
def test_preflight(make_nginx, path):
    """nginx answers it, for any path, so that the answer to what follows can be read."""
    nginx = make_nginx(handle=None, cors_origins="https://app.example")
    answer = ask(nginx, request(b"OPTIONS " + path, APP, PREFLIGHT, b"X-Request-Id: mine",
                                b"Access-Control-Request-Headers: content-type,authorization"))
    assert answer.status == 204 and not answer.body
    found, varies = cross_origin(answer)
    assert varies
    allowed = {name.strip() for name in found.pop("access-control-allow-headers").split(",")}
    assert allowed >= {"Content-Type", "Authorization", "X-Api-Key", "X-Request-Id", "Accept"}
    assert "*" not in allowed
    assert found == {"access-control-allow-origin": "https://app.example",
                     "access-control-allow-methods": "GET, HEAD, POST",
                     "access-control-max-age": "7200"}
    assert answer.one("x-request-id") == "mine"


@pytest.mark.parametrize("headers", [[APP], [PREFLIGHT]])
def test_options_that_is_no_preflight_is_the_services(make_nginx, headers):
    nginx = make_nginx(cors_origins="https://app.example")
    answer = ask(nginx, request(b"OPTIONS /execute", *headers))
    assert json.loads(answer.body)["REQUEST_METHOD"] == "OPTIONS"


def test_nobody_reaches_the_preflights_own_location(make_nginx):
    nginx = make_nginx(cors_origins="https://app.example")
    answer = get(nginx, b"//preflight", APP)
    assert json.loads(answer.body)["SCRIPT_NAME"] == "/preflight"


@pytest.mark.parametrize("headers", [[], [APP], [STRANGER], [b"Origin: null"]])
def test_all_origins(make_nginx, headers):
    """With "*" the answer is the same for everyone, asked or not: nothing varies."""
    nginx = make_nginx(cors_origins="*")
    assert cross_origin(get(nginx, b"/", *headers)) == (
        {"access-control-allow-origin": "*", "access-control-expose-headers": EXPOSED}, False)
    answer = ask(nginx, request(b"OPTIONS /execute", PREFLIGHT, *headers))
    assert answer.status == 204
    assert answer.one("access-control-allow-origin") == "*"


def test_credentials_are_not_for_pages(make_nginx):
    """Nothing here lives in cookies; a page sends its key in a header."""
    nginx = make_nginx(cors_origins="https://app.example")
    for answer in (get(nginx, b"/", APP), ask(nginx, request(b"OPTIONS /", APP, PREFLIGHT))):
        assert answer.all("access-control-allow-credentials") == []


# --- Limits by address ----------------------------------------------------------------------------


def refused(answer):
    check_error(answer, 429, "rate_limited")
    return int(answer.one("retry-after"))


def test_rate_limit(make_nginx):
    """The burst passes, what is over it is refused, in the contract's form."""
    nginx = make_nginx(rate_limit="1/m", rate_limit_burst=2)
    assert [get(nginx).status for _ in range(3)] == [200, 200, 200]
    assert 60 <= refused(get(nginx)) <= 63
    assert refused(ask(nginx, post(b"Content-Length: 2", body=b"{}"))) >= 60


def test_rate_limit_comes_back(make_nginx):
    """After Retry-After the next one passes."""
    nginx = make_nginx(rate_limit="2/s", rate_limit_burst=0)
    assert get(nginx).status == 200
    wait = refused(get(nginx))
    assert wait == 1
    time.sleep(wait)
    assert get(nginx).status == 200


def test_health_and_live_are_never_limited(make_nginx):
    """A load balancer asks for them, and they do not use up what the others may."""
    nginx = make_nginx(rate_limit="1/m", rate_limit_burst=0, connections_per_address=1)
    for _ in range(5):
        assert get(nginx, b"/live").status == get(nginx, b"/health?x=1").status == 200
    assert get(nginx).status == 200
    refused(get(nginx))
    refused(get(nginx, b"/healthy"))
    assert get(nginx, b"/live").status == get(nginx, b"/health").status == 200


def test_preflights_are_not_counted(make_nginx):
    """A page that asks once must not be refused for having asked twice; and it can read the 429."""
    nginx = make_nginx(rate_limit="1/m", rate_limit_burst=0, cors_origins="https://app.example")
    for _ in range(3):
        assert ask(nginx, request(b"OPTIONS /execute", APP, PREFLIGHT)).status == 204
    assert get(nginx, b"/", APP).status == 200
    answer = get(nginx, b"/", APP)
    refused(answer)
    assert answer.one("access-control-allow-origin") == "https://app.example"
    assert "Retry-After" in answer.one("access-control-expose-headers")


def test_each_address_has_its_own(make_nginx):
    nginx = make_nginx(rate_limit="1/m", rate_limit_burst=0)
    assert get(nginx, source="127.0.0.1").status == 200
    refused(get(nginx, source="127.0.0.1"))
    assert get(nginx, source="127.0.0.2").status == 200
    refused(get(nginx, source="127.0.0.2"))


@pytest.mark.parametrize("first, second, shared", [
    (b"2001:db8::1", b"2001:db8::2", True),
    (b"2001:db8::1", b"2001:db8::ffff:ffff:ffff:ffff", True),
    (b"2001:db8::1", b"2001:db8:0:1::1", False),
    (b"2001:db8:a0a:a0a::", b"2001:db8:a0a:a0a:a0a:a0a:a0a:a0a", True),  # bytes like line ends
    (b"::1", b"::2", True),
    (b"10.0.0.1", b"10.0.0.2", False),
    (b"10.0.0.1", b"::10.0.0.1", False),
])
def test_ipv6_counts_by_network(make_nginx, first, second, shared):
    """Who has IPv6 has 2^64 addresses, which are one client all the same."""
    nginx = make_nginx(rate_limit="1/m", rate_limit_burst=0, trusted_proxies="127.0.0.1")
    assert get(nginx, b"/", b"X-Forwarded-For: " + first).status == 200
    assert get(nginx, b"/", b"X-Forwarded-For: " + first).status == 429
    answer = get(nginx, b"/", b"X-Forwarded-For: " + second)
    assert answer.status == (429 if shared else 200)


def test_connections_per_address(make_nginx):
    """Counted are requests that are read or answered: slow senders are, idle connections are not."""
    nginx = make_nginx(connections_per_address=2)
    idle = [connect(nginx) for _ in range(3)]
    slow = [connect(nginx) for _ in range(2)]
    for each in slow:
        each.sendall(post(b"Content-Length: 2", b"Expect: 100-continue"))
        read_until(each, b"100 Continue\r\n\r\n")  # it is let in, and counted
    assert refused(get(nginx)) == 1
    assert get(nginx, source="127.0.0.2").status == 200
    for each in slow:
        each.sendall(b"{}")
        assert Answer(each.recv(65536)).status == 200
    deadline = time.monotonic() + 5
    while get(nginx).status != 200:  # an answer is there a moment before its request is gone
        assert time.monotonic() < deadline
    for each in idle + slow:
        each.close()


def test_limits_are_off_at_first(make_nginx):
    nginx = make_nginx()
    assert {get(nginx).status for _ in range(100)} == {200}


# --- Proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen, source, seen", [
    ("127.0.0.1", "127.0.0.3", "127.0.0.3"),
    ("0.0.0.0", "127.0.0.3", "127.0.0.3"),
    ("::1", None, "::1"),
    ("::", None, "::1"),
])
def test_service_is_told_the_address(make_nginx, listen, source, seen):
    nginx = make_nginx(listen=listen)
    assert parameters(nginx, source=source)["REMOTE_ADDR"] == seen


def test_every_address_has_both_kinds(make_nginx):
    """An IPv4 client of [::] has an IPv4 address: else all of them would be one network."""
    nginx = make_nginx(listen="::")
    nginx.host = "127.0.0.1"
    assert parameters(nginx)["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("forwarded, seen", [
    (b"203.0.113.7", "203.0.113.7"),
    (b"2001:db8::7", "2001:db8::7"),
    (b"198.51.100.1, 203.0.113.7", "203.0.113.7"),  # what the client wrote itself is before it
    (b"198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),  # one proxy behind another
    (b"10.1.2.3", "10.1.2.3"),
    (b"nonsense", "127.0.0.1"),
    (b"198.51.100.1, nonsense", "127.0.0.1"),
    (b"", "127.0.0.1"),
])
def test_forwarded_address_of_a_trusted_proxy(make_nginx, forwarded, seen):
    nginx = make_nginx(trusted_proxies="127.0.0.1 10.0.0.0/8 2001:db8:ffff::/48")
    assert parameters(nginx, b"X-Forwarded-For: " + forwarded)["REMOTE_ADDR"] == seen


def test_forwarded_address_of_anybody_else(make_nginx):
    """Is ignored: a client could be whoever it likes."""
    claim = b"X-Forwarded-For: 203.0.113.7"
    assert parameters(make_nginx(), claim)["REMOTE_ADDR"] == "127.0.0.1"
    nginx = make_nginx(trusted_proxies="127.0.0.1")
    assert parameters(nginx, claim, source="127.0.0.2")["REMOTE_ADDR"] == "127.0.0.2"


# --- Who reads /metrics ---------------------------------------------------------------------------


@pytest.mark.parametrize("allow, source, status", [
    ("127.0.0.0/8 ::1", "127.0.0.1", 200),
    ("127.0.0.0/8 ::1", "127.9.9.9", 200),
    ("127.0.0.2", "127.0.0.2", 200),
    ("127.0.0.2", "127.0.0.1", 404),
    ("10.0.0.0/8 2001:db8::/32", "127.0.0.1", 404),
    ("", "127.0.0.1", 404),
])
def test_metrics_are_for_some(make_nginx, allow, source, status):
    """To everybody else they are not there."""
    nginx = make_nginx(metrics_allow=allow)
    for path in (b"/metrics", b"/%6detrics", b"/x/..//metrics?a=b"):
        answer = get(nginx, path, source=source)
        assert answer.status == status
        if status == 404:
            check_error(answer, 404, "not_found")
            assert ask(nginx, request(b"POST " + path), source=source).status == 404
    assert get(nginx, b"/metric", source=source).status == 200


def test_metrics_through_a_proxy(make_nginx):
    """It is the client that may or may not, and not the proxy."""
    nginx = make_nginx(trusted_proxies="127.0.0.1", metrics_allow="127.0.0.1 10.0.0.5")
    assert get(nginx, b"/metrics").status == 200
    assert get(nginx, b"/metrics", b"X-Forwarded-For: 10.0.0.5").status == 200
    assert get(nginx, b"/metrics", b"X-Forwarded-For: 203.0.113.7").status == 404


def test_configuration_reaches_nginx(make_service):
    """Through deploy/run.sh: each key once, where its effect can be seen."""
    service = make_service(rate_limit="1/m", rate_limit_burst=2, trusted_proxies="127.0.0.0/8",
                           connections_per_address=2, metrics_allow="10.0.0.0/8",
                           cors_origins="https://app.example", workers=2)
    stranger = b"X-Forwarded-For: 203.0.113.7"
    check_error(get(service, b"/metrics", stranger), 404, "not_found")
    assert get(service, b"/metrics", b"X-Forwarded-For: 10.9.9.9").status == 200
    answers = [get(service, b"/", stranger, APP) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert {answer.one("access-control-allow-origin") for answer in answers} == {APP[8:].decode()}
    other = b"X-Forwarded-For: 203.0.113.8"
    with connect(service) as first, connect(service) as second:
        for slow in (first, second):
            slow.sendall(post(other, b"Content-Length: 2", b"Expect: 100-continue"))
            read_until(slow, b"100 Continue\r\n\r\n")
        assert get(service, b"/", other).status == 429


@pytest.mark.parametrize("name", ["CORS_ORIGINS", "TLS_CERTIFICATE", "TLS_CERTIFICATE_KEY",
                                  "TRUSTED_PROXIES", "METRICS_ALLOW", "RATE_LIMIT", "TLS_HSTS"])
def test_no_value_breaks_out(name):
    """The renderer refuses by itself what vivarium --check-config would not have let through."""
    def render(value):
        done = subprocess.run([TOP / "deploy" / "render-nginx.sh"], capture_output=True, text=True,
                              env={**os.environ, "RUN": "/run/x", name: value})
        return done.returncode, done.stdout

    assert render("10/s" if name == "RATE_LIMIT" else "10")[0] == 0
    for character in ";{}\"'\\$#|&!`()<>?^\n\r\x7f\xe9":
        assert render(f"10{character}/s") == (1, ""), repr(character)


# --- Streams --------------------------------------------------------------------------------------


def test_events_pass_as_they_come(make_nginx):
    """X-Accel-Buffering: no is heeded: an event is there before the next one is written."""
    events = Events()
    nginx = make_nginx(handle=events, cors_origins="*")
    with connect(nginx) as connection:
        connection.sendall(post(b"Content-Length: 2", b"Accept-Encoding: gzip", APP, body=b"{}"))
        head = read_until(connection, events.FIRST)
        assert b"Content-Encoding" not in head and b"X-Accel" not in head
        assert b"Access-Control-Allow-Origin: *" in head
        events.read.set()
        read_until(connection, events.LAST)
