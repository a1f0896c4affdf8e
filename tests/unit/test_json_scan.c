#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "sandbox/json_scan.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* A literal and its length: some texts have a NUL inside. */
#define TEXT(literal) literal, sizeof(literal) - 1
#define BOM "\xEF\xBB\xBF"

static const struct json_scan_options plain = {
	.max_bytes = 32 << 20,
	.max_depth = 64,
	.hash_seed = 0x0123456789ABCDEF,
};

/* Allocations that still succeed; -1: all of them. */
static int allocations_left = -1;

void *json_scan_resize(void *old, size_t bytes)
{
	if (allocations_left == 0)
		return NULL;
	if (allocations_left > 0)
		allocations_left--;
	return realloc(old, bytes);
}

/* Scans a copy that ends where its memory does, so that a sanitizer sees every byte read too far.
 */
static int scan_copy(const char *text, size_t length, const struct json_scan_options *options,
	struct json_scan_result *result)
{
	char *copy = malloc(length ? length : 1);
	int status;

	assert_non_null(copy);
	memcpy(copy, text, length);
	memset(result, 0xA5, sizeof(*result));
	status = json_scan(copy, length, options, NULL, NULL, result);
	free(copy);
	return status;
}

static void expect_valid(const char *text, size_t length, const struct json_scan_options *options,
	enum json_scan_type type)
{
	struct json_scan_result result;
	int status = scan_copy(text, length, options, &result);

	if (status || result.error)
		print_error("refused at %zu (%s): %.*s\n", result.offset,
			json_scan_error_text(result.error), (int)length, text);
	assert_int_equal(status, 0);
	assert_int_equal(result.error, JSON_SCAN_OK);
	assert_int_equal(result.type, type);
	assert_int_equal(result.offset, 0);
	assert_int_equal(result.line, 0);
	assert_int_equal(result.column, 0);
}

static void expect_refused(const char *text, size_t length, const struct json_scan_options *options,
	enum json_scan_error error, size_t offset)
{
	struct json_scan_result result;
	int status = scan_copy(text, length, options, &result);

	if (result.error != error || result.offset != offset)
		print_error("%s at %zu, expected %s at %zu: %.*s\n",
			json_scan_error_text(result.error), result.offset,
			json_scan_error_text(error), offset, (int)length, text);
	assert_int_equal(status, -EINVAL);
	assert_int_equal(result.error, error);
	assert_int_equal(result.offset, offset);
	assert_int_equal(result.type, JSON_SCAN_NOTHING);
	assert_true(result.line >= 1 && result.column >= 1);
}

struct valid_case {
	const char *text;
	size_t length;
	enum json_scan_type type;
};

struct refused_case {
	const char *text;
	size_t length;
	enum json_scan_error error;
	size_t offset;
};

static void run_valid(const struct valid_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		expect_valid(cases[i].text, cases[i].length, &plain, cases[i].type);
}

static void run_refused(const struct refused_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		expect_refused(
			cases[i].text, cases[i].length, &plain, cases[i].error, cases[i].offset);
}

static void test_valid_shapes(void **state)
{
	static const struct valid_case cases[] = {
		{TEXT("{}"), JSON_SCAN_OBJECT},
		{TEXT("[]"), JSON_SCAN_ARRAY},
		{TEXT("\"\""), JSON_SCAN_STRING},
		{TEXT("0"), JSON_SCAN_NUMERIC},
		{TEXT("true"), JSON_SCAN_TRUE},
		{TEXT("false"), JSON_SCAN_FALSE},
		{TEXT("null"), JSON_SCAN_NULL},
		{TEXT("{\"a\":1}"), JSON_SCAN_OBJECT},
		{TEXT("{\"\":null}"), JSON_SCAN_OBJECT},
		{TEXT("{\"a\":1,\"b\":[true,false,null],\"c\":{\"d\":{}}}"), JSON_SCAN_OBJECT},
		{TEXT("[[],[[]],[[[]]]]"), JSON_SCAN_ARRAY},
		{TEXT("[{},{},{}]"), JSON_SCAN_ARRAY},
		{TEXT("[1,\"a\",true,false,null,{},[]]"), JSON_SCAN_ARRAY},
	};

	(void)state;
	run_valid(cases, COUNT(cases));
}

static void test_whitespace(void **state)
{
	static const struct valid_case valid[] = {
		{TEXT(" \t\r\n0 \t\r\n"), JSON_SCAN_NUMERIC},
		{TEXT("\n{\r\"a\"\t: [ 1\n,\r2\t] , \"b\" :{ } }\n"), JSON_SCAN_OBJECT},
		{TEXT("[ ]"), JSON_SCAN_ARRAY},
	};
	static const struct refused_case refused[] = {
		{TEXT("\f0"), JSON_SCAN_SYNTAX, 0},
		{TEXT("\v0"), JSON_SCAN_SYNTAX, 0},
		{TEXT("[\0]"), JSON_SCAN_SYNTAX, 1},
		{TEXT("[1,\xC2\xA0 2]"), JSON_SCAN_SYNTAX, 3},
		{TEXT("[1,\xE2\x80\xA8 2]"), JSON_SCAN_SYNTAX, 3},
		{TEXT("[/**/]"), JSON_SCAN_SYNTAX, 1},
		{TEXT("[1] // no"), JSON_SCAN_TRAILING, 4},
	};

	(void)state;
	run_valid(valid, COUNT(valid));
	run_refused(refused, COUNT(refused));
}

