#include "tests/unit/unit.h"
#include "tests/unit/unit_request.h"

#include <errno.h>

#include "fcgi-app/json_out.h"

#define SCRIPT_ERROR "script must be a non-empty string"
#define SCRIPT_ALLOWED "a string of 1 to 1048576 bytes of UTF-8, not blank"
#define ENTRY_ERROR "entry must be the name of a function, or null"
#define ENTRY_ALLOWED "a string of 1 to 255 bytes, or null"
#define TIMEOUT_ERROR "timeout must be a number of seconds from 0.01 to 300"
#define TIMEOUT_ALLOWED "a number from 0.01 to 300"
#define MEMORY_ERROR "memory must be an integer of MiB from 16 to 2048"
#define MEMORY_ALLOWED "an integer from 16 to 2048"
#define BODY_ALLOWED "one JSON object (RFC 8259), UTF-8, no duplicate keys, depth at most 64"

static void expect_valid(const char *body)
{
	if (parse_request(body, strlen(body)))
		fail_msg("%s refused: %s", body, refusal.error);
	assert_string_equal(refusal.error, "");
}

static void expect_text(const struct buffer *text, const char *expected)
{
	assert_int_equal(text->length, strlen(expected));
	assert_memory_equal(text->data, expected, text->length);
}

struct refused {
	const char *body;
	size_t length;
	const char *error, *field, *allowed, *got;
};

static void expect_refused(const struct refused *refused)
{
	if (parse_request(refused->body, refused->length) != -EINVAL)
		fail_msg("not refused: %s", refused->body);
	assert_string_equal(refusal.error, refused->error);
	assert_string_equal(refusal.allowed, refused->allowed);
	assert_string_equal(refusal.got, refused->got);
	assert_string_equal(refusal.field, refused->field);
}

static void refuse_all(const struct refused *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		expect_refused(&cases[i]);
}

static void test_defaults(void **state)
{
	(void)state;
	expect_valid("{\"script\": \"x = 1\\n\"}");
	expect_text(&request.script, "x = 1\n");
	assert_true(request.has_entry);
	expect_text(&request.entry, "main");
	assert_int_equal(request.limits.timeout_ms, 15000);
	assert_int_equal(request.limits.memory_mib, 512);
	assert_int_equal(request.limits.cpu_s, 31);
	assert_int_equal(request.unknown_fields, 0);
}

static void test_null_is_the_default(void **state)
{
	(void)state;
	expect_valid("{\"timeout\": null, \"memory\": null, \"script\": \"x\"}");
	assert_int_equal(request.limits.timeout_ms, 15000);
	assert_int_equal(request.limits.memory_mib, 512);
	expect_valid("{\"entry\": null, \"script\": \"x\"}");
	assert_false(request.has_entry);
}

static void test_all_fields(void **state)
{
	(void)state;
	expect_valid(
		" \t\r\n{\"memory\":128.0,\"timeout\":2.5,\"entry\":\"run\",\"script\":\"x\"}\n");
	expect_text(&request.script, "x");
	expect_text(&request.entry, "run");
	assert_int_equal(request.limits.timeout_ms, 2500);
	assert_int_equal(request.limits.memory_mib, 128);
	assert_int_equal(request.limits.cpu_s, 6);
	expect_valid("\xEF\xBB\xBF{\"script\":\"x\"}");
	expect_valid("{\"s\\u0063ript\":\"y\", \"ent\\u0072y\": \"go\"}");
	expect_text(&request.script, "y");
	expect_text(&request.entry, "go");
}

