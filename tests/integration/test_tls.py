"""TLS in nginx: what is spoken, what is refused, redirects, and certificates that change on disk."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from certificates import Authority
from conftest import BUILD, CONF, TOP, free_port
from edge import (BODY_LIMIT, Answer, Events, Nginx, Responder, ask, check_error, connect, hang_up,
                  post, request, say_nothing, tell_parameters)
from test_nginx import MALFORMED


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("server")


@pytest.fixture(scope="module")
def shared(certificate):
    """An nginx for all tests that change nothing; behind it the service is away."""
    one = Nginx(tls=certificate, cors_origins="https://app.example")
    yield one
    one.close()


@pytest.fixture
def make_nginx(certificate):
    made = []

    def make(**settings):
        made.append(Nginx(tls=certificate, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def curl(where, path, *options, scheme="https", port=None):
    """What curl got, with headers; it trusts the tests' authority alone."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--include", "--max-time", "20", "--cacert",
         where.tls.authority, *options, f"{scheme}://localhost:{port or where.port}{path}"],
        capture_output=True)
    assert done.returncode == 0, done
    return Answer(done.stdout), done.stdout.partition(b" ")[0]


# --- What is spoken -------------------------------------------------------------------------------


def handshake(where, context):
    with socket.create_connection((where.host, where.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secured:
            return secured.version(), secured.cipher()[0], secured.selected_alpn_protocol()


@pytest.mark.parametrize("version, name", [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
                                           (ssl.TLSVersion.TLSv1_3, "TLSv1.3")])
def test_current_versions(shared, version, name):
    context = shared.tls.context
    context.minimum_version = context.maximum_version = version
    spoken, cipher, _ = handshake(shared, context)
    assert spoken == name
    assert "GCM" in cipher or "CHACHA20" in cipher


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(shared, version):
    """By the server: the client would have spoken them."""
    context = shared.tls.context
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError, match="(?i)alert protocol version"):
        handshake(shared, context)


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256",
                                     "ECDHE-ECDSA-AES128-SHA"])
def test_old_ciphers_are_refused(shared, ciphers):
    """No exchange without forward secrecy, no CBC."""
    context = shared.tls.context
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers + ":@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="(?i)alert handshake failure"):
        handshake(shared, context)


@pytest.mark.parametrize("offered, chosen", [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"),
                                             (["spdy/3"], None)])
def test_http2_is_offered(shared, offered, chosen):
    context = shared.tls.context
    context.set_alpn_protocols(offered)
    try:
        assert handshake(shared, context)[2] == chosen
    except ssl.SSLError as error:  # a protocol that is not known may also end the handshake
        assert chosen is None and "no application protocol" in str(error)


def test_another_authority_is_not_trusted(shared):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(shared, ssl.create_default_context())


def test_service_is_told_the_same(make_nginx):
    nginx = make_nginx()
    nginx.stand_in("control.sock", Responder(tell_parameters))
    for version in ("--http1.1", "--http2"):
        answer, _ = curl(nginx, "/a?b=c", version)
        told = json.loads(answer.body)
        assert (told["REMOTE_ADDR"], told["REQUEST_URI"]) == ("127.0.0.1", "/a?b=c")


# --- What nginx answers by itself -----------------------------------------------------------------


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_is_400_over_tls(shared, name):
    check_error(ask(shared, MALFORMED[name]), 400, "invalid_request")


OVER_HTTP2 = {
    "bad_escape": ("/%zz", [], 400, "invalid_request"),
    "nul": ("/%00", [], 400, "invalid_request"),
    "trace": ("/execute", ["-X", "TRACE"], 405, "method_not_allowed"),
    "metrics": ("/metrics", ["-H", "X-Forwarded-For: 10.0.0.1"], 404, "not_found"),
    "declared": ("/execute", ["-H", f"Content-Length: {BODY_LIMIT + 1}", "-d", "{}"], 413,
                 "payload_too_large"),
    "absent": ("/execute", ["-d", "{}"], 503, "overloaded"),
}


