#include "tests/unit/unit.h"

#include <fcntl.h>

#include "fcgi-app/log_output.h"
#include "fcgi-app/record.h"
#include "sandbox/json_scan.h"

static struct config config;
static struct record record;
static struct request request;
static struct answer_run run;
static char line[LOG_LINE_BYTES + 1];

/* Writes the record and returns what came out. */
static const char *written(const char *format, bool requests)
{
	int saved = dup(STDERR_FILENO), ends[2];
	char text[64];
	ssize_t n;

	snprintf(text, sizeof(text), "log_format=%s", format);
	assert_int_equal(config_set(&config, text, NULL), 0);
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	log_output_begin(&config);
	record_write(&record, requests);
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	n = read(ends[0], line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	close(saved);
	close(ends[0]);
	close(ends[1]);
	return line;
}

static void assert_json(const char *text)
{
	const struct json_scan_options options = {
		.max_bytes = LOG_LINE_BYTES, .max_depth = 1, .ascii_only = true};
	struct json_scan_result result;

	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_int_equal(json_scan(text, strlen(text), &options, NULL, NULL, &result), 0);
}

static int set_up(void **state)
{
	(void)state;
	config_default(&config, "vivarium");
	memset(&record, 0x5a, sizeof(record)); /* as after a request before this one */
	record_begin(&record, "id-1", "192.0.2.7", "POST", "/execute");
	request = (struct request){.has_entry = true};
	run = (struct answer_run){.request = &request, .queue_us = 120};
	return 0;
}

static void put_run(enum verdict_kind kind)
{
	run.verdict = (struct verdict){.kind = kind,
		.parked = 1,
		.fork_us = 0,
		.wall_us = 2500,
		.cpu_us = 2004,
		.memory_bytes = 3 << 20,
		.template_name = "pandas"};
}

static void test_run(void **state)
{
	const char *text;

	(void)state;
	put_run(VERDICT_EXCEPTION);
	run.verdict.has_refused = 1;
	run.verdict.refused = 41; /* socket */
	record_take_run(&record, &run, false);
	record.status = 400;
	record.request_bytes = 77;
	record.answer_bytes = 512;
	record_end(&record);
	record.total_us = 3456;
	text = written("json", true);
	assert_json(text);
	assert_string_equal(strstr(text, ", \"level\""),
		", \"level\": \"info\", \"role\": \"dispatcher\", \"request_id\": \"id-1\", "
		"\"client\": \"192.0.2.7\", \"method\": \"POST\", \"path\": \"/execute\", "
		"\"status\": 400, \"kind\": \"exception\", \"total_ms\": 3.456, "
		"\"request_bytes\": 77, \"answer_bytes\": 512, \"queue_ms\": 0.120, "
		"\"fork_ms\": 0.000, \"wall_ms\": 2.500, \"cpu_ms\": 2.004, \"memory_mb\": 3.0, "
		"\"template\": \"pandas\", \"parked\": true, \"refused\": \"socket\"}\n");
	text = written("text", true);
	assert_string_equal(strstr(text, "Z ") + 2,
		"POST /execute 400 exception 3.5 ms (queue 0.1, run 2.5; pandas) 192.0.2.7 id-1 "
		"refused: socket\n");
}

static void test_key(void **state)
{
	(void)state;
	snprintf(record.key, sizeof(record.key), "ci");
	record.status = 200;
	record_end(&record);
	unit_assert_contains(written("json", true), "\"request_id\": \"id-1\", \"key\": \"ci\"");
	unit_assert_contains(written("text", true), " ci@192.0.2.7 id-1");
}

/* What happened decides who is told, and how loudly. */
static void test_levels(void **state)
{
	static const struct {
		unsigned kind;
		int status;
		const char *level;
		bool always;
	} rows[] = {{VERDICT_OK, 200, "info", false}, {VERDICT_TIME, 408, "info", false},
		{VERDICT_INTERNAL, 500, "error", true},
		{RECORD_REFUSALS + REFUSAL_OVERLOADED, 503, "warning", true},
		{RECORD_UNHEALTHY, 503, "warning", true},
		{RECORD_REFUSALS + REFUSAL_INVALID_REQUEST, 400, "info", false}};
	char expected[64];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		record.kind = rows[i].kind;
		record.status = rows[i].status;
		snprintf(expected, sizeof(expected), "\"level\": \"%s\"", rows[i].level);
		unit_assert_contains(written("json", true), expected);
		assert_int_equal(*written("json", false) != '\0', rows[i].always);
	}
}

