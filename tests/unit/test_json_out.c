#include "tests/unit/unit.h"

#include <errno.h>
#include <math.h>

#include "fcgi-app/json_out.h"
#include "sandbox/json_scan.h"

static struct buffer written;

static int free_written(void **state)
{
	(void)state;
	buffer_free(&written);
	return 0;
}

static struct json_out start(void)
{
	buffer_reset(&written, 1 << 20);
	return (struct json_out){.buffer = &written};
}

static void expect(const struct json_out *out, const char *text)
{
	assert_int_equal(out->error, 0);
	if (written.length != strlen(text) || memcmp(written.data, text, written.length) != 0)
		fail_msg("%.*s, not %s", (int)written.length, written.data, text);
}

static void expect_escaped(const char *text, size_t length, const char *expected)
{
	struct json_out out = start();
	char *copy = unit_copy(text, length);

	json_out_string(&out, copy, length);
	free(copy);
	expect(&out, expected);
}

static void test_structure(void **state)
{
	struct json_out out = start();

	(void)state;
	json_out_begin(&out, '{');
	json_out_key(&out, "empty");
	json_out_begin(&out, '[');
	json_out_end(&out, ']');
	json_out_key(&out, "list");
	json_out_begin(&out, '[');
	json_out_integer(&out, 1);
	json_out_bool(&out, true);
	json_out_begin(&out, '{');
	json_out_end(&out, '}');
	json_out_bool(&out, false);
	json_out_end(&out, ']');
	json_out_key(&out, "raw");
	json_out_raw(&out, "{\"a\": null}", 11);
	json_out_key(&out, "text");
	json_out_text(&out, "x");
	json_out_end(&out, '}');
	expect(&out, "{\"empty\": [], \"list\": [1, true, {}, false], \"raw\": {\"a\": null}, "
		     "\"text\": \"x\"}");
}

static void test_integers(void **state)
{
	static const struct {
		int64_t value;
		const char *text;
	} rows[] = {{0, "0"}, {-1, "-1"}, {INT64_MAX, "9223372036854775807"},
		{INT64_MIN, "-9223372036854775808"}};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct json_out out = start();

		json_out_integer(&out, rows[i].value);
		expect(&out, rows[i].text);
	}
}

static void test_decimals(void **state)
{
	static const struct {
		double value;
		int decimals;
		const char *text;
	} rows[] = {{0, 0, "0"}, {0, 3, "0.000"}, {1.5, 0, "2"}, {1.25, 3, "1.250"},
		{-0.0004, 3, "-0.000"}, {0.0005000001, 3, "0.001"},
		{18446744073709551615.0, 3, "18446744073709551616.000"},
		{123456789.987, 1, "123456790.0"}, {1e300, 3, "null"}, {-1e300, 0, "null"},
		{NAN, 3, "null"}, {INFINITY, 3, "null"}, {-INFINITY, 0, "null"}};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct json_out out = start();

		json_out_decimal(&out, rows[i].value, rows[i].decimals);
		expect(&out, rows[i].text);
	}
}

