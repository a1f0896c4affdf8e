#include "tests/unit/unit.h"

#include <errno.h>

#include "fcgi-app/json_in.h"
#include "fcgi-app/mcp_message.h"

static struct mcp_message message;
static struct mcp_error error;
static char *copy; /* what message points into */

/* Reads a copy of exactly that length, so that a sanitizer sees what is read beyond. */
static int read_message(const char *text)
{
	free(copy);
	copy = unit_copy(text, strlen(text));
	return mcp_message_read(copy, strlen(text), 42, &message, &error);
}

static void expect_span(const struct mcp_span *span, const char *text)
{
	assert_int_equal(span->length, strlen(text));
	assert_memory_equal(span->text, text, span->length);
}

static void test_call(void **state)
{
	(void)state;
	assert_int_equal(
		read_message("\xEF\xBB\xBF {\"jsonrpc\": \"2.0\", \"\\u0069d\": -7,"
			     "\"method\": \"tools\\/call\", \"params\": {\"arguments\": "
			     "{\"script\": \"1\"} , \"name\": \"run_pyth\\u006fn\", \"_meta\": "
			     "{\"io.modelcontextprotocol/protocolVersion\": \"2026-07-28\","
			     "\"io.modelcontextprotocol/clientCapabilities\": {}}}}"),
		0);
	assert_int_equal(message.kind, MCP_REQUEST);
	expect_span(&message.id, "-7");
	assert_string_equal(message.method.text, "tools/call");
	assert_string_equal(message.name.text, "run_python");
	expect_span(&message.arguments, "{\"script\": \"1\"}");
	assert_string_equal(message.version.text, "2026-07-28");
	assert_true(message.has_capabilities);
	assert_false(message.offered_version.is_there);
	assert_int_equal(error.code, 0);
}

static void test_kinds(void **state)
{
	static const struct {
		const char *text;
		enum mcp_kind kind;
	} rows[] = {
		{"{\"jsonrpc\":\"2.0\",\"method\":\"x\"}", MCP_NOTIFICATION},
		{"{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"id\":\"\"}", MCP_REQUEST},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}", MCP_RESPONSE},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{}}", MCP_RESPONSE},
		{"{\"jsonrpc\":\"2.0\",\"error\":{}}", MCP_RESPONSE},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(read_message(rows[i].text), 0);
		assert_int_equal(message.kind, rows[i].kind);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *id; /* NULL: it could not be read */
	} rows[] = {
		{"", MCP_PARSE_ERROR, NULL},
		{"{\"id\":1,\"id\":2}", MCP_PARSE_ERROR, NULL},
		{"[]", MCP_INVALID_REQUEST, NULL},
		{"1", MCP_INVALID_REQUEST, NULL},
		{"{\"id\":1,\"method\":\"x\"}", MCP_INVALID_REQUEST, "1"},
		{"{\"jsonrpc\":\"2\",\"id\":\"a\",\"method\":\"x\"}", MCP_INVALID_REQUEST, "\"a\""},
		{"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"x\"}", MCP_INVALID_REQUEST, NULL},
		{"{\"jsonrpc\":\"2.0\",\"id\":1e3,\"method\":\"x\"}", MCP_INVALID_REQUEST, NULL},
		{"{\"jsonrpc\":\"2.0\",\"id\":1.0,\"method\":\"x\"}", MCP_INVALID_REQUEST, NULL},
		{"{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"x\"}", MCP_INVALID_REQUEST, NULL},
		{"{\"jsonrpc\":\"2.0\",\"id\":1}", MCP_INVALID_REQUEST, "1"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":null}", MCP_INVALID_REQUEST, "1"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"error\":1}", MCP_INVALID_REQUEST,
			"1"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":[]}",
			MCP_INVALID_PARAMS, "1"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":null}",
			MCP_INVALID_PARAMS, "1"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(read_message(rows[i].text), -EINVAL);
		assert_int_equal(error.code, rows[i].code);
		assert_true(*error.text);
		assert_int_equal(!message.id.text, !rows[i].id);
		if (rows[i].id)
			expect_span(&message.id, rows[i].id);
	}
}

/* What is no string, or too long a one, is there and says nothing, or is not there. */
static void test_names(void **state)
{
	char text[400], name[MCP_NAME_MAX_BYTES + 2];

	(void)state;
	for (size_t length = MCP_NAME_MAX_BYTES; length <= MCP_NAME_MAX_BYTES + 1; length++) {
		memset(name, 'n', length);
		name[length] = '\0';
		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"method\":\"%s\"}", name);
		assert_int_equal(read_message(text), 0);
		assert_true(message.method.is_there);
		assert_string_equal(message.method.text, length == MCP_NAME_MAX_BYTES ? name : "");
	}
	assert_int_equal(read_message("{\"jsonrpc\":\"2.0\",\"method\":\"ping\\u0000x\"}"), 0);
	assert_true(message.method.is_there);
	assert_string_equal(message.method.text, "");
	assert_int_equal(
		read_message("{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\"name\":5,"
			     "\"arguments\":[],\"_meta\":[{\"name\":\"x\"}],"
			     "\"protocolVersion\":\"\"}}"),
		0);
	assert_false(message.name.is_there);
	assert_true(message.name.is_wrong);
	expect_span(&message.arguments, "[]");
	assert_false(message.version.is_there);
	assert_false(message.version.is_wrong);
	assert_true(message.offered_version.is_there);
	assert_int_equal(read_message("{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{"
				      "\"arguments\":null}}"),
		0);
	assert_null(message.arguments.text);
	assert_false(message.name.is_there || message.name.is_wrong);
}

static void test_strings_that_are_equal(void **state)
{
	static const struct {
		const char *json, *text;
		bool equal;
	} rows[] = {
		{"\"\"", "", true},
		{"\"a\"", "a", true},
		{"\"a\"", "b", false},
		{"\"ab\"", "a", false},
		{"\"a\"", "ab", false},
		{"\"\\u0061\"", "a", true},
		{"\"\\u0061\\u0000\"", "a", false},
		{"\"\\n\"", "\n", true},
		{"\"\\u00e9\"", "\xC3\xA9", true},
		{"\"\\\\\"", "\\", true},
		{"\"\\\\u0061\"", "a", false},
		{"5", "5", false},
		{"null", "null", false},
		{"true", "ru", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(json_in_equals(rows[i].json, strlen(rows[i].json), rows[i].text),
			rows[i].equal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_strings_that_are_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
