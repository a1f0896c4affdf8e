#include "tests/unit/unit.h"

#include <asm/unistd.h>
#include <errno.h>
#include <signal.h>

#include "fcgi-app/answer.h"
#include "sandbox/json_scan.h"

#define SAY(literal)                                                                               \
	{                                                                                          \
		.data = literal, .length = sizeof(literal) - 1                                     \
	}
#define USAGE                                                                                      \
	"\"usage\": {\"queue_ms\": 0.100, \"fork_ms\": 0.000, \"wall_ms\": 3.200, "                \
	"\"cpu_ms\": 2.900, \"memory_mb\": 4.1, \"template\": \"pandas\", \"parked\": true}, "
#define CLOSING "\"timestamp\": \"NOW\", \"request_id\": \"id-1\"}"
#define QUIET "\"stdout\": \"\", \"stderr\": \"\", "

static char entry_name[] = "main";
static struct request request = {.entry = {.data = entry_name, .length = 4}, .has_entry = true};
static struct buffer body;

static int free_body(void **state)
{
	(void)state;
	buffer_free(&body);
	return 0;
}

static struct answer_run make_run(struct verdict verdict)
{
	verdict.wall_us = 3200;
	verdict.cpu_us = 2900;
	verdict.memory_bytes = 4300000;
	verdict.parked = 1;
	snprintf(verdict.template_name, sizeof(verdict.template_name), "pandas");
	return (struct answer_run){
		.verdict = verdict, .queue_us = 100, .request = &request, .request_id = "id-1"};
}

static void check_strict_ascii(void)
{
	const struct json_scan_options strict = {
		.max_bytes = 64 << 20, .max_depth = 64, .ascii_only = true, .hash_seed = 5};
	struct json_scan_result result;

	if (json_scan(body.data, body.length, &strict, NULL, NULL, &result))
		fail_msg("%s at %zu: %.*s", json_scan_error_text(result.error), result.offset,
			(int)body.length, body.data);
	assert_int_equal(result.type, JSON_SCAN_OBJECT);
}

/* The time of day, checked for its shape, becomes NOW. */
static void hide_timestamp(void)
{
	static const char key[] = "\"timestamp\": \"", shape[] = "0000-00-00T00:00:00+00:00";
	char *at;

	assert_int_equal(buffer_append(&body, "", 1), 0);
	at = strstr(body.data, key);
	assert_non_null(at);
	at += strlen(key);
	for (size_t i = 0; shape[i]; i++)
		assert_true(shape[i] == '0' ? at[i] >= '0' && at[i] <= '9' : at[i] == shape[i]);
	memcpy(at, "NOW", 3);
	memmove(at + 3, at + strlen(shape), strlen(at + strlen(shape)) + 1);
}

static void expect(const struct answer_run *run, int status, const char *expected)
{
	buffer_reset(&body, 1 << 20);
	assert_int_equal(answer_run(run, &body), status);
	check_strict_ascii();
	hide_timestamp();
	assert_string_equal(body.data, expected);
}

static void test_value(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_OK});

	(void)state;
	run.result = (struct answer_text)SAY("{\"answer\": 42}");
	run.output = (struct answer_text)SAY("Processing...\n");
	expect(&run, 200,
		"{\"success\": true, \"result\": {\"answer\": 42}, "
		"\"stdout\": \"Processing...\\n\", \"stderr\": \"\", " USAGE CLOSING);
}

static void test_exception(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_EXCEPTION, .line = 7});

	(void)state;
	run.error_type = (struct answer_text)SAY("ValueError");
	run.error_text = (struct answer_text)SAY("ValueError: bad input");
	run.traceback = (struct answer_text)SAY("Traceback (most recent call last):\n");
	run.error = (struct answer_text)SAY("warning\n");
	expect(&run, 400,
		"{\"success\": false, \"error\": \"ValueError: bad input\", \"cause\": {\"kind\": "
		"\"exception\", \"type\": \"ValueError\", \"line\": 7}, \"traceback\": "
		"\"Traceback (most recent call last):\\n\", \"stdout\": \"\", \"stderr\": "
		"\"warning\\n\", " USAGE CLOSING);
}