static void test_numbers(void **state)
{
	static const char *const valid[] = {"0", "-0", "1", "-1", "10", "1234567890", "0.0", "-0.5",
		"1.25", "1e5", "1E5", "1e+5", "1e-5", "0e0", "0E+00", "1.5e300", "1e999999",
		"123456789012345678901234567890"};
	static const struct refused_case refused[] = {
		{TEXT("01"), JSON_SCAN_SYNTAX, 1}, {TEXT("-01"), JSON_SCAN_SYNTAX, 2},
		{TEXT("00"), JSON_SCAN_SYNTAX, 1}, {TEXT("00.5"), JSON_SCAN_SYNTAX, 1},
		{TEXT("1."), JSON_SCAN_SYNTAX, 2}, {TEXT("[1.]"), JSON_SCAN_SYNTAX, 3},
		{TEXT("1.e5"), JSON_SCAN_SYNTAX, 2}, {TEXT(".5"), JSON_SCAN_SYNTAX, 0},
		{TEXT("-.5"), JSON_SCAN_SYNTAX, 1}, {TEXT("+1"), JSON_SCAN_SYNTAX, 0},
		{TEXT("-"), JSON_SCAN_SYNTAX, 1}, {TEXT("--1"), JSON_SCAN_SYNTAX, 1},
		{TEXT("- 1"), JSON_SCAN_SYNTAX, 1}, {TEXT("1e"), JSON_SCAN_SYNTAX, 2},
		{TEXT("1e+"), JSON_SCAN_SYNTAX, 3}, {TEXT("1e-]"), JSON_SCAN_SYNTAX, 3},
		{TEXT("1e5.5"), JSON_SCAN_TRAILING, 3}, {TEXT("0x10"), JSON_SCAN_TRAILING, 1},
		{TEXT("[0x10]"), JSON_SCAN_SYNTAX, 2}, {TEXT("1_000"), JSON_SCAN_TRAILING, 1},
		{TEXT("1 2"), JSON_SCAN_TRAILING, 2},
		{TEXT("\xEF\xBC\x91"), JSON_SCAN_SYNTAX, 0}, /* fullwidth digit one */
		{TEXT("[1\xD9\xA1]"), JSON_SCAN_SYNTAX, 2}, /* arabic-indic digit one */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(valid); i++)
		expect_valid(valid[i], strlen(valid[i]), &plain, JSON_SCAN_NUMERIC);
	run_refused(refused, COUNT(refused));
}

static void test_words(void **state)
{
	static const struct refused_case cases[] = {
		{TEXT("NaN"), JSON_SCAN_SYNTAX, 0},
		{TEXT("{\"a\":NaN}"), JSON_SCAN_SYNTAX, 5},
		{TEXT("Infinity"), JSON_SCAN_SYNTAX, 0},
		{TEXT("-Infinity"), JSON_SCAN_SYNTAX, 1},
		{TEXT("[nan]"), JSON_SCAN_SYNTAX, 1},
		{TEXT("True"), JSON_SCAN_SYNTAX, 0},
		{TEXT("tru"), JSON_SCAN_SYNTAX, 0},
		{TEXT("[nul]"), JSON_SCAN_SYNTAX, 1},
		{TEXT("[falsE]"), JSON_SCAN_SYNTAX, 1},
		{TEXT("truee"), JSON_SCAN_TRAILING, 4},
		{TEXT("[truefalse]"), JSON_SCAN_SYNTAX, 5},
		{TEXT("undefined"), JSON_SCAN_SYNTAX, 0},
		{TEXT("'a'"), JSON_SCAN_SYNTAX, 0},
		{TEXT("a"), JSON_SCAN_SYNTAX, 0},
	};

	(void)state;
	run_refused(cases, COUNT(cases));
}

static void test_structure(void **state)
{
	static const struct refused_case cases[] = {
		{TEXT("["), JSON_SCAN_SYNTAX, 1},
		{TEXT("{"), JSON_SCAN_SYNTAX, 1},
		{TEXT("]"), JSON_SCAN_SYNTAX, 0},
		{TEXT("}"), JSON_SCAN_SYNTAX, 0},
		{TEXT(","), JSON_SCAN_SYNTAX, 0},
		{TEXT(":"), JSON_SCAN_SYNTAX, 0},
		{TEXT("[}"), JSON_SCAN_SYNTAX, 1},
		{TEXT("{]"), JSON_SCAN_SYNTAX, 1},
		{TEXT("[1}"), JSON_SCAN_SYNTAX, 2},
		{TEXT("{\"a\":1]"), JSON_SCAN_SYNTAX, 6},
		{TEXT("[1,]"), JSON_SCAN_SYNTAX, 3},
		{TEXT("[,1]"), JSON_SCAN_SYNTAX, 1},
		{TEXT("[1,,2]"), JSON_SCAN_SYNTAX, 3},
		{TEXT("[1 2]"), JSON_SCAN_SYNTAX, 3},
		{TEXT("[1:2]"), JSON_SCAN_SYNTAX, 2},
		{TEXT("[1,"), JSON_SCAN_SYNTAX, 3},
		{TEXT("[1, "), JSON_SCAN_SYNTAX, 4},
		{TEXT("{\"a\":1,}"), JSON_SCAN_SYNTAX, 7},
		{TEXT("{,\"a\":1}"), JSON_SCAN_SYNTAX, 1},
		{TEXT("{\"a\"}"), JSON_SCAN_SYNTAX, 4},
		{TEXT("{\"a\""), JSON_SCAN_SYNTAX, 4},
		{TEXT("{\"a\":"), JSON_SCAN_SYNTAX, 5},
		{TEXT("{\"a\":}"), JSON_SCAN_SYNTAX, 5},
		{TEXT("{\"a\":1"), JSON_SCAN_SYNTAX, 6},
		{TEXT("{\"a\" 1}"), JSON_SCAN_SYNTAX, 5},
		{TEXT("{\"a\",1}"), JSON_SCAN_SYNTAX, 4},
		{TEXT("{\"a\":1 \"b\":2}"), JSON_SCAN_SYNTAX, 7},
		{TEXT("{\"a\"::1}"), JSON_SCAN_SYNTAX, 5},
		{TEXT("{a:1}"), JSON_SCAN_SYNTAX, 1},
		{TEXT("{1:1}"), JSON_SCAN_SYNTAX, 1},
		{TEXT("{null:1}"), JSON_SCAN_SYNTAX, 1},
		{TEXT("{[]:1}"), JSON_SCAN_SYNTAX, 1},
		{TEXT("{\"a\":1:2}"), JSON_SCAN_SYNTAX, 6},
		{TEXT("[\xFF]"), JSON_SCAN_SYNTAX, 1},
	};

	(void)state;
	run_refused(cases, COUNT(cases));
}

