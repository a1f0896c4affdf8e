/*
 * POST /mcp: the Model Context Protocol's streamable HTTP transport, for language models. Each body
 * is one message, each answer one JSON object; there is no state of a session, no stream, and no
 * request of the server's own. Revisions from MCP_MODERN on say in each request which one they are,
 * the ones before begin with "initialize" and may say it in a header.
 */
#include "fcgi-app/base64.h"
#include "fcgi-app/exchange.h"
#include "fcgi-app/mcp_answer.h"
#include "fcgi-app/mcp_tool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A message in the hands of a handler. */
struct call {
	struct exchange *exchange;
	struct mcp_message message;
	struct mcp_reply reply;
};

static const char *header(const struct call *call, const char *name)
{
	return fcgi_parameter(call->exchange->fcgi, name);
}

/* --- answers ------------------------------------------------------------------------------- */

static void respond(struct call *call, int status, int written)
{
	if (written < 0) {
		exchange_fail(call->exchange, "write the answer", -written);
		return;
	}
	exchange_respond(call->exchange, status, "");
}

/* Before MCP_MODERN the error of a request that could be read is an answer like any other. */
static int status_of(const struct call *call, int code)
{
	if (!call->reply.is_modern && call->message.id.text && code != MCP_UNSUPPORTED_VERSION &&
		code != MCP_HEADER_MISMATCH)
		return 200;
	return code == MCP_METHOD_NOT_FOUND ? 404 : 400;
}

static void fail_with(
	struct call *call, int status, const struct mcp_error *error, const char *requested)
{
	buffer_reset(&call->exchange->answer, EXCHANGE_KEEP_BYTES);
	call->exchange->record.kind = record_kind_of_refusal(REFUSAL_INVALID_REQUEST);
	respond(call, status, mcp_answer_error(&call->reply, error, requested));
}

static void fail(struct call *call, enum mcp_code code, const char *text)
{
	struct mcp_error error = {.code = code};

	snprintf(error.text, sizeof(error.text), "%s", text);
	fail_with(call, status_of(call, code), &error,
		code == MCP_UNSUPPORTED_VERSION ? header(call, "HTTP_MCP_PROTOCOL_VERSION") : NULL);
}

/* --- which revision ------------------------------------------------------------------------ */

static bool is_spoken(const char *version)
{
	const char *const *each;

	for (each = mcp_versions; *each; each++) {
		if (strcmp(version, *each) == 0)
			return true;
	}
	return false;
}

/* A header's value may be in base 64, and then is marked ("Value Encoding" of the transport). */
static bool header_says(const char *value, const char *text)
{
	static const char begin[] = "=?base64?", end[] = "?=";
	char decoded[MCP_NAME_MAX_BYTES * 2];
	size_t length = strlen(value), marks = strlen(begin) + strlen(end);

	if (length < marks || strncmp(value, begin, strlen(begin)) != 0 ||
		strcmp(value + length - strlen(end), end) != 0)
		return strcmp(value, text) == 0;
	length -= marks;
	if (length > sizeof(decoded))
		return false;
	return base64_decode(value + strlen(begin), length, decoded, &length) == 0 &&
	       length == strlen(text) && memcmp(decoded, text, length) == 0;
}

/* What stands in the headers for others to route by has to be what the body says. */
static bool headers_agree(struct call *call)
{
	const struct mcp_message *message = &call->message;

	if (strcmp(header(call, "HTTP_MCP_PROTOCOL_VERSION"), message->version.text) != 0)
		fail(call, MCP_HEADER_MISMATCH,
			"the header MCP-Protocol-Version is not the version in params._meta");
	else if (!is_spoken(message->version.text))
		fail(call, MCP_UNSUPPORTED_VERSION, "unsupported protocol version");
	else if (strcmp(header(call, "HTTP_MCP_METHOD"), message->method.text) != 0)
		fail(call, MCP_HEADER_MISMATCH, "the header Mcp-Method is not the method");
	else if (message->name.is_there && strcmp(message->method.text, "tools/call") == 0 &&
		 !header_says(header(call, "HTTP_MCP_NAME"), message->name.text))
		fail(call, MCP_HEADER_MISMATCH, "the header Mcp-Name is not params.name");
	else
		return true;
	return false;
}

/*
 * Finds out which revision a request is of. Returns whether it is one that is spoken and all is
 * there that it asks for; else it was answered.
 */