@pytest.mark.parametrize("name", OVER_HTTP2)
def test_errors_over_http2(certificate, name):
    """The same JSON, with its id, and readable by a page that may."""
    path, options, status, kind = OVER_HTTP2[name]
    nginx = Nginx(tls=certificate, cors_origins="https://app.example", metrics_allow="",
                  tls_hsts=3600)
    try:
        answer, protocol = curl(nginx, path, "--http2", "-H", "Origin: https://app.example", "-H",
                                "X-Request-Id: mine", *options)
    finally:
        nginx.close()
    assert protocol == b"HTTP/2"
    seen = check_error(answer, status, kind)["request_id"]
    if status == 400:  # the path comes before the fields: neither is known yet
        assert seen != "mine" and answer.one("access-control-allow-origin") == "*"
    else:
        assert seen == "mine"
        assert answer.one("access-control-allow-origin") == "https://app.example"
    assert answer.one("strict-transport-security") == "max-age=3600"


@pytest.mark.parametrize("option", ["--http1.1", "--http2"])
def test_dying_and_silent_service_over_tls(make_nginx, option):
    nginx = make_nginx()
    nginx.stand_in("execute.sock", hang_up)
    nginx.stand_in("control.sock", say_nothing)
    check_error(curl(nginx, "/execute", option, "-d", "{}")[0], 502, "internal")
    check_error(curl(nginx, "/health", option)[0], 504, "internal")


OVER_TLS = {
    "long_uri": (request(b"GET /" + b"a" * 20000), 414, "invalid_request"),
    "long_header": (request(b"GET /", b"X-Long: " + b"a" * 20000), 431, "invalid_request"),
    "transfer_coding": (post(b"Transfer-Encoding: gzip"), 501, "invalid_request"),
    "version": (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "invalid_request"),
    "trace": (request(b"TRACE /execute"), 405, "method_not_allowed"),
    "large": (post(b"Content-Length: %d" % (BODY_LIMIT + 1)), 413, "payload_too_large"),
    "absent": (request(b"GET /health"), 503, "overloaded"),
}


@pytest.mark.parametrize("name", OVER_TLS)
def test_errors_over_tls(shared, name):
    data, status, kind = OVER_TLS[name]
    check_error(ask(shared, data), status, kind)


def test_events_pass_as_they_come_over_http2(make_nginx):
    """An event is there before the next one is written."""
    events = Events()
    nginx = make_nginx()
    nginx.stand_in("execute.sock", Responder(events))
    with subprocess.Popen(
            ["curl", "--silent", "--no-buffer", "--http2", "--cacert", nginx.tls.authority, "-d", "{}",
             f"https://localhost:{nginx.port}/execute"], stdout=subprocess.PIPE) as client:
        assert client.stdout.read(len(events.FIRST)) == events.FIRST
        events.read.set()
        assert client.stdout.read() == events.LAST


def test_plain_http_on_the_port_of_https(shared):
    """Says what is wrong; a redirect would hide that a key was just sent in the clear."""
    with socket.create_connection((shared.host, shared.port), timeout=10) as plain:
        plain.sendall(request(b"POST /execute", b"Content-Length: 2", b"Connection: close") + b"{}")
        answer = Answer(b"".join(iter(lambda: plain.recv(65536), b"")))
    data = check_error(answer, 400, "invalid_request")
    assert data["error"] == "This port speaks HTTPS, not plain HTTP"


# --- Redirect and HSTS ----------------------------------------------------------------------------


def test_redirect(make_nginx):
    """308, so that a POST stays one; with the JSON of all errors; whatever the path."""
    port = free_port()
    nginx = make_nginx(tls_redirect_port=port, cors_origins="https://app.example", tls_hsts=3600)
    for options, path in (([], "/"), (["-d", "{}"], "/execute?a=b"), (["-X", "DELETE"], "/%41//b"),
                          ([], "/metrics")):
        answer, _ = curl(nginx, path, "-H", "Origin: https://app.example", *options, "--path-as-is",
                         scheme="http", port=port)
        check_error(answer, 308, "invalid_request")
        assert answer.one("location") == f"https://localhost:{nginx.port}{path}"
        assert answer.all("strict-transport-security") == []  # browsers heed it over TLS alone
    answer = Answer(curl_plain(port, b"GET / HTTP/1.0\r\n\r\n"))
    assert answer.one("location") == f"https://127.0.0.1:{nginx.port}/"
    check_error(Answer(curl_plain(port, MALFORMED["uri_bad_escape"])), 400, "invalid_request")