static void test_no_answer(void **state)
{
	(void)state;
	record_end(&record);
	unit_assert_contains(written("json", true), "\"status\": 499, \"kind\": \"cancelled\"");
	assert_null(strstr(line, "queue_ms"));
}

static void test_texts(void **state)
{
	char script[] = "def main():\n    print(\"h\xc3\xa9\")", *stream = malloc(5000);

	(void)state;
	put_run(VERDICT_OK);
	memset(stream, 'x', 5000);
	request.script = (struct buffer){.data = script, .length = strlen(script)};
	run.output = (struct answer_text){stream, 5000};
	record_take_run(&record, &run, false);
	record.status = 200;
	assert_null(strstr(written("json", true), "script\""));
	record_take_run(&record, &run, true);
	free(stream);
	assert_json(written("json", true));
	unit_assert_contains(line,
		"\"script\": \"def main():\\n    print(\\\"h\\u00e9\\\")\", \"stdout\": \"xxx");
	unit_assert_contains(line, "x\", \"stderr\": \"\"}\n");
	assert_int_equal(strspn(strstr(line, "xxx"), "x"), RECORD_STREAM_BYTES);
}

/* The longest and worst of everything: one line, valid, and not dropped. */
static void test_hostile(void **state)
{
	uint64_t before = log_output_dropped(), seed = 3;
	char worst[3000];
	size_t round, i;

	(void)state;
	put_run(VERDICT_INTERNAL);
	run.verdict.has_refused = 1;
	run.verdict.refused = 101;
	run.verdict.fork_us = run.verdict.wall_us = run.verdict.cpu_us = UINT64_MAX;
	run.verdict.memory_bytes = UINT64_MAX;
	run.queue_us = UINT64_MAX;
	memset(run.verdict.template_name, 1, sizeof(run.verdict.template_name) - 1);
	for (round = 0; round < 300; round++) {
		for (i = 0; i < sizeof(worst) - 1; i++)
			worst[i] = round == 0 ? '\x01'
					      : (char)(1 + unit_random(&seed) %
								       (round % 2 ? 31 : 255));
		worst[sizeof(worst) - 1] = '\0';
		record_begin(&record, worst, worst, worst, worst);
		snprintf(record.key, sizeof(record.key), "%.64s", worst);
		snprintf(record.detail, sizeof(record.detail), "%.79s", worst);
		request.script = (struct buffer){.data = worst, .length = sizeof(worst)};
		run.output = run.error = (struct answer_text){worst, sizeof(worst)};
		record_take_run(&record, &run, true);
		record.status = -2147483647;
		record.request_bytes = record.answer_bytes = INT64_MAX;
		record_end(&record);
		record.total_us = UINT64_MAX;
		assert_json(written("json", true));
		written("text", true);
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
		for (i = 0; line[i] != '\n'; i++)
			assert_in_range(line[i], 0x20, 0x7e);
	}
	assert_int_equal(log_output_dropped(), before);
}

/* Two kinds with one word would be one series twice. */
static void test_words(void **state)
{
	unsigned i, k;

	(void)state;
	for (i = 0; i < RECORD_KINDS; i++) {
		for (k = 0; k < i; k++) {
			if (k == VERDICT_INTERNAL && i == RECORD_REFUSALS + REFUSAL_INTERNAL)
				continue; /* which no record has */
			assert_string_not_equal(record_kind_word(i), record_kind_word(k));
		}
	}
	assert_int_equal(record_kind_of_refusal(REFUSAL_INTERNAL), VERDICT_INTERNAL);
	for (i = 0; i < REFUSAL_COUNT; i++)
		assert_string_equal(record_kind_word(record_kind_of_refusal((enum refusal)i)),
			refusal_word((enum refusal)i));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up)
	const struct CMUnitTest tests[] = {TEST(test_run), TEST(test_key), TEST(test_levels),
		TEST(test_no_answer), TEST(test_texts), TEST(test_hostile), TEST(test_words)};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
