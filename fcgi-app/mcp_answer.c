#include "fcgi-app/mcp_answer.h"

#include "fcgi-app/json_in.h"
#include "fcgi-app/json_out.h"
#include "fcgi-app/mcp_tool.h"
#include "fcgi-app/version.h"

#include <errno.h>
#include <string.h>

enum {
	LIST_FRESH_MS = 3600 * 1000, /* tools only change with the service */
};

const char *const mcp_versions[] = {MCP_MODERN, "2025-11-25", "2025-06-18", "2025-03-26", NULL};

static void put_member(struct json_out *out, const char *key, const char *value)
{
	json_out_key(out, key);
	json_out_text(out, value);
}

/* A number as it stands; a string anew, for the client may have written it beyond ASCII. */
static void put_id(struct json_out *out, const struct mcp_span *id)
{
	struct buffer text = {0};

	if (!id->text)
		return;
	json_out_key(out, "id");
	if (*id->text != '"')
		json_out_raw(out, id->text, id->length);
	else if (json_in_string(id->text, id->length, &text) == 0)
		json_out_string(out, text.data ? text.data : "", text.length);
	else
		out->error = -ENOMEM;
	buffer_free(&text);
}

static void begin(struct json_out *out, const struct mcp_reply *reply)
{
	json_out_begin(out, '{');
	put_member(out, "jsonrpc", "2.0");
	put_id(out, reply->id);
}

static void put_server(struct json_out *out, const char *key)
{
	json_out_key(out, key);
	json_out_begin(out, '{');
	put_member(out, "name", "vivarium");
	put_member(out, "title", "Vivarium");
	put_member(out, "version", VIVARIUM_VERSION);
	json_out_end(out, '}');
}

static void begin_result(struct json_out *out, const struct mcp_reply *reply)
{
	begin(out, reply);
	json_out_key(out, "result");
	json_out_begin(out, '{');
	if (!reply->is_modern)
		return;
	put_member(out, "resultType", "complete");
	json_out_key(out, "_meta");
	json_out_begin(out, '{');
	put_server(out, "io.modelcontextprotocol/serverInfo");
	json_out_end(out, '}');
}

static int end_result(struct json_out *out)
{
	json_out_end(out, '}');
	json_out_end(out, '}');
	return out->error;
}

static void put_versions(struct json_out *out, const char *key)
{
	const char *const *version;

	json_out_key(out, key);
	json_out_begin(out, '[');
	for (version = mcp_versions; *version; version++)
		json_out_text(out, *version);
	json_out_end(out, ']');
}

int mcp_answer_error(
	const struct mcp_reply *reply, const struct mcp_error *error, const char *requested)
{
	struct json_out out = {.buffer = reply->body};

	begin(&out, reply);
	json_out_key(&out, "error");
	json_out_begin(&out, '{');
	json_out_key(&out, "code");
	json_out_integer(&out, error->code);
	put_member(&out, "message", error->text);
	if (requested) {
		json_out_key(&out, "data");
		json_out_begin(&out, '{');
		put_versions(&out, "supported");
		put_member(&out, "requested", requested);
		json_out_end(&out, '}');
	}
	return end_result(&out);
}

int mcp_answer_nothing(const struct mcp_reply *reply)
{
	struct json_out out = {.buffer = reply->body};

	begin_result(&out, reply);
	return end_result(&out);
}

/* --- what the server is -------------------------------------------------------------------- */

static void put_abilities(struct json_out *out)
{
	json_out_key(out, "capabilities");
	json_out_begin(out, '{');
	json_out_key(out, "tools");
	json_out_begin(out, '{');
	json_out_end(out, '}');
	json_out_end(out, '}');
	put_member(out, "instructions", mcp_tool_instructions);
}

int mcp_answer_initialize(const struct mcp_reply *reply, const char *version)
{
	struct json_out out = {.buffer = reply->body};

	begin_result(&out, reply);
	put_member(&out, "protocolVersion", version);
	put_abilities(&out);
	put_server(&out, "serverInfo");
	return end_result(&out);
}

/* For how long, and by whom, an answer may be kept. */
static void put_freshness(struct json_out *out)
{
	json_out_key(out, "ttlMs");
	json_out_integer(out, LIST_FRESH_MS);
	put_member(out, "cacheScope", "private");
}

int mcp_answer_discover(const struct mcp_reply *reply)
{
	struct json_out out = {.buffer = reply->body};

	begin_result(&out, reply);
	put_versions(&out, "supportedVersions");
	put_abilities(&out);
	put_freshness(&out);
	return end_result(&out);
}

int mcp_answer_tools(const struct mcp_reply *reply, const struct request_rules *rules)
{
	struct json_out out = {.buffer = reply->body};

	begin_result(&out, reply);
	json_out_key(&out, "tools");
	json_out_begin(&out, '[');
	mcp_tool_put(&out, rules);
	json_out_end(&out, ']');
	if (reply->is_modern)
		put_freshness(&out);
	return end_result(&out);
}