static bool take_version(struct call *call)
{
	const char *version = header(call, "HTTP_MCP_PROTOCOL_VERSION");
	const struct mcp_message *message = &call->message;

	call->reply.is_modern = message->version.is_there || strcmp(version, MCP_MODERN) == 0;
	if (!call->reply.is_modern) {
		if (!*version || is_spoken(version))
			return true;
		fail(call, MCP_UNSUPPORTED_VERSION, "unsupported protocol version");
		return false;
	}
	if (!message->version.is_there || !message->has_capabilities) {
		fail(call, MCP_INVALID_PARAMS,
			"params._meta must have io.modelcontextprotocol/protocolVersion and "
			"io.modelcontextprotocol/clientCapabilities");
		return false;
	}
	return headers_agree(call);
}

/* --- methods ------------------------------------------------------------------------------- */

/* The offered revision, if it begins with "initialize" and is spoken; else the newest that does. */
static void handle_initialize(struct call *call)
{
	const struct mcp_name *offered = &call->message.offered_version;
	const char *version = mcp_versions[1];
	char session[MCP_SESSION_CHARACTERS + 1], headers[MCP_SESSION_CHARACTERS + 32];
	int r;

	if (!offered->is_there) {
		fail(call, MCP_INVALID_PARAMS, "params.protocolVersion must be a string");
		return;
	}
	if (is_spoken(offered->text) && strcmp(offered->text, MCP_MODERN) != 0)
		version = offered->text;
	r = mcp_calls_draw_session(session);
	if (!r)
		r = mcp_answer_initialize(&call->reply, version);
	if (r < 0) {
		respond(call, 200, r);
		return;
	}
	snprintf(headers, sizeof(headers), "Mcp-Session-Id: %s\r\n", session);
	exchange_respond(call->exchange, 200, headers);
}

static void handle_discover(struct call *call)
{
	respond(call, 200, mcp_answer_discover(&call->reply));
}

static void handle_ping(struct call *call)
{
	respond(call, 200, mcp_answer_nothing(&call->reply));
}

static void handle_list(struct call *call)
{
	const struct request_rules rules = admission_rules(call->exchange);

	respond(call, 200, mcp_answer_tools(&call->reply, &rules));
}

static int write_run(void *context, const struct answer_run *run, struct buffer *body)
{
	const struct call *call = context;
	int r;

	(void)body; /* the reply has it */
	r = mcp_answer_run(&call->reply, run);
	return r < 0 ? r : 200;
}

/* What is wrong with the arguments a model can mend; the rest is the service's. */
static int write_refusal(void *context, enum refusal kind, const char *error,
	const struct request_refusal *refusal, const char *request_id, struct buffer *body)
{
	const struct call *call = context;
	struct mcp_error failure = {.code = MCP_INTERNAL_ERROR};
	int r;

	(void)body;
	if (kind == REFUSAL_INVALID_REQUEST) {
		r = mcp_answer_refusal(&call->reply, kind, error, refusal, request_id);
		return r < 0 ? r : 200;
	}
	snprintf(failure.text, sizeof(failure.text), "%s", error);
	r = mcp_answer_error(&call->reply, &failure, NULL);
	return r < 0 ? r : refusal_status(kind);
}

static void run(struct call *call)
{
	struct mcp_calls *calls = &call->exchange->dispatcher->calls;
	struct mcp_running running = {.client = admission_client(call->exchange),
		.session = header(call, "HTTP_MCP_SESSION_ID"),
		.id = call->message.id,
		.fcgi = call->exchange->fcgi};
	bool can_be_cancelled = !call->reply.is_modern && *running.session;

	if (can_be_cancelled)
		mcp_calls_enter(calls, &running);
	execute_run(call->exchange);
	if (can_be_cancelled)
		mcp_calls_leave(calls, &running);
}

/* Whether a call names the tool, and its arguments are an object, or none; else it was answered. */
static bool check_call(struct call *call)
{
	const struct mcp_name *name = &call->message.name;
	const struct mcp_span *arguments = &call->message.arguments;
	char error[MCP_NAME_MAX_BYTES + 64];

	if (!name->is_there) {
		fail(call, MCP_INVALID_PARAMS,
			name->is_wrong ? "params.name must be a string" : "params.name is missing");
		return false;
	}
	if (strcmp(name->text, MCP_TOOL_NAME) != 0) {
		snprintf(error, sizeof(error), "unknown tool: \"%s\"; there is \"%s\"", name->text,
			MCP_TOOL_NAME);
		fail(call, MCP_INVALID_PARAMS, error);
		return false;
	}
	if (arguments->text && *arguments->text != '{') {
		fail(call, MCP_INVALID_PARAMS, "params.arguments must be an object");
		return false;
	}
	return true;
}