static void test_empty_and_trailing(void **state)
{
	static const struct refused_case cases[] = {
		{TEXT(""), JSON_SCAN_EMPTY, 0},
		{TEXT(" \n\t "), JSON_SCAN_EMPTY, 4},
		{TEXT("{} {}"), JSON_SCAN_TRAILING, 3},
		{TEXT("{}]"), JSON_SCAN_TRAILING, 2},
		{TEXT("[],"), JSON_SCAN_TRAILING, 2},
		{TEXT("{}\0"), JSON_SCAN_TRAILING, 2},
		{TEXT("\"a\"b"), JSON_SCAN_TRAILING, 3},
		{TEXT("{}\n\n\xFF"), JSON_SCAN_TRAILING, 4},
		{TEXT("\0"), JSON_SCAN_SYNTAX, 0},
	};
	struct json_scan_result result;

	(void)state;
	run_refused(cases, COUNT(cases));
	assert_int_equal(json_scan(NULL, 0, &plain, NULL, NULL, &result), -EINVAL);
	assert_int_equal(result.error, JSON_SCAN_EMPTY);
}

static void test_strings(void **state)
{
	static const struct valid_case valid[] = {
		{TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), JSON_SCAN_STRING},
		{TEXT("\"\\u0000\""), JSON_SCAN_STRING},
		{TEXT("\"\\u00e9\\u00E9\\uFFFF\\ufffe\""), JSON_SCAN_STRING},
		{TEXT("\"\x7F\""), JSON_SCAN_STRING},
		{TEXT("{\"a\":\"\\u0000\"}"), JSON_SCAN_OBJECT},
		{TEXT("{\"\\\\u0000\":1}"), JSON_SCAN_OBJECT},
	};
	static const struct refused_case refused[] = {
		{TEXT("\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"abcdefghijkl"), JSON_SCAN_SYNTAX, 13},
		{TEXT("\"\\\""), JSON_SCAN_SYNTAX, 3},
		{TEXT("\"\\"), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"a\\x41\""), JSON_SCAN_SYNTAX, 2},
		{TEXT("\"\\'\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\a\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\0\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\\0\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\U0041\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\\n\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\u\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\u123\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\u123"), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\u12g4\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\u+123\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\u 123\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"\\u\x11\x12\x13\x14\""), JSON_SCAN_SYNTAX, 1},
		{TEXT("\"ab\ncd\""), JSON_SCAN_CONTROL, 3},
		{TEXT("\"ab\0cd\""), JSON_SCAN_CONTROL, 3},
		{TEXT("\"abcdefghijklmnop\x1F\""), JSON_SCAN_CONTROL, 17},
		{TEXT("{\"a\tb\":1}"), JSON_SCAN_CONTROL, 3},
		{TEXT("{\"a\\u0000b\":1}"), JSON_SCAN_KEY_NUL, 3},
		{TEXT("{\"a\":{\"\\u0000\":1}}"), JSON_SCAN_KEY_NUL, 7},
	};

	(void)state;
	run_valid(valid, COUNT(valid));
	run_refused(refused, COUNT(refused));
}

/* Strings are read a word at a time: every byte is tried at every place in and around a word. */
static void test_string_byte_at_every_place(void **state)
{
	(void)state;
	for (size_t length = 1; length <= 20; length++)
		for (size_t place = 0; place < length; place++)
			for (int byte = 0; byte < 0x80; byte++) {
				char text[24];

				memset(text, 'a', sizeof(text));
				text[0] = text[length + 1] = '"';
				text[place + 1] = (char)byte;
				if (byte < 0x20)
					expect_refused(text, length + 2, &plain, JSON_SCAN_CONTROL,
						place + 1);
				else if (byte != '"' && byte != '\\')
					expect_valid(text, length + 2, &plain, JSON_SCAN_STRING);
			}
}

