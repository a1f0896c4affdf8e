"""CORS in a real browser: pages of two origins talk to a service on a third one.

One headless Chromium is started once. The page of the allowed origin asks everything that CASES
has, over HTTP and over HTTPS; the page of the other origin is a frame in it and asks the same.
Each page posts what its script could read to the server it came from.
"""

import contextlib
import json
import re

import pytest

from browser import Site, browse
from certificates import Authority
from conftest import TOP, Service
from edge import Nginx, ask, request
from keyring import KeyFile

BODY_LIMIT = 20 * 1024 * 1024
SCRIPT = json.dumps({"script": "def main():\n    print('hi')\n    return {'answer': 42}"})
FAILING = json.dumps({"script": "def main():\n    raise ValueError('bad input')"})
JSON = {"Content-Type": "application/json"}

# name: (path, options of fetch(), status, what the body has); "at": another service than the usual
CASES = {
    "post": ("/execute", {"method": "POST", "headers": JSON, "body": SCRIPT}, 200,
             {"success": True, "result": {"answer": 42}, "stdout": "hi\n"}),
    "with_headers": ("/execute", {"method": "POST", "body": SCRIPT, "headers": {
        **JSON, "X-Request-Id": "from-a-page", "Authorization": "Bearer none", "X-Api-Key": "none",
        "Accept": "application/json"}}, 200, {"success": True, "request_id": "from-a-page"}),
    "events": ("/execute", {"method": "POST", "headers": {**JSON, "Accept": "text/event-stream"},
                            "body": SCRIPT}, 200, {"events": ["event: stdout", "event: result"]}),
    "no_key": ("/execute", {"method": "POST", "headers": JSON, "body": SCRIPT, "at": "guarded"}, 401,
               {"success": False}),
    "wrong_key": ("/execute", {"method": "POST", "body": SCRIPT, "at": "guarded",
                               "headers": {**JSON, "Authorization": "Bearer wrong"}}, 401,
                  {"success": False}),
    "key": ("/execute", {"method": "POST", "body": SCRIPT, "at": "guarded",
                         "headers": {**JSON, "X-Api-Key": "KEY"}}, 200, {"success": True}),
    "script_fails": ("/execute", {"method": "POST", "headers": JSON, "body": FAILING}, 400,
                     {"error": "ValueError: bad input"}),
    "no_json": ("/execute", {"method": "POST", "body": "{}"}, 415, {"success": False}),
    "tools": ("/mcp", {"method": "POST", "headers": {**JSON, "MCP-Protocol-Version": "2025-11-25"},
                       "body": '{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'}, 200,
              {"jsonrpc": "2.0", "id": 1}),
    "health": ("/health", {}, 200, {"status": "healthy"}),
    "not_found": ("/nowhere", {}, 404, {"success": False}),
    "not_allowed": ("/execute", {}, 405, {"success": False}),
    "bad_escape": ("/%zz", {}, 400, {"success": False}),
    "too_large": ("/execute", {"method": "POST", "headers": JSON, "blanks": BODY_LIMIT + 1}, 413,
                  {"success": False}),
    "limited": ("/execute", {"method": "POST", "headers": JSON, "body": SCRIPT, "at": "limited"}, 429,
                {"success": False}),
    "absent": ("/execute", {"method": "POST", "headers": JSON, "body": SCRIPT, "at": "absent"}, 503,
               {"success": False}),
    "other_method": ("/execute", {"method": "PUT", "headers": JSON, "body": SCRIPT}, None, None),
    "other_header": ("/execute", {"method": "POST", "headers": {**JSON, "X-Other": "a"},
                                  "body": SCRIPT}, None, None),
    "with_cookies": ("/health", {"credentials": "include"}, None, None),
}

PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>%(name)s</title><script>
const cases = %(cases)s, targets = %(targets)s;
async function ask(base, path, options) {
	if (options.blanks)
		options = {...options, body: " ".repeat(options.blanks)};
	try {
		const response = await fetch(base + path, options);
		const read = name => response.headers.get(name), text = await response.text();
		const body = read("Content-Type") == "text/event-stream"
			? {events: text.match(/^event: \\w+/gm)} : JSON.parse(text);
		return {status: response.status, id: read("X-Request-Id"), retry: read("Retry-After"),
			timing: read("Server-Timing"), body};
	} catch (error) {
		return {refused: String(error)};
	}
}
async function example(base) {
	%(example)s
	return {status: response.status, answer};
}
async function main() {
	const seen = {};
	for (const [scheme, bases] of Object.entries(targets)) {
		seen[scheme] = {};
		for (const [name, [path, options]] of Object.entries(cases))
			seen[scheme][name] = await ask(bases[options.at || "service"], path, options);
		seen[scheme].example = await example(bases.service)
			.catch(error => ({refused: String(error)}));
	}
	await fetch("/report", {method: "POST", body: JSON.stringify(seen)});
}
main();
</script>%(frame)s"""


def example():
    """The one of docs/http.md."""
    text = re.search(r"^```js\n(.*?)^```$", (TOP / "docs" / "http.md").read_text(), re.M | re.S)[1]
    assert text.count('"https://python.example.com/execute"') == 1
    return text.replace('"https://python.example.com/execute"', 'base + "/execute"')


class Targets:
    """A service, one with keys, one that limits and one that is away, all by the same scheme."""

    def __init__(self, origin, certificate, key_file):
        self.tls = certificate
        self.running = contextlib.ExitStack()
        service = self.start(cors_origins=f"https://app.example {origin}")
        guarded = self.start(cors_origins=origin, key_file=key_file)
        limited = Nginx(tls=certificate, cors_origins=origin, rate_limit="1/m", rate_limit_burst=0)
        self.running.callback(limited.close)
        absent = Nginx(tls=certificate, cors_origins=origin)
        self.running.callback(absent.close)
        ask(limited, request(b"GET /"))  # that was it, for a minute
        self.bases = {"service": self.base(service), "guarded": self.base(guarded),
                      "limited": self.base(limited), "absent": self.base(absent)}

    def start(self, **settings):
        return self.running.enter_context(Service(
            tls=self.tls, workers=1, cells_per_worker=2, library_sets="base", **settings))

    def base(self, where):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{where.port}"

    def close(self):
        self.running.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """What the pages of the allowed and of the other origin could read, by scheme and case."""
    certificate = Authority(tmp_path_factory.mktemp("certificates")).issue("server")
    ring = KeyFile(tmp_path_factory.mktemp("keys") / "keys")
    key = ring.add("page")
    allowed, other = Site(), Site()
    targets = {"http": Targets(allowed.origin, None, ring.path),
               "https": Targets(allowed.origin, certificate, ring.path)}
    for site, frame in ((other, ""), (allowed, f'<iframe src="{other.origin}/"></iframe>')):
        site.pages["/"] = ("text/html", PAGE % {
            "name": site.origin, "frame": frame, "example": example(),
            "cases": json.dumps({name: case[:2] for name, case in CASES.items()}).replace("KEY", key),
            "targets": json.dumps({scheme: each.bases for scheme, each in targets.items()})})
    browser = browse(allowed.origin + "/", tmp_path_factory.mktemp("profile"),
                     "--ignore-certificate-errors")
    try:
        yield {"allowed": allowed.reports.get(timeout=60), "other": other.reports.get(timeout=60)}
    finally:
        browser.terminate()
        browser.wait(timeout=20)
        for each in (*targets.values(), allowed, other):
            each.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", CASES)
def test_page_of_an_allowed_origin(reports, scheme, name):
    """Reads every answer, errors too, whoever made them; and asks for nothing that is not offered."""
    seen = reports["allowed"][scheme][name]
    _, _, status, body = CASES[name]
    if status is None:
        assert "Failed to fetch" in seen["refused"]
        return
    assert seen.get("status") == status, seen
    assert seen["id"] and (seen["retry"] is not None) == (status in (429, 503))
    assert body.items() <= seen["body"].items()
    if name == "post":
        assert "wall;dur=" in seen["timing"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_example_of_the_documentation(reports, scheme):
    seen = reports["allowed"][scheme]["example"]
    assert seen["status"] == 200 and seen["answer"]["result"] == 42
    assert "Failed to fetch" in reports["other"][scheme]["example"]["refused"]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", CASES)
def test_page_of_another_origin(reports, scheme, name):
    """Reads nothing at all, but for what is said before anybody has looked at its origin."""
    seen = reports["other"][scheme][name]
    if name == "bad_escape":
        assert seen["status"] == 400
    else:
        assert "Failed to fetch" in seen["refused"]
