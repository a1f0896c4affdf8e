"""GET /metrics: what is counted moves exactly as the requests do, and Prometheus can read it."""

import concurrent.futures
import json
import re
import shutil
import socket
import subprocess
import time

import pytest

from conftest import TOP, Service
from supervision import Tree, eventually, kill, standing_cells

SETTINGS = {"library_sets": "base", "workers": 1, "cells_per_worker": 2, "queue": 1}
LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="[^"\\\n]*",?)*)\})? (\S+)')


@pytest.fixture(scope="module")
def counted():
    with Service(**SETTINGS) as instance:
        yield instance


def page(service):
    answer = service.get("/metrics")
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.body.decode("ascii")


def read(service):
    """{(name, labels): value}, labels as a sorted tuple of pairs."""
    values = {}
    for line in page(service).splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = LINE.fullmatch(line).groups()
        key = name, tuple(sorted(re.findall(r'([a-z]+)="([^"]*)"', labels or "")))
        assert key not in values, "twice: " + line
        values[key] = float(value)
    return values


def get(values, name, **labels):
    return values.get((name, tuple(sorted(labels.items()))), 0)


def moved(before, after):
    """What has become more, without the requests for the page itself."""
    changes = {key: after[key] - before.get(key, 0) for key in after
               if after[key] != before.get(key, 0)}
    return {key: value for key, value in changes.items()
            if dict(key[1]).get("route") != "/metrics"
            and not re.search("resident_memory", key[0])}


KINDS = [
    ("def main():\n    return 1", {}, 200, "ok"),
    ("def main():\n    1/0", {}, 400, "exception"),
    ("def main(:", {}, 400, "syntax"),
    ("x = 1", {}, 400, "no_main"),
    ("def main():\n    raise SystemExit(3)", {}, 400, "exit"),
    ("def main():\n    return {1}", {}, 400, "not_json"),
    ("def main():\n    return 'x' * (5 << 20)", {}, 400, "result_too_large"),
    ("import os\ndef main():\n    os.kill(os.getpid(), 9)", {}, 400, "signal"),
    ("def main():\n    while True: pass", {"timeout": 0.2}, 408, "time"),
    ("def main():\n    bytearray(1 << 40)", {}, 400, "memory"),
]


@pytest.mark.parametrize("script, fields, status, kind", KINDS)
def test_runs(counted, script, fields, status, kind):
    """One request, one execution, one of each duration."""
    before = read(counted)
    answer = counted.execute(script, **fields)
    assert answer.status == status
    changes = moved(before, read(counted))
    assert get(changes, "vivarium_requests_total", route="/execute", status=str(status),
               kind=kind) == 1
    assert get(changes, "vivarium_executions_total", cause=kind) == 1
    for name in ("request_duration", "queue_wait", "execution_duration"):
        assert get(changes, f"vivarium_{name}_seconds_count") == 1
    assert get(changes, "vivarium_execution_memory_bytes_count") == 1
    took = get(changes, "vivarium_execution_duration_seconds_sum")
    assert abs(took - answer.data["usage"]["wall_ms"] / 1000) < 2e-6
    assert get(changes, "vivarium_request_duration_seconds_sum") >= took
    parked = "hits" if answer.data["usage"]["parked"] else "misses"
    assert get(changes, f"vivarium_parked_{parked}_total") == 1
    assert sum(value for (name, _), value in changes.items()
               if name == "vivarium_requests_total") == 1
    assert sum(value for (name, _), value in changes.items()
               if name == "vivarium_executions_total") == 1


def test_stream(counted):
    """Counted by its verdict, like any other."""
    before = read(counted)
    counted.post(json.dumps({"script": "def main():\n    1/0"}), Accept="text/event-stream")
    changes = moved(before, read(counted))
    assert get(changes, "vivarium_requests_total", route="/execute", status="400",
               kind="exception") == 1
    assert get(changes, "vivarium_executions_total", cause="exception") == 1