/* CPU time is twice the time, rounded up, plus 1 s. */
static void test_numbers(void **state)
{
	static const struct {
		const char *timeout;
		unsigned ms, cpu_s;
	} timeouts[] = {{"0.01", 10, 2}, {"0.010", 10, 2}, {"1e-2", 10, 2}, {"0.5", 500, 2},
		{"0.501", 501, 3}, {"1", 1000, 3}, {"1.0004", 1000, 3}, {"1.0005001", 1001, 4},
		{"300", 300000, 601}, {"3e2", 300000, 601}, {"300.000", 300000, 601},
		{"299.999", 299999, 601}, {"0.0123", 12, 2}};
	static const struct {
		const char *memory;
		unsigned mib;
	} memories[] = {{"16", 16}, {"16.0", 16}, {"1.6e1", 16}, {"160e-1", 16}, {"2048", 2048},
		{"2.048E+3", 2048}, {"128.000", 128}};
	char body[128];

	(void)state;
	for (size_t i = 0; i < COUNT(timeouts); i++) {
		snprintf(body, sizeof(body), "{\"script\":\"x\",\"timeout\":%s}",
			timeouts[i].timeout);
		expect_valid(body);
		assert_int_equal(request.limits.timeout_ms, timeouts[i].ms);
		assert_int_equal(request.limits.cpu_s, timeouts[i].cpu_s);
	}
	for (size_t i = 0; i < COUNT(memories); i++) {
		snprintf(
			body, sizeof(body), "{\"script\":\"x\",\"memory\":%s}", memories[i].memory);
		expect_valid(body);
		assert_int_equal(request.limits.memory_mib, memories[i].mib);
	}
}

static void test_script_refused(void **state)
{
	static const struct refused cases[] = {
		{TEXT("{}"), SCRIPT_ERROR, "script", SCRIPT_ALLOWED, "nothing"},
		{TEXT("{\"Script\":\"x\"}"), SCRIPT_ERROR, "script", SCRIPT_ALLOWED, "nothing"},
		{TEXT("{\"script \":\"x\"}"), SCRIPT_ERROR, "script", SCRIPT_ALLOWED, "nothing"},
		{TEXT("{\"script\":null}"), SCRIPT_ERROR, "script", SCRIPT_ALLOWED, "null"},
		{TEXT("{\"script\":\"\"}"), SCRIPT_ERROR, "script", SCRIPT_ALLOWED, "\"\""},
		{TEXT("{\"script\":\" \\t\\n\\r\\f\\u000b\"}"), SCRIPT_ERROR, "script",
			SCRIPT_ALLOWED, "\" \\t\\n\\r\\f\\u000b\""},
		{TEXT("{\"script\":1}"), SCRIPT_ERROR, "script", SCRIPT_ALLOWED, "1"},
		{TEXT("{\"script\":true}"), SCRIPT_ERROR, "script", SCRIPT_ALLOWED, "true"},
		{TEXT("{\"script\": [ \"x\" ] }"), SCRIPT_ERROR, "script", SCRIPT_ALLOWED,
			"[ \"x\" ]"},
		{TEXT("{\"script\":{\"a\":{}}}"), SCRIPT_ERROR, "script", SCRIPT_ALLOWED,
			"{\"a\":{}}"},
	};

	(void)state;
	refuse_all(cases, COUNT(cases));
}

/* What str.strip() leaves nothing of, and a byte order mark before it. */
static void test_blank_scripts(void **state)
{
	static const char *const blank[] = {"\\u00a0", "\xC2\xA0", "\\u0085", "\\u1680", "\\u2000\\u200a",
		"\\u2028\\u2029", "\\u202f \\u205f\\n", "\\u3000", "\\u001c\\u001d\\u001e\\u001f",
		"\\ufeff", "\\ufeff\\n\\u00a0"};
	static const char *const not_blank[] = {"\\u200b", "\\u180e", "\\u2060", " \\ufeff",
		"\\u0000", "\\u001b", "\\u00a0x", "\\ufeff1", "\\u00e2\\u0080"};
	char body[128];

	(void)state;
	for (size_t i = 0; i < COUNT(blank); i++) {
		snprintf(body, sizeof(body), "{\"script\":\"%s\"}", blank[i]);
		assert_int_equal(parse_request(body, strlen(body)), -EINVAL);
		assert_string_equal(refusal.error, SCRIPT_ERROR);
	}
	for (size_t i = 0; i < COUNT(not_blank); i++) {
		snprintf(body, sizeof(body), "{\"script\":\"%s\"}", not_blank[i]);
		expect_valid(body);
	}
}

