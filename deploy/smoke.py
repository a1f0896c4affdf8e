#!/usr/bin/python3
"""Holds a running service against the contract, in seconds.

    deploy/smoke.py URL [--key KEY] [--cacert FILE] [--insecure]

One line for each check, a line with the counts, exit status 0 if all of them passed. Nothing is
needed but Python 3.9 and clients/python/vivarium.py beside it. KEY is also read from VIVARIUM_KEY,
where no list of processes shows it.
"""

import argparse
import base64
import datetime
import json
import os
import re
import ssl
import sys
import time
import urllib.parse
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients" / "python"))
from vivarium import Answer, Client, Output, VivariumError  # noqa: E402

ATTEMPTS = 5  # where the service has no room
BODY_LIMIT_BYTES = 20 << 20
PNG = b"\x89PNG\r\n\x1a\n"
LAYERS = {"user", "pid", "mount", "network", "ipc", "uts", "cgroup", "seccomp", "capabilities",
          "no_new_privs", "rlimits", "memory_cgroup", "pids_cgroup"}
CHECKS = []


class Wrong(Exception):
    """The service is not as the contract has it."""


def check(function):
    """Makes a function one of the checks; its first line of documentation is its name."""
    CHECKS.append(function)
    return function


def expect(holds, what):
    """Fails a check."""
    if not holds:
        raise Wrong(what)


def equal(found, wanted, what):
    """Fails a check whose value is another one."""
    expect(found == wanted, f"{what} is {found!r:.200}, not {wanted!r:.200}")


