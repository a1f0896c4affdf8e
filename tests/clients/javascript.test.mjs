// The tests of clients/javascript/vivarium.mjs: against the service at VIVARIUM_URL, and against
// servers that answer as they are told.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";

import { Vivarium, VivariumError } from "../../clients/javascript/vivarium.mjs";

const client = new Vivarium(process.env.VIVARIUM_URL);

const success = {
	success: true, result: 42, stdout: "", stderr: "", timestamp: "2026-11-20T12:00:00+00:00",
	request_id: "told", usage: { wall_ms: 1 },
};

function refusal(kind) {
	return { success: false, error: kind, cause: { kind }, stdout: "", request_id: "told" };
}

// A server that gives one answer after the other: [status, headers, body], where body is text, an
// object that becomes JSON, or a function that writes the answer itself.
async function told(answers, use) {
	const requests = [];
	const server = createServer((request, response) => {
		let text = "";
		request.on("data", (piece) => (text += piece));
		request.on("end", () => {
			requests.push({ path: request.url, headers: request.headers, body: text });
			const [status, headers, body] = answers.shift();
			response.writeHead(status, headers);
			if (typeof body === "function")
				body(response);
			else
				response.end(typeof body === "string" ? body : JSON.stringify(body));
		});
	});
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	try {
		await use(`http://127.0.0.1:${server.address().port}`, requests);
	} finally {
		server.closeAllConnections();
		server.close();
	}
}

function stream(...pieces) {
	return [200, { "Content-Type": "text/event-stream" }, async (response) => {
		for (const piece of pieces) {
			response.write(piece);
			await new Promise((resolve) => setTimeout(resolve, 5));
		}
		response.end();
	}];
}

function event(name, value) {
	return `event: ${name}\ndata: ${JSON.stringify(value)}\n\n`;
}

async function gather(events) {
	const found = [];
	for await (const each of events)
		found.push(each);
	return found;
}

// --- Against a service

test("a value, output and all fields", async () => {
	const answer = await client.execute(
		"import os, sys\ndef f(a, b):\n    print('hi')\n" +
		"    return [a, b, sys.argv[1:], os.environ['A'], input(), open('t').read(),\n" +
		"        open('d/b', 'rb').read().hex(), {1}]",
		{ entry: "f", args: [1], kwargs: { b: "h\u00e9" }, argv: ["x"], env: { A: "b" }, stdin: "in\n",
			files: { t: "text \u00e9", "d/b": new Uint8Array([0, 255]) }, outputs: ["**/*"],
			encode: "rich", timeout: 5, memory: 64, visualizations: false, requestId: "mine" });
	assert.deepEqual(answer.result, [1, "h\u00e9", ["x"], "b", "in", "text \u00e9", "00ff",
		{ $type: "set", value: [1] }]);
	assert.equal(answer.stdout, "hi\n");
	assert.equal(answer.requestId, "mine");
	assert.deepEqual([...answer.files.keys()], ["d/b", "t"]);
	assert.deepEqual(answer.files.get("d/b"), new Uint8Array([0, 255]));
	assert.equal((await client.execute("6 * 7", { entry: null })).result, 42);
});

test("figures and large files", async () => {
	const bytes = new Uint8Array(1 << 20).map((_, i) => i * 7);
	const answer = await client.execute(
		"import matplotlib.pyplot as plt\ndef main(): plt.figure(3)",
		{ files: { a: bytes }, outputs: ["a"] });
	assert.deepEqual(answer.files.get("a"), bytes);
	assert.equal(answer.figures[0].number, 3);
	assert.deepEqual([...answer.figures[0].png.slice(1, 4)], [0x50, 0x4e, 0x47]);
	assert.match(answer.figures[0].dataUrl, /^data:image\/png;base64,/);
});

test("a script that fails", async () => {
	await assert.rejects(client.execute(
		"def main():\n    print('so far')\n    open('f', 'w').write('x')\n    1 / 0", { outputs: ["f"] }),
	(error) => {
		assert(error instanceof VivariumError && error.isScriptError);
		assert.equal(error.message, "ZeroDivisionError: division by zero");
		assert.deepEqual([error.kind, error.status, error.cause.line], ["exception", 400, 4]);
		assert.equal(error.stdout, "so far\n");
		assert.match(error.traceback, /File "script.py", line 4/);
		assert.deepEqual(error.files.get("f"), new Uint8Array([120]));
		return true;
	});
});

test("a request that is refused", async () => {
	await assert.rejects(client.execute(" "), (error) => {
		assert.deepEqual([error.kind, error.cause.field, error.isScriptError],
			["invalid_request", "script", false]);
		return true;
	});
});

test("health", async () => {
	assert.equal((await client.health()).status, "healthy");
});

test("an aborted request ends its script", async () => {
	const controller = new AbortController();
	const running = client.execute("import time\ndef main(): time.sleep(30)",
		{ signal: controller.signal });
	setTimeout(() => controller.abort(), 300);
	await assert.rejects(running, { name: "AbortError" });
	for (const begun = Date.now(); (await client.health()).workers.busy;)
		assert(Date.now() - begun < 5000);
});

// --- Streams

test("a live stream", async () => {
	const found = await gather(client.stream(
		"import sys\ndef main():\n    print('one')\n    print('two', file=sys.stderr)\n    return 7"));
	assert.deepEqual(new Set(found.slice(0, -1).map((each) => each.name + each.text)),
		new Set(["stdoutone\n", "stderrtwo\n"]));
	assert.equal(found.at(-1).answer.result, 7);
	await assert.rejects(gather(client.stream("def main(): 1 / 0")), { kind: "exception", status: 400 });
	await assert.rejects(gather(client.stream(" ")), { kind: "invalid_request", status: 400 });
});

