"""POST /mcp: the Model Context Protocol, with its own client library and with raw messages."""

import base64
import concurrent.futures
import json
import socket
import subprocess
import time

import pytest

from answers import refused
from conftest import TOP
from keyring import KeyFile

PYTHON = TOP / "build" / "pypi" / "bin" / "python"
MODERN, LEGACY = "2026-07-28", "2025-11-25"
VERSIONS = [MODERN, LEGACY, "2025-06-18", "2025-03-26"]
META = {"io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {}}
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint('plotted')"


def post(service, body, **headers):
    """One message, as JSON or as it is; header names with _ for -."""
    fields = {"Content-Type": "application/json",
              "Accept": "application/json, text/event-stream"}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    if not isinstance(body, (str, bytes)):
        body = json.dumps(body)
    return service.request("POST", "/mcp", body=body, headers=fields)


def request(method, params=None, number=1):
    message = {"jsonrpc": "2.0", "id": number, "method": method}
    return message if params is None else {**message, "params": params}


def ask(service, method, params=None, number=1, **headers):
    """A request as clients before 2026-07-28 send it."""
    return post(service, request(method, params, number), **headers)


def ask_modern(service, method, params=None, headers=(), meta=META):
    """One with all that 2026-07-28 wants in it."""
    params = dict(params or {}, _meta=meta)
    fields = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if "name" in params:
        fields["Mcp-Name"] = params["name"]
    fields.update(headers)
    return post(service, request(method, params), **{name: value for name, value in fields.items()
                                                     if value is not None})


def call(service, arguments, name="run_python"):
    """The result of a call of the tool."""
    return result(ask(service, "tools/call", {"name": name, "arguments": arguments}))


def result(answer, number=1):
    """The result of a request; the envelope is checked."""
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.body.isascii()
    assert set(answer.data) == {"jsonrpc", "id", "result"}, answer
    assert (answer.data["jsonrpc"], answer.data["id"]) == ("2.0", number)
    return answer.data["result"]


def error(answer, code, status=200, number=1):
    """The message of an error; number None: nobody can say whose."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body.isascii()
    assert set(answer.data) == {"jsonrpc", "error"} | ({"id"} if number is not None else set())
    assert answer.data.get("id") == number
    assert answer.data["error"]["code"] == code, answer
    return answer.data["error"]["message"]


def texts(outcome):
    return [block["text"] for block in outcome["content"] if block["type"] == "text"]


# --- with the protocol's client library -----------------------------------------------------------


def session(service, mode, *calls):
    """What the client library makes of the server and of these calls."""
    assert PYTHON.exists(), "make packages-pypi"
    url = f"http://{service.host}:{service.port}/mcp"
    done = subprocess.run([PYTHON, TOP / "tests" / "integration" / "mcp_session.py", url, mode],
                          input=json.dumps([["run_python", each] for each in calls]),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode, version", [("auto", MODERN), ("legacy", LEGACY), (MODERN, MODERN)])
def test_client_library(service, mode, version):
    """It agrees on a revision, knows the tool, and gets values, output, images and failures."""
    told = session(service, mode, {"script": "print('hi')\n6 * 7"}, {"script": PLOT},
                   {"script": "1 / 0"}, {"script": "def main():\n    return {'a': [1]}"}, {})
    assert told["version"] == version
    if mode != MODERN:  # who names a revision asks nothing
        assert told["server"] == "vivarium"
        assert "run_python" in told["instructions"]
    assert [tool["name"] for tool in told["tools"]] == ["run_python"]
    value, plot, failure, of_main, wrong = told["calls"]
    assert [each["isError"] for each in told["calls"]] == [False, False, True, False, True]
    assert texts(value) == ["42", "stdout:\nhi\n"]
    assert value["structuredContent"]["result"] == 42
    assert texts(plot) == ["stdout:\nplotted\n"] or len(texts(plot)) == 2
    image = plot["content"][-1]
    assert (image["type"], image["mimeType"]) == ("image", "image/png")
    assert base64.b64decode(image["data"]).startswith(b"\x89PNG\r\n\x1a\n")
    assert texts(failure)[0] == "ZeroDivisionError: division by zero"
    assert failure["structuredContent"]["cause"]["line"] == 1
    assert of_main["structuredContent"]["result"] == {"a": [1]}
    assert texts(wrong) == ["script must be a non-empty string"]


# --- the tool -------------------------------------------------------------------------------------


@pytest.mark.parametrize("script, value, name", [
    ("1 + 1", 2, "__main__"),
    ("x = 1", None, "__main__"),
    ("def main():\n    return __name__", "script", "script"),
    ("async def main():\n    return 5\nmain", 5, "script"),
    ("if True:\n    def main(): return 3", 3, "script"),
    ("try:\n    1 / 0\nexcept Exception:\n    def main(): return 4\n'last'", 4, "script"),
    ("class A:\n    def main(self): pass\n'last'", "last", "__main__"),
    ("def f():\n    def main(): pass\n'last'", "last", "__main__"),
    ("main = lambda: 1\n'last'", "last", "__main__"),
    ("class main: pass\n'last'", "last", "__main__"),
    ("'def main(): pass'\nimport math as main\n'last'", "last", "__main__"),
    ("import functools\n@functools.cache\ndef main(): return 6", 6, "script"),
    ("if __name__ == '__main__':\n    print('guard')\n__name__", "__main__", "__main__"),
    ("def main():\n    return 7\nif __name__ == '__main__':\n    main()", 7, "script"),
])
def test_entry_if_there_is_one(service, script, value, name):
    """What defines main() is called, anything else is run as a program."""
    outcome = call(service, {"script": "print(__name__)\n" + script})
    assert outcome["structuredContent"]["stdout"].startswith(name + "\n")
    assert outcome["structuredContent"]["result"] == value
    assert outcome["isError"] is False


def test_entry_by_name(service):
    """Whoever names an entry gets that one; arguments need one."""
    script = "def f(): return 'f'\ndef main(a): return a\n'last'"
    assert call(service, {"script": script, "entry": "f"})["structuredContent"]["result"] == "f"
    assert call(service, {"script": script, "entry": None})["structuredContent"]["result"] == "last"
    assert call(service, {"script": script, "args": [3]})["structuredContent"]["result"] == 3
    failure = call(service, {"script": "'last'", "args": [3]})["structuredContent"]
    assert failure["cause"]["kind"] == "no_main"


def test_values_are_rich(service):
    """A model need not know what JSON lacks."""
    script = "import pandas as pd\npd.DataFrame({'x': [1]})"
    value = call(service, {"script": script})["structuredContent"]["result"]
    assert value["$type"] == "dataframe"
    assert call(service, {"script": "{1, 2}", "encode": "strict"})["isError"] is True


def test_what_goes_in_and_out(service):
    """stdin, files and outputs; the text names the files that structuredContent has."""
    outcome = call(service, {
        "script": "open('out.txt', 'w').write(open('in/a.txt').read() + input())",
        "stdin": "typed\n", "files": [{"path": "in/a.txt", "content": "read, "}],
        "outputs": ["*.txt"], "timeot": 1})
    structured = outcome["structuredContent"]
    assert base64.b64decode(structured["files"][0]["content_base64"]) == b"read, typed"
    assert texts(outcome) == ["11", "files, in structuredContent:\nout.txt",
                              "warnings:\nunknown field: timeot"]
    assert structured["warnings"] == ["unknown field: timeot"]


def test_images_are_content_and_nothing_else(service):
    """Not in structuredContent a second time: models read both."""
    outcome = call(service, {"script": PLOT + "\nplt.figure()"})
    assert [block["type"] for block in outcome["content"]].count("image") == 2
    assert "visualizations" not in outcome["structuredContent"]
    outcome = call(service, {"script": PLOT, "visualizations": False})
    assert "image" not in [block["type"] for block in outcome["content"]]


@pytest.mark.parametrize("arguments, kind, error_text", [
    ({"script": "raise ValueError('bad input')"}, "exception", "ValueError: bad input"),
    ({"script": "1 +"}, "syntax", "Syntax error in script: SyntaxError: invalid syntax (script.py, "
     "line 1)"),
    ({"script": "while True: pass", "timeout": 0.1}, "time",
     "Script execution timed out after 0.1 seconds"),
    ({"script": "import os\nos.kill(os.getpid(), 11)"}, "signal", "Script was killed by SIGSEGV"),
    ({"script": "import os\nos._exit(3)"}, "exit",
     "Script ended without reaching its end (exit code 3)"),
    ({"script": "'x' * 5_000_000"}, "result_too_large",
     "The script's value is 5000002 bytes of JSON, over the limit of 4194304"),
    ({"script": " "}, "invalid_request", "script must be a non-empty string"),
    ({"script": "1", "timeout": 1e9}, "invalid_request",
     "timeout must be a number of seconds from 0.01 to 300"),
    ({"script": "1", "files": [{"path": "../x", "content": ""}]}, "invalid_request", None),
])
def test_failures_are_told_to_the_model(service, arguments, kind, error_text):
    """As results, so that it can do better, whether the script failed or the arguments did."""
    outcome = call(service, arguments)
    assert outcome["isError"] is True
    structured = outcome["structuredContent"]
    assert (structured["success"], structured["cause"]["kind"]) == (False, kind)
    assert texts(outcome)[0] == structured["error"]
    if error_text:
        assert structured["error"] == error_text
    if "traceback" in structured:
        assert texts(outcome)[1] == structured["traceback"]


def test_answer_is_the_ordinary_one(service):
    """structuredContent is what POST /execute says, byte for byte but for times and the id."""
    script = ("import sys\nprint('\u00e9', file=sys.stderr)\n"
              "def main(): return {'\u00e9': [1.0, None]}")
    ordinary = service.execute(script, encode="rich").data
    structured = call(service, {"script": script})["structuredContent"]
    for data in (ordinary, structured):
        for key in ("usage", "timestamp", "request_id"):
            del data[key]
    assert structured == ordinary
    answer = ask(service, "tools/call", {"name": "run_python", "arguments": {"script": "1"}},
                 X_Request_Id="mine")
    assert answer.data["result"]["structuredContent"]["request_id"] == "mine"
    assert answer.headers["X-Request-Id"] == "mine"
    assert "wall;dur=" in answer.headers["Server-Timing"]


def test_schemas(make_service):
    """They have the limits that are configured."""
    service = make_service(library_sets="base", workers=1, cells_per_worker=1, max_timeout="20",
                           default_timeout="5.5", max_memory=700, default_memory=64)
    tool = result(ask(service, "tools/list"))["tools"][0]
    fields = tool["inputSchema"]["properties"]
    assert set(fields) == {"script", "timeout", "memory", "stdin", "files", "outputs"}
    assert tool["inputSchema"]["required"] == ["script"]
    assert [fields["timeout"][key] for key in ("minimum", "maximum", "default")] == [0.01, 20, 5.5]
    assert [fields["memory"][key] for key in ("minimum", "maximum", "default")] == [16, 700, 64]
    assert tool["annotations"]["openWorldHint"] is False
    assert set(tool["outputSchema"]["required"]) <= set(
        call(service, {"script": "1"})["structuredContent"])


def test_fields_that_clients_may_set(make_service):
    """Models are told of no others."""
    service = make_service(library_sets="base", workers=1, cells_per_worker=1,
                           client_fields="memory stdin")
    tool = result(ask(service, "tools/list"))["tools"][0]
    assert set(tool["inputSchema"]["properties"]) == {"script", "memory", "stdin"}
    outcome = call(service, {"script": "1", "timeout": 1})
    assert texts(outcome) == ["timeout is a field that clients may not set here"]


def test_keys(make_service, tmp_path):
    """They guard it as they guard /execute, and a key's limits are in the description."""
    ring = KeyFile(tmp_path / "keys")
    ring.add("small", "--max-timeout", "2")
    service = make_service(library_sets="base", workers=1, cells_per_worker=1, key_file=ring.path)
    answer = ask(service, "ping")
    assert answer.status == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
    key = {"Authorization": "Bearer " + ring.keys["small"]}
    tool = result(ask(service, "tools/list", **key))["tools"][0]
    assert tool["inputSchema"]["properties"]["timeout"]["maximum"] == 2
    outcome = result(ask(service, "tools/call", {"name": "run_python", "arguments": {
        "script": "1", "timeout": 3}}, **key))
    assert outcome["isError"] is True


# --- the protocol ---------------------------------------------------------------------------------


@pytest.mark.parametrize("offered, agreed", [
    (LEGACY, LEGACY), ("2025-06-18", "2025-06-18"), ("2025-03-26", "2025-03-26"),
    ("2024-11-05", LEGACY), (MODERN, LEGACY), ("2099-01-01", LEGACY), ("x" * 1000, LEGACY)])
def test_initialize(service, offered, agreed):
    """The revision that was offered, or the newest one that begins so."""
    told = result(ask(service, "initialize", {"protocolVersion": offered, "capabilities": {},
                                              "clientInfo": {"name": "t", "version": "1"}}))
    assert told["protocolVersion"] == agreed
    assert told["capabilities"] == {"tools": {}}
    assert told["serverInfo"]["name"] == "vivarium"
    assert set(told) == {"protocolVersion", "capabilities", "serverInfo", "instructions"}


def test_discover(service):
    """What 2026-07-28 has instead."""
    told = result(ask_modern(service, "server/discover"))
    assert told["supportedVersions"] == VERSIONS
    assert told["resultType"] == "complete"
    assert told["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "vivarium"
    assert isinstance(told["ttlMs"], int) and told["cacheScope"] == "private"


@pytest.mark.parametrize("number", [0, -5, 10**30, "", "a", "\u00e9\U0001f600\"\\", "x" * 500])
def test_ids_come_back(service, number):
    """Strings and integers, whatever they are."""
    assert result(ask(service, "ping", number=number), number) == {}


@pytest.mark.parametrize("body", [
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "method": "notifications/of/any/kind", "params": {"x": 1}},
    {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "run_python"}},
    {"jsonrpc": "2.0", "id": 1, "result": {}},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": ""}},
])
def test_what_needs_no_answer(service, body):
    """Notifications, and responses to requests that nobody made."""
    answer = post(service, body)
    assert (answer.status, answer.body) == (202, b"")
    assert answer.headers["Content-Length"] == "0"


