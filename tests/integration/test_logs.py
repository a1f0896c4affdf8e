"""docs/logs.md: a line for each request, what is in it, and what never is."""

import datetime
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import BUILD, CONF, TOP, Service, free_port

SMALL = {"library_sets": "base", "workers": 1, "cells_per_worker": 2}
ALWAYS = {"time", "level", "role", "request_id", "client", "method", "path", "status", "kind",
          "total_ms", "request_bytes", "answer_bytes"}
RUN = {"queue_ms", "fork_ms", "wall_ms", "cpu_ms", "memory_mb", "template", "parked"}


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def lines_of(service, request_id, count=1):
    """The lines of a request; they come after its answer."""
    deadline = time.monotonic() + 5
    while True:
        found = [line for line in json_lines(service.log()) if line.get("request_id") == request_id]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def line_of(service, request_id):
    found = lines_of(service, request_id)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="module")
def logged():
    with Service(log_requests="on", **SMALL) as instance:
        yield instance


def post(service, script, request_id, **fields):
    return service.post(json.dumps({"script": script, **fields}), X_Request_Id=request_id)


def test_run(logged):
    """All that the answer says about its making, and more."""
    answer = post(logged, "def main():\n    return 'x' * 10", "log-run")
    line = line_of(logged, "log-run")
    assert set(line) == ALWAYS | RUN
    at = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
    assert abs(time.time() - at.timestamp()) < 60
    assert (line["level"], line["role"]) == ("info", "dispatcher")
    assert (line["method"], line["path"], line["status"], line["kind"]) == (
        "POST", "/execute", 200, "ok")
    assert line["client"] == "127.0.0.1"
    for name, value in answer.data["usage"].items():
        assert line[name] == value, name
    assert line["answer_bytes"] == len(answer.body)
    assert line["request_bytes"] == len(json.dumps({"script": "def main():\n    return 'x' * 10"}))
    assert line["total_ms"] >= line["wall_ms"] + line["queue_ms"]


@pytest.mark.parametrize("script, fields, status, kind", [
    ("def main():\n    1/0", {}, 400, "exception"),
    ("def main(:", {}, 400, "syntax"),
    ("x = 1", {}, 400, "no_main"),
    ("def main():\n    raise SystemExit(3)", {}, 400, "exit"),
    ("def main():\n    return {1}", {}, 400, "not_json"),
    ("import os\ndef main():\n    os.kill(os.getpid(), 9)", {}, 400, "signal"),
    ("def main():\n    while True: pass", {"timeout": 0.2}, 408, "time"),
    ("def main():\n    bytearray(1 << 40)", {}, 400, "memory"),
])
def test_every_kind(logged, script, fields, status, kind):
    """Status and kind are those of the answer."""
    assert post(logged, script, f"log-{kind}", **fields).status == status
    line = line_of(logged, f"log-{kind}")
    assert (line["status"], line["kind"]) == (status, kind)
    assert RUN <= set(line)


def test_refused_requests(logged):
    """What never ran has a line without a run."""
    post(logged, "", "log-blank")
    logged.post("{}", Content_Type="text/plain", X_Request_Id="log-type")
    logged.request("DELETE", "/execute", headers={"X-Request-Id": "log-method"})
    logged.request("GET", "/nowhere?secret=1", headers={"X-Request-Id": "log-nowhere"})
    logged.request("GET", "/health", headers={"X-Request-Id": "log-health"})
    for name, status, kind, path in (
            ("blank", 400, "invalid_request", "/execute"),
            ("type", 415, "unsupported_media_type", "/execute"),
            ("method", 405, "method_not_allowed", "/execute"),
            ("nowhere", 404, "not_found", "/nowhere"), ("health", 200, "ok", "/health")):
        line = line_of(logged, f"log-{name}")
        assert set(line) == ALWAYS, line
        assert (line["status"], line["kind"], line["path"]) == (status, kind, path)
    assert "secret" not in logged.log()