static void test_utf8(void **state)
{
	static const struct valid_case valid[] = {
		{TEXT("\"\xC2\x80\xDF\xBF\""), JSON_SCAN_STRING},
		{TEXT("\"\xE0\xA0\x80\xEF\xBF\xBF\""), JSON_SCAN_STRING},
		{TEXT("\"\xED\x9F\xBF\xEE\x80\x80\""), JSON_SCAN_STRING},
		{TEXT("\"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\""), JSON_SCAN_STRING},
		{TEXT("{\"\xC3\xA9\":\"\xF0\x9F\x98\x80\"}"), JSON_SCAN_OBJECT},
		{TEXT("\"" BOM "\""), JSON_SCAN_STRING},
	};
	static const struct refused_case refused[] = {
		{TEXT("\"\x80\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"a\xBF\""), JSON_SCAN_UTF8, 2},
		{TEXT("\"\xC0\x80\""), JSON_SCAN_UTF8, 1}, /* overlong NUL */
		{TEXT("\"\xC0\xA2\""), JSON_SCAN_UTF8, 1}, /* overlong quote */
		{TEXT("\"\xC1\xBF\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xC3\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xC3"), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xC3\xC3\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xC3\xA9\xA9\""), JSON_SCAN_UTF8, 3},
		{TEXT("\"\xE0\x9F\xBF\""), JSON_SCAN_UTF8, 1}, /* overlong */
		{TEXT("\"\xE2\x82\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xE2\x82"), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xE2\x82\x22\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xED\xA0\x80\""), JSON_SCAN_UTF8, 1}, /* U+D800 */
		{TEXT("\"\xED\xBF\xBF\""), JSON_SCAN_UTF8, 1}, /* U+DFFF */
		{TEXT("\"\xED\xA0\xBD\xED\xB8\x80\""), JSON_SCAN_UTF8, 1}, /* CESU-8 */
		{TEXT("\"\xF0\x8F\xBF\xBF\""), JSON_SCAN_UTF8, 1}, /* overlong */
		{TEXT("\"\xF0\x9F\x98\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xF4\x90\x80\x80\""), JSON_SCAN_UTF8, 1}, /* U+110000 */
		{TEXT("\"\xF5\x80\x80\x80\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xF8\x88\x80\x80\x80\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xFE\""), JSON_SCAN_UTF8, 1},
		{TEXT("\"\xFF\""), JSON_SCAN_UTF8, 1},
		{TEXT("{\"\xFF\":1}"), JSON_SCAN_UTF8, 2},
	};

	(void)state;
	run_valid(valid, COUNT(valid));
	run_refused(refused, COUNT(refused));
}

static size_t put_utf8(char *to, unsigned code)
{
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

/* Also those that UTF-8 could express and must not: overlong, surrogates, beyond U+10FFFF. */
static void test_utf8_every_code_point(void **state)
{
	struct json_scan_result result;

	(void)state;
	for (unsigned code = 0; code < 0x200000; code++) {
		char text[6] = "\"";
		size_t length = 1 + put_utf8(text + 1, code);
		bool valid =
			code >= 0x80 && code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);

		text[length++] = '"';
		json_scan(text, length, &plain, NULL, NULL, &result);
		assert_int_equal(result.error, valid ? JSON_SCAN_OK : JSON_SCAN_UTF8);
	}
}

static void test_surrogate_escapes(void **state)
{
	static const struct valid_case valid[] = {
		{TEXT("\"\\ud83d\\ude00\""), JSON_SCAN_STRING},
		{TEXT("\"\\uD800\\uDC00\\uDBFF\\uDFFF\""), JSON_SCAN_STRING},
		{TEXT("\"\\uD7FF\\uE000\""), JSON_SCAN_STRING},
		{TEXT("{\"\\ud83d\\ude00\":1}"), JSON_SCAN_OBJECT},
	};
	static const struct refused_case refused[] = {
		{TEXT("\"\\ud800\""), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"\\udbff\""), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"\\udc00\""), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"\\udfff\""), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"ab\\ud800cd\""), JSON_SCAN_SURROGATE, 3},
		{TEXT("\"\\ude00\\ud83d\""), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"\\ud83d\\ud83d\\ude00\""), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"\\ud83d\\ude00\\ude00\""), JSON_SCAN_SURROGATE, 13},
		{TEXT("\"\\ud83d\\u0041\""), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"\\ud83d\\n\""), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"\\ud83d ude00\""), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"\\ud83d\\ude0"), JSON_SCAN_SURROGATE, 1},
		{TEXT("\"\\ud83d"), JSON_SCAN_SURROGATE, 1},
		{TEXT("{\"\\ud800\":1}"), JSON_SCAN_SURROGATE, 2},
	};

	(void)state;
	run_valid(valid, COUNT(valid));
	run_refused(refused, COUNT(refused));
}

