"""The paths beside /execute: what they answer, to HEAD and OPTIONS too."""

import concurrent.futures
import signal
import socket
import threading
import time

import pytest

from answers import check_timestamp, failed, ok, refused, result

READABLE = ["/", "/health", "/live"]
ISOLATION = {"user", "pid", "mount", "network", "ipc", "uts", "cgroup", "seccomp", "capabilities",
             "no_new_privs", "rlimits", "memory_cgroup", "pids_cgroup"}


def body(answer, status=200):
    assert answer.status == status, answer
    assert answer.headers.get_all("Content-Type") == ["application/json"]
    assert answer.headers.get_all("X-Request-Id")
    assert answer.body.isascii()
    return answer.data


def raw(service, method, path):
    """The whole answer as it comes over the wire."""
    with socket.create_connection((service.host, service.port), timeout=10) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def test_root(service):
    """What this is, what it offers, and an example that works."""
    data = body(service.get("/"))
    assert set(data) == {"status", "service", "version", "endpoints", "example"}
    assert (data["status"], data["service"]) == ("ok", "vivarium")
    assert isinstance(data["version"], str) and data["version"]
    assert isinstance(data["endpoints"], list)
    for path in ("/execute", "/health", "/live"):
        assert any(path in str(endpoint) for endpoint in data["endpoints"])
    assert isinstance(data["example"], dict) and ok(service.execute(**data["example"]))


def test_parked_executions_are_counted(make_service):
    """One request after the other finds an execution waiting; of many for one cell, not all do."""
    service = make_service(library_sets="base", workers=1, cells_per_worker=1)
    first = service.get("/health").data["parked"]
    for _ in range(5):
        assert service.execute("def main(): pass").data["usage"]["parked"]
        time.sleep(0.1)
    assert service.get("/health").data["parked"] == {**first, "hits": first["hits"] + 5}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(service.execute, ["def main(): pass"] * 40))
    hits = sum(answer.data["usage"]["parked"] for answer in answers)
    assert hits < 40
    assert service.get("/health").data["parked"] == {"hits": first["hits"] + 5 + hits,
                                                     "misses": first["misses"] + 40 - hits}


def test_health(service):
    """Every documented member, of its type."""
    data = body(service.get("/health"))
    assert set(data) == {"status", "timestamp", "version", "workers", "queue", "parked",
                         "isolation", "nsjail_config_exists"}
    assert data["status"] == "healthy"
    check_timestamp(data["timestamp"])
    assert data["version"] == service.get("/").data["version"]
    assert set(data["workers"]) == {"total", "busy"}
    assert set(data["queue"]) == {"waiting", "capacity"}
    for number in (*data["workers"].values(), *data["queue"].values()):
        assert type(number) is int and number >= 0
    assert data["workers"]["total"] >= 1
    assert data["queue"]["capacity"] == 1024
    assert set(data["parked"]) == {"hits", "misses"}
    assert data["nsjail_config_exists"] is True


def test_isolation_is_what_is_in_force(service):
    """Every layer is named; a script sees those that it can see."""
    isolation = body(service.get("/health"))["isolation"]
    assert set(isolation) == ISOLATION
    assert all(type(value) is bool for value in isolation.values())
    for name in ISOLATION - {"memory_cgroup", "pids_cgroup"}:
        assert isolation[name] is True, name
    script = ("import ctypes, os\ndef main():\n    libc = ctypes.CDLL(None)\n"
              "    return [libc.prctl(39, 0, 0, 0, 0), libc.prctl(21, 0, 0, 0, 0),\n"
              "            [libc.prctl(23, n, 0, 0, 0) for n in range(41)], os.getuid()]")
    assert result(service.execute(script)) == [1, 2, [0] * 41, 65534]


def test_live(service):
    """It lives."""
    assert isinstance(body(service.get("/live")), dict)


@pytest.mark.parametrize("path", READABLE)
def test_head(service, path):
    """As GET, without the body."""
    received = raw(service, "HEAD", path)
    assert received.startswith(b"HTTP/1.1 200 ")
    head, _, rest = received.partition(b"\r\n\r\n")
    assert rest == b""
    assert b"\r\nContent-Type: application/json\r\n" in head + b"\r\n"
    assert b"\r\nX-Request-Id: " in head
    if path != "/health":
        length = len(raw(service, "GET", path).partition(b"\r\n\r\n")[2])
        assert b"\r\nContent-Length: %d\r\n" % length in head + b"\r\n"