@pytest.mark.parametrize("body, code, words", [
    ("", -32700, "no JSON value"), ("{", -32700, ""), ("nonsense", -32700, ""),
    ('{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "ping"}', -32700, "duplicate key"),
    ('{"jsonrpc": "2.0", "id": 1, "method": "ping"} x', -32700, ""),
    ('{"jsonrpc": "2.0", "id": NaN, "method": "ping"}', -32700, ""),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "\xff"}', -32700, ""),
    ("[]", -32600, "batches"), ("5", -32600, ""), ("null", -32600, ""), ('"ping"', -32600, ""),
    ([{"jsonrpc": "2.0", "id": 1, "method": "ping"}], -32600, "batches"),
    ({}, -32600, "jsonrpc"), ({"jsonrpc": "1.0", "method": "x"}, -32600, "jsonrpc"),
    ({"jsonrpc": 2.0, "method": "x"}, -32600, "jsonrpc"),
    ({"jsonrpc": "2.0"}, -32600, "method"),
    ({"jsonrpc": "2.0", "id": None, "method": "ping"}, -32600, "id"),
    ({"jsonrpc": "2.0", "id": 1.5, "method": "ping"}, -32600, "id"),
    ({"jsonrpc": "2.0", "id": True, "method": "ping"}, -32600, "id"),
    ({"jsonrpc": "2.0", "id": {}, "method": "ping"}, -32600, "id"),
    ({"jsonrpc": "2.0", "id": "x" * 2000, "method": "ping"}, -32600, "id"),
])
def test_what_is_no_message(service, body, code, words):
    """400, with an error that says whose it is to nobody."""
    assert words in error(post(service, body), code, 400, None)