static void test_duplicate_keys(void **state)
{
	static const struct valid_case valid[] = {
		{TEXT("{\"a\":{\"a\":{\"a\":1}},\"b\":{\"a\":1}}"), JSON_SCAN_OBJECT},
		{TEXT("[{\"a\":1},{\"a\":2}]"), JSON_SCAN_ARRAY},
		{TEXT("{\"a\":1,\"A\":1,\"a \":1,\"\":1}"), JSON_SCAN_OBJECT},
		{TEXT("{\"\xC3\xA9\":1,\"e\xCC\x81\":1}"), JSON_SCAN_OBJECT}, /* no normalising */
		{TEXT("{\"\\\\u0061\":1,\"a\":1}"), JSON_SCAN_OBJECT},
		{TEXT("{\"aaaaaaaa\":1,\"aaaaaaaaa\":1,\"aaaaaaa\":1}"), JSON_SCAN_OBJECT},
		{TEXT("{\"x\":\"x\",\"y\":\"x\"}"), JSON_SCAN_OBJECT},
	};
	static const struct refused_case refused[] = {
		{TEXT("{\"a\":1,\"a\":1}"), JSON_SCAN_DUPLICATE_KEY, 7},
		{TEXT("{\"\":1,\"\":1}"), JSON_SCAN_DUPLICATE_KEY, 6},
		{TEXT("{\"a\":1,\"\\u0061\":1}"), JSON_SCAN_DUPLICATE_KEY, 7},
		{TEXT("{\"\\u0061\":1,\"a\":1}"), JSON_SCAN_DUPLICATE_KEY, 12},
		{TEXT("{\"\\u006A\":1,\"\\u006a\":1}"), JSON_SCAN_DUPLICATE_KEY, 12},
		{TEXT("{\"/\":1,\"\\/\":1}"), JSON_SCAN_DUPLICATE_KEY, 7},
		{TEXT("{\"\\n\":1,\"\\u000a\":1}"), JSON_SCAN_DUPLICATE_KEY, 8},
		{TEXT("{\"\\b\":1,\"\\u0008\":1}"), JSON_SCAN_DUPLICATE_KEY, 8},
		{TEXT("{\"\\f\":1,\"\\u000C\":1}"), JSON_SCAN_DUPLICATE_KEY, 8},
		{TEXT("{\"\\r\":1,\"\\u000D\":1}"), JSON_SCAN_DUPLICATE_KEY, 8},
		{TEXT("{\"\\t\":1,\"\\u0009\":1}"), JSON_SCAN_DUPLICATE_KEY, 8},
		{TEXT("{\"\\\"\":1,\"\\u0022\":1}"), JSON_SCAN_DUPLICATE_KEY, 8},
		{TEXT("{\"\\\\\":1,\"\\u005c\":1}"), JSON_SCAN_DUPLICATE_KEY, 8},
		{TEXT("{\"\xC3\xA9\":1,\"\\u00e9\":1}"), JSON_SCAN_DUPLICATE_KEY, 8},
		{TEXT("{\"\xE2\x82\xAC\":1,\"\\u20ac\":1}"), JSON_SCAN_DUPLICATE_KEY, 9},
		{TEXT("{\"\xF0\x9F\x98\x80\":1,\"\\ud83d\\ude00\":1}"), JSON_SCAN_DUPLICATE_KEY,
			10},
		{TEXT("{\"abcdefg\\u0068ijklmnopqr\":1,\"abcdefghijklmnop\\u0071r\":1}"),
			JSON_SCAN_DUPLICATE_KEY, 29},
		{TEXT("{\"a\":{\"b\":1,\"c\":2,\"b\":3}}"), JSON_SCAN_DUPLICATE_KEY, 18},
		{TEXT("{\"a\":{\"b\":{\"c\":1}},\"a\":1}"), JSON_SCAN_DUPLICATE_KEY, 19},
		{TEXT("[{\"a\":[{\"a\":1}],\"a\":1}]"), JSON_SCAN_DUPLICATE_KEY, 16},
	};

	(void)state;
	run_valid(valid, COUNT(valid));
	run_refused(refused, COUNT(refused));
}

/* The verdict must not hang on the seed, which only says where a key lands in the table. */
static void test_seed_changes_nothing(void **state)
{
	struct json_scan_options options = plain;

	(void)state;
	for (options.hash_seed = 0; options.hash_seed < 2000; options.hash_seed++) {
		expect_valid(TEXT("{\"a\":{\"b\":1,\"a\":2},\"b\":{\"a\":1},\"c\":1}"), &options,
			JSON_SCAN_OBJECT);
		expect_refused(TEXT("{\"a\":{\"b\":1,\"a\":2},\"b\":{\"a\":1},\"a\":1}"), &options,
			JSON_SCAN_DUPLICATE_KEY, 31);
	}
}

static void test_depth(void **state)
{
	struct json_scan_options options = plain;

	(void)state;
	options.max_depth = 2;
	expect_valid(TEXT("{\"a\":[],\"b\":{}}"), &options, JSON_SCAN_OBJECT);
	expect_refused(TEXT("{\"a\":[[]]}"), &options, JSON_SCAN_DEPTH, 6);
	expect_refused(TEXT("[{\"a\":{}}]"), &options, JSON_SCAN_DEPTH, 6);
	expect_valid(TEXT("[[],[],[],[]]"), &options, JSON_SCAN_ARRAY);
	options.max_depth = 0;
	expect_valid(TEXT("1"), &options, JSON_SCAN_NUMERIC);
	expect_refused(TEXT(" {}"), &options, JSON_SCAN_DEPTH, 1);
}

static void test_deep_nesting(void **state)
{
	enum {
		DEEP = 100000
	};
	struct json_scan_options options = plain;
	char *text = malloc(2 * DEEP);

	(void)state;
	assert_non_null(text);
	memset(text, '[', DEEP);
	memset(text + DEEP, ']', DEEP);
	expect_refused(text, 2 * DEEP, &options, JSON_SCAN_DEPTH, 64);
	expect_refused(text, DEEP, &options, JSON_SCAN_DEPTH, 64);
	options.max_depth = DEEP - 1;
	expect_refused(text, 2 * DEEP, &options, JSON_SCAN_DEPTH, DEEP - 1);
	options.max_depth = DEEP;
	expect_valid(text, 2 * DEEP, &options, JSON_SCAN_ARRAY);
	expect_refused(text, 2 * DEEP - 1, &options, JSON_SCAN_SYNTAX, 2 * DEEP - 1);
	free(text);
}