static void handle_call(struct call *call)
{
	struct exchange *exchange = call->exchange;
	const struct exchange_form form = {
		.run = write_run, .refusal = write_refusal, .context = call};
	const struct mcp_span *arguments = &call->message.arguments;
	const struct request_rules rules = admission_rules(exchange);
	struct request_refusal refusal;
	int r;

	if (!check_call(call))
		return;
	exchange->record.executes = true;
	exchange->form = &form;
	r = request_parse_call(arguments->text ? arguments->text : "{}",
		arguments->text ? arguments->length : strlen("{}"), &rules,
		exchange->dispatcher->hash_seed, &exchange->request, &refusal);
	if (r == -EINVAL)
		exchange_refuse(exchange, REFUSAL_INVALID_REQUEST, refusal.error, &refusal, "");
	else if (r < 0)
		exchange_fail(exchange, "parse the arguments", -r);
	else
		run(call);
	exchange->form = NULL;
}

static const struct method {
	const char *name;
	bool is_modern, is_legacy; /* from MCP_MODERN on; before */
	void (*handle)(struct call *);
} methods[] = {
	{"initialize", false, true, handle_initialize},
	{"ping", false, true, handle_ping},
	{"server/discover", true, false, handle_discover},
	{"tools/list", true, true, handle_list},
	{"tools/call", true, true, handle_call},
};

static void handle_request(struct call *call)
{
	size_t i;

	if (!take_version(call))
		return;
	for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (strcmp(call->message.method.text, methods[i].name) == 0 &&
			(call->reply.is_modern ? methods[i].is_modern : methods[i].is_legacy)) {
			methods[i].handle(call);
			return;
		}
	}
	fail(call, MCP_METHOD_NOT_FOUND, "there is no such method");
}

/* --- bodies -------------------------------------------------------------------------------- */

static void handle_notification(struct call *call)
{
	const struct mcp_span *cancelled = &call->message.cancelled;
	const char *session = header(call, "HTTP_MCP_SESSION_ID");
	const struct client client = admission_client(call->exchange);

	if (strcmp(call->message.method.text, "notifications/cancelled") == 0 && cancelled->text &&
		*session)
		mcp_calls_cancel(&call->exchange->dispatcher->calls, &client, session, cancelled);
	exchange_respond(call->exchange, 202, "");
}

/* Nothing was asked of a client that it could answer. */
static void handle_message(struct call *call)
{
	if (call->message.kind == MCP_REQUEST)
		handle_request(call);
	else
		handle_notification(call);
}

static void handle_body(struct exchange *exchange)
{
	struct call call = {
		.exchange = exchange, .reply = {.body = &exchange->answer, .id = &call.message.id}};
	struct mcp_error error;
	int r = mcp_message_read(exchange->body.data ? exchange->body.data : "",
		exchange->body.length, exchange->dispatcher->hash_seed, &call.message, &error);

	if (!r)
		handle_message(&call);
	else if (r == -EINVAL)
		fail_with(&call, 400, &error, NULL);
	else
		exchange_fail(exchange, "read the message", -r);
}

/* Whether one of the media ranges of an Accept header is JSON; without one everything is. */
static bool accepts_json(const char *accept)
{
	static const char *const ranges[] = {"application/json", "application/*", "*/*"};
	size_t span, i;

	for (accept += strspn(accept, ", \t"); *accept; accept += strspn(accept, ", \t")) {
		span = strcspn(accept, ",; \t");
		for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
			if (span == strlen(ranges[i]) && strncasecmp(accept, ranges[i], span) == 0)
				return true;
		}
		accept += strcspn(accept, ",");
	}
	return false;
}

static void refuse(struct exchange *exchange, int status, const char *text)
{
	struct call call = {
		.exchange = exchange, .reply = {.body = &exchange->answer, .id = &call.message.id}};
	struct mcp_error error = {.code = MCP_INVALID_REQUEST};

	snprintf(error.text, sizeof(error.text), "%s", text);
	fail_with(&call, status, &error, NULL);
}

/*
 * Whether a request is of no web page, or of one of a listed origin. A page that had its own name
 * point here (DNS rebinding) cannot help telling where it is from.
 */
static bool is_welcome(const char *origin, const char *origins)
{
	size_t span;

	if (!*origin)
		return true;
	for (origins += strspn(origins, " \t"); *origins; origins += strspn(origins, " \t")) {
		span = strcspn(origins, " \t");
		if ((span == 1 && *origins == '*') ||
			(span == strlen(origin) && memcmp(origins, origin, span) == 0))
			return true;
		origins += span;
	}
	return false;
}

void mcp_handle(struct exchange *exchange)
{
	const char *accept = fcgi_parameter(exchange->fcgi, "HTTP_ACCEPT");

	if (!is_welcome(fcgi_parameter(exchange->fcgi, "HTTP_ORIGIN"),
		    exchange->dispatcher->setup->config->cors_origins))
		refuse(exchange, 403, "this web page's origin is not among cors_origins");
	else if (*accept && !accepts_json(accept))
		refuse(exchange, 406, "Accept must have application/json");
	else
		execute_with_body(exchange, handle_body);
}