@pytest.mark.parametrize("path, allow", [("/execute", "POST, OPTIONS"),
                                         *((path, "GET, HEAD, OPTIONS") for path in READABLE)])
def test_options(service, path, allow):
    """What is allowed, and no more; CORS is off."""
    answer = service.request("OPTIONS", path, headers={
        "Origin": "https://example.com", "Access-Control-Request-Method": "POST"})
    assert answer.status in (200, 204) and answer.body == b""
    assert answer.headers.get_all("Allow") == [allow]
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert answer.headers["X-Request-Id"]


def test_options_has_no_length_without_a_body(service):
    """A 204 carries neither a length nor a type."""
    head = raw(service, "OPTIONS", "/execute").lower()
    assert head.startswith(b"http/1.1 204 ")
    assert b"\r\ncontent-length:" not in head


def test_head_on_execute(service):
    """HEAD is for what can be read."""
    received = raw(service, "HEAD", "/execute")
    assert received.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: POST, OPTIONS\r\n" in received
    assert received.partition(b"\r\n\r\n")[2] == b""


@pytest.mark.parametrize("path", READABLE)
def test_query_string_is_ignored(service, path):
    """A cache breaker does not make a page unknown."""
    assert service.get(path + "?x=1&y").status == 200


@pytest.mark.parametrize("path", READABLE)
def test_request_id_everywhere(service, path):
    """The client's own comes back."""
    answer = service.get(path, headers={"X-Request-Id": "mine-1"})
    assert answer.headers.get_all("X-Request-Id") == ["mine-1"]


def test_browsers_of_another_origin_are_not_let_in(service):
    """cors_origins is empty at first."""
    answer = service.get("/health", headers={"Origin": "https://example.com"})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_busy_and_waiting_are_counted(make_service):
    """The numbers follow what goes on, and /health does not wait behind scripts."""
    service = make_service(workers=1, cells_per_worker=2, queue=7, library_sets="base")
    assert body(service.get("/health"))["workers"] == {"total": 2, "busy": 0}
    script = "import time\ndef main(): time.sleep(2)"
    threads = [threading.Thread(target=service.execute, args=(script,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        started = time.monotonic()
        data = body(service.get("/health"))
        assert time.monotonic() - started < 1
        if data["workers"]["busy"] == 2 and data["queue"]["waiting"] == 3:
            break
        time.sleep(0.02)
    assert data["workers"] == {"total": 2, "busy": 2}
    assert data["queue"] == {"waiting": 3, "capacity": 7}
    for thread in threads:
        thread.join()
    data = body(service.get("/health"))
    assert data["workers"]["busy"] == 0 and data["queue"]["waiting"] == 0


def test_stopping_lets_the_script_end(make_service):
    """A script that runs when the service is told to stop still has its answer."""
    service = make_service(workers=1, library_sets="base")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(service.execute(
        "import time\ndef main():\n    time.sleep(1.5)\n    return 'done'")))
    thread.start()
    deadline = time.monotonic() + 10
    while service.get("/health").data["workers"]["busy"] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert service.stop(signal.SIGTERM) == 0
    thread.join()
    assert result(answers[0]) == "done"


def test_service_stays_healthy_after_bad_scripts(service):
    """Nothing that scripts do makes it unhealthy."""
    total = body(service.get("/health"))["workers"]["total"]
    for code in ("os.kill(-1, 9)", "os.abort()", "os._exit(1)", "1 / 0"):
        assert service.execute("import os\ndef main(): " + code).status == 400
    failed(service.execute("while True: pass", timeout=0.1), "time", 408)
    data = body(service.get("/health"))
    assert data["status"] == "healthy" and data["workers"]["total"] == total


def test_unknown_path_is_not_found(service):
    """Neither the files of the service nor later endpoints."""
    for path in ("/nginx.conf", "/execute.sock", "/libraries/x", "/health.json", "/error"):
        refused(service.get(path), "not_found", 404)
