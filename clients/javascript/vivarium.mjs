/**
 * Vivarium's client for browsers and Node 18 or newer: one file that needs nothing, with its types.
 *
 *     import { Vivarium } from "./vivarium.mjs";
 *
 *     const client = new Vivarium("http://127.0.0.1:8080");
 *     const answer = await client.execute("def main(n):\n    return n * 2", { args: [21] });
 *     answer.result; // 42
 *
 * A script that fails, a request that is refused and a service that is busy, broken or out of reach
 * all reject with a VivariumError. Answers 429 and 503 are waited out and tried again, a few times:
 * no script has run then. Nothing else is ever sent twice. Aborting a request or leaving a stream
 * ends the script.
 *
 * @module
 */

/**
 * The fields of a request besides the script.
 * @typedef {object} Fields
 * @property {string | null} [entry] the function to call; null: run the script as a program
 * @property {number} [timeout] seconds
 * @property {number} [memory] MiB
 * @property {unknown[]} [args]
 * @property {Record<string, unknown>} [kwargs]
 * @property {string[]} [argv]
 * @property {Record<string, string>} [env]
 * @property {string} [stdin]
 * @property {Record<string, string | Uint8Array>} [files] path: content
 * @property {string[]} [outputs] globs
 * @property {"strict" | "rich"} [encode]
 * @property {boolean} [visualizations]
 */

/**
 * @typedef {object} CallOptions
 * @property {string} [requestId] up to 64 of A-Z a-z 0-9 . _ -
 * @property {AbortSignal} [signal] ends the request, and the script with it
 */

/** @typedef {Fields & CallOptions} Options */

/**
 * @typedef {object} ClientOptions
 * @property {string} [apiKey]
 * @property {number} [timeout] milliseconds until a request is given up; 0: never
 * @property {number} [retries] of 429 and 503
 * @property {typeof globalThis.fetch} [fetch] in place of the platform's
 */

/**
 * @typedef {object} Usage
 * @property {number} queue_ms
 * @property {number} fork_ms
 * @property {number} wall_ms
 * @property {number} cpu_ms
 * @property {number} memory_mb
 * @property {string} template
 * @property {boolean} parked
 */

/**
 * What a script returned and left. The paths of files are the script's choice: mind where to.
 * @typedef {object} Answer
 * @property {any} result
 * @property {string} stdout
 * @property {string} stderr
 * @property {Map<string, Uint8Array>} files
 * @property {{number: number, png: Uint8Array, dataUrl: string}[]} figures
 * @property {string[]} warnings
 * @property {Record<string, number>} truncated
 * @property {Usage} usage
 * @property {string} timestamp
 * @property {string} requestId
 * @property {Record<string, any>} data all of it, as it came
 */

/**
 * Why there is no value.
 * @typedef {object} Cause
 * @property {string} kind
 * @property {string} [type]
 * @property {number} [line]
 * @property {number} [exit_code]
 * @property {string} [signal]
 * @property {number} [limit]
 * @property {number} [used]
 * @property {string} [unit]
 * @property {string} [field]
 * @property {string} [allowed]
 * @property {string} [got]
 * @property {{call: string, meaning: string}} [refused]
 */

/** @typedef {{name: "stdout" | "stderr", text: string}} Output a piece of what a script printed */
/** @typedef {{name: "result", answer: Answer}} Result the last one of a stream */

const RETRIED = new Set([429, 503]);
const SCRIPT_KINDS = new Set([
	"syntax", "no_main", "exception", "exit", "not_json", "result_too_large", "blocked_import",
	"memory", "signal", "time", "cpu",
]);
const WAIT_MAX_MS = 60000; // no longer than that between two attempts, whatever the service says
const JSON_TYPE = "application/json";
const STREAM_TYPE = "text/event-stream";

/** There is no value. message is a line for people, kind is for programs. */
export class VivariumError extends Error {
	/**
	 * @param {string} message
	 * @param {string} kind
	 * @param {number} status
	 * @param {Record<string, any>} [data]
	 * @param {number} [retryAfter]
	 */
	constructor(message, kind, status, data = {}, retryAfter = undefined) {
		super(message);
		this.name = "VivariumError";
		/** cause.kind of the answer; "transport": there was none, "timeout": it took too long */
		this.kind = kind;
		/** of HTTP; 0: there was no answer */
		this.status = status;
		/** @type {Cause} */
		this.cause = data.cause ?? { kind };
		/** @type {string} */
		this.requestId = data.request_id ?? "";
		/** @type {string} */
		this.stdout = data.stdout ?? "";
		/** @type {string} */
		this.stderr = data.stderr ?? "";
		/** of the script @type {string} */
		this.traceback = data.traceback ?? "";
		/** seconds */
		this.retryAfter = retryAfter;
		/** the answer, as far as there was one */
		this.data = data;
	}

	/** Whether the script ran: its own doing, or over a limit. */
	get isScriptError() {
		return SCRIPT_KINDS.has(this.kind);
	}

	/** What the script had left behind. */
	get files() {
		return readFiles(this.data);
	}
}

// --- What goes out

