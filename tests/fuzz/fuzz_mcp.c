/* Feeds arbitrary bodies of POST /mcp to the decoder; what it refuses becomes an answer. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "fcgi-app/mcp_answer.h"
#include "fcgi-app/mcp_message.h"
#include "sandbox/json_scan.h"

static struct buffer answer;

static void check_span(const struct mcp_span *span, const uint8_t *data, size_t size)
{
	const char *begin = (const char *)data;

	if (!span->text)
		return;
	CHECK(span->length);
	CHECK(span->text >= begin && span->text + span->length <= begin + size);
}

static void check_name(const struct mcp_name *name)
{
	CHECK(memchr(name->text, '\0', sizeof(name->text)));
	CHECK(name->is_there || !*name->text);
	CHECK(!name->is_there || !name->is_wrong);
}

static void check_message(const struct mcp_message *message, const uint8_t *data, size_t size)
{
	check_span(&message->id, data, size);
	check_span(&message->params, data, size);
	check_span(&message->arguments, data, size);
	check_span(&message->cancelled, data, size);
	CHECK(message->id.length <= MCP_ID_MAX_BYTES);
	CHECK(!message->params.text || *message->params.text == '{');
	CHECK(!message->arguments.text || *message->arguments.text != 'n');
	check_name(&message->method);
	check_name(&message->name);
	check_name(&message->offered_version);
	check_name(&message->version);
}

/* An answer is strict JSON in ASCII, whatever the id is. */
static void check_answer(const struct mcp_message *message, const struct mcp_error *error)
{
	const struct json_scan_options strict = {
		.max_bytes = SIZE_MAX, .max_depth = 4, .ascii_only = true, .hash_seed = 1};
	const struct mcp_reply reply = {.body = &answer, .id = &message->id};
	struct json_scan_result result;

	buffer_reset(&answer, 1 << 20);
	CHECK(mcp_answer_error(&reply, error, message->version.text) == 0);
	CHECK(json_scan(answer.data, answer.length, &strict, NULL, NULL, &result) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mcp_message message, again;
	struct mcp_error error, same;
	int r;

	memset(&message, 0xA5, sizeof(message));
	r = mcp_message_read((const char *)data, size, 1, &message, &error);
	CHECK(r == 0 || r == -EINVAL);
	CHECK(r ? error.code < 0 && *error.text : !error.code);
	CHECK(memchr(error.text, '\0', sizeof(error.text)));
	CHECK(r || message.kind != MCP_REQUEST || message.id.text);
	check_message(&message, data, size);
	check_answer(&message, &error);
	CHECK(mcp_message_read((const char *)data, size, UINT64_MAX, &again, &same) == r);
	CHECK(strcmp(error.text, same.text) == 0);
	return 0;
}