static void test_ascii(void **state)
{
	(void)state;
	expect_escaped(TEXT(""), "\"\"");
	expect_escaped(TEXT("plain text"), "\"plain text\"");
	expect_escaped(TEXT("\"\\/\b\f\n\r\t"), "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
	expect_escaped(TEXT("a\0b"), "\"a\\u0000b\"");
	expect_escaped(TEXT("\x01\x1f\x7f"), "\"\\u0001\\u001f\\u007f\"");
	expect_escaped(TEXT("\n"), "\"\\n\"");
	expect_escaped(TEXT("a\""), "\"a\\\"\"");
}

static size_t put_utf8(char *to, uint32_t code)
{
	if (code < 0x80) {
		to[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		to[0] = (char)(0xC0 | code >> 6);
		to[1] = (char)(0x80 | (code & 0x3F));
		return 2;
	}
	if (code < 0x10000) {
		to[0] = (char)(0xE0 | code >> 12);
		to[1] = (char)(0x80 | (code >> 6 & 0x3F));
		to[2] = (char)(0x80 | (code & 0x3F));
		return 3;
	}
	to[0] = (char)(0xF0 | code >> 18);
	to[1] = (char)(0x80 | (code >> 12 & 0x3F));
	to[2] = (char)(0x80 | (code >> 6 & 0x3F));
	to[3] = (char)(0x80 | (code & 0x3F));
	return 4;
}

/* What json.dumps writes for one character. */
static void expected_escape(uint32_t code, char *text, size_t size)
{
	static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (size_t i = 0; i + 1 < sizeof(named); i += 2)
		if (code == (unsigned char)named[i]) {
			snprintf(text, size, "\"\\%c\"", named[i + 1]);
			return;
		}
	if (code >= 0x20 && code < 0x7f)
		snprintf(text, size, "\"%c\"", (char)code);
	else if (code < 0x10000)
		snprintf(text, size, "\"\\u%04x\"", code);
	else
		snprintf(text, size, "\"\\u%04x\\u%04x\"", 0xD7C0 + (code >> 10),
			0xDC00 + (code & 0x3FF));
}

static void test_every_code_point(void **state)
{
	(void)state;
	for (uint32_t code = 0; code <= 0x10FFFF; code++) {
		struct json_out out = start();
		char text[4], expected[32];
		size_t length = put_utf8(text, code);

		if (code >= 0xD800 && code <= 0xDFFF)
			continue;
		expected_escape(code, expected, sizeof(expected));
		json_out_string(&out, text, length);
		if (written.length != strlen(expected) ||
			memcmp(written.data, expected, written.length) != 0)
			fail_msg("U+%04X: %.*s", code, (int)written.length, written.data);
	}
}

#define R "\\ufffd"

/* As bytes.decode("utf-8", "replace") of CPython has it: one U+FFFD for each maximal subpart. */
static void test_what_is_not_utf8(void **state)
{
	static const struct {
		const char *text;
		size_t length;
		const char *expected;
	} rows[] = {
		/* Unicode 15, tables 3-8 to 3-11 */
		{TEXT("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "\"" R R R R R R R R "A\""},
		{TEXT("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "\"" R R R R R R R R "A\""},
		{TEXT("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "\"" R R R R R "A" R R "B\""},
		{TEXT("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "\"" R R R R "A\""},
		{TEXT("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
			"\"a" R R R "b" R "c" R R "d\""},
		/* lone and cut */
		{TEXT("\x80"), "\"" R "\""},
		{TEXT("\xBF\x80"), "\"" R R "\""},
		{TEXT("\xC2"), "\"" R "\""},
		{TEXT("\xC2\xC2\xA9"), "\"" R "\\u00a9\""},
		{TEXT("\xE2\x82"), "\"" R "\""},
		{TEXT("\xE2\x82\x22"), "\"" R "\\\"\""},
		{TEXT("\xE2\x82\xE2\x82\xAC"), "\"" R "\\u20ac\""},
		{TEXT("\xF0\x9F\x90"), "\"" R "\""},
		{TEXT("\xF0\x9F"), "\"" R "\""},
		{TEXT("\xF0\x9F\x90\xF0\x9F\x90\x8D"), "\"" R "\\ud83d\\udc0d\""},
		{TEXT("\xF0\x9F\x90\n"), "\"" R "\\n\""},
		/* the ends of the ranges */
		{TEXT("\xC1\xBF"), "\"" R R "\""},
		{TEXT("\xE0\x9F\xBF"), "\"" R R R "\""},
		{TEXT("\xE0\xA0\x80"), "\"\\u0800\""},
		{TEXT("\xED\x9F\xBF"), "\"\\ud7ff\""},
		{TEXT("\xED\xA0\x80"), "\"" R R R "\""},
		{TEXT("\xEE\x80\x80"), "\"\\ue000\""},
		{TEXT("\xF0\x8F\xBF\xBF"), "\"" R R R R "\""},
		{TEXT("\xF4\x8F\xBF\xBF"), "\"\\udbff\\udfff\""},
		{TEXT("\xF4\x90\x80\x80"), "\"" R R R R "\""},
		{TEXT("\xF5\x80\x80\x80"), "\"" R R R R "\""},
		{TEXT("\xF8\x88\x80\x80\x80"), "\"" R R R R R "\""},
		{TEXT("\xFE\xFF"), "\"" R R "\""},
		{TEXT("\xC0\x80"), "\"" R R "\""},
		{TEXT("\xED\xA0\xBD\xED\xB8\x80"), "\"" R R R R R R "\""}, /* CESU-8 */
		{TEXT("\xEF\xBF\xBD"), "\"" R "\""}, /* U+FFFD itself */
		{TEXT("\xEF\xBB\xBF"), "\"\\ufeff\""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		expect_escaped(rows[i].text, rows[i].length, rows[i].expected);
}

/* Whatever comes in, strict and pure ASCII JSON comes out. */
static void test_random_bytes(void **state)
{
	const struct json_scan_options strict = {
		.max_bytes = 1 << 20, .max_depth = 1, .ascii_only = true, .hash_seed = 3};
	uint64_t seed = 11;
	char text[64];

	(void)state;
	for (int i = 0; i < 50000; i++) {
		struct json_out out = start();
		struct json_scan_result result;
		size_t length = unit_random(&seed) % sizeof(text);

		for (size_t j = 0; j < length; j++)
			text[j] = (char)(unit_random(&seed) >> 20 | (i & 1 ? 0x80 : 0));
		json_out_string(&out, text, length);
		assert_int_equal(out.error, 0);
		assert_int_equal(
			json_scan(written.data, written.length, &strict, NULL, NULL, &result), 0);
		assert_int_equal(result.type, JSON_SCAN_STRING);
	}
}

/* The first failure stays, whatever would fit afterwards. */
static void test_first_failure_stays(void **state)
{
	struct buffer small = {.cap = 8};
	struct json_out out = {.buffer = &small};
	size_t length;

	(void)state;
	json_out_begin(&out, '[');
	json_out_text(&out, "abcdefghijkl");
	assert_int_equal(out.error, -EMSGSIZE);
	length = small.length;
	json_out_integer(&out, 1);
	json_out_bool(&out, true);
	json_out_text(&out, "");
	json_out_end(&out, ']');
	assert_int_equal(out.error, -EMSGSIZE);
	assert_int_equal(small.length, length);
	buffer_free(&small);
}

/* As much as has room when it is written: whole characters, and no byte too few. */
static void test_fitting(void **state)
{
	static const struct {
		const char *text;
		size_t room, taken;
	} rows[] = {{"", 0, 0}, {"abc", 0, 0}, {"abc", 2, 2}, {"abc", 9, 3}, {"a\"b", 2, 1},
		{"a\"b", 3, 2}, {"\n\n", 3, 1}, {"\x01", 5, 0}, {"\x01", 6, 1}, {"\xc3\xa9", 5, 0},
		{"\xc3\xa9", 6, 2}, {"\xf0\x9f\x98\x80", 11, 0}, {"\xf0\x9f\x98\x80", 12, 4},
		{"\xff\xff", 11, 1}};
	uint64_t seed = 7;
	char text[64];
	size_t i, room, taken;

	(void)state;
	for (i = 0; i < COUNT(rows); i++)
		assert_int_equal(json_out_fitting(rows[i].text, strlen(rows[i].text), rows[i].room),
			rows[i].taken);
	for (i = 0; i < 3000; i++) {
		struct json_out out = start();
		uint64_t number = unit_random(&seed);

		for (room = 0; room < sizeof(text); room++)
			text[room] = (char)(unit_random(&seed) >> (number & 1 ? 3 : 9));
		room = (size_t)(number >> 8) % 200;
		taken = json_out_fitting(text, sizeof(text), room);
		json_out_string(&out, text, taken);
		assert_true(written.length <= room + 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_decimals),
		cmocka_unit_test(test_ascii),
		cmocka_unit_test(test_every_code_point),
		cmocka_unit_test(test_what_is_not_utf8),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_fitting),
		cmocka_unit_test(test_first_failure_stays),
	};

	return cmocka_run_group_tests(tests, NULL, free_written);
}