/* --- calls --------------------------------------------------------------------------------- */

static void put_block(struct json_out *out, const char *text, size_t length)
{
	json_out_begin(out, '{');
	put_member(out, "type", "text");
	json_out_key(out, "text");
	json_out_string(out, text, length);
	json_out_end(out, '}');
}

/* A block of text under a heading, unless there is nothing to say. */
static void put_headed(struct json_out *out, const char *heading, const struct answer_text *text)
{
	struct buffer block = {0};
	int r;

	if (!text->length)
		return;
	r = buffer_append(&block, heading, strlen(heading));
	if (!r)
		r = buffer_append(&block, text->data, text->length);
	if (!r)
		put_block(out, block.data, block.length);
	else if (!out->error)
		out->error = r;
	buffer_free(&block);
}

static bool is_null(const struct answer_text *value)
{
	return value->length == 4 && memcmp(value->data, "null", 4) == 0;
}

/* The value, unless there is none and the script has printed instead; or what went wrong. */
static void put_outcome(struct json_out *out, const struct answer_run *run)
{
	char line[ENTRY_MAX_BYTES + 512];
	struct answer_text error;

	if (run->verdict.kind == VERDICT_OK) {
		if (!is_null(&run->result) || !run->output.length)
			put_block(out, run->result.data, run->result.length);
		return;
	}
	error = answer_error_line(run, line, sizeof(line));
	put_block(out, error.data, error.length);
	put_headed(out, "", &run->traceback);
}

static void put_file_names(struct json_out *out, const struct answer_run *run)
{
	struct buffer names = {0};
	struct answer_text text;
	size_t i;
	int r = 0;

	for (i = 0; !r && i < run->file_count; i++) {
		r = buffer_append(&names, "\n", 1);
		if (!r)
			r = buffer_append(
				&names, run->files[i].path.data, run->files[i].path.length);
	}
	if (r && !out->error)
		out->error = r;
	text = (struct answer_text){names.data, names.length};
	put_headed(out, "files, in structuredContent:", &text);
	buffer_free(&names);
}

static void put_warnings(struct json_out *out, const struct answer_run *run)
{
	struct buffer lines = {0};
	char text[ANSWER_WARNING_BYTES];
	size_t i;
	int r = 0;

	for (i = 0; !r && answer_warning(run, i, text); i++) {
		r = buffer_append(&lines, "\n", 1);
		if (!r)
			r = buffer_append(&lines, text, strlen(text));
	}
	if (r && !out->error)
		out->error = r;
	put_headed(out, "warnings:", &(struct answer_text){lines.data, lines.length});
	buffer_free(&lines);
}

static void put_images(struct json_out *out, const struct answer_run *run)
{
	size_t i;

	for (i = 0; run->verdict.kind == VERDICT_OK && i < run->figure_count; i++) {
		json_out_begin(out, '{');
		put_member(out, "type", "image");
		json_out_key(out, "data");
		json_out_base64(
			out, "", run->figures[i].content.data, run->figures[i].content.length);
		put_member(out, "mimeType", "image/png");
		json_out_end(out, '}');
	}
}

static int end_call(struct json_out *out, bool is_error)
{
	json_out_key(out, "isError");
	json_out_bool(out, is_error);
	return end_result(out);
}

/* After the object that POST /execute answers with was appended; status: what became of that. */
static void note_structured(struct json_out *out, int status)
{
	if (status < 0 && !out->error)
		out->error = status;
	out->comma = true;
}

/* Images are content already: twice they would only be in the way of a model that reads both. */
int mcp_answer_run(const struct mcp_reply *reply, const struct answer_run *run)
{
	struct answer_run without_figures = *run;
	struct json_out out = {.buffer = reply->body};

	begin_result(&out, reply);
	json_out_key(&out, "content");
	json_out_begin(&out, '[');
	put_outcome(&out, run);
	put_headed(&out, "stdout:\n", &run->output);
	put_headed(&out, "stderr:\n", &run->error);
	put_file_names(&out, run);
	put_warnings(&out, run);
	put_images(&out, run);
	json_out_end(&out, ']');
	without_figures.figure_count = 0;
	json_out_key(&out, "structuredContent");
	note_structured(&out, answer_run(&without_figures, reply->body));
	return end_call(&out, run->verdict.kind != VERDICT_OK);
}

int mcp_answer_refusal(const struct mcp_reply *reply, enum refusal kind, const char *error,
	const struct request_refusal *refusal, const char *request_id)
{
	struct json_out out = {.buffer = reply->body};

	begin_result(&out, reply);
	json_out_key(&out, "content");
	json_out_begin(&out, '[');
	put_block(&out, error, strlen(error));
	json_out_end(&out, ']');
	json_out_key(&out, "structuredContent");
	note_structured(&out, answer_refusal(kind, error, refusal, request_id, reply->body));
	return end_call(&out, true);
}
