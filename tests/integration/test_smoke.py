"""make smoke: passes against a good service, and fails where one thing is wrong with it."""

import http.client
import http.server
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import threading

import pytest

from certificates import make_self_signed
from conftest import TOP
from keyring import KeyFile

SCRIPT = TOP / "deploy" / "smoke.py"
SPEC = importlib.util.spec_from_file_location("smoke", SCRIPT)
smoke = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(smoke)


class Spoiler(http.server.ThreadingHTTPServer):
    """Passes requests on to a service, and spoils its answers: spoil(path, request body, answer)
    changes the answer's status, headers and body."""

    daemon_threads = True

    def __init__(self, service, spoil):
        super().__init__(("127.0.0.1", 0), SpoilerHandler)
        self.service, self.spoil = service, spoil

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_arguments):
        """Clients that trust nobody hang up."""


class SpoilerHandler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def pass_on(self):
        server, length = self.server, int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length <= smoke.BODY_LIMIT_BYTES else b""
        connection = http.client.HTTPConnection(server.service.host, server.service.port)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        answer = {"status": response.status, "body": response.read(),
                  "headers": {k: v for k, v in response.getheaders() if k != "Transfer-Encoding"}}
        connection.close()
        server.spoil(self.path, body, answer)
        self.send_response_only(answer["status"])
        answer["headers"]["Content-Length"] = str(len(answer["body"]))
        for name, value in answer["headers"].items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer["body"])

    do_GET = do_POST = do_HEAD = do_OPTIONS = do_DELETE = pass_on

    def log_message(self, *_arguments):
        """Quiet."""


@pytest.fixture
def spoil(service):
    """Makes such servers."""
    made = []

    def make(change):
        made.append(Spoiler(service, change))
        threading.Thread(target=made[-1].serve_forever, args=(0.01,), daemon=True).start()
        return made[-1]
    yield make
    for server in made:
        server.shutdown()
        server.server_close()


def run(*arguments):
    return subprocess.run(["/usr/bin/python3", SCRIPT, *arguments], capture_output=True, text=True,
                          timeout=60, check=False)


def failed_lines(done):
    return [line for line in done.stdout.splitlines() if line.startswith("FAIL")]


# --- The command ----------------------------------------------------------------------------------