def curl_plain(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(data)
        plain.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: plain.recv(65536), b""))


def test_post_survives_the_redirect(make_nginx):
    port = free_port()
    nginx = make_nginx(tls_redirect_port=port)
    nginx.stand_in("execute.sock", Responder(tell_parameters))
    done = subprocess.run(
        ["curl", "--silent", "--location", "--cacert", nginx.tls.authority, "--data", "{}",
         f"http://localhost:{port}/execute?a=b"], capture_output=True, check=True)
    told = json.loads(done.stdout)
    assert (told["REQUEST_METHOD"], told["REQUEST_URI"]) == ("POST", "/execute?a=b")
    assert told["CONTENT_LENGTH"] == "2"


def test_no_hsts_unless_configured(shared, make_nginx):
    assert ask(shared, request(b"GET /")).all("strict-transport-security") == []
    answer = ask(make_nginx(tls_hsts=31536000), request(b"GET /%zz"))
    assert answer.one("strict-transport-security") == "max-age=31536000"


# --- The whole service ----------------------------------------------------------------------------


def run(**variables):
    """deploy/run.sh, which is expected to refuse."""
    settings = variables.pop("settings", {})
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    environment = {**os.environ, "PORT": str(free_port()), "CONF": str(CONF), "BUILD": str(BUILD),
                   "ACCESS_LOG": "off", "VIVARIUM_SCOPE": "no", **variables}
    return subprocess.run([TOP / "deploy" / "run.sh", *sets], env=environment, capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL)


def check_tls(certificate, key):
    done = subprocess.run([TOP / "deploy" / "check-tls.sh", certificate, key], capture_output=True,
                          text=True, stdin=subprocess.DEVNULL)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_refused_before_the_start(certificate, authority, tmp_path):
    """In a second, and in words."""
    other = authority.issue("other")
    started = time.monotonic()
    for settings, words in (
        ({"tls_certificate": "/nonexistent.pem", "tls_certificate_key": certificate.key},
         "there is no file /nonexistent.pem"),
        ({"tls_certificate": certificate.certificate, "tls_certificate_key": other.key},
         "is not the key of"),
        ({"tls_certificate": certificate.certificate},
         "tls_certificate and tls_certificate_key go together"),
        ({"tls_redirect_port": 80}, "tls_redirect_port needs a tls_certificate"),
        ({"cors_origins": "https://app.example/"}, "not \"https://app.example/\""),
        ({"trusted_proxies": "10.0.0.1; return 200"}, "not \"10.0.0.1;\""),
        ({"rate_limit": "10"}, "not \"10\""),
    ):
        done = run(settings=settings)
        assert done.returncode == 1, done
        assert words in done.stderr, done
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("listen, has_key, more, warned", [
    ("0.0.0.0", True, {}, True),
    ("::", True, {}, True),
    ("0.0.0.0", False, {}, False),
    ("127.0.0.1", True, {}, False),
    ("::1", True, {}, False),
    ("0.0.0.0", True, {"trusted_proxies": "10.0.0.0/8"}, False),
    ("0.0.0.0", True, {"tls": True}, False),
])
def test_keys_in_the_clear_are_warned_of(certificate, tmp_path, listen, has_key, more, warned):
    """Where others than this machine could read them. (What stops the start here comes after that.)"""
    settings = dict(more, template_program="/nonexistent")
    if has_key:
        settings["key_file"] = tmp_path / "keys"
        settings["key_file"].touch(mode=0o600)
    if settings.pop("tls", False):
        settings.update(tls_certificate=certificate.certificate, tls_certificate_key=certificate.key)
    done = run(settings=settings, LISTEN=listen)
    assert done.returncode == 1 and "vivarium did not start" in done.stderr
    assert ("WARNING: API keys and scripts cross the network in the clear" in done.stderr) == warned