def test_brackets_without_end(service):
    """Arguments may be as deep as a request, and no deeper."""
    deep = '{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": %s%s}'
    result(post(service, deep % ('{"a": ' + "[" * 64, "]" * 64 + "}")))
    for levels in (65, 200000):
        body = deep % ('{"a": ' + "[" * levels, "")
        assert "nested too deeply" in error(post(service, body), -32700, 400, None)


def test_what_is_wrong_with_a_message(service):
    """An error goes to the request's id as soon as that can be read."""
    for message, code in [({"id": 7, "method": "ping"}, -32600),
                          ({"jsonrpc": "2.0", "id": 7}, -32600),
                          ({"jsonrpc": "2.0", "id": 7, "method": 5}, -32600),
                          ({"jsonrpc": "2.0", "id": 7, "method": "ping", "result": 1}, -32600),
                          ({"jsonrpc": "2.0", "id": 7, "method": "ping", "params": [1]}, -32602)]:
        error(post(service, message), code, 400, 7)


@pytest.mark.parametrize("method, params, code", [
    ("nothing/of/the/kind", {}, -32601), ("", {}, -32601), ("x" * 1000, {}, -32601),
    ("resources/list", {}, -32601), ("server/discover", {}, -32601),
    ("initialize", {}, -32602), ("initialize", {"protocolVersion": 5}, -32602),
    ("tools/call", None, -32602), ("tools/call", {}, -32602),
    ("tools/call", {"name": 5, "arguments": {}}, -32602),
    ("tools/call", {"name": "Run_Python", "arguments": {"script": "1"}}, -32602),
    ("tools/call", {"name": "x\u00e9" * 100, "arguments": {"script": "1"}}, -32602),
])
def test_wrong_requests(service, method, params, code):
    """Protocol errors, with status 200 before 2026-07-28: 404 would end a session there."""
    error(ask(service, method, params), code)