/* Beside whatever the cause is, and nowhere when there is none. */
static void test_refused_call(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_SIGNAL,
		.signal = SIGABRT,
		.has_refused = 1,
		.refused = __NR_setuid});

	(void)state;
	expect(&run, 400,
		"{\"success\": false, \"error\": \"Script was killed by SIGABRT\", \"cause\": {\"kind\": "
		"\"signal\", \"signal\": \"SIGABRT\", \"refused\": {\"call\": \"setuid\", \"meaning\": "
		"\"a script cannot become another user or group, or gain a privilege\"}}, "
		"\"stdout\": \"\", \"stderr\": \"\", " USAGE CLOSING);
	run = make_run((struct verdict){.kind = VERDICT_OK, .has_refused = 1});
	run.result = (struct answer_text)SAY("1");
	expect(&run, 200,
		"{\"success\": true, \"result\": 1, \"stdout\": \"\", \"stderr\": \"\", " USAGE CLOSING);
	run = make_run((struct verdict){.kind = VERDICT_TIME, .has_refused = 1, .refused = -1});
	buffer_reset(&body, 1 << 20);
	assert_int_equal(answer_run(&run, &body), 408);
	unit_assert_contains(body.data, "\"call\": \"an unknown system call\"");
}

static void test_exit(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_EXIT, .exit_code = 3});

	(void)state;
	expect(&run, 400,
		"{\"success\": false, \"error\": \"Script ended without returning from main() "
		"(exit code 3)\", \"cause\": {\"kind\": \"exit\", \"exit_code\": 3}, " QUIET USAGE
			CLOSING);
	run.error_type = (struct answer_text)SAY("SystemExit");
	run.error_text = (struct answer_text)SAY("SystemExit: 3");
	expect(&run, 400,
		"{\"success\": false, \"error\": \"SystemExit: 3\", \"cause\": {\"kind\": "
		"\"exit\", "
		"\"type\": \"SystemExit\", \"exit_code\": 3}, " QUIET USAGE CLOSING);
}

static void test_limits(void **state)
{
	struct answer_run run =
		make_run((struct verdict){.kind = VERDICT_TIME, .limit = 15000, .used = 15004});

	(void)state;
	expect(&run, 408,
		"{\"success\": false, \"error\": \"Script execution timed out after 15 seconds\", "
		"\"cause\": {\"kind\": \"time\", \"limit\": 15.000, \"used\": 15.004, \"unit\": "
		"\"s\"}, " QUIET USAGE CLOSING);
	run = make_run((struct verdict){.kind = VERDICT_CPU, .limit = 31000, .used = 31010});
	expect(&run, 408,
		"{\"success\": false, \"error\": \"Script execution timed out: 31 seconds of CPU "
		"time used\", \"cause\": {\"kind\": \"cpu\", \"limit\": 31.000, \"used\": 31.010, "
		"\"unit\": \"s\"}, " QUIET USAGE CLOSING);
	run = make_run(
		(struct verdict){.kind = VERDICT_MEMORY, .limit = 512 << 20, .used = 513 << 20});
	expect(&run, 400,
		"{\"success\": false, \"error\": \"Script execution failed: memory limit exceeded "
		"(512 MiB)\", \"cause\": {\"kind\": \"memory\", \"limit\": 512.0, \"used\": 513.0, "
		"\"unit\": \"MiB\"}, " QUIET USAGE CLOSING);
	run = make_run((struct verdict){
		.kind = VERDICT_RESULT_TOO_LARGE, .limit = 4194304, .used = 12582912});
	expect(&run, 400,
		"{\"success\": false, \"error\": \"Return value of 'main' is 12582912 bytes of "
		"JSON, over the limit of 4194304\", \"cause\": {\"kind\": \"result_too_large\", "
		"\"limit\": 4194304, \"used\": 12582912, \"unit\": \"bytes\"}, " QUIET USAGE
			CLOSING);
}

static void test_signal(void **state)
{
	struct answer_run run =
		make_run((struct verdict){.kind = VERDICT_SIGNAL, .signal = SIGSEGV});

	(void)state;
	expect(&run, 400,
		"{\"success\": false, \"error\": \"Script was killed by SIGSEGV\", \"cause\": "
		"{\"kind\": \"signal\", \"signal\": \"SIGSEGV\"}, " QUIET USAGE CLOSING);
	run.verdict.signal = 40;
	expect(&run, 400,
		"{\"success\": false, \"error\": \"Script was killed by signal 40\", \"cause\": "
		"{\"kind\": \"signal\", \"signal\": \"signal 40\"}, " QUIET USAGE CLOSING);
}