def test_good_service(service):
    """A line for each check, the counts, exit status 0; by make as well."""
    url = f"http://{service.host}:{service.port}"
    done = subprocess.run(["make", "-s", "-C", TOP, "smoke", f"URL={url}"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0 and not failed_lines(done), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(smoke.CHECKS) + 1 and len(lines) > 29
    assert all(line.startswith("ok  ") for line in lines[:-1])
    assert re.fullmatch(rf"127\.0\.0\.1:{service.port}: {len(lines) - 1} passed, 0 failed in "
                        r"\d+\.\d s", lines[-1])


def test_bad_service(spoil):
    """The check that fails says why, the others go on, exit status 1."""
    def change(path, _body, answer):
        if path == "/live":
            answer["status"] = 500
    done = run(spoil(change).url)
    failed = failed_lines(done)
    assert done.returncode == 1 and any("/live" in line and "500" in line for line in failed)
    # a server in between that waits for whole answers streams none: that is found, too
    assert [line for line in failed if "/live" not in line and "server-sent" not in line] == []
    assert f"{len(failed)} failed" in done.stdout.splitlines()[-1]


def test_no_service():
    """Nobody there, and what is no URL: exit status 2, in one line."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        for url in (f"http://127.0.0.1:{free.getsockname()[1]}", "127.0.0.1", "gopher://x"):
            done = run(url)
            assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
            assert done.stdout == "" and url in done.stderr


def test_certificates(spoil, tmp_path):
    """Not trusted by itself, but by --cacert and --insecure."""
    certificate, context = make_self_signed(tmp_path)
    server = spoil(lambda *_: None)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    assert run(url).returncode == 2
    for option in (["--cacert", certificate], ["--insecure"]):
        done = run(url, *option)
        assert len(failed_lines(done)) <= 1, done.stdout


# --- Each thing that may be wrong -----------------------------------------------------------------


def header(name, value=None):
    """Takes a header away, or sets it."""
    def change(_path, _body, answer):
        if answer["headers"].pop(name, None) is not None and value is not None:
            answer["headers"][name] = value
    return change


def text(old, new):
    """Other words in the body."""
    def change(_path, _body, answer):
        answer["body"] = answer["body"].replace(old.encode(), new.encode())
    return change


def status(old, new):
    """Another status."""
    def change(_path, _body, answer):
        answer["status"] = new if answer["status"] == old else answer["status"]
    return change


def member(key, value=None):
    """Takes a member of the answer to a script away, or sets it."""
    def change(path, _body, answer):
        if path == "/execute":
            data = json.loads(answer["body"])
            data.pop(key, None)
            answer["body"] = json.dumps({**data, key: value} if value else data).encode()
    return change


def page(name, body):
    """Another page."""
    def change(path, _body, answer):
        if path == name:
            answer["body"] = json.dumps(body).encode()
    return change


@pytest.mark.parametrize("check, change", [
    ("value", text("42", "43")), ("value", member("usage")), ("value", member("stderr")),
    ("value", header("X-Request-Id")), ("value", header("Cache-Control")),
    ("value", header("X-Content-Type-Options")), ("value", header("Content-Type", "text/html")),
    ("value", member("timestamp", "2026-11-20T12:00:00")), ("value", text("\\u00e9", "\u00e9")),
    ("value", member("request_id", "another")), ("value", status(200, 500)),
    ("value", member("error", "no")), ("value", page("/execute", [])),
    ("request_id", text("smoke.1", "smoke.2")), ("inputs", text("00ff", "ff00")),
    ("outputs", member("files")), ("program", text("guard", "")), ("rich", text("$type", "type")),
    ("frame", text('"result": 3', '"result": 4')), ("plot", member("visualizations")),
    ("plot", text("iVBOR", "xxxxx")), ("unknown_field", member("warnings")),
    ("invalid_requests", status(400, 200)), ("invalid_requests", text('"field"', '"fields"')),
    ("syntax", text("Syntax error", "Error")), ("no_main", text("ran", "")),
    ("exception", text('"line": 2', '"line": 3')), ("exception", member("traceback")),
    ("exits", text('"exit_code": 3', '"exit_code": 0')), ("not_json", text("of type set", "")),
    ("result_too_large", status(400, 500)), ("memory", text("MiB", "MB")),
    ("signals", text("SIGABRT", "SIGSEGV")), ("timeouts", status(408, 504)),
    ("timeouts", header("X-Should-Retry")), ("timeouts", text("begun", "")),
    ("refused_calls", text('"refused"', '"denied"')), ("confined", text("[65534", "[0")),
    ("media_types", status(415, 400)), ("too_large", status(413, 500)),
    ("unknown_paths", header("Allow")), ("unknown_paths", status(404, 200)),
    ("pages", text("vivarium", "other")), ("health", text('"seccomp"', '"other"')),
    ("health", page("/health", {"status": "healthy"})), ("openapi", text("3.1.0", "3.0.0")),
    ("openapi", page("/openapi.json", {})),
    ("libraries", text("import pandas as pd", "import pandas")),
    ("metrics", text("# TYPE", "# UNTYPED")), ("metrics", header("Content-Type", "text/html")),
    ("mcp", text("run_python", "run_ruby")), ("mcp", text('"42"', '"43"')),
    ("stream", lambda *_: None), ("keys", status(200, 401)),
], ids=lambda item: item if isinstance(item, str) else "")
def test_wrong_answers(spoil, check, change):
    """Each is found by the check whose matter it is."""
    function = getattr(smoke, check)
    with pytest.raises((smoke.Wrong, smoke.VivariumError)):
        smoke.run_check(function, smoke.Service(spoil(change).url, None, None))


def test_right_answers(service):
    """The same checks find nothing wrong with the service itself."""
    for function in smoke.CHECKS:
        smoke.run_check(function, smoke.Service(f"http://{service.host}:{service.port}", None, None))


def test_key_that_nobody_asks_for(service):
    """A key was given, so a service that lets strangers in is not what was meant."""
    url = f"http://{service.host}:{service.port}"
    done = run(url, "--key", "secret")
    assert done.returncode == 1
    assert any("unauthorized" in line for line in failed_lines(done))


def test_service_with_keys(make_service, tmp_path, monkeypatch, capsys):
    """All is well with the key, and little without; it comes by the environment."""
    ring = KeyFile(tmp_path / "keys")
    key = ring.add("smoke")
    service = make_service(key_file=ring.path, workers=1, library_sets="base")
    monkeypatch.setattr(smoke, "CHECKS", [smoke.value, smoke.exception, smoke.stream, smoke.keys])
    monkeypatch.setattr(sys, "argv", ["smoke.py", f"http://{service.host}:{service.port}"])
    monkeypatch.setenv("VIVARIUM_KEY", key)
    assert smoke.main() == 0
    printed = capsys.readouterr().out
    assert "a key is asked for" in printed and key not in printed
    monkeypatch.setenv("VIVARIUM_KEY", "")
    assert smoke.main() == 1
    assert "status is 401" in capsys.readouterr().out


def test_make_hands_the_key_over():
    """In the environment, not among the arguments that everybody can read."""
    done = subprocess.run(["make", "-s", "-C", TOP, "smoke", "PYTHON=printenv VIVARIUM_KEY #"],
                          capture_output=True, text=True, env={**os.environ, "KEY": "a key"},
                          check=False)
    assert done.stdout == "a key\n", done.stderr