static void test_size(void **state)
{
	struct json_scan_options options = plain;

	(void)state;
	options.max_bytes = 4;
	expect_valid(TEXT("[12]"), &options, JSON_SCAN_ARRAY);
	expect_refused(TEXT("[123]"), &options, JSON_SCAN_TOO_LARGE, 4);
	expect_refused(TEXT("[12] "), &options, JSON_SCAN_TOO_LARGE, 4);
	options.skip_bom = true;
	expect_refused(TEXT(BOM "12"), &options, JSON_SCAN_TOO_LARGE, 4);
	options.max_bytes = 0;
	expect_refused(TEXT("1"), &options, JSON_SCAN_TOO_LARGE, 0);
	expect_refused(TEXT(BOM "1"), &options, JSON_SCAN_TOO_LARGE, 0);
	expect_refused(TEXT(""), &options, JSON_SCAN_EMPTY, 0);
}

static void test_number_digits(void **state)
{
	struct json_scan_options options = plain;

	(void)state;
	options.max_number_digits = 3;
	expect_valid(TEXT("[999,-999,0,123.456789e+12345]"), &options, JSON_SCAN_ARRAY);
	expect_refused(TEXT("[1,1000]"), &options, JSON_SCAN_NUMBER, 3);
	expect_refused(TEXT("[1,-1000]"), &options, JSON_SCAN_NUMBER, 3);
	expect_refused(TEXT("1000.5"), &options, JSON_SCAN_NUMBER, 0);
	expect_valid(TEXT("\"1000\""), &options, JSON_SCAN_STRING);
}

static void test_bom(void **state)
{
	struct json_scan_options options = plain;
	struct json_scan_result result;

	(void)state;
	expect_refused(TEXT(BOM "{}"), &options, JSON_SCAN_SYNTAX, 0);
	options.skip_bom = true;
	expect_valid(TEXT(BOM " {}"), &options, JSON_SCAN_OBJECT);
	expect_valid(TEXT("{}"), &options, JSON_SCAN_OBJECT);
	expect_refused(TEXT(BOM), &options, JSON_SCAN_EMPTY, 3);
	expect_refused(TEXT(BOM BOM "{}"), &options, JSON_SCAN_SYNTAX, 3);
	expect_refused(TEXT(" " BOM "{}"), &options, JSON_SCAN_SYNTAX, 1);
	expect_refused(TEXT("\xEF\xBB"), &options, JSON_SCAN_SYNTAX, 0);
	expect_refused(TEXT("\xFE\xFF{}"), &options, JSON_SCAN_SYNTAX, 0);
	scan_copy(TEXT(BOM "{}"), &options, &result);
	assert_int_equal(result.body_offset, 3);
	scan_copy(TEXT("{}"), &options, &result);
	assert_int_equal(result.body_offset, 0);
	scan_copy(TEXT(BOM "{]"), &options, &result);
	assert_int_equal(result.body_offset, 3);
	assert_int_equal(result.offset, 4);
	assert_int_equal(result.column, 2);
}

static void test_ascii_only(void **state)
{
	struct json_scan_options options = plain;

	(void)state;
	options.ascii_only = true;
	expect_valid(TEXT("{\"\\u00e9\":\"\x7F\"}"), &options, JSON_SCAN_OBJECT);
	expect_refused(TEXT("\"a\xC3\xA9\""), &options, JSON_SCAN_NOT_ASCII, 2);
	expect_refused(TEXT("\"a\xFF\""), &options, JSON_SCAN_NOT_ASCII, 2);
	expect_refused(TEXT("{\"\xC3\xA9\":1}"), &options, JSON_SCAN_NOT_ASCII, 2);
	expect_refused(TEXT("[\xC3\xA9]"), &options, JSON_SCAN_NOT_ASCII, 1);
	expect_refused(TEXT("[]\xC3\xA9"), &options, JSON_SCAN_NOT_ASCII, 2);
	expect_refused(TEXT(BOM "[]"), &options, JSON_SCAN_NOT_ASCII, 0);
	options.skip_bom = true;
	expect_valid(TEXT(BOM "[]"), &options, JSON_SCAN_ARRAY);
}

static void test_line_and_column(void **state)
{
	static const struct {
		const char *text;
		size_t line, column;
	} cases[] = {
		{"x", 1, 1},
		{"  x", 1, 3},
		{"\nx", 2, 1},
		{"[1,\n 2,\n  x]", 3, 3},
		{"[1,\r\n\r\n x]", 3, 2},
		{"[1,\rx]", 1, 5},
		{"[\"\xC3\xA9\", x]", 1, 8},
		{"[1\n", 2, 1},
		{"", 1, 1},
		{"\n\n", 3, 1},
		{"{\"a\": 1,\n \"a\": 2}", 2, 2},
	};
	struct json_scan_result result;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		scan_copy(cases[i].text, strlen(cases[i].text), &plain, &result);
		assert_int_not_equal(result.error, JSON_SCAN_OK);
		assert_int_equal(result.line, cases[i].line);
		assert_int_equal(result.column, cases[i].column);
	}
}

struct transcript {
	char text[512];
	size_t length;
	unsigned calls;
};

static void write_down(void *context, const char *key, size_t key_bytes, const char *value,
	size_t value_bytes, enum json_scan_type type)
{
	static const char letters[] = "-oasntf0";
	struct transcript *t = context;

	t->calls++;
	t->length += (size_t)snprintf(t->text + t->length, sizeof(t->text) - t->length,
		"<%.*s|%.*s|%c>", (int)key_bytes, key, (int)value_bytes, value, letters[type]);
	assert_true(t->length < sizeof(t->text));
}