static void test_not_json(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_NOT_JSON});

	(void)state;
	run.error_text = (struct answer_text)SAY("duplicate key");
	expect(&run, 400,
		"{\"success\": false, \"error\": \"ValueError: Return value of 'main' is not JSON "
		"serializable: duplicate key\", \"cause\": {\"kind\": \"not_json\"}, " QUIET USAGE
			CLOSING);
	run.error_type = (struct answer_text)SAY("TypeError");
	run.error_text = (struct answer_text)SAY("TypeError: as it says");
	expect(&run, 400,
		"{\"success\": false, \"error\": \"TypeError: as it says\", \"cause\": {\"kind\": "
		"\"not_json\", \"type\": \"TypeError\"}, " QUIET USAGE CLOSING);
}

static void test_blocked_import(void **state)
{
	struct answer_run run =
		make_run((struct verdict){.kind = VERDICT_BLOCKED_IMPORT, .line = 2});

	(void)state;
	run.error_type = (struct answer_text)SAY("os.path");
	run.error_text = (struct answer_text)SAY("as it says");
	expect(&run, 400,
		"{\"success\": false, \"error\": \"as it says\", \"cause\": {\"kind\": "
		"\"blocked_import\", \"module\": \"os.path\", \"line\": 2}, " QUIET USAGE CLOSING);
}

/* Nothing of the inside is said; a number that is no kind is an internal error as well. */
static void test_internal(void **state)
{
	static const uint32_t kinds[] = {VERDICT_INTERNAL, VERDICT_COUNT, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct answer_run run = make_run((struct verdict){.kind = kinds[i]});

		expect(&run, 500,
			"{\"success\": false, \"error\": \"Internal error\", \"cause\": {\"kind\": "
			"\"internal\"}, " QUIET USAGE CLOSING);
	}
}

static void test_truncated_and_warnings(void **state)
{
	struct answer_run run = make_run((struct verdict){
		.kind = VERDICT_OK, .stdout_dropped = 40960, .stdout_at = 524288, .after_value = VERDICT_TIME});
	struct request odd = request;

	(void)state;
	odd.unknown_fields = 2;
	strcpy(odd.unknown_field[0], "timeot");
	strcpy(odd.unknown_field[1], "\xC3\xA9\"\xC3");
	run.request = &odd;
	run.result = (struct answer_text)SAY("null");
	expect(&run, 200,
		"{\"success\": true, \"result\": null, " QUIET
		"\"truncated\": {\"stdout\": 40960, \"stdout_at\": 524288}, \"warnings\": "
		"[\"unknown field: timeot\", \"unknown field: \\u00e9\\\"\\ufffd\", \"threads or "
		"atexit handlers were still running after the value was there, and were "
		"ended\"], " USAGE CLOSING);
	run = make_run((struct verdict){.kind = VERDICT_OK, .stderr_dropped = 1});
	run.result = (struct answer_text)SAY("1");
	expect(&run, 200,
		"{\"success\": true, \"result\": 1, " QUIET
		"\"truncated\": {\"stderr\": 1, \"stderr_at\": 0}, " USAGE CLOSING);
}

/* The value stays; how its process ended is said beside it. */
static void test_ends_after_the_value(void **state)
{
	static const struct {
		struct verdict verdict;
		const char *words; /* NULL: none */
	} rows[] = {
		{{.after_value = VERDICT_OK}, NULL},
		{{.after_value = VERDICT_EXIT}, NULL},
		{{.after_value = VERDICT_EXIT, .exit_code = 3},
			"the script ended with exit code 3 after the value was there"},
		{{.after_value = VERDICT_SIGNAL, .signal = SIGSEGV},
			"the script was killed by SIGSEGV after the value was there"},
		{{.after_value = VERDICT_CPU, .signal = SIGKILL, .limit = 31000},
			"the script was ended after the value was there: 31 seconds of CPU time used"},
		{{.after_value = VERDICT_MEMORY, .limit = 64 << 20},
			"the script was ended after the value was there: memory limit exceeded (64 MiB)"},
		{{.kind = VERDICT_EXIT, .after_value = VERDICT_SIGNAL, .signal = SIGSEGV}, NULL},
	};
	char text[ANSWER_WARNING_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct answer_run run = make_run(rows[i].verdict);

		assert_int_equal(answer_warning(&run, 0, text), rows[i].words != NULL);
		assert_string_equal(text, rows[i].words ? rows[i].words : "");
		run.live_is_cut = true;
		assert_true(answer_warning(&run, rows[i].words ? 1 : 0, text));
		assert_string_equal(text, "live output was not read in time, and is not complete");
		assert_false(answer_warning(&run, rows[i].words ? 2 : 1, text));
	}
}

