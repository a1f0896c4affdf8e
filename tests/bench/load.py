"""Requests: one by http.client to see that an answer is right; a closed loop of many clients by wrk
and, as a second opinion, ab; an open loop at a fixed rate by open_loop.c."""

import http.client
import json
import math
import os
import re
import socket
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
REQUEST_TIMEOUT_S = 30
OPEN_TIMEOUT_S = 10     # an open loop waits so long for its last answers
NO_ANSWER = (OSError, http.client.HTTPException)
HEADERS = {"Content-Type": "application/json", "Connection": "close"}

# What the scripts must return. The size of a PNG depends on the version of matplotlib.
CHECKS = {
    "trivial": lambda r: r == {"a": 1},
    "numpy": lambda r: math.isclose(r["sum"], 2047.5)
    and math.isclose(r["trace"], 1364.8333740234375),
    "pandas": lambda r: r["x"] == 55 and math.isclose(r["c"], 0.97455859, rel_tol=1e-7),
    "matplotlib": lambda r: r["bytes"] > 1000,
}
STDOUT = {"trivial": "hi\n"}

WRK_SCRIPT = """
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format('BENCH {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, ' ..
    '"non_2xx": %d, "timeouts": %d, "socket_errors": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.timeout, e.connect + e.read + e.write))
end
"""


class WrongAnswer(Exception):
    """A service that does not return what the script returns."""


class ToolError(Exception):
    """wrk or ab said something that is not understood."""


def read_script(name):
    with open(os.path.join(HERE, "scripts", name + ".py"), encoding="utf-8") as file:
        return file.read()


def request_body(name):
    return json.dumps({"script": read_script(name)}).encode()


def can_connect(address):
    try:
        socket.create_connection(address, timeout=1).close()
        return True
    except OSError:
        return False


def is_healthy(address):
    connection = http.client.HTTPConnection(*address, timeout=2)
    try:
        connection.request("GET", "/health", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except NO_ANSWER:
        return False
    finally:
        connection.close()


def post(address, body, timeout_s=REQUEST_TIMEOUT_S):
    """One request on a connection of its own; (status, bytes of the answer)."""
    connection = http.client.HTTPConnection(*address, timeout=timeout_s)
    try:
        connection.request("POST", "/execute", body, HEADERS)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def execute(address, name, timeout_s=REQUEST_TIMEOUT_S):
    return post(address, request_body(name), timeout_s)


def is_right(name, status, text):
    try:
        answer = json.loads(text)
        return (status == 200 and answer["success"] is True and CHECKS[name](answer["result"])
                and answer["stdout"] == STDOUT.get(name, ""))
    except (ValueError, KeyError, TypeError):
        return False


def verify(service, name):
    """Raise WrongAnswer unless the service answers the script `name` with the right result."""
    try:
        status, text = execute(service.address, name)
    except NO_ANSWER as error:
        raise WrongAnswer(f"{service.name}: no answer to the script {name}: {error!r}") from error
    if not is_right(name, status, text):
        shown = text[:2000].decode(errors="replace")
        raise WrongAnswer(f"{service.name}: wrong answer to the script {name}: {status} {shown}")


class Tools:
    """wrk, ab and open_loop, their files in the folder given; programs: where the last one is."""

    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs
        self.lua = self.write("post.lua", WRK_SCRIPT.encode())

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def run(self, command, body_path, duration_s):
        try:
            done = subprocess.run(command, env={**os.environ, "BENCH_BODY": body_path}, text=True,
                                  capture_output=True, timeout=duration_s + 60, check=False)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{command[0]} did not end: {' '.join(command)}") from error
        if done.returncode:
            raise ToolError(f"{command[0]} failed with status {done.returncode}:\n"
                            + (done.stdout + done.stderr)[-2000:])
        return done.stdout + done.stderr

    def load(self, tool, service, name, connections, duration_s):
        """A closed loop of `connections` clients; figures by name, good answers only in `rps`."""
        body_path = self.write(name + ".json", request_body(name))
        url = "http://%s:%d/execute" % service.address
        measure = {"wrk": self.wrk, "ab": self.ab}[tool]
        return measure(url, body_path, connections, duration_s)

    def wrk(self, url, body_path, connections, duration_s):
        threads = 1 if connections < 64 else 2
        text = self.run(["wrk", "-t", str(threads), "-c", str(connections), "-d", f"{duration_s}s",
                         "--timeout", f"{REQUEST_TIMEOUT_S}s", "-s", self.lua, url],
                        body_path, duration_s)
        found = re.search(r"^BENCH (\{.*\})$", text, re.M)
        if not found:
            raise ToolError("wrk printed no summary:\n" + text[-2000:])
        figures = json.loads(found[1])
        good = figures["requests"] - figures["non_2xx"]
        return {"requests": good, "rps": good / (figures["duration_us"] / 1e6),
                "p50_ms": figures["p50_us"] / 1000 if good else None,
                "p99_ms": figures["p99_us"] / 1000 if good else None,
                **{key: figures[key] for key in ("non_2xx", "timeouts", "socket_errors")}}

    def ab(self, url, body_path, connections, duration_s):
        text = self.run(["ab", "-q", "-l", "-t", str(duration_s), "-n", "10000000",
                         "-c", str(connections), "-s", str(REQUEST_TIMEOUT_S),
                         "-p", body_path, "-T", "application/json", url], body_path, duration_s)
        complete = ab_figure(text, r"Complete requests:\s+(\d+)")
        if complete is None:
            raise ToolError("ab printed no summary:\n" + text[-2000:])
        non_2xx = ab_figure(text, r"Non-2xx responses:\s+(\d+)") or 0
        seconds = ab_figure(text, r"Time taken for tests:\s+([\d.]+)")
        good = complete - non_2xx
        return {"requests": good, "rps": good / seconds if seconds else 0.0,
                "p50_ms": ab_figure(text, r"^\s+50%\s+(\d+)"),
                "p99_ms": ab_figure(text, r"^\s+99%\s+(\d+)"), "non_2xx": non_2xx,
                "timeouts": 0, "socket_errors": ab_figure(text, r"Failed requests:\s+(\d+)") or 0}

    def open_loop(self, service, name, rate, count):
        """`count` requests at `rate` a second, whatever becomes of them; the program's figures."""
        host, port = service.address
        text = self.run([os.path.join(self.programs, "open_loop"), host, str(port),
                         self.write(name + ".json", request_body(name)), str(rate), str(count),
                         str(OPEN_TIMEOUT_S)], "", count / rate + OPEN_TIMEOUT_S)
        return json.loads(text)


def ab_figure(text, pattern):
    found = re.search(pattern, text, re.M)
    return float(found[1]) if found else None