static void test_entry_refused(void **state)
{
	static const struct refused cases[] = {
		{TEXT("{\"script\":\"x\",\"entry\":\"\"}"), ENTRY_ERROR, "entry", ENTRY_ALLOWED,
			"\"\""},
		{TEXT("{\"script\":\"x\",\"entry\":false}"), ENTRY_ERROR, "entry", ENTRY_ALLOWED,
			"false"},
		{TEXT("{\"script\":\"x\",\"entry\":[]}"), ENTRY_ERROR, "entry", ENTRY_ALLOWED,
			"[]"},
		{TEXT("{\"script\":\"x\",\"entry\":\"a\\nb\"}"), ENTRY_ERROR, "entry",
			ENTRY_ALLOWED, "\"a\\nb\""},
		{TEXT("{\"script\":\"x\",\"entry\":\"a\\u0000\"}"), ENTRY_ERROR, "entry",
			ENTRY_ALLOWED, "\"a\\u0000\""},
		{TEXT("{\"entry\":\"\x7f\"}"), ENTRY_ERROR, "entry", ENTRY_ALLOWED, "\"\x7f\""},
	};

	(void)state;
	refuse_all(cases, COUNT(cases));
	expect_valid("{\"script\":\"x\",\"entry\":\"\xC3\xA9t\\u00e9\"}");
	expect_text(&request.entry, "\xC3\xA9t\xC3\xA9");
}

static void test_numbers_refused(void **state)
{
	static const char *const timeouts[] = {"0", "0.009", "0.00999999", "-1", "300.001", "1e99",
		"1e999", "-1e999", "\"5\"", "true", "[]", "{}",
		"0.0000000000000000000000000000000000000000000000000000000000000000001"};
	static const char *const memories[] = {"15", "15.9", "2049", "128.5", "-128", "1e9",
		"18446744073709551744", "4294967424", "\"128\"", "false", "[128]", "1e999",
		"128.0000000001"};
	char body[256];

	(void)state;
	for (size_t i = 0; i < COUNT(timeouts); i++) {
		snprintf(body, sizeof(body), "{\"script\":\"x\",\"timeout\":%s}", timeouts[i]);
		expect_refused(&(struct refused){body, strlen(body), TIMEOUT_ERROR, "timeout",
			TIMEOUT_ALLOWED, timeouts[i]});
	}
	for (size_t i = 0; i < COUNT(memories); i++) {
		snprintf(body, sizeof(body), "{\"script\":\"x\",\"memory\":%s}", memories[i]);
		expect_refused(&(struct refused){
			body, strlen(body), MEMORY_ERROR, "memory", MEMORY_ALLOWED, memories[i]});
	}
}

static void test_body_refused(void **state)
{
	static const struct refused cases[] = {
		{TEXT(""), "body is empty: it must be a JSON object with a script", "body",
			BODY_ALLOWED, "nothing"},
		{TEXT("\xEF\xBB\xBF \n"), "body is empty: it must be a JSON object with a script",
			"body", BODY_ALLOWED, "nothing"},
		{TEXT("[]"), "body must be a JSON object", "body", "an object", "[]"},
		{TEXT("\xEF\xBB\xBF \"script\"\n"), "body must be a JSON object", "body",
			"an object", "\"script\""},
		{TEXT("null"), "body must be a JSON object", "body", "an object", "null"},
		{TEXT(" 1"), "body must be a JSON object", "body", "an object", "1"},
	};

	(void)state;
	refuse_all(cases, COUNT(cases));
}

#define NOT_STRICT "body is not strict JSON: "