@pytest.mark.parametrize("params, words", [
    ({}, "params.name is missing"), (None, "params.name is missing"),
    ({"arguments": {"script": "1"}}, "params.name is missing"),
    ({"name": 5}, "params.name must be a string"), ({"name": None}, "params.name must be a string"),
    ({"name": "python"}, 'unknown tool: "python"; there is "run_python"'),
    ({"name": ""}, 'unknown tool: ""; there is "run_python"'),
    *(({"name": "run_python", "arguments": arguments}, "params.arguments must be an object")
      for arguments in ([], "x", 5, True, [{"script": "1"}])),
])
def test_what_is_wrong_with_a_call(service, params, words):
    """The member is named, and what it has to be."""
    assert error(ask(service, "tools/call", params), -32602) == words


def test_arguments_that_are_not_there(service):
    """null is as if they were not: the script is what is missing."""
    for params in ({"name": "run_python"}, {"name": "run_python", "arguments": None}):
        outcome = result(ask(service, "tools/call", params))
        assert texts(outcome) == ["script must be a non-empty string"]
        assert outcome["structuredContent"]["cause"]["got"] == "nothing"


def test_what_is_no_json_is_shown(service):
    """And where it is."""
    answer = post(service, b'{"jsonrpc": "2.0", "id": NaN}')
    assert answer.data["error"] == {"code": -32700, "message": "body is not strict JSON: not JSON (NaN) "
                                    "at line 1, column 26"}