def test_redirect_from_a_port_that_is_taken(certificate):
    settings = {"tls_certificate": certificate.certificate, "tls_certificate_key": certificate.key}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(settings=dict(settings, tls_redirect_port=port))
    assert done.returncode == 1 and f"port {port} on 127.0.0.1 is in use" in done.stderr
    done = run(settings=dict(settings, tls_redirect_port=12345), PORT="12345")
    assert done.returncode == 1 and "the port of HTTPS itself" in done.stderr


def test_what_is_wrong_with_a_certificate(certificate, authority, tmp_path):
    assert check_tls(certificate.certificate, certificate.key) == (0, "")
    for days, words in ((0, "has run out"), (3, "runs out within a week")):
        old = authority.issue("old", days=days)
        await_true(lambda old=old, words=words: words in check_tls(old.certificate, old.key)[1], 5)
        status, said = check_tls(old.certificate, old.key)
        assert status == 0 and "WARNING" in said and words in said
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n")
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "pkey", "-in", certificate.key, "-aes256", "-passout", "pass:secret",
                    "-out", locked], check=True)
    shown = tmp_path / "shown.key"
    shutil.copy(certificate.key, shown)
    shown.chmod(0o644)
    for pair, status, words in (
        ((garbage, certificate.key), 1, "is no certificate in PEM format"),
        ((certificate.key, certificate.key), 1, "is no certificate in PEM format"),
        ((certificate.certificate, garbage), 1, "is no private key in PEM format"),
        ((certificate.certificate, locked), 1, "has a passphrase"),
        ((tmp_path, certificate.key), 1, "there is no file"),
        ((certificate.certificate, shown), 0, "everybody on this machine can read"),
    ):
        found, said = check_tls(*pair)
        assert found == status and words in said, pair


def serial(where):
    """The serial number of the certificate that is shown."""
    with connect(where) as secured:
        return secured.getpeercert()["serialNumber"]


def await_true(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def busy(service):
    return service.get("/health").data["workers"]["busy"]


def test_service_over_https(make_service, certificate):
    """What the configuration says reaches nginx; and who hangs up has the script ended."""
    redirect = free_port()
    service = make_service(tls=certificate, tls_redirect_port=redirect, tls_hsts=60, workers=2)
    for version in ("--http1.1", "--http2"):
        answer, _ = curl(service, "/execute", version, "--json", '{"script": "def main(): return 42"}')
        assert answer.status == 200 and json.loads(answer.body)["result"] == 42
        assert answer.one("strict-transport-security") == "max-age=60"
        assert answer.all("access-control-allow-origin") == []
    answer, _ = curl(service, "/live", scheme="http", port=redirect)
    assert answer.status == 308
    assert answer.one("location") == f"https://localhost:{service.port}/live"
    script = json.dumps({"script": "import time\ndef main(): time.sleep(60)", "timeout": 60})
    with subprocess.Popen(
            ["curl", "--silent", "--http2", "--cacert", service.tls.authority, "--json", script,
             f"https://localhost:{service.port}/execute"]) as client:
        await_true(lambda: busy(service) == 1)
        client.terminate()
        await_true(lambda: busy(service) == 0)


def test_renewed_certificate_is_taken_into_use(make_service, authority):
    """Without a restart, and never half of it; what runs meanwhile goes on."""
    ours = authority.issue("renewed")
    new = authority.issue("new")
    service = make_service(tls=ours)
    first = serial(service)
    assert service.log().count("Ready on https://localhost:") == 1
    assert service.execute("def main(): return 42").data["result"] == 42

    # one file without the other: said once, and nothing changes
    os.replace(new.certificate, ours.certificate)
    await_true(lambda: "stays until that is mended" in service.log())
    assert serial(service) == first

    slow = subprocess.Popen(
        ["curl", "--silent", "--cacert", authority.certificate, "--json",
         json.dumps({"script": "import time\ndef main():\n    time.sleep(3)\n    return 'slow'"}),
         f"https://localhost:{service.port}/execute"], stdout=subprocess.PIPE)
    time.sleep(0.3)
    os.replace(new.key, ours.key)
    await_true(lambda: serial(service) != first)
    assert "The certificate was renewed" in service.log()
    assert json.loads(slow.communicate(timeout=20)[0])["result"] == "slow"
    assert service.log().count("stays until that is mended") == 1