/* What stands at the place, the member that it is in, and the place. */
static void test_not_strict(void **state)
{
	static const struct refused cases[] = {
		{TEXT("{\"script\":\"x\"} x"),
			NOT_STRICT "text after the JSON value (x) at line 1, column 16", "body",
			BODY_ALLOWED, "x"},
		{TEXT("{\"script\":\"x\",\n \"script\":\"y\"}"),
			NOT_STRICT "duplicate key (\"script\") at line 2, column 2", "script",
			BODY_ALLOWED, "\"script\""},
		{TEXT("{\"script\":\"x\",\"s\\u0063ript\":\"y\"}"),
			NOT_STRICT "duplicate key (\"s\\u0063ript\") at line 1, column 15",
			"script", BODY_ALLOWED, "\"s\\u0063ript\""},
		{TEXT("{\"env\":{\"A\":\"secret\",\"A\":\"secret\"}}"),
			NOT_STRICT "duplicate key (\"A\") at line 1, column 22", "env",
			BODY_ALLOWED, "\"A\""},
		{TEXT("{\"\xC3\xA9\":1,\"\xC3\xA9\":1}"),
			NOT_STRICT "duplicate key at line 1, column 9", "\xC3\xA9", BODY_ALLOWED,
			"\"\xC3\xA9\""},
		{TEXT("[{\"a\":1,\"a\":1}]"),
			NOT_STRICT "duplicate key (\"a\") at line 1, column 9", "body",
			BODY_ALLOWED, "\"a\""},
		{TEXT("{\"args\":[\"a\\ud800b\"]}"),
			NOT_STRICT "lone surrogate escape (\\ud800) at line 1, column 12", "args",
			BODY_ALLOWED, "\\ud800"},
		{TEXT("{\"script\\u0000\":\"x\"}"),
			NOT_STRICT "NUL in a key (\\u0000) at line 1, column 9", "body",
			BODY_ALLOWED, "\\u0000"},
		{TEXT("{\"script\":\"x\",\"a\":NaN}"),
			NOT_STRICT "not JSON (NaN) at line 1, column 19", "a", BODY_ALLOWED, "NaN"},
		{TEXT("{\"script\":\"a\nb\"}"),
			NOT_STRICT "raw control character in a string (U+000A) at line 1, column "
				   "13",
			"script", BODY_ALLOWED, "U+000A"},
		{TEXT("{\"script\":\"\xFF\"}"),
			NOT_STRICT "invalid UTF-8 (byte 0xFF) at line 1, column 12", "script",
			BODY_ALLOWED, "byte 0xFF"},
		{TEXT("{\"script\":\"\xC0\x80\"}"),
			NOT_STRICT "invalid UTF-8 (byte 0xC0) at line 1, column 12", "script",
			BODY_ALLOWED, "byte 0xC0"},
		{TEXT("{\"script\":\"x\"}\0"),
			NOT_STRICT "text after the JSON value (U+0000) at line 1, column 15",
			"body", BODY_ALLOWED, "U+0000"},
		{TEXT("{'script':'x'}"), NOT_STRICT "not JSON ('script') at line 1, column 2",
			"body", BODY_ALLOWED, "'script'"},
		{TEXT("{\"script\":\"x\",}"), NOT_STRICT "not JSON (}) at line 1, column 15",
			"body", BODY_ALLOWED, "}"},
		{TEXT("{\"script\":\"x\""),
			NOT_STRICT "not JSON (the end of the body) at line 1, column 14", "body",
			BODY_ALLOWED, "the end of the body"},
		{TEXT("{\"script\":"),
			NOT_STRICT "not JSON (the end of the body) at line 1, column 11", "script",
			BODY_ALLOWED, "the end of the body"},
		{TEXT("{\"script\" 1}"), NOT_STRICT "not JSON (1) at line 1, column 11", "script",
			BODY_ALLOWED, "1"},
		{TEXT("{\"\":?}"), NOT_STRICT "not JSON (?) at line 1, column 5", "body",
			BODY_ALLOWED, "?"},
	};

	(void)state;
	refuse_all(cases, COUNT(cases));
}