def test_warnings_are_told_to_the_model(service):
    """After all that was printed, in the order that they have in structuredContent."""
    outcome = call(service, {"script": "import os\nos.mkfifo('pipe')\nprint('x')\n1", "outputs": ["*"],
                             "timeot": 5})
    assert outcome["structuredContent"]["warnings"] == [
        "unknown field: timeot", "file pipe left out: not a regular file"]
    assert texts(outcome) == ["1", "stdout:\nx\n", "warnings:\nunknown field: timeot\n"
                              "file pipe left out: not a regular file"]
    assert len(texts(call(service, {"script": "1"}))) == 1


@pytest.mark.parametrize("method, code, status", [
    ("ping", -32601, 404), ("initialize", -32601, 404), ("nothing", -32601, 404),
    ("tools/call", -32602, 400)])
def test_wrong_modern_requests(service, method, code, status):
    """From 2026-07-28 on the status says so, too."""
    error(ask_modern(service, method), code, status)


@pytest.mark.parametrize("headers, code, words", [
    ({"MCP-Protocol-Version": None}, -32020, "MCP-Protocol-Version"),
    ({"MCP-Protocol-Version": LEGACY}, -32020, "MCP-Protocol-Version"),
    ({"Mcp-Method": None}, -32020, "Mcp-Method"),
    ({"Mcp-Method": "tools/list"}, -32020, "Mcp-Method"),
    ({"Mcp-Method": "TOOLS/CALL"}, -32020, "Mcp-Method"),
    ({"Mcp-Name": None}, -32020, "Mcp-Name"),
    ({"Mcp-Name": "other"}, -32020, "Mcp-Name"),
    ({"Mcp-Name": "=?base64?b3RoZXI=?="}, -32020, "Mcp-Name"),
    ({"Mcp-Name": "=?base64?!?="}, -32020, "Mcp-Name"),
    ({"Mcp-Name": "=?base64?" + "A" * 1000 + "?="}, -32020, "Mcp-Name"),
    ({"Mcp-Name": "=?base64?="}, -32020, "Mcp-Name"),
])
def test_headers_that_disagree(service, headers, code, words):
    """Who routes by headers must be able to rely on them."""
    arguments = {"name": "run_python", "arguments": {"script": "1"}}
    assert words in error(ask_modern(service, "tools/call", arguments, headers), code, 400)