/* Whatever an execution says is one line, without what steers a terminal, and not over its room. */
static void test_words_of_a_warning(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_OK});
	char text[ANSWER_WARNING_BYTES], longer[2 * ANSWER_WARNING_BYTES];

	(void)state;
	memset(longer, 'x', sizeof(longer));
	run.warnings[0] = (struct answer_text)SAY("a\x1b[2J\n\x7f\xc2\x9b\xc3\x9b\0z");
	run.warnings[1] = (struct answer_text){longer, sizeof(longer)};
	run.warning_count = 2;
	assert_true(answer_warning(&run, 0, text));
	assert_string_equal(text, "a [2J   \xc3\x9b z");
	assert_true(answer_warning(&run, 1, text));
	assert_int_equal(strlen(text), sizeof(text) - 1);
	assert_false(answer_warning(&run, 2, text));
}

static void test_live_output_that_was_cut(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_OK});

	(void)state;
	run.result = (struct answer_text)SAY("null");
	run.live_is_cut = true;
	expect(&run, 200,
		"{\"success\": true, \"result\": null, " QUIET
		"\"warnings\": [\"live output was not read in time, and is not complete\"], " USAGE
			CLOSING);
}

/* Texts of a script, of any bytes. */
static void test_hostile_texts(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_EXCEPTION, .line = 1});

	(void)state;
	run.error_type = (struct answer_text)SAY("T\n\xFF"); /* one line, whoever speaks */
	run.error_text = (struct answer_text)SAY("\"}\xF0\x9F\x90\x8D\\");
	run.output = (struct answer_text)SAY("\x1b[0m\x80\xE2\x82\xAC\x7f");
	expect(&run, 400,
		"{\"success\": false, \"error\": \"\\\"}\\ud83d\\udc0d\\\\\", \"cause\": "
		"{\"kind\": "
		"\"exception\", \"type\": \"T \\ufffd\", \"line\": 1}, \"stdout\": "
		"\"\\u001b[0m\\ufffd\\u20ac\\u007f\", \"stderr\": \"\", " USAGE CLOSING);
}

/* The longest entry and the longest text of a script still make one strict answer. */
static void test_longest_texts(void **state)
{
	static const uint32_t kinds[] = {VERDICT_EXIT, VERDICT_NOT_JSON, VERDICT_RESULT_TOO_LARGE};
	char name[ENTRY_MAX_BYTES], *text = malloc(ERROR_TEXT_MAX_BYTES);
	struct request longest = {
		.entry = {.data = name, .length = sizeof(name)}, .has_entry = true};

	(void)state;
	assert_non_null(text);
	memset(name, '\xC3', sizeof(name));
	memset(text, '\xE2', ERROR_TEXT_MAX_BYTES);
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct answer_run run = make_run((struct verdict){.kind = kinds[i],
			.limit = UINT64_MAX,
			.used = UINT64_MAX,
			.exit_code = INT32_MIN});

		run.request = &longest;
		if (kinds[i] == VERDICT_NOT_JSON)
			run.error_text = (struct answer_text){text, ERROR_TEXT_MAX_BYTES};
		buffer_reset(&body, 0);
		assert_int_equal(answer_run(&run, &body), 400);
		check_strict_ascii();
	}
	free(text);
}

static void test_without_entry(void **state)
{
	struct answer_run run =
		make_run((struct verdict){.kind = VERDICT_RESULT_TOO_LARGE, .limit = 1, .used = 2});
	struct request main_script = {.has_entry = false};
	char text[600];
	struct answer_text line;

	(void)state;
	run.request = &main_script;
	line = answer_error_line(&run, text, sizeof(text));
	assert_string_equal(
		line.data, "Value of the last expression is 2 bytes of JSON, over the limit of 1");
	assert_int_equal(line.length, strlen(line.data));
}