class Service:
    """The service in question, by the client and by bare requests."""

    def __init__(self, url, key, context):
        # the first list of libraries takes as long as importing all of them
        self.client = Client(url, api_key=key, timeout=330, ssl_context=context)
        self.stranger = Client(url, timeout=330, ssl_context=context)
        self.has_key = bool(key)

    def request(self, method, path, body=None, headers=None, client=None):
        """A bare request, again where there was no room for it. Returns the answer and its JSON,
        None without a body."""
        for attempt in range(ATTEMPTS):
            response = (client or self.client).request(method, path, body, headers)
            if response.status not in (429, 503) or path == "/health":
                break
            time.sleep(float(response.headers.get("retry-after", 1)) * (attempt + 1))
        expect(response.headers.get("x-request-id"), "there is no X-Request-Id")
        if not response.body:
            return response, None
        expect(response.body.isascii(), "the body is not ASCII")
        equal(response.headers.get("content-type"), "application/json", "Content-Type")
        return response, json.loads(response.body)

    def post(self, body, **headers):
        """POST /execute with a body as it is."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        response, data = self.request("POST", "/execute", body, headers)
        equal(response.headers.get("cache-control"), "no-store", "Cache-Control")
        equal(response.headers.get("x-content-type-options"), "nosniff", "X-Content-Type-Options")
        expect(isinstance(data, dict), "the body is no object")
        equal(data.get("request_id"), response.headers["x-request-id"], "request_id")
        expect(isinstance(data.get("stdout"), str), "there is no stdout")
        when = datetime.datetime.fromisoformat(data["timestamp"])
        equal(when.utcoffset(), datetime.timedelta(0), "the offset of timestamp")
        return response, data

    def run(self, script, **fields):
        """POST /execute with a script that succeeds; its answer as an object."""
        response, data = self.post(json.dumps({"script": script, **fields}).encode())
        equal(response.status, 200, f"the status (error {data.get('error')!r})")
        equal(data["success"], True, "success")
        expect("error" not in data, "a success has an error")
        return data

    def fail(self, kind, status, body, **headers):
        """POST /execute with what does not succeed. Returns the answer and its object."""
        if isinstance(body, str):
            body = json.dumps({"script": body, "timeout": 10}).encode()
        response, data = self.post(body, **headers)
        equal(response.status, status, "the status")
        equal(data["success"], False, "success")
        expect("result" not in data, "a failure has a result")
        expect(isinstance(data["error"], str) and data["error"], "there is no error line")
        equal(data["cause"]["kind"], kind, "cause.kind")
        retry = response.headers.get("x-should-retry")
        equal(retry, "false" if status == 408 else None, "X-Should-Retry")
        return response, data


# --- What the service says about itself ---------------------------------------------------------


@check
def pages(service):
    """GET / and /live: what this is, and that it lives"""
    for path in ("/", "/live"):
        response, data = service.request("GET", path)
        equal(response.status, 200, f"the status of {path}")
        expect(isinstance(data, dict), f"{path} is no object")
    _, data = service.request("GET", "/")
    equal((data["status"], data["service"]), ("ok", "vivarium"), "status and service")
    return f"version {data['version']}"


@check
def health(service):
    """GET /health: healthy, every layer named"""
    response, data = service.request("GET", "/health")
    equal((response.status, data["status"]), (200, "healthy"), "the status")
    expect(LAYERS <= set(data["isolation"]), "layers are missing from isolation")
    expect(data["workers"]["total"] >= 1 and data["queue"]["capacity"] >= 0, "workers and queue")
    equal(data["nsjail_config_exists"], True, "nsjail_config_exists")
    off = sorted(name for name in LAYERS if not data["isolation"][name])
    return f"{data['workers']['total']} scripts at once; not in force: {', '.join(off) or 'none'}"


@check
def openapi(service):
    """GET /openapi.json: the description of the interface"""
    response, data = service.request("GET", "/openapi.json")
    equal(response.status, 200, "the status")
    expect(data["openapi"].startswith("3.1."), "it is not OpenAPI 3.1")
    expect("/execute" in data["paths"], "/execute is not described")


@check
def libraries(service):
    """GET /libraries: the catalogue"""
    response, data = service.request("GET", "/libraries")
    equal(response.status, 200, "the status")
    entry = data["categories"]["data_science"]["libraries"]["pandas"]
    equal(entry["import"], "import pandas as pd", "pandas' import")
    count = sum(len(category["libraries"]) for category in data["categories"].values())
    equal(data["total_libraries"], count, "total_libraries")
    return f"{len(data['installed_packages'])} packages installed"


@check
def metrics(service):
    """GET /metrics: Prometheus' text, for those who may read it"""
    response = service.client.request("GET", "/metrics")
    if response.status == 404:
        equal(json.loads(response.body)["cause"]["kind"], "not_found", "cause.kind")
        return "not for this address"
    equal(response.status, 200, "the status")
    expect(response.headers["content-type"].startswith("text/plain"), "it is not text/plain")
    expect(b"# TYPE vivarium_" in response.body, "there are no metrics")


# --- Values and output ---------------------------------------------------------------------------


@check
def value(service):
    """a value, and what was printed"""
    data = service.run("import sys\ndef main():\n    print('hi')\n    print('oh', file=sys.stderr)\n"
                       "    return {'answer': 6 * 7, 'text': 'h\\u00e9', 'list': [1.5, None, True]}")
    equal(data["result"], {"answer": 42, "text": "h\u00e9", "list": [1.5, None, True]}, "result")
    equal((data["stdout"], data["stderr"]), ("hi\n", "oh\n"), "stdout and stderr")
    missing = {"queue_ms", "fork_ms", "wall_ms", "cpu_ms", "memory_mb", "template",
               "parked"} - set(data["usage"])
    expect(not missing, f"usage lacks {missing}")
    return f"{data['usage']['wall_ms']} ms"


