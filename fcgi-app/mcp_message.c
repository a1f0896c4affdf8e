#include "fcgi-app/mcp_message.h"

#include "fcgi-app/json_fault.h"
#include "fcgi-app/json_in.h"
#include "fcgi-app/request.h"
#include "sandbox/json_walk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	/* the arguments of a call are a request of their own, two objects further in */
	MESSAGE_MAX_DEPTH = BODY_MAX_DEPTH + 2,
};

struct reading {
	struct mcp_message *message;
	struct mcp_span version; /* "jsonrpc" */
	struct mcp_span id, method, params;
	enum json_scan_type id_type, method_type, params_type;
	bool is_response; /* there is a result or an error */
};

static int fail(struct mcp_error *error, enum mcp_code code, const char *text)
{
	error->code = code;
	snprintf(error->text, sizeof(error->text), "%s", text);
	return -EINVAL;
}

/* Decodes a value, if it is a string. Without memory, or with a NUL in it, nobody knows it. */
static void take_name(
	struct mcp_name *name, const char *json, size_t length, enum json_scan_type type)
{
	struct buffer text = {.cap = MCP_NAME_MAX_BYTES};

	*name = (struct mcp_name){
		.is_there = type == JSON_SCAN_STRING, .is_wrong = type != JSON_SCAN_STRING};
	if (name->is_there && (length - 2) / JSON_IN_ESCAPE_MAX_BYTES <= MCP_NAME_MAX_BYTES &&
		json_in_string(json, length, &text) == 0 && text.length &&
		!memchr(text.data, '\0', text.length))
		memcpy(name->text, text.data, text.length);
	buffer_free(&text);
}

static bool has_name(const struct json_walk_item *item, const char *name)
{
	return json_in_equals(item->key, item->key_length, name);
}

/* --- params -------------------------------------------------------------------------------- */

static bool take_meta(void *context, const struct json_walk_item *item)
{
	struct mcp_message *message = context;

	if (has_name(item, "io.modelcontextprotocol/protocolVersion"))
		take_name(&message->version, item->value, item->value_length, item->type);
	else if (has_name(item, "io.modelcontextprotocol/clientCapabilities"))
		message->has_capabilities = item->type == JSON_SCAN_OBJECT;
	return true;
}

static bool take_param(void *context, const struct json_walk_item *item)
{
	struct mcp_message *message = context;

	if (has_name(item, "name"))
		take_name(&message->name, item->value, item->value_length, item->type);
	else if (has_name(item, "protocolVersion"))
		take_name(&message->offered_version, item->value, item->value_length, item->type);
	else if (has_name(item, "arguments") && item->type != JSON_SCAN_NULL)
		message->arguments = (struct mcp_span){item->value, item->value_length};
	else if (has_name(item, "requestId"))
		message->cancelled = (struct mcp_span){item->value, item->value_length};
	else if (has_name(item, "_meta") && item->type == JSON_SCAN_OBJECT)
		json_walk(item->value, item->value_length, take_meta, message);
	return true;
}

/* --- the message --------------------------------------------------------------------------- */

/* Keys stand between their quotes in the text. */
static void take_member(void *context, const char *key, size_t key_bytes, const char *value,
	size_t value_bytes, enum json_scan_type type)
{
	struct reading *reading = context;
	const struct mcp_span span = {value, value_bytes};

	key--;
	key_bytes += 2;
	if (json_in_equals(key, key_bytes, "jsonrpc")) {
		reading->version = span;
	} else if (json_in_equals(key, key_bytes, "id")) {
		reading->id = span;
		reading->id_type = type;
	} else if (json_in_equals(key, key_bytes, "method")) {
		reading->method = span;
		reading->method_type = type;
	} else if (json_in_equals(key, key_bytes, "params")) {
		reading->params = span;
		reading->params_type = type;
	} else if (json_in_equals(key, key_bytes, "result") ||
		   json_in_equals(key, key_bytes, "error")) {
		reading->is_response = true;
	}
}

/* An integer has neither point nor exponent; two that are equal as text are equal. */
static bool is_id(const struct reading *reading)
{
	const struct mcp_span *id = &reading->id;
	bool is_integer = reading->id_type == JSON_SCAN_NUMERIC &&
			  !memchr(id->text, '.', id->length) &&
			  !memchr(id->text, 'e', id->length) && !memchr(id->text, 'E', id->length);

	return id->length <= MCP_ID_MAX_BYTES &&
	       (is_integer || reading->id_type == JSON_SCAN_STRING);
}

/* The id first, so that whatever else is wrong is answered to whom it concerns. */
static int judge(const struct reading *reading, struct mcp_error *error)
{
	struct mcp_message *message = reading->message;

	if (reading->id.text && is_id(reading))
		message->id = reading->id;
	if (!reading->version.text ||
		!json_in_equals(reading->version.text, reading->version.length, "2.0"))
		return fail(error, MCP_INVALID_REQUEST, "jsonrpc must be \"2.0\"");
	if (reading->id.text && !message->id.text)
		return fail(error, MCP_INVALID_REQUEST,
			"id must be a string or an integer, of up to 1024 bytes");
	if (reading->is_response && !reading->method.text) {
		message->kind = MCP_RESPONSE;
		return 0;
	}
	if (reading->method_type != JSON_SCAN_STRING || reading->is_response)
		return fail(error, MCP_INVALID_REQUEST,
			"method must be a string, without result or error");
	message->kind = message->id.text ? MCP_REQUEST : MCP_NOTIFICATION;
	take_name(&message->method, reading->method.text, reading->method.length,
		reading->method_type);
	if (!reading->params.text)
		return 0;
	if (reading->params_type != JSON_SCAN_OBJECT)
		return fail(error, MCP_INVALID_PARAMS, "params must be an object");
	message->params = reading->params;
	json_walk(reading->params.text, reading->params.length, take_param, message);
	return 0;
}

int mcp_message_read(const char *body, size_t length, uint64_t hash_seed,
	struct mcp_message *message, struct mcp_error *error)
{
	const struct json_scan_options options = {.max_bytes = BODY_MAX_BYTES,
		.max_depth = MESSAGE_MAX_DEPTH,
		.skip_bom = true,
		.hash_seed = hash_seed};
	struct reading reading = {.message = message};
	struct json_scan_result result;
	struct json_fault fault;
	int r;

	*message = (struct mcp_message){0};
	*error = (struct mcp_error){0};
	r = json_scan(body, length, &options, take_member, &reading, &result);
	if (r == -EINVAL) {
		json_fault_describe(body, length, &result, &fault);
		error->code = MCP_PARSE_ERROR;
		snprintf(error->text, sizeof(error->text), "body is not strict JSON: %s",
			fault.text);
	}
	if (r < 0)
		return r;
	if (result.type == JSON_SCAN_ARRAY)
		return fail(error, MCP_INVALID_REQUEST,
			"batches are not supported: send each message by itself");
	if (result.type != JSON_SCAN_OBJECT)
		return fail(error, MCP_INVALID_REQUEST, "body must be one JSON-RPC message");
	return judge(&reading, error);
}