/* What does not fit may be long: it is clipped between characters, and so is the member's name. */
static void test_long_words_are_clipped(void **state)
{
	char body[1024];

	(void)state;
	for (int shift = 0; shift < 3; shift++) {
		int used = snprintf(body, sizeof(body), "{\"%.*s", shift, "xx");

		for (int i = 0; i < 100; i++)
			used += snprintf(body + used, sizeof(body) - (size_t)used, "\xE6\x97\xA5");
		snprintf(body + used, sizeof(body) - (size_t)used, "\":%0*d", 200, 0);
		assert_int_equal(parse_request(body, strlen(body)), -EINVAL);
		assert_true(json_out_is_utf8(refusal.field, strlen(refusal.field)));
		assert_true(strlen(refusal.field) > CLIP_BYTES - 4);
		assert_int_equal(strspn(refusal.got, "0"), 60);
		assert_string_equal(refusal.got + 60, "...");
	}
}

static void test_depth(void **state)
{
	char body[256];

	(void)state;
	for (int depth = 62; depth <= 66; depth++) {
		int used = snprintf(body, sizeof(body), "{\"script\":\"x\",\"deep\":");

		memset(body + used, '[', (size_t)depth - 1);
		memset(body + used + depth - 1, ']', (size_t)depth - 1);
		body[used + 2 * depth - 2] = '}';
		assert_int_equal(parse_request(body, (size_t)used + 2 * (size_t)depth - 1),
			depth <= 64 ? 0 : -EINVAL);
	}
}

static void test_first_error_wins(void **state)
{
	static const struct refused cases[] = {
		{TEXT("{\"timeout\":0,\"memory\":0}"), TIMEOUT_ERROR, "timeout", TIMEOUT_ALLOWED,
			"0"},
		{TEXT("{\"memory\":0,\"script\":\"\",\"timeout\":0}"), MEMORY_ERROR, "memory",
			MEMORY_ALLOWED, "0"},
	};

	(void)state;
	refuse_all(cases, COUNT(cases));
}

/* Sizes count after decoding: at the limit, and one byte over it. */
static void test_script_sizes(void **state)
{
	size_t size = 6 * (SCRIPT_MAX_BYTES + 1) + 100;
	char *body = malloc(size);

	(void)state;
	assert_non_null(body);
	for (size_t extra = 0; extra <= 1; extra++) {
		size_t bytes = SCRIPT_MAX_BYTES + extra, used = 0;

		used += (size_t)snprintf(body, size, "{\"script\":\"");
		memset(body + used, 'x', bytes);
		memcpy(body + used + bytes, "\"}", 2);
		assert_int_equal(parse_request(body, used + bytes + 2), extra ? -EINVAL : 0);
		for (size_t i = 0; i < bytes; i++)
			memcpy(body + used + 6 * i, "\\u0078", 6);
		memcpy(body + used + 6 * bytes, "\"}", 2);
		assert_int_equal(parse_request(body, used + 6 * bytes + 2), extra ? -EINVAL : 0);
	}
	assert_string_equal(refusal.error, "script must be at most 1048576 bytes of UTF-8");
	assert_string_equal(refusal.field, "script");
	free(body);
}

static void test_entry_sizes(void **state)
{
	char body[600];

	(void)state;
	for (int bytes = 254; bytes <= 257; bytes++) {
		snprintf(body, sizeof(body), "{\"script\":\"x\",\"entry\":\"%0*d\"}", bytes, 7);
		assert_int_equal(parse_request(body, strlen(body)), bytes <= 255 ? 0 : -EINVAL);
	}
	assert_string_equal(refusal.error, ENTRY_ERROR);
}

/* What came is quoted, but not at any length. */
static void test_got_is_clipped(void **state)
{
	char body[400];

	(void)state;
	for (int digits = 78; digits <= 83; digits++) {
		snprintf(
			body, sizeof(body), "{\"script\":\"x\",\"timeout\":[%0*d]}", digits - 2, 0);
		memset(strchr(body, '[') + 1, '1', (size_t)digits - 2);
		assert_int_equal(parse_request(body, strlen(body)), -EINVAL);
		assert_int_equal(
			strlen(refusal.got), digits <= CLIP_BYTES ? digits : CLIP_BYTES + 3);
		if (digits > CLIP_BYTES)
			assert_string_equal(refusal.got + CLIP_BYTES, "...");
	}
}