static void test_members(void **state)
{
	static const struct {
		const char *text, *members;
	} cases[] = {
		{"{}", ""},
		{" { } ", ""},
		{"{\"a\":1}", "<a|1|n>"},
		{"{\"a\":1,\"b\":-2.5e3}", "<a|1|n><b|-2.5e3|n>"},
		{" {\n\"a\" :\t1 ,\r\n \"b\"\n:\n\"x\"\n}\n ", "<a|1|n><b|\"x\"|s>"},
		{"{\"\":\"\",\"a\\u0062\":\"\\\"},{\\\\\"}",
			"<|\"\"|s><a\\u0062|\"\\\"},{\\\\\"|s>"},
		{"{\"o\":{\"k\":[1, 2 ],\"l\":{}} ,\"a\":[ {\"a\":1} , [] ]}",
			"<o|{\"k\":[1, 2 ],\"l\":{}}|o><a|[ {\"a\":1} , [] ]|a>"},
		{"{\"t\":true,\"f\":false,\"n\":null}", "<t|true|t><f|false|f><n|null|0>"},
		{"{\"a\":\", \",\"b\":\" } \" }", "<a|\", \"|s><b|\" } \"|s>"},
		{"[{\"a\":1}]", ""},
		{"\"{}\"", ""},
		{"1", ""},
		/* refused: not one member, although the first ones are sound */
		{"{\"a\":1,\"b\":2,\"a\":3}", ""},
		{"{\"a\":1,\"b\":2}x", ""},
		{"{\"a\":1,\"b\":", ""},
	};
	struct json_scan_result result;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct transcript t = {.length = 0};

		json_scan(cases[i].text, strlen(cases[i].text), &plain, write_down, &t, &result);
		assert_string_equal(t.text, cases[i].members);
	}
}

static void test_members_after_bom(void **state)
{
	struct json_scan_options options = plain;
	struct json_scan_result result;
	struct transcript t = {.length = 0};

	(void)state;
	options.skip_bom = true;
	assert_int_equal(json_scan(TEXT(BOM " {\"a\": 1 }"), &options, write_down, &t, &result), 0);
	assert_string_equal(t.text, "<a|1|n>");
}

static void count_call(void *context, const char *key, size_t key_bytes, const char *value,
	size_t value_bytes, enum json_scan_type type)
{
	unsigned *calls = context;
	char expected[16];
	int length = snprintf(expected, sizeof(expected), "%u", *calls);

	assert_int_equal(key_bytes, length);
	assert_memory_equal(key, expected, (size_t)length);
	assert_int_equal(value_bytes, length);
	assert_memory_equal(value, expected, (size_t)length);
	assert_int_equal(type, JSON_SCAN_NUMERIC);
	++*calls;
}

/* {"0":0,"1":1, ... } with the last key as given; the caller frees the text. */
static char *many_keys(unsigned count, const char *last, size_t *length)
{
	char *text = malloc((size_t)count * 32 + 64);

	assert_non_null(text);
	*length = 0;
	for (unsigned i = 0; i < count; i++)
		*length += (size_t)sprintf(text + *length, "%c\"%u\":%u", i ? ',' : '{', i, i);
	*length += (size_t)sprintf(text + *length, "%s}", last);
	return text;
}

static double processor_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Quadratic would be 5 * 10^9 comparisons and take many seconds even on a fast machine. */
static void test_many_keys(void **state)
{
	enum {
		KEYS = 100000
	};
	struct json_scan_result result;
	double begun = processor_seconds();
	unsigned calls = 0;
	size_t length, offset;
	char *text = many_keys(KEYS, "", &length);

	(void)state;
	assert_int_equal(json_scan(text, length, &plain, count_call, &calls, &result), 0);
	assert_int_equal(calls, KEYS);
	free(text);

	text = many_keys(KEYS, ",\"\\u0035\\u0035555\":0", &length);
	offset = length - strlen("\"\\u0035\\u0035555\":0}");
	expect_refused(text, length, &plain, JSON_SCAN_DUPLICATE_KEY, offset);
	free(text);
	assert_true(processor_seconds() - begun < 2.0);
}

/* Keys come and go while the table grows: what is forgotten too early or too late shows here. */
static void test_many_objects(void **state)
{
	enum {
		OBJECTS = 300
	};
	char *text = malloc(OBJECTS * OBJECTS * 16);
	size_t length = 0, offset;

	(void)state;
	assert_non_null(text);
	for (unsigned i = 0; i < OBJECTS; i++) {
		length += (size_t)sprintf(text + length, "%c\"%u\":{\"x\":0", i ? ',' : '{', i);
		for (unsigned j = 0; j < i; j++)
			length += (size_t)sprintf(text + length, ",\"%u\":{}", j);
		text[length++] = '}';
	}
	text[length] = '}';
	expect_valid(text, length + 1, &plain, JSON_SCAN_OBJECT);
	for (unsigned i = 0; i < OBJECTS; i++) {
		offset = length + 1;
		sprintf(text + length, ",\"%u\":0}", i);
		expect_refused(text, strlen(text), &plain, JSON_SCAN_DUPLICATE_KEY, offset);
	}
	free(text);
}

/* As above: were the depth not part of the hash, all of these keys would share one chain. */
static void test_same_key_at_every_depth(void **state)
{
	enum {
		DEEP = 200000
	};
	struct json_scan_options options = plain;
	char *text = malloc(DEEP * 6 + 1);
	size_t length = 0;
	double begun = processor_seconds();

	(void)state;
	assert_non_null(text);
	options.max_depth = DEEP;
	for (unsigned i = 0; i < DEEP; i++)
		length += (size_t)sprintf(text + length, "{\"a\":");
	text[length++] = '0';
	memset(text + length, '}', DEEP);
	expect_valid(text, length + DEEP, &options, JSON_SCAN_OBJECT);
	free(text);
	assert_true(processor_seconds() - begun < 2.0);
}