def test_tool_call(counted):
    """A script is a script, whoever brings it; what runs none is only a request."""
    before = read(counted)
    for method, params in (("ping", None), ("tools/call", {"name": "run_python",
                                                           "arguments": {"script": "1/0"}})):
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        assert counted.request("POST", "/mcp", json.dumps(message), {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream"}).status == 200
    changes = moved(before, read(counted))
    assert get(changes, "vivarium_requests_total", route="/mcp", status="200", kind="ok") == 1
    assert get(changes, "vivarium_requests_total", route="/mcp", status="200",
               kind="exception") == 1
    assert get(changes, "vivarium_executions_total", cause="exception") == 1
    assert get(changes, "vivarium_request_duration_seconds_count") == 1


def test_refusals(counted):
    """No execution; a request for a run all the same, where it was one."""
    before = read(counted)
    assert counted.execute("").status == 400
    assert counted.post("{}", Content_Type="text/plain").status == 415
    assert counted.request("DELETE", "/execute").status == 405
    assert counted.get("/nowhere").status == 404
    assert counted.get("/" + "x" * 500).status == 404
    assert counted.get("/live").status == 200
    assert counted.request("OPTIONS", "/live").status == 204
    changes = moved(before, read(counted))
    assert {(dict(labels)["route"], dict(labels)["status"], dict(labels)["kind"]): value
            for (name, labels), value in changes.items() if name == "vivarium_requests_total"} == {
        ("/execute", "400", "invalid_request"): 1,
        ("/execute", "415", "unsupported_media_type"): 1,
        ("/execute", "405", "method_not_allowed"): 1,
        ("other", "404", "not_found"): 2,
        ("/live", "200", "ok"): 1, ("/live", "204", "ok"): 1}
    assert get(changes, "vivarium_request_duration_seconds_count") == 2
    assert get(changes, "vivarium_queue_wait_seconds_count") == 0
    assert not any(name == "vivarium_executions_total" for name, _ in changes)


def test_client_that_leaves(counted):
    """Counted as cancelled, of the requests and of the executions."""
    before = read(counted)
    body = json.dumps({"script": "import time\ndef main():\n    time.sleep(30)"}).encode()
    with socket.create_connection((counted.host, counted.port)) as client:
        client.sendall(b"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert eventually(lambda: get(read(counted), "vivarium_workers", state="busy") == 1, 5)
    assert eventually(lambda: get(read(counted), "vivarium_executions_total", cause="cancelled")
                      == get(before, "vivarium_executions_total", cause="cancelled") + 1, 5)
    assert eventually(lambda: get(moved(before, read(counted)), "vivarium_requests_total",
                                  route="/execute", status="499", kind="cancelled") == 1, 5)


def test_queue(counted):
    """Who runs, who waits, who is turned away."""
    assert eventually(lambda: get(read(counted), "vivarium_workers", state="idle") == 2, 5)
    before = read(counted)
    script = "import time\ndef main():\n    time.sleep(1.5)"
    with concurrent.futures.ThreadPoolExecutor(5) as clients:
        answers = [clients.submit(counted.execute, script) for _ in range(5)]

        def look():
            now = read(counted)
            return (get(now, "vivarium_workers", state="busy") == 2
                    and get(now, "vivarium_queue_waiting") == 1)
        assert eventually(look, 3)
        assert sorted(answer.result().status for answer in answers) == [200, 200, 200, 503, 503]
    now = read(counted)
    assert get(now, "vivarium_queue_capacity") == 1 and get(now, "vivarium_queue_waiting") == 0
    changes = moved(before, now)
    assert get(changes, "vivarium_requests_total", route="/execute", status="503",
               kind="overloaded") == 2
    assert get(changes, "vivarium_request_duration_seconds_count") == 5
    assert get(changes, "vivarium_queue_wait_seconds_count") == 3
    assert get(changes, "vivarium_queue_wait_seconds_sum") >= 1
    assert get(changes, "vivarium_queue_wait_seconds_bucket", le="1") == 2


def test_sums(counted):
    """All that was counted of one thing is counted of the others: under load, too."""
    with concurrent.futures.ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(lambda n: counted.execute(KINDS[n % 6][0]), range(60)))
    now = read(counted)

    def total(name, **labels):
        return sum(value for (its, pairs), value in now.items()
                   if its == name and labels.items() <= dict(pairs).items())
    runs = get(now, "vivarium_execution_duration_seconds_count")
    assert runs >= sum(answer.status != 503 for answer in answers) > 5
    assert total("vivarium_executions_total") == runs + get(
        now, "vivarium_executions_total", cause="cancelled")
    assert runs == get(now, "vivarium_parked_hits_total") + get(now, "vivarium_parked_misses_total")
    assert runs == get(now, "vivarium_execution_memory_bytes_count")
    assert total("vivarium_workers") == 2
    for name in {name.removesuffix("_bucket") for name, _ in now if name.endswith("_bucket")}:
        buckets = [value for (its, _), value in now.items() if its == name + "_bucket"]
        assert buckets == sorted(buckets)
        assert get(now, name + "_bucket", le="+Inf") == get(now, name + "_count") == buckets[-1]


def test_labels_are_ours(counted):
    """Nothing that a client writes becomes a series."""
    names = set(read(counted))
    for path in ("/a", "/b", "/execute/", "/metrics/x", "/%22%7d"):
        counted.get(path, headers={"X-Request-Id": "chosen", "User-Agent": "chosen"})
    counted.request("BREW", "/execute")
    text = page(counted)
    assert "chosen" not in text and "BREW" not in text
    assert len(set(read(counted)) - names) <= 3


def test_head(counted):
    answer = counted.request("HEAD", "/metrics")
    assert answer.status == 200 and answer.body == b""


def test_restarts_and_memory(make_service):
    """Deaths of each role are counted, and outlive the dispatcher's own."""
    service = make_service(**SETTINGS)

    def restarts():
        now = read(service)
        return {role: get(now, "vivarium_restarts_total", role=role)
                for role in ("dispatcher", "worker", "template", "cell")}
    assert eventually(lambda: get(read(service), "vivarium_resident_memory_bytes", role="worker")
                      > 1 << 20, 10)
    assert get(read(service), "vivarium_resident_memory_bytes", role="dispatcher") > 1 << 20
    assert set(restarts().values()) == {0}
    kill(Tree(service).workers[0])
    assert eventually(lambda: restarts()["worker"] == 1, 10)
    standing_cells(service)  # else those that are being made go down, too
    kill(Tree(service).base)
    assert eventually(lambda: restarts()["template"] == 1, 10)
    assert service.execute("def main(): return 1").status == 200
    begun = get(read(service), "vivarium_start_time_seconds")
    time.sleep(1)
    kill(Tree(service).dispatcher)

    def after():
        try:
            return restarts() == {"dispatcher": 1, "worker": 1, "template": 1, "cell": 0}
        except (OSError, AssertionError):
            return False
    assert eventually(after, 10), service.log()
    now = read(service)
    assert get(now, "vivarium_start_time_seconds") > begun
    assert get(now, "vivarium_executions_total", cause="ok") == 0


def test_warden_that_dies(make_service):
    service = make_service(**SETTINGS)
    kill(Tree(service).wardens[0])
    assert eventually(lambda: get(read(service), "vivarium_restarts_total", role="cell") >= 1, 10)


def promtool(*arguments, **more):
    program = shutil.which("promtool")
    assert program, "deploy/packages.sh ensure test installs prometheus"
    return subprocess.run([program, *arguments], capture_output=True, text=True, **more)


def test_promtool_finds_no_fault(counted):
    """Prometheus' own judge of names, help, types and form."""
    done = promtool("check", "metrics", input=page(counted))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def blocks(language):
    text = (TOP / "docs" / "metrics.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_documented_configuration(tmp_path, counted):
    """The scrape configuration and the alerts of docs/metrics.md are valid, and name what there is."""
    scrape, alerts = blocks("yaml")
    (tmp_path / "vivarium-alerts.yml").write_text(alerts)
    (tmp_path / "prometheus.yml").write_text(scrape)
    done = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done
    done = promtool("check", "rules", str(tmp_path / "vivarium-alerts.yml"))
    assert done.returncode == 0, done
    names = {name for name, _ in read(counted)}
    assert set(re.findall(r"\bvivarium_[a-z_]+", alerts)) <= names


def test_every_metric_is_documented(counted):
    text = (TOP / "docs" / "metrics.md").read_text()
    shown = set(re.findall(r"^# TYPE (\S+)", page(counted), re.M))
    assert shown == set(re.findall(r"^\| `(vivarium_[a-z_]+)", text, re.M))