static void test_unknown_fields(void **state)
{
	char body[1024] = "{\"script\":\"x\",\"\":1,\"\\u00e9\":{\"script\":1}", longer[200];

	(void)state;
	expect_valid("{\"timeot\":5,\"script\":\"x\",\"arg\":[1]}");
	assert_int_equal(request.unknown_fields, 2);
	assert_string_equal(request.unknown_field[0], "timeot");
	assert_string_equal(request.unknown_field[1], "arg");
	for (int i = 0; i < 20; i++)
		snprintf(body + strlen(body), 32, ",\"f%d\":%d", i, i);
	strcat(body, "}");
	expect_valid(body);
	assert_int_equal(request.unknown_fields, UNKNOWN_FIELDS_MAX);
	assert_string_equal(request.unknown_field[0], "");
	assert_string_equal(request.unknown_field[1], "\xC3\xA9");
	assert_string_equal(request.unknown_field[9], "f7");
	memset(longer, 'n', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	snprintf(body, sizeof(body), "{\"%s\":1,\"script\":\"x\"}", longer);
	expect_valid(body);
	assert_int_equal(strlen(request.unknown_field[0]), CLIP_BYTES - 1);
}

static void test_script_bytes(void **state)
{
	(void)state;
	expect_valid("{\"script\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\ud83d\\udc0d\xC3\xA9\"}");
	assert_int_equal(request.script.length, 15);
	assert_memory_equal(request.script.data, "\"\\/\b\f\n\r\t\0\xF0\x9F\x90\x8D\xC3\xA9", 15);
}

/* Nothing of one request is in the next. */
static void test_reset_starts_clean(void **state)
{
	(void)state;
	expect_valid("{\"script\":\"secret secret\",\"entry\":null,\"timeout\":1,\"memory\":16,"
		     "\"u\":1}");
	request_reset(&request);
	assert_int_equal(request.script.length, 0);
	assert_int_equal(request.entry.length, 0);
	assert_int_equal(request.unknown_fields, 0);
	assert_int_equal(parse_request(TEXT("{\"script\":\"longer\",\"entry\":1}")), -EINVAL);
	expect_valid("{\"script\":\"x\"}");
	expect_text(&request.script, "x");
	expect_text(&request.entry, "main");
	assert_true(request.has_entry);
	assert_int_equal(request.limits.timeout_ms, 15000);
}

static void test_own_limits(void **state)
{
	(void)state;
	assert_int_equal(config_set(&config, "max_timeout=2.5", NULL), 0);
	assert_int_equal(config_set(&config, "max_memory=100", NULL), 0);
	request_rules_init(&rules, &config);
	expect_valid("{\"script\":\"x\",\"timeout\":2.5,\"memory\":100}");
	expect_refused(&(struct refused){TEXT("{\"timeout\":2.501}"),
		"timeout must be a number of seconds from 0.01 to 2.5", "timeout",
		"a number from 0.01 to 2.5", "2.501"});
	expect_refused(&(struct refused){TEXT("{\"memory\":101}"),
		"memory must be an integer of MiB from 16 to 100", "memory",
		"an integer from 16 to 100", "101"});
}

#define REQUEST_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_request, tear_down_request)

/* A key's maxima lower the configuration's, and the defaults with them; they never raise them. */
static void test_lowered(void **state)
{
	static const struct refused cases[] = {
		{TEXT("{\"script\": \"x\", \"timeout\": 2.6}"),
			"timeout must be a number of seconds from 0.01 to 2.5", "timeout",
			"a number from 0.01 to 2.5", "2.6"},
		{TEXT("{\"script\": \"x\", \"memory\": 65}"),
			"memory must be an integer of MiB from 16 to 64", "memory",
			"an integer from 16 to 64", "65"},
	};

	(void)state;
	request_rules_lower(&rules, 400000, 4096);
	expect_valid("{\"script\": \"x\", \"timeout\": 300, \"memory\": 2048}");
	request_rules_lower(&rules, 0, 0);
	expect_valid("{\"script\": \"x\", \"timeout\": 300, \"memory\": 2048}");
	request_rules_lower(&rules, 2500, 64);
	refuse_all(cases, COUNT(cases));
	expect_valid("{\"script\": \"x\"}");
	assert_int_equal(request.limits.timeout_ms, 2500);
	assert_int_equal(request.limits.memory_mib, 64);
}

static void test_fields_that_are_not_allowed(void **state)
{
	static const char allowed[] = "script, timeout, args";
	static const struct refused cases[] = {
		{TEXT("{\"script\": \"x\", \"memory\": 64}"),
			"memory is a field that clients may not set here", "memory", allowed,
			"\"memory\""},
		{TEXT("{\"env\": {\"A\": \"secret\"}, \"script\": \"x\"}"),
			"env is a field that clients may not set here", "env", allowed, "\"env\""},
		{TEXT("{\"script\": \"x\", \"\\u0065ntry\": \"f\"}"),
			"entry is a field that clients may not set here", "entry", allowed,
			"\"\\u0065ntry\""},
		{TEXT("{\"script\": \"x\", \"entry\": null}"),
			"entry is a field that clients may not set here", "entry", allowed,
			"\"entry\""},
	};

	(void)state;
	assert_int_equal(request_rules_allow(&rules, " timeout,args\t", NULL), 0);
	refuse_all(cases, COUNT(cases));
	expect_valid("{\"script\": \"x\", \"timeout\": 1, \"args\": [1], \"other\": 1}");
	assert_int_equal(request.unknown_fields, 1);
	expect_valid("{\"script\": \"x\", \"memory\": null, \"stdin\": null, \"env\": null}");
	assert_int_equal(request_rules_allow(&rules, "", NULL), 0);
	expect_valid("{\"script\": \"x\"}");
	assert_int_equal(request_rules_allow(&rules, "all", NULL), 0);
	expect_valid("{\"script\": \"x\", \"memory\": 64}");
}

static void test_names_of_fields(void **state)
{
	struct err err = {0};
	char text[160];

	(void)state;
	assert_int_equal(request_rules_allow(&rules, "timeout timeot", &err), -EINVAL);
	unit_assert_contains(err.text, "client_fields: no field is called \"timeot\"");
	assert_int_equal(request_rules_allow(&rules, "ALL", NULL), -EINVAL);
	rules.fields = UINT32_MAX;
	request_rules_print(&rules, text, sizeof(text));
	assert_true(strlen(text) < sizeof(text) - 1);
	assert_int_equal(request_rules_allow(&rules, text, NULL), 0);
	for (size_t i = 0; request_field_name(i); i++) {
		assert_true(i < REQUEST_NO_FIELD);
		assert_true(request_rules_has(&rules, i));
		unit_assert_contains(text, request_field_name(i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		REQUEST_TEST(test_defaults),
		REQUEST_TEST(test_null_is_the_default),
		REQUEST_TEST(test_all_fields),
		REQUEST_TEST(test_numbers),
		REQUEST_TEST(test_script_refused),
		REQUEST_TEST(test_entry_refused),
		REQUEST_TEST(test_numbers_refused),
		REQUEST_TEST(test_body_refused),
		REQUEST_TEST(test_not_strict),
		REQUEST_TEST(test_long_words_are_clipped),
		REQUEST_TEST(test_blank_scripts),
		REQUEST_TEST(test_depth),
		REQUEST_TEST(test_first_error_wins),
		REQUEST_TEST(test_script_sizes),
		REQUEST_TEST(test_entry_sizes),
		REQUEST_TEST(test_got_is_clipped),
		REQUEST_TEST(test_unknown_fields),
		REQUEST_TEST(test_script_bytes),
		REQUEST_TEST(test_reset_starts_clean),
		REQUEST_TEST(test_own_limits),
		REQUEST_TEST(test_lowered),
		REQUEST_TEST(test_fields_that_are_not_allowed),
		REQUEST_TEST(test_names_of_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