def test_header_in_base64(service):
    """A name may be written so."""
    name = "=?base64?" + base64.b64encode(b"run_python").decode() + "?="
    outcome = result(ask_modern(service, "tools/call", {
        "name": "run_python", "arguments": {"script": "1"}}, {"Mcp-Name": name}))
    assert outcome["resultType"] == "complete" and texts(outcome) == ["1"]


@pytest.mark.parametrize("meta", [
    {}, {"io.modelcontextprotocol/protocolVersion": MODERN},
    {**META, "io.modelcontextprotocol/protocolVersion": 5},
    {**META, "io.modelcontextprotocol/clientCapabilities": []}])
def test_incomplete_metadata(service, meta):
    """Every request of 2026-07-28 says its revision and what the client can do."""
    error(ask_modern(service, "tools/list", meta=meta), -32602, 400)


def test_unsupported_versions(service):
    """400, with the ones that are spoken."""
    meta = {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    for answer in (ask_modern(service, "tools/list", meta=meta,
                              headers={"MCP-Protocol-Version": "2099-01-01"}),
                   ask(service, "tools/list", MCP_Protocol_Version="2099-01-01")):
        error(answer, -32022, 400)
        assert answer.data["error"]["data"] == {"supported": VERSIONS, "requested": "2099-01-01"}
    for version in VERSIONS[1:]:
        assert "resultType" not in result(ask(service, "tools/list", MCP_Protocol_Version=version))


# --- HTTP -----------------------------------------------------------------------------------------


def test_other_methods(service):
    """No stream to listen to, no session to end."""
    for method in ("GET", "DELETE", "PUT"):
        answer = service.request(method, "/mcp", headers={"Accept": "text/event-stream"})
        assert answer.headers["Allow"] == "POST, OPTIONS"
        refused(answer, "method_not_allowed", 405)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "x"])
def test_web_pages_are_refused(service, origin):
    """DNS rebinding: a page may have its own name point here."""
    message = {"name": "run_python", "arguments": {"script": "1"}}
    error(ask(service, "tools/call", message, Origin=origin), -32600, 403, None)


@pytest.mark.parametrize("origins, allowed, refused_ones", [
    ("https://a.example http://b.example:8000", ["https://a.example", "http://b.example:8000"],
     ["http://a.example", "https://a.example:8443", "https://a.exampl", "https://b.example", "*"]),
    ("*", ["https://a.example", "null"], []),
])
def test_listed_origins(make_service, origins, allowed, refused_ones):
    """The pages that may read answers may call the tool, and no others."""
    service = make_service(library_sets="base", workers=1, cells_per_worker=1, cors_origins=origins)
    for origin in allowed:
        answer = ask(service, "ping", Origin=origin)
        assert result(answer) == {}
        assert answer.headers["Access-Control-Allow-Origin"] in (origin, "*")
    for origin in refused_ones:
        error(ask(service, "ping", Origin=origin), -32600, 403, None)


@pytest.mark.parametrize("accept, status", [
    ("application/json", 200), ("*/*", 200), ("text/html, application/*;q=0.5", 200),
    ("TEXT/EVENT-STREAM , APPLICATION/JSON", 200), ("text/event-stream;q=1, */*;q=0.1", 200),
    ("text/event-stream", 406), ("text/html", 406),
    ("application/jsonp", 406), (",;,", 406)])
def test_accept(service, accept, status):
    """Answers are JSON, also for who would rather have a stream."""
    arguments = {"name": "run_python", "arguments": {"script": "1"}}
    answer = ask(service, "tools/call", arguments, Accept=accept)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.status == status
    if status != 200:
        error(answer, -32600, status, None)


def test_bodies_as_of_execute(service):
    """What is not JSON, or too much of it, is refused by the same words."""
    refused(post(service, "{}", Content_Type="text/plain"), "unsupported_media_type", 415)
    refused(post(service, b" " * (21 << 20)), "payload_too_large", 413)