/* Every allocation fails once: the answer is -ENOMEM, and nothing leaks or crashes. */
static void test_allocation_failure(void **state)
{
	struct json_scan_result result;
	struct transcript t = {.length = 0};
	size_t length;
	char *text = many_keys(1000, "", &length);
	int status = -ENOMEM, attempts = 0;

	(void)state;
	for (; status && attempts < 100; attempts++) {
		unsigned calls = 0;

		allocations_left = attempts;
		status = json_scan(text, length, &plain, count_call, &calls, &result);
		assert_int_equal(status, status ? -ENOMEM : 0);
		assert_int_equal(result.error, status ? JSON_SCAN_MEMORY : JSON_SCAN_OK);
		assert_int_equal(calls, status ? 0 : 1000);
	}
	/* frames once, keys and slots for 64, 128, 256, 512, 1024 */
	assert_int_equal(attempts, 1 + 2 * 5 + 1);
	allocations_left = 0;
	assert_int_equal(json_scan(TEXT("[1]"), &plain, write_down, &t, &result), -ENOMEM);
	assert_int_equal(result.type, JSON_SCAN_NOTHING);
	assert_int_equal(json_scan(TEXT("\"a\""), &plain, NULL, NULL, &result), 0);
	allocations_left = -1;
	free(text);
}

static void test_every_prefix_is_refused(void **state)
{
	static const char text[] =
		"{\"k\\u00e9y\": [1.5e-3, \"\\ud83d\\ude00\\n\xC3\xA9\xE2\x82\xAC\", "
		"true, false, null, {}, []], \"o\": {\"p\": {\"q\": -0}}}";
	struct json_scan_result result;

	(void)state;
	expect_valid(text, sizeof(text) - 1, &plain, JSON_SCAN_OBJECT);
	for (size_t length = 0; length < sizeof(text) - 1; length++) {
		assert_int_equal(scan_copy(text, length, &plain, &result), -EINVAL);
		assert_true(result.offset <= length);
	}
}

static void test_error_texts(void **state)
{
	(void)state;
	for (int i = JSON_SCAN_OK; i <= JSON_SCAN_MEMORY; i++) {
		const char *text = json_scan_error_text((enum json_scan_error)i);

		assert_non_null(text);
		assert_string_not_equal(text, "");
		assert_string_not_equal(text, "unknown error");
	}
	assert_string_equal(json_scan_error_text(JSON_SCAN_DUPLICATE_KEY), "duplicate key");
	assert_string_equal(json_scan_error_text(JSON_SCAN_TRAILING), "text after the JSON value");
	assert_string_equal(json_scan_error_text((enum json_scan_error)1000), "unknown error");
}

/* In which of the outermost object's members an error is. */
static void test_member_of_an_error(void **state)
{
	static const struct {
		const char *text, *member;
	} cases[] = {
		{"{\"a\":NaN}", "a"},
		{"{\"a\":1,\"b\":[{\"c\":NaN}]}", "b"},
		{"{\"a\":1,\"b\":{\"c\":1,\"c\":1}}", "b"},
		{"{\"a\":{\"b\":1},\"\\u0061\":1}", "\\u0061"},
		{"{\"a\":\"\\ud800\"}", "a"},
		{"{\"a\":", "a"},
		{"{\"a\"", "a"},
		{"{\"a\" 1}", "a"},
		{"{\"\":x}", ""},
		{"{\"a\":[", "a"},
		{"{\"a\":1", NULL},
		{"{\"a\":1,}", NULL},
		{"{\"a\":1 \"b\":1}", NULL},
		{"{\"a\":1,\"\\ud800\":1}", NULL},
		{"{\"a\":1}x", NULL},
		{"{", NULL},
		{"", NULL},
		{"x", NULL},
		{"[{\"a\":x}]", NULL},
		{"[{\"a\":1,\"a\":1}]", NULL},
	};
	struct json_scan_result result;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(json_scan(cases[i].text, strlen(cases[i].text), &plain, NULL, NULL,
					 &result),
			-EINVAL);
		if (!cases[i].member) {
			assert_null(result.member);
			continue;
		}
		assert_non_null(result.member);
		assert_int_equal(result.member_bytes, strlen(cases[i].member));
		assert_memory_equal(result.member, cases[i].member, result.member_bytes);
	}
	assert_int_equal(json_scan("{\"a\":1}", 7, &plain, NULL, NULL, &result), 0);
	assert_null(result.member);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid_shapes),
		cmocka_unit_test(test_whitespace),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_empty_and_trailing),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_string_byte_at_every_place),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_utf8_every_code_point),
		cmocka_unit_test(test_surrogate_escapes),
		cmocka_unit_test(test_duplicate_keys),
		cmocka_unit_test(test_seed_changes_nothing),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_member_of_an_error),
		cmocka_unit_test(test_deep_nesting),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_number_digits),
		cmocka_unit_test(test_bom),
		cmocka_unit_test(test_ascii_only),
		cmocka_unit_test(test_line_and_column),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_members_after_bom),
		cmocka_unit_test(test_many_keys),
		cmocka_unit_test(test_many_objects),
		cmocka_unit_test(test_same_key_at_every_depth),
		cmocka_unit_test(test_allocation_failure),
		cmocka_unit_test(test_every_prefix_is_refused),
		cmocka_unit_test(test_error_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