const pieces = [": hello\n\n", event("stdout", "one\n"), "event: stderr\nda",
	'ta: "t\\u00e9"\r\n\r\n', event("future", 1), event("result", { ...success, status: 200 })];

test("events, however they are cut", async () => {
	await told([stream(...pieces), [200, {}, success]], async (url, requests) => {
		const found = await gather(new Vivarium(url).stream("x", { timeout: 3 }));
		assert.deepEqual(found.slice(0, 2),
			[{ name: "stdout", text: "one\n" }, { name: "stderr", text: "t\u00e9" }]);
		assert.deepEqual([found.length, found[2].name, found[2].answer.result], [3, "result", 42]);
		assert.equal(requests[0].headers.accept, "text/event-stream");
		assert.deepEqual(JSON.parse(requests[0].body), { script: "x", timeout: 3 });
		assert.equal((await gather(new Vivarium(url).stream("x")))[0].answer.result, 42);
	});
});

test("streams that fail", async () => {
	const failure = { ...refusal("exception"), status: 400 };
	await told([stream(event("error", failure)), [400, {}, refusal("invalid_request")],
		stream(...pieces.slice(0, 2)),
		[200, { "Content-Type": "text/event-stream" }, (response) => {
			response.write(pieces[1]);
			setTimeout(() => response.destroy(), 20);
		}]], async (url) => {
		for (const [kind, status] of [["exception", 400], ["invalid_request", 400],
			["transport", 0], ["transport", 0]])
			await assert.rejects(gather(new Vivarium(url).stream("x")), { kind, status });
	});
});

test("leaving a stream hangs up", async () => {
	let gone;
	const hangsUp = new Promise((resolve) => (gone = resolve));
	const held = [200, { "Content-Type": "text/event-stream" }, (response) => {
		response.write(pieces[1]);
		response.on("close", gone);
	}];
	await told([held], async (url) => {
		for await (const each of new Vivarium(url).stream("x")) {
			assert.equal(each.text, "one\n");
			break;
		}
		await hangsUp;
	});
});

// --- Retries and strange answers

function busy(status, headers = { "Retry-After": "0" }) {
	return [status, headers, refusal(status === 429 ? "rate_limited" : "overloaded")];
}

test("a busy service is tried again", async (context) => {
	context.mock.method(Math, "random", () => 0.01);
	await told([busy(503), busy(429), [200, {}, success]], async (url, requests) => {
		assert.equal((await new Vivarium(url).execute("x")).result, 42);
		assert.equal(requests.length, 3);
	});
	await told([busy(503), busy(503)], async (url) => {
		await assert.rejects(new Vivarium(url, { retries: 1 }).execute("x"),
			{ kind: "overloaded", status: 503, retryAfter: 0, isScriptError: false });
	});
	await told([busy(429, { "Retry-After": "3600" })], async (url) => {
		await assert.rejects(new Vivarium(url).execute("x"), { kind: "rate_limited", retryAfter: 3600 });
	});
	await told([busy(503, { "Retry-After": "1" }), [200, {}, success]], async (url) => {
		const begun = Date.now();
		await new Vivarium(url).execute("x");
		assert(Date.now() - begun >= 1000);
	});
});

test("a wait ends when it is aborted", async () => {
	await told([busy(503, { "Retry-After": "20" })], async (url) => {
		await assert.rejects(new Vivarium(url).execute("x", { signal: AbortSignal.timeout(100) }),
			{ name: "TimeoutError" });
	});
});

test("nothing else is sent again", async () => {
	for (const [status, kind] of [[400, "invalid_request"], [401, "unauthorized"], [408, "time"],
		[500, "internal"], [502, "internal"], [504, "internal"]])
		await told([[status, { "Retry-After": "0" }, refusal(kind)]], async (url, requests) => {
			await assert.rejects(new Vivarium(url).execute("x"), { kind, status });
			assert.equal(requests.length, 1);
		});
});

test("answers of others", async () => {
	for (const [status, body] of [[200, ""], [200, "<html>"], [200, "{}"], [502, "Bad Gateway"],
		[200, { success: true }], [400, { success: false, error: "x" }]])
		await told([[status, {}, body]], async (url) => {
			await assert.rejects(new Vivarium(url).execute("x"), { kind: "transport", status });
		});
});

test("nobody answers", async () => {
	await assert.rejects(new Vivarium("http://127.0.0.1:1").execute("x"),
		{ kind: "transport", status: 0 });
	await told([[200, {}, () => undefined]], async (url) => {
		await assert.rejects(new Vivarium(url, { timeout: 100 }).execute("x"),
			{ kind: "timeout", status: 0 });
	});
});

test("a path in the URL, a key, another fetch", async () => {
	await told([[200, {}, success]], async (url, requests) => {
		await new Vivarium(`${url}/api/`, { apiKey: "secret" }).execute("x");
		assert.equal(requests[0].path, "/api/execute");
		assert.equal(requests[0].headers.authorization, "Bearer secret");
	});
	const other = new Vivarium("http://nowhere.invalid",
		{ fetch: async () => new Response(JSON.stringify(success)) });
	assert.equal((await other.execute("x")).result, 42);
});