/** @param {Uint8Array} bytes */
function encodeBase64(bytes) {
	let text = "";
	for (let i = 0; i < bytes.length; i += 0x8000)
		text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
	return btoa(text);
}

/** @param {string} text */
function decodeBase64(text) {
	return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/**
 * @param {string} script
 * @param {Options} options
 */
function encode(script, options) {
	const { requestId, signal, files, ...fields } = options;
	const request = /** @type {Record<string, unknown>} */ ({ script, ...fields });
	if (files)
		request.files = Object.entries(files).map(([path, content]) =>
			typeof content === "string"
				? { path, content }
				: { path, content_base64: encodeBase64(content) });
	return JSON.stringify(request);
}

// --- What comes in

/** @param {Record<string, any>} data */
function readFiles(data) {
	/** @type {{path: string, content_base64: string}[]} */
	const files = data.files ?? [];
	return new Map(files.map((file) => [file.path, decodeBase64(file.content_base64)]));
}

/**
 * @param {Record<string, any>} data
 * @returns {Answer}
 */
function readAnswer(data) {
	/** @type {{figure_number: number, data: string}[]} */
	const figures = data.visualizations ?? [];
	return {
		result: data.result,
		stdout: data.stdout,
		stderr: data.stderr,
		files: readFiles(data),
		figures: figures.map((figure) => ({
			number: figure.figure_number,
			png: decodeBase64(figure.data.slice(figure.data.indexOf(",") + 1)),
			dataUrl: figure.data,
		})),
		warnings: data.warnings ?? [],
		truncated: data.truncated ?? {},
		usage: data.usage,
		timestamp: data.timestamp,
		requestId: data.request_id,
		data,
	};
}

/**
 * Seconds; a proxy may write a date (RFC 9110, 10.2.3).
 * @param {Headers} headers
 */
function readRetryAfter(headers) {
	const text = headers.get("Retry-After") ?? "";
	if (/^\d+$/.test(text))
		return Number(text);
	const date = Date.parse(text);
	return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
}

/**
 * The object of an answer, which is JSON whatever its status.
 * @param {Response} response
 * @returns {Promise<Record<string, any>>}
 */
async function readObject(response) {
	const text = await response.text();
	try {
		const data = JSON.parse(text);
		if (typeof data === "object" && data !== null)
			return data;
	} catch (error) {
		if (!(error instanceof SyntaxError))
			throw error;
	}
	throw new VivariumError(`HTTP status ${response.status} and no answer of Vivarium's`,
		"transport", response.status, {}, readRetryAfter(response.headers));
}

/**
 * @param {Record<string, any>} data
 * @param {number} status
 * @param {number} [retryAfter]
 */
function readVerdict(data, status, retryAfter) {
	if (data.success === true && "result" in data)
		return readAnswer(data);
	if (typeof data.error === "string" && typeof data.cause?.kind === "string")
		throw new VivariumError(data.error, data.cause.kind, status, data, retryAfter);
	throw new VivariumError(`HTTP status ${status} and no answer of Vivarium's`, "transport",
		status, data, retryAfter);
}

/** @param {Response} response */
async function readResponse(response) {
	return readVerdict(await readObject(response), response.status,
		readRetryAfter(response.headers));
}

/**
 * The events of a stream (WHATWG, server-sent events; here lines end with LF).
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<{name: string, data: string}, void, void>}
 */
async function* readEvents(body) {
	const reader = body.getReader();
	const decoder = new TextDecoder();
	let rest = "", name = "";
	/** @type {string[]} */
	let data = [];
	try {
		for (;;) {
			const { done, value } = await reader.read();
			if (done)
				return;
			const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
			rest = lines.pop() ?? "";
			for (const line of lines) {
				const [, field, text] = /^([^:\r]*):? ?([^\r]*)/.exec(line) ?? ["", "", ""];
				if (field === "event")
					name = text;
				else if (field === "data")
					data.push(text);
				else if (field === "" && text === "") {
					if (data.length)
						yield { name, data: data.join("\n") };
					name = "";
					data = [];
				}
			}
		}
	} finally {
		await reader.cancel().catch(() => undefined);
	}
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function sleep(ms, signal) {
	return new Promise((resolve, reject) => {
		const end = () => {
			clearTimeout(timer);
			reject(signal.reason);
		};
		const timer = setTimeout(() => {
			signal.removeEventListener("abort", end);
			resolve();
		}, ms);
		signal.addEventListener("abort", end, { once: true });
		if (signal.aborted)
			end();
	});
}

/** Ends a request when its time is over or its caller does not want it any more. */
class Deadline {
	/**
	 * @param {number} ms
	 * @param {AbortSignal} [signal]
	 */
	constructor(ms, signal) {
		const controller = new AbortController();
		const pass = () => controller.abort(signal?.reason);
		const timer = ms > 0
			? setTimeout(() => controller.abort(new VivariumError(
				`no answer after ${ms} ms`, "timeout", 0)), ms)
			: undefined;
		signal?.addEventListener("abort", pass, { once: true });
		if (signal?.aborted)
			pass();
		this.signal = controller.signal;
		this.clear = () => {
			clearTimeout(timer);
			signal?.removeEventListener("abort", pass);
		};
	}

	/**
	 * What to throw for a failure of the network, which an end of ours looks like as well.
	 * @param {unknown} error
	 */
	explain(error) {
		if (this.signal.aborted)
			return this.signal.reason;
		if (error instanceof VivariumError)
			return error;
		return new VivariumError(`no answer: ${error}`, "transport", 0);
	}
}

/** Talks to one service. */
export class Vivarium {
	/** @type {string} */ #url;
	/** @type {Required<Omit<ClientOptions, "apiKey">> & {apiKey: string}} */ #options;

	/**
	 * @param {string} [url] may have a path
	 * @param {ClientOptions} [options]
	 */
	constructor(url = "http://127.0.0.1:8080", options = {}) {
		this.#url = url.replace(/\/+$/, "");
		this.#options = {
			apiKey: options.apiKey ?? "",
			timeout: options.timeout ?? 330000,
			retries: options.retries ?? 4,
			fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
		};
	}

	/**
	 * Runs a script and resolves to its answer.
	 * @param {string} script
	 * @param {Options} [options]
	 * @returns {Promise<Answer>}
	 */
	async execute(script, options = {}) {
		const deadline = new Deadline(this.#options.timeout, options.signal);
		try {
			return await readResponse(await this.#submit(script, options, JSON_TYPE, deadline));
		} catch (error) {
			throw deadline.explain(error);
		} finally {
			deadline.clear();
		}
	}

	/**
	 * Runs a script; yields what it prints while it runs, and last its result. Leaving the loop
	 * ends the script.
	 * @param {string} script
	 * @param {Options} [options]
	 * @returns {AsyncGenerator<Output | Result, void, void>}
	 */
	async *stream(script, options = {}) {
		const deadline = new Deadline(this.#options.timeout, options.signal);
		try {
			const response = await this.#submit(script, options, STREAM_TYPE, deadline);
			const type = response.headers.get("Content-Type") ?? "";
			if (!type.startsWith(STREAM_TYPE) || !response.body) {
				yield { name: "result", answer: await readResponse(response) };
				return;
			}
			for await (const { name, data } of readEvents(response.body)) {
				const value = JSON.parse(data);
				if (name === "stdout" || name === "stderr") {
					yield { name, text: value };
				} else if (name === "result" || name === "error") {
					yield { name: "result", answer: readVerdict(value, value.status) };
					return;
				}
			}
			throw new VivariumError("the stream ended without a verdict", "transport", 0);
		} catch (error) {
			throw deadline.explain(error);
		} finally {
			deadline.clear();
		}
	}

	/**
	 * GET /health; status is "healthy" or "unhealthy".
	 * @param {{signal?: AbortSignal}} [options]
	 */
	health(options = {}) {
		return this.#page("/health", options.signal);
	}

	/**
	 * GET /libraries.
	 * @param {{signal?: AbortSignal}} [options]
	 */
	libraries(options = {}) {
		return this.#page("/libraries", options.signal);
	}

	/**
	 * @param {string} path
	 * @param {AbortSignal} [signal]
	 */
	async #page(path, signal) {
		const deadline = new Deadline(this.#options.timeout, signal);
		try {
			const headers = { Accept: JSON_TYPE };
			const response = await this.#options.fetch(this.#url + path,
				{ headers, signal: deadline.signal });
			const data = await readObject(response);
			if ("success" in data || !(response.ok || data.status === "unhealthy"))
				readVerdict(data, response.status, readRetryAfter(response.headers));
			return data;
		} catch (error) {
			throw deadline.explain(error);
		} finally {
			deadline.clear();
		}
	}

	/**
	 * @param {string} script
	 * @param {Options} options
	 * @param {string} accept
	 * @param {Deadline} deadline
	 */
	async #submit(script, options, accept, deadline) {
		/** @type {Record<string, string>} */
		const headers = { "Content-Type": JSON_TYPE, Accept: accept };
		if (this.#options.apiKey)
			headers.Authorization = `Bearer ${this.#options.apiKey}`;
		if (options.requestId)
			headers["X-Request-Id"] = options.requestId;
		const body = encode(script, options);
		for (let attempt = 0; ; attempt++) {
			const response = await this.#options.fetch(`${this.#url}/execute`,
				{ method: "POST", headers, body, signal: deadline.signal });
			const wait = this.#wait(response, attempt);
			if (wait === undefined)
				return response;
			await response.body?.cancel();
			await sleep(wait, deadline.signal);
		}
	}

	/**
	 * Milliseconds until the next attempt; undefined: there is none. Clients that were refused
	 * together do not come back together, and less often each time.
	 * @param {Response} response
	 * @param {number} attempt
	 */
	#wait(response, attempt) {
		if (!RETRIED.has(response.status) || attempt >= this.#options.retries)
			return undefined;
		const seconds = (readRetryAfter(response.headers) ?? 1)
			+ Math.random() * 2 ** Math.min(attempt, 5);
		return seconds * 1000 <= WAIT_MAX_MS ? seconds * 1000 : undefined;
	}
}