def test_client_that_leaves(logged):
    """It has no answer, and a line."""
    body = json.dumps({"script": "import time\ndef main():\n    time.sleep(30)"}).encode()
    with socket.create_connection((logged.host, logged.port)) as client:
        client.sendall(b"POST /execute HTTP/1.1\r\nHost: x\r\nX-Request-Id: log-left\r\n"
                       b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                       + body)
        time.sleep(0.5)
    line = line_of(logged, "log-left")
    assert (line["status"], line["kind"], line["answer_bytes"]) == (499, "cancelled", 0)
    assert line["total_ms"] >= 300


def test_stream(logged):
    """One line at its end, with the verdict's status; a client that leaves in between is told too."""
    script = "import time\ndef main():\n    print('x')\n    1/0"
    logged.post(json.dumps({"script": script}), X_Request_Id="log-stream",
                Accept="text/event-stream")
    line = line_of(logged, "log-stream")
    assert set(line) == ALWAYS | RUN | {"streamed"}
    assert (line["status"], line["kind"], line["streamed"]) == (400, "exception", True)
    body = json.dumps({"script": "import time\ndef main():\n    time.sleep(30)"}).encode()
    with socket.create_connection((logged.host, logged.port)) as client:
        client.sendall(b"POST /execute HTTP/1.1\r\nHost: x\r\nX-Request-Id: log-unstream\r\n"
                       b"Accept: text/event-stream\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.5)
    line = line_of(logged, "log-unstream")
    assert (line["status"], line["kind"]) == (499, "cancelled")


def test_tool_call(logged):
    """POST /mcp runs scripts as well: the kind is the script's, the status that of the answer."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
               "params": {"name": "run_python", "arguments": {"script": "1/0"}}}
    answer = logged.request("POST", "/mcp", json.dumps(message), {
        "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
        "X-Request-Id": "log-tool"})
    line = line_of(logged, "log-tool")
    assert set(line) == ALWAYS | RUN
    assert (line["path"], line["status"], line["kind"]) == ("/mcp", answer.status, "exception")


def test_refused_call(logged):
    """Its name, for values too."""
    post(logged, "import socket\ndef main():\n    try:\n        socket.socket()\n"
         "    except PermissionError:\n        return 1", "log-call")
    assert line_of(logged, "log-call")["refused"] == "socket"


@pytest.mark.parametrize("path", [
    "/a%0a%7b%22time%22:1%7d", "/%1b[31m", "/%e2%80%a8", "/\"", "/" + "%22" * 300, "/%ff%fe"])
def test_no_forged_lines(logged, path):
    """Whatever stands in a path, it stays within one line's string."""
    before = len(logged.log().splitlines())
    logged.request("GET", path, headers={"X-Request-Id": "log-forge"})
    time.sleep(0.2)
    new = logged.log().splitlines()[before:]
    assert len(new) == 1, new
    for line in new:
        assert line.isascii() and line.isprintable()
        assert json.loads(line)["request_id"] == "log-forge"


def test_forged_id(logged):
    """An id that is none is replaced before anybody logs it."""
    logged.request("GET", "/live", headers={"X-Request-Id": 'x", "status": 1'})
    time.sleep(0.2)
    assert '"status": 1' not in logged.log()


def test_never_the_script(logged):
    """Nor what it printed, returned or raised, nor what came along, at any level but by request."""
    with Service(log_requests="on", log_level="debug", **SMALL) as service:
        for body in ("return MARK", "raise ValueError(MARK)", "print(MARK)\n    return set()"):
            post(service, f"import sys\nMARK = 'never' + 'logged'\n# neverlogged\ndef main(**k):\n"
                 f"    print(MARK, file=sys.stderr)\n    {body}", "log-secret",
                 kwargs={"neverlogged": 1}, stdin="neverlogged", env={"A": "neverlogged"},
                 neverlogged=1)
        service.post("{\"neverlogged\"", X_Request_Id="log-secret",
                     Authorization="Bearer neverlogged", Cookie="neverlogged")
        assert len(lines_of(service, "log-secret", 4)) == 4
        assert "neverlogged" not in service.log()


def test_scripts_on_request(make_service):
    """log_scripts = on: script and streams, cut to fit."""
    service = make_service(log_requests="on", log_scripts="on", **SMALL)
    script = "import sys\ndef main():\n    print('to é')\n    print('y' * 9000, file=sys.stderr)"
    post(service, script, "log-texts")
    line = line_of(service, "log-texts")
    assert set(line) == ALWAYS | RUN | {"script", "stdout", "stderr"}
    assert line["script"] == script and line["stdout"] == "to é\n"
    assert line["stderr"] == "y" * 400
    post(service, "#" + "é" * 5000 + "\ndef main():\n    return 1", "log-long")
    assert re.fullmatch("#é{200,300}", line_of(service, "log-long")["script"])


def test_levels(make_service):
    """Only what is grave enough; a request that was turned away for want of room is."""
    service = make_service(log_requests="on", log_level="warning", queue=0, **SMALL)
    assert json_lines(service.log()) == []
    service.execute("def main(): return 1")
    slow = [subprocess.Popen(["curl", "-s", "-o", "/dev/null", "-H",
                              "Content-Type: application/json", "-d", json.dumps(
                                  {"script": "import time\ndef main():\n    time.sleep(2)"}),
                              f"http://{service.host}:{service.port}/execute"]) for _ in range(2)]
    time.sleep(0.7)
    assert post(service, "def main(): return 1", "log-full").status == 503
    line = line_of(service, "log-full")
    assert (line["level"], line["kind"]) == ("warning", "overloaded")
    assert len(json_lines(service.log())) == 1
    for client in slow:
        client.wait(10)


def test_service_lines(logged):
    """What the service says about itself has the same form."""
    lines = json_lines(logged.log())
    serving = [line for line in lines if "all cells stand: serving" in line.get("message", "")]
    assert len(serving) == 1
    assert set(serving[0]) == {"time", "level", "role", "message"}
    assert (serving[0]["level"], serving[0]["role"]) == ("info", "master")


def test_templates_are_heard(tmp_path, make_service):
    """What a library writes while it warms up becomes lines like any other."""
    harness = tmp_path / "runner"
    shutil.copytree(TOP / "runner", harness)
    (harness / "samples" / "loud.py").write_text(
        "import sys\ndef main():\n    sys.stderr.write('first\\n\\x1b[31m\"second\"\\n')\n"
        "    sys.__stderr__.flush()\n")
    tmp_path.chmod(0o755)
    for path in [harness, *harness.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    service = make_service(workers=1, cells_per_worker=1, harness_dir=harness,
                           library_sets="base loud:base:json")
    lines = [line for line in json_lines(service.log()) if line["role"] == "template"]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("warning", "first"), ("warning", "\x1b[31m\"second\"")], service.log()


class Started(Service):
    """deploy/run.sh with output of one's own."""

    def __init__(self, stdout, stderr, *arguments, **environment):
        self.tls, self.host, self.port = None, "127.0.0.1", free_port()
        sets = [f"--set={key}={value}" for key, value in SMALL.items()]
        sets = [part for item in [*sets, *arguments] for part in item.split("=", 1)]
        self.process = subprocess.Popen(
            [str(TOP / "deploy" / "run.sh"), *sets], stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=stderr, start_new_session=True,
            env=dict(os.environ, PORT=str(self.port), LISTEN=self.host, CONF=str(CONF),
                     BUILD=str(BUILD), **environment))

    def await_answer(self):
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline
            try:
                if self.get("/health").status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()


def test_terminal():
    """Readable lines, from nginx as well, and each request has one."""
    master, slave = pty.openpty()
    service = Started(slave, slave)
    os.close(slave)
    os.set_blocking(master, False)
    seen = b""

    def look():
        nonlocal seen
        try:
            seen += os.read(master, 1 << 16)
        except (BlockingIOError, OSError):
            pass
        return seen.decode().replace("\r\n", "\n")
    try:
        service.await_answer()
        post(service, "def main():\n    1/0", "on-a-terminal")
        service.post(b" " * (20 << 20 | 1), X_Request_Id="too-large")
        deadline = time.monotonic() + 5
        while not ("on-a-terminal" in look() and "too-large (nginx)" in look()):
            assert time.monotonic() < deadline, look()
            time.sleep(0.05)
        text = look()
    finally:
        status = service.stop()
        os.close(master)
    assert status == 0, text
    assert re.search(r"^\d\d:\d\d:\d\dZ vivarium master: all cells stand: serving", text, re.M)
    assert len(re.findall(r"^\d\d:\d\d:\d\dZ POST /execute 400 exception [\d.]+ ms \(queue [\d.]+, "
                          r"run [\d.]+; base(?:, not parked)?\) 127\.0\.0\.1 on-a-terminal$", text,
                          re.M)) == 1, text
    assert len(re.findall(r"^\d\d:\d\d:\d\dZ POST /execute 413 payload_too_large \d+ ms "
                          r"127\.0\.0\.1 too-large \(nginx\)$", text, re.M)) == 1, text
    assert text.count("on-a-terminal") == 1
    assert '{"time"' not in text


def test_nginx_logs_the_rest(tmp_path):
    """ACCESS_LOG names a file: in it is what vivarium never saw, and nothing else."""
    log, access = tmp_path / "log", tmp_path / "access"
    tmp_path.chmod(0o755)
    with open(log, "w") as out:
        service = Started(out, out, ACCESS_LOG=str(access))
    try:
        service.await_answer()
        post(service, "def main(): return 1", "seen")
        service.post(b" " * (20 << 20 | 1), X_Request_Id="unseen")
        time.sleep(0.5)
    finally:
        assert service.stop() == 0
    lines = [json.loads(line) for line in access.read_text().splitlines()]
    assert [(line["request_id"], line["status"], line["kind"], line["role"]) for line in lines] == [
        ("unseen", 413, "payload_too_large", "nginx")]
    text = log.read_text()
    assert text.count('"seen"') == 1 and '"unseen"' not in text


def test_journal(tmp_path):
    """Standard error is the journal's socket: JSON with a priority before each line."""
    here, there = socket.socketpair()
    number = os.fstat(there.fileno())
    with open(tmp_path / "out", "w") as out:
        service = Started(out, there, JOURNAL_STREAM=f"{number.st_dev}:{number.st_ino}")
    there.close()
    here.settimeout(0.2)
    seen = b""
    try:
        service.await_answer()
        post(service, "def main(): return 1", "to-the-journal")
        deadline = time.monotonic() + 5
        while b"to-the-journal" not in seen and time.monotonic() < deadline:
            try:
                seen += here.recv(1 << 16)
            except TimeoutError:
                pass
    finally:
        assert service.stop() == 0
        here.close()
    lines = [line for line in seen.decode().splitlines() if line.startswith("<")]
    assert [line for line in lines if "to-the-journal" in line and line.startswith('<6>{"time"')]
    assert [line for line in lines if "serving" in line and line.startswith('<6>{"time"')]
    for line in lines:
        json.loads(line[3:])


def test_logrotate(tmp_path):
    """Copied and emptied, as copytruncate does: no line is lost or torn, and there is no hole."""
    log = tmp_path / "vivarium.log"
    with open(log, "w") as out:
        service = Started(out, out)
    try:
        service.await_answer()
        post(service, "def main(): return 1", "before")
        time.sleep(0.3)
        shutil.copy(log, tmp_path / "vivarium.log.1")
        os.truncate(log, 0)
        post(service, "def main(): return 1", "after")
        time.sleep(0.3)
    finally:
        assert service.stop() == 0
    first, second = (tmp_path / "vivarium.log.1").read_text(), log.read_text()
    assert '"before"' in first and '"after"' not in first
    assert second.startswith("{") and "\0" not in second
    assert [line["request_id"] for line in json_lines(second) if line.get("path") == "/execute"] \
        == ["after"]