def test_a_client_that_hangs_up(service):
    """Its run is ended: closing the connection is how 2026-07-28 cancels."""
    script = "import time\ntime.sleep(30)"
    body = json.dumps(request("tools/call", {"name": "run_python",
                                             "arguments": {"script": script}})).encode()
    with socket.create_connection((service.host, service.port)) as client:
        client.sendall(b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        wait_for(lambda: service.get("/health").data["workers"]["busy"] > 0)
    wait_for(lambda: service.get("/health").data["workers"]["busy"] == 0)


def begin(service):
    """The headers of a client that has begun as before 2026-07-28."""
    answer = ask(service, "initialize", {"protocolVersion": LEGACY, "capabilities": {},
                                         "clientInfo": {"name": "t", "version": "1"}})
    return {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"], "MCP-Protocol-Version": LEGACY}


def cancel(service, headers, number):
    answer = post(service, {"jsonrpc": "2.0", "method": "notifications/cancelled",
                            "params": {"requestId": number, "reason": "test"}}, **headers)
    assert (answer.status, answer.body) == (202, b"")


def test_cancelled_by_name(service):
    """The run ends, and its request breaks off; only who made it can name it."""
    mine, theirs = begin(service), begin(service)
    assert mine["Mcp-Session-Id"] != theirs["Mcp-Session-Id"]
    arguments = {"name": "run_python", "arguments": {"script": "import time\ntime.sleep(3)\n'end'"}}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        ended = pool.submit(ask, service, "tools/call", arguments, 7, **mine)
        others = [pool.submit(ask, service, "tools/call", arguments, number, **headers)
                  for number, headers in [(7, theirs), (8, mine), ("7", mine), (7, {})]]
        wait_for(lambda: service.get("/health").data["workers"]["busy"] == 5)
        begun = time.monotonic()
        cancel(service, {}, 7)
        cancel(service, mine, 70)
        cancel(service, mine, 7)
        assert ended.result().status == 502
        assert time.monotonic() - begun < 2
        for other, number in zip(others, [7, 8, "7", 7]):
            assert texts(result(other.result(), number)) == ['"end"']
    cancel(service, mine, 7)  # which has ended
    assert result(ask(service, "ping", **mine)) == {}


def test_cancelled_with_a_session_that_others_know(make_service, tmp_path):
    """A client may have made it up: only the key that made a call cancels it."""
    ring = KeyFile(tmp_path / "keys")
    alice, bob = ({"Mcp-Session-Id": "1", "MCP-Protocol-Version": LEGACY, "X-Api-Key": ring.add(name)}
                  for name in ("alice", "bob"))
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", key_file=ring.path)
    arguments = {"name": "run_python", "arguments": {"script": "import time\ntime.sleep(1)\n'end'"}}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for canceller in (bob, alice):
            call = pool.submit(ask, service, "tools/call", arguments, 7, **alice)
            wait_for(lambda: service.get("/health").data["workers"]["busy"] == 1)
            cancel(service, canceller, 7)
            if canceller is bob:
                assert texts(result(call.result(), 7)) == ['"end"']
            else:
                assert call.result().status == 502


def test_client_library_cancels(service):
    """As it does, in either way: closing the request, or naming it."""
    url = f"http://{service.host}:{service.port}/mcp"
    for mode in ("auto", "legacy"):
        done = subprocess.run([PYTHON, TOP / "tests" / "integration" / "mcp_cancel.py", url, mode],
                              capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "timed out\n"), done
        wait_for(lambda: service.get("/health").data["workers"]["busy"] == 0)


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_full_queue(make_service):
    """An error of the protocol with HTTP's own status, so that clients know to wait."""
    service = make_service(library_sets="base", workers=1, cells_per_worker=1, queue=0)
    sleeper = json.dumps(request("tools/call", {"name": "run_python", "arguments": {
        "script": "import time\ntime.sleep(3)"}}))
    with socket.create_connection((service.host, service.port)) as client:
        client.sendall(("POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                        f"Content-Length: {len(sleeper)}\r\n\r\n{sleeper}").encode())
        wait_for(lambda: service.get("/health").data["workers"]["busy"] > 0)
        answer = ask(service, "tools/call", {"name": "run_python", "arguments": {"script": "1"}})
        assert "Too many requests" in error(answer, -32603, 503)
        assert answer.headers["Retry-After"] == "1"


def test_root_names_it(service):
    """GET / lists what there is."""
    assert "POST /mcp" in service.get("/").data["endpoints"]