@check
def request_id(service):
    """X-Request-Id: the client's own comes back, an unfit one does not"""
    body = b'{"script": "def main(): pass"}'
    equal(service.post(body, X_Request_Id="smoke.1")[1]["request_id"], "smoke.1", "request_id")
    found = service.post(body, X_Request_Id="un fit")[1]["request_id"]
    expect(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", found), "the id that was made is unfit")


@check
def inputs(service):
    """arguments, argv, environment, standard input and files go in"""
    data = service.run(
        "import os, sys\ndef main(a, b=0):\n"
        "    return [a, b, sys.argv[1:], os.environ['SMOKE'], input(), open('d/in.bin', 'rb')"
        ".read().hex()]", args=[1], kwargs={"b": 2.5}, argv=["x"], env={"SMOKE": "yes"},
        stdin="line\n", files=[{"path": "d/in.bin", "content_base64": "AP8="}])
    equal(data["result"], [1, 2.5, ["x"], "yes", "line", "00ff"], "what the script got")


@check
def outputs(service):
    """files come out, sorted"""
    data = service.run("def main():\n    for name in 'ba':\n        open(name + '.txt', 'w')"
                       ".write(name * 3)", outputs=["*.txt"])
    found = [(file["path"], file["size"], base64.b64decode(file["content_base64"]))
             for file in data.get("files", [])]
    equal(found, [("a.txt", 3, b"aaa"), ("b.txt", 3, b"bbb")], "files")


@check
def program(service):
    """entry null: a program, with the value of its last expression"""
    data = service.run("if __name__ == '__main__':\n    print('guard')\n6 * 7", entry=None)
    equal((data["result"], data["stdout"]), (42, "guard\n"), "result and stdout")


@check
def rich(service):
    """encode rich: what JSON lacks"""
    data = service.run("import datetime\ndef main(): return [{3, 1}, datetime.date(2026, 1, 2)]",
                       encode="rich")
    equal(data["result"], [{"$type": "set", "value": [1, 3]},
                           {"$type": "date", "value": "2026-01-02"}], "result")


@check
def frame(service):
    """pandas and numpy"""
    data = service.run("import pandas as pd\ndef main():\n"
                       "    return pd.DataFrame({'x': [1, 2, 3]})['x'].max()")
    equal(data["result"], 3, "result")
    return f"{data['usage']['wall_ms']} ms, warm: {data['usage']['template']}"


@check
def plot(service):
    """a plot comes back as PNG"""
    data = service.run("import matplotlib.pyplot as plt\ndef main():\n    plt.plot([1, 2, 3])")
    figures = data.get("visualizations", [])
    equal(len(figures), 1, "the number of figures")
    equal((figures[0]["type"], figures[0]["format"]), ("matplotlib", "png"), "type and format")
    prefix, _, content = figures[0]["data"].partition(",")
    equal(prefix, "data:image/png;base64", "the data URL")
    expect(base64.b64decode(content).startswith(PNG), "the figure is no PNG")


@check
def stream(service):
    """server-sent events: output comes while the script runs"""
    begun, first, text, answer = time.monotonic(), None, "", None
    for event in service.client.stream("import time\ndef main():\n    print('one')\n"
                                       "    time.sleep(0.5)\n    print('two')\n    return 3"):
        if isinstance(event, Output):
            first = first or time.monotonic() - begun
            text += event.text
        if isinstance(event, Answer):
            answer = event
    equal((text, answer and answer.result), ("one\ntwo\n", 3), "output and result")
    expect(time.monotonic() - begun - first > 0.3, "the output came with the end only")


@check
def mcp(service):
    """POST /mcp: the tool run_python"""
    def call(method, **parameters):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        response, data = service.request("POST", "/mcp", json.dumps(body).encode())
        equal(response.status, 200, "the status")
        return data["result"]
    tools = call("tools/list")["tools"]
    equal([tool["name"] for tool in tools], ["run_python"], "the tools")
    result = call("tools/call", name="run_python", arguments={"script": "6 * 7"})
    equal((result["isError"], result["content"][0]["text"]), (False, "42"), "the tool's answer")


@check
def unknown_field(service):
    """an unknown field is ignored, and named"""
    data = service.run("def main(): pass", timeot=3)
    expect(any("timeot" in warning for warning in data.get("warnings", [])), "nobody warned")


# --- Errors ---------------------------------------------------------------------------------------


@check
def invalid_requests(service):
    """invalid_request: a blank script, JSON that is not strict, a wrong field"""
    _, data = service.fail("invalid_request", 400, b'{"script": " "}')
    equal(data["error"], "script must be a non-empty string", "error")
    for body in (b'{"script": "x", "script": "y"}', b'{"script": "x"} x', b"[]", b"",
                 b'{"script": "x", "args": [NaN]}', b'{"script": "\xff"}', b"[" * 100000):
        service.fail("invalid_request", 400, body)
    _, data = service.fail("invalid_request", 400, b'{"script": "x", "timeout": 0}')
    equal(data["cause"]["field"], "timeout", "cause.field")
    expect("allowed" in data["cause"] and "got" in data["cause"], "cause says too little")


@check
def syntax(service):
    """syntax"""
    _, data = service.fail("syntax", 400, "x = 1\ndef main(: pass")
    expect(re.match(r"Syntax error in script: SyntaxError: .*\(script\.py, line 2\)",
                    data["error"]), f"error is {data['error']!r}")


@check
def no_main(service):
    """no_main, with what was printed before"""
    _, data = service.fail("no_main", 400, "print('ran')")
    equal(data["error"], "Script must contain a main() function (AttributeError: Script requires "
                         "a callable 'main' function.)", "error")
    equal(data["stdout"], "ran\n", "stdout")


@check
def exception(service):
    """exception, with the line and the script's own frames"""
    _, data = service.fail("exception", 400, "def main():\n    raise ValueError('bad input')")
    equal(data["error"], "ValueError: bad input", "error")
    equal(data["cause"], {"kind": "exception", "type": "ValueError", "line": 2}, "cause")
    expect('File "script.py", line 2, in main' in data["traceback"], "no frame in traceback")


@check
def exits(service):
    """exit"""
    _, data = service.fail("exit", 400, "import sys\ndef main(): sys.exit(3)")
    equal((data["error"], data["cause"]["exit_code"]), ("SystemExit: 3", 3), "error and exit_code")


@check
def not_json(service):
    """not_json"""
    _, data = service.fail("not_json", 400, "def main(): return {1}")
    equal(data["error"], "TypeError: Return value of 'main' is not JSON serializable: Object of "
                         "type set is not JSON serializable", "error")


@check
def result_too_large(service):
    """result_too_large"""
    _, data = service.fail("result_too_large", 400, "def main(): return 'x' * (5 << 20)")
    equal((data["cause"]["limit"], data["cause"]["unit"]), (4 << 20, "bytes"), "limit and unit")


@check
def memory(service):
    """memory: a limit"""
    body = json.dumps({"script": "def main(): bytearray(1 << 30)", "memory": 64}).encode()
    _, data = service.fail("memory", 400, body)
    equal(data["error"], "Script execution failed: memory limit exceeded (64 MiB)", "error")
    equal((data["cause"]["limit"], data["cause"]["unit"]), (64, "MiB"), "limit and unit")


@check
def signals(service):
    """signal"""
    _, data = service.fail("signal", 400, "import os\ndef main(): os.abort()")
    equal((data["error"], data["cause"]["signal"]), ("Script was killed by SIGABRT", "SIGABRT"),
          "error and signal")


@check
def timeouts(service):
    """time: 408, what was printed is there, nobody tries again"""
    body = json.dumps({"script": "print('begun')\nwhile True: pass", "timeout": 0.3}).encode()
    _, data = service.fail("time", 408, body)
    equal(data["error"], "Script execution timed out after 0.3 seconds", "error")
    equal((data["stdout"], data["cause"]["unit"]), ("begun\n", "s"), "stdout and unit")
    expect(0.3 <= data["cause"]["used"] < 2, f"used is {data['cause']['used']}")


@check
def refused_calls(service):
    """no network: a Python exception, and the call is named"""
    _, data = service.fail("exception", 400, "import socket\ndef main(): socket.socket()")
    equal(data["cause"]["type"], "PermissionError", "cause.type")
    equal(data["cause"]["refused"]["call"], "socket", "cause.refused.call")


@check
def confined(service):
    """nothing of the host: nobody, in an empty /tmp, and nothing stays"""
    script = ("import os\ndef main():\n    found = os.listdir('/tmp')\n    open('left', 'w')\n"
              "    return [os.getuid(), os.getcwd(), found, os.path.exists('/etc/shadow')]")
    for _ in range(2):
        uid, _, found, shadow = service.run(script)["result"]
        expect(uid != 0 and not found and not shadow, f"{uid}, {found}, {shadow}")


@check
def media_types(service):
    """unsupported_media_type"""
    body = b'{"script": "def main(): pass"}'
    service.fail("unsupported_media_type", 415, body, Content_Type="text/plain")
    service.fail("unsupported_media_type", 415, body, Content_Encoding="gzip")


@check
def too_large(service):
    """payload_too_large, before the body is sent"""
    headers = {"Content-Type": "application/json", "Content-Length": str(BODY_LIMIT_BYTES + 1)}
    response, data = service.request("POST", "/execute", None, headers)
    equal((response.status, data["cause"]["kind"]), (413, "payload_too_large"), "status and kind")


@check
def unknown_paths(service):
    """not_found and method_not_allowed"""
    response, data = service.request("GET", "/no/such/path")
    equal((response.status, data["cause"]["kind"]), (404, "not_found"), "status and kind")
    for method, path, allow in (("GET", "/execute", "POST, OPTIONS"),
                                ("DELETE", "/health", "GET, HEAD, OPTIONS")):
        response, data = service.request(method, path)
        equal((response.status, data["cause"]["kind"]), (405, "method_not_allowed"),
              "status and kind")
        equal(response.headers.get("allow"), allow, "Allow")


@check
def keys(service):
    """unauthorized, where keys are asked for"""
    body, headers = b'{"script": "def main(): pass"}', {"Content-Type": "application/json"}
    response, data = service.request("POST", "/execute", body, headers, service.stranger)
    if response.status == 200:
        expect(not service.has_key, "a key was given, and the service asks for none")
        return "no key is asked for"
    equal((response.status, data["cause"]["kind"]), (401, "unauthorized"), "status and kind")
    expect(response.headers.get("www-authenticate"), "there is no WWW-Authenticate")
    return "a key is asked for"


# --- The command ----------------------------------------------------------------------------------


def run_check(function, service):
    """Returns what a check has to say, or raises what is wrong."""
    try:
        return function(service)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Wrong(f"the answer has another shape: {type(error).__name__}: {error}") from error


def run_checks(service):
    """Runs all checks and prints their lines. Returns how many failed."""
    failed = 0
    for function in CHECKS:
        title, begun = function.__doc__, time.monotonic()
        try:
            note = run_check(function, service)
            verdict = "ok  "
        except (Wrong, VivariumError) as error:
            note, verdict, failed = str(error), "FAIL", failed + 1
        ms = (time.monotonic() - begun) * 1000
        print(f"{verdict} {ms:6.0f} ms  {title}" + (f" ({note})" if note else ""), flush=True)
    return failed


def make_context(options):
    """How the service's certificate is judged; None: as the system does."""
    if options.insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return ssl.create_default_context(cafile=options.cacert) if options.cacert else None


def main():
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="such as https://example.com")
    parser.add_argument("--key", default=os.environ.get("VIVARIUM_KEY"), help="an API key")
    parser.add_argument("--cacert", help="certificates to trust, PEM")
    parser.add_argument("--insecure", action="store_true", help="trust any certificate")
    options = parser.parse_args()
    try:
        service = Service(options.url, options.key, make_context(options))
        service.client.request("GET", "/live")
    except (VivariumError, ValueError, OSError) as error:
        print(f"smoke: {options.url}: {error}", file=sys.stderr)
        return 2
    begun = time.monotonic()
    failed = run_checks(service)
    host = urllib.parse.urlsplit(options.url).netloc.rpartition("@")[2]
    print(f"{host}: {len(CHECKS) - failed} passed, {failed} failed in "
          f"{time.monotonic() - begun:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