static void expect_refusal(enum refusal kind, const char *error,
	const struct request_refusal *refusal, int status, const char *expected)
{
	buffer_reset(&body, 0);
	assert_int_equal(answer_refusal(kind, error, refusal, "id-1", &body), status);
	check_strict_ascii();
	hide_timestamp();
	assert_string_equal(body.data, expected);
}

static void test_refusals(void **state)
{
	struct request_refusal refusal = {.field = "timeout",
		.allowed = "a number from 0.01 to 300",
		.got = "\"\xF0\x9F\x90..."};

	(void)state;
	expect_refusal(REFUSAL_INVALID_REQUEST, "timeout must be \xC3\xA9", &refusal, 400,
		"{\"success\": false, \"error\": \"timeout must be \\u00e9\", \"cause\": "
		"{\"kind\": "
		"\"invalid_request\", \"field\": \"timeout\", \"allowed\": \"a number from 0.01 to "
		"300\", \"got\": \"\\\"\\ufffd...\"}, \"stdout\": \"\", " CLOSING);
	expect_refusal(REFUSAL_NOT_FOUND, "no such path", NULL, 404,
		"{\"success\": false, \"error\": \"no such path\", \"cause\": {\"kind\": "
		"\"not_found\"}, \"stdout\": \"\", " CLOSING);
	refusal = (struct request_refusal){0};
	expect_refusal(REFUSAL_OVERLOADED, "try later", &refusal, 503,
		"{\"success\": false, \"error\": \"try later\", \"cause\": {\"kind\": "
		"\"overloaded\"}, \"stdout\": \"\", " CLOSING);
}

/* With every cap below its length an answer fails, and with just that it is whole. */
static void test_no_room(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_OK});
	size_t run_bytes, refusal_bytes;

	(void)state;
	run.result = (struct answer_text)SAY("1");
	buffer_reset(&body, 0);
	answer_run(&run, &body);
	run_bytes = body.length;
	buffer_reset(&body, 0);
	answer_refusal(REFUSAL_INTERNAL, "e", NULL, "i", &body);
	refusal_bytes = body.length;
	for (size_t cap = 1; cap <= run_bytes; cap++) {
		struct buffer small = {.cap = cap};

		assert_int_equal(answer_run(&run, &small), cap < run_bytes ? -EMSGSIZE : 200);
		buffer_reset(&small, cap);
		assert_int_equal(answer_refusal(REFUSAL_INTERNAL, "e", NULL, "i", &small),
			cap < refusal_bytes ? -EMSGSIZE : 500);
		buffer_free(&small);
	}
}

static void test_server_timing(void **state)
{
	struct answer_run run = make_run((struct verdict){.kind = VERDICT_OK, .fork_us = 1});
	char text[128];

	(void)state;
	answer_server_timing(&run, text, sizeof(text));
	assert_string_equal(text, "queue;dur=0.100, fork;dur=0.001, wall;dur=3.200, cpu;dur=2.900");
}

static void test_exit_codes(void **state)
{
	(void)state;
	for (uint32_t kind = 0; kind <= VERDICT_COUNT; kind++) {
		const struct verdict verdict = {.kind = kind};
		int expected = kind == VERDICT_OK			     ? 0
			       : kind == VERDICT_TIME || kind == VERDICT_CPU ? 124
			       : kind >= VERDICT_INTERNAL		     ? 125
									     : 1;

		assert_int_equal(answer_exit_code(&verdict), expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_value),
		cmocka_unit_test(test_exception),
		cmocka_unit_test(test_refused_call),
		cmocka_unit_test(test_exit),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_signal),
		cmocka_unit_test(test_not_json),
		cmocka_unit_test(test_blocked_import),
		cmocka_unit_test(test_internal),
		cmocka_unit_test(test_truncated_and_warnings),
		cmocka_unit_test(test_ends_after_the_value),
		cmocka_unit_test(test_words_of_a_warning),
		cmocka_unit_test(test_live_output_that_was_cut),
		cmocka_unit_test(test_hostile_texts),
		cmocka_unit_test(test_longest_texts),
		cmocka_unit_test(test_without_entry),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_server_timing),
		cmocka_unit_test(test_exit_codes),
	};

	return cmocka_run_group_tests(tests, NULL, free_body);
}
