#include "tests/unit/unit.h"

#include <errno.h>

#include "sandbox/job.h"

static void test_words(void **state)
{
	static const char *const words[] = {"ok", "exception", "exit", "syntax", "no_main",
		"not_json", "blocked_import", "result_too_large", "memory", "signal", "time", "cpu",
		"internal"};

	(void)state;
	assert_int_equal(COUNT(words), VERDICT_COUNT);
	for (uint32_t i = 0; i < VERDICT_COUNT; i++)
		assert_string_equal(verdict_kind_word(i), words[i]);
	assert_string_equal(verdict_kind_word(VERDICT_COUNT), "internal");
	assert_string_equal(verdict_kind_word(UINT32_MAX), "internal");
}

/* Decodes header and filler texts of the sizes it names, and one copy of exactly that length. */
static int decode(struct failure_header header, uint32_t length, struct failure *failure)
{
	char *payload = calloc(1, sizeof(header) + length);
	uint32_t total = (uint32_t)sizeof(header) + length;
	int r;

	assert_non_null(payload);
	memcpy(payload, &header, sizeof(header));
	r = failure_decode(payload, total, failure);
	if (!r) {
		assert_ptr_equal(failure->type, payload + sizeof(header));
		assert_ptr_equal(failure->error, failure->type + header.type_bytes);
		assert_ptr_equal(failure->traceback, failure->error + header.error_bytes);
		assert_ptr_equal(failure->traceback + header.traceback_bytes, payload + total);
	}
	free(payload);
	return r;
}

static void test_whole_failure(void **state)
{
	struct failure_header header = {.kind = VERDICT_EXIT,
		.line = -3,
		.exit_code = 900,
		.type_bytes = 10,
		.error_bytes = 4,
		.traceback_bytes = 5};
	char payload[sizeof(header) + 19 + 1];
	struct failure failure;

	(void)state;
	/* not aligned, as in a frame */
	memcpy(payload + 1, &header, sizeof(header));
	memcpy(payload + 1 + sizeof(header),
		"SystemExit"
		"text"
		"trace",
		19);
	assert_int_equal(failure_decode(payload + 1, sizeof(header) + 19, &failure), 0);
	assert_memory_equal(&failure.header, &header, sizeof(header));
	assert_memory_equal(failure.type, "SystemExit", 10);
	assert_memory_equal(failure.error, "text", 4);
	assert_memory_equal(failure.traceback, "trace", 5);
}

static void test_no_texts(void **state)
{
	const struct failure_header header = {.kind = VERDICT_SYNTAX};
	struct failure failure;

	(void)state;
	assert_int_equal(decode(header, 0, &failure), 0);
}

static void test_every_prefix_and_excess_is_refused(void **state)
{
	const struct failure_header header = {
		.kind = VERDICT_EXCEPTION, .type_bytes = 3, .error_bytes = 4, .traceback_bytes = 5};
	struct failure failure;
	char payload[sizeof(header) + 13] = {0};

	(void)state;
	memcpy(payload, &header, sizeof(header));
	for (uint32_t length = 0; length <= sizeof(payload); length++) {
		char *copy = unit_copy(payload, length);

		assert_int_equal(failure_decode(copy, length, &failure),
			length == sizeof(header) + 12 ? 0 : -EPROTO);
		free(copy);
	}
}

static void test_only_claimable_kinds(void **state)
{
	struct failure_header header = {0};
	struct failure failure;

	(void)state;
	for (header.kind = 0; header.kind < 300; header.kind++) {
		bool claimable = (header.kind >= VERDICT_EXCEPTION &&
					 header.kind <= VERDICT_BLOCKED_IMPORT) ||
				 header.kind == VERDICT_MEMORY;

		assert_int_equal(decode(header, 0, &failure), claimable ? 0 : -EPROTO);
	}
	header.kind = UINT32_MAX;
	assert_int_equal(decode(header, 0, &failure), -EPROTO);
	header.kind = 0x80000001;
	assert_int_equal(decode(header, 0, &failure), -EPROTO);
}

static void test_caps(void **state)
{
	static const struct {
		uint32_t type, error, traceback;
		int expected;
	} cases[] = {
		{ERROR_TYPE_MAX_BYTES, ERROR_TEXT_MAX_BYTES, TRACEBACK_MAX_BYTES, 0},
		{ERROR_TYPE_MAX_BYTES + 1, 0, 0, -EPROTO},
		{0, ERROR_TEXT_MAX_BYTES + 1, 0, -EPROTO},
		{0, 0, TRACEBACK_MAX_BYTES + 1, -EPROTO},
		{0, ERROR_TEXT_MAX_BYTES, 0, 0},
	};
	struct failure failure;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct failure_header header = {.kind = VERDICT_EXCEPTION,
			.type_bytes = cases[i].type,
			.error_bytes = cases[i].error,
			.traceback_bytes = cases[i].traceback};

		assert_int_equal(decode(header, cases[i].type + cases[i].error + cases[i].traceback,
					 &failure),
			cases[i].expected);
	}
}

/* Sizes whose sum is right only if it wraps at 32 bits. */
static void test_sums_that_wrap(void **state)
{
	static const uint32_t sizes[][3] = {
		{UINT32_MAX, 1, 0},
		{1, UINT32_MAX, 0},
		{0, 1, UINT32_MAX},
		{0x80000000, 0x80000000, 0},
		{UINT32_MAX, UINT32_MAX, 2},
		{UINT32_MAX - 9, 5, 5},
		{256, UINT32_MAX - 255, 0},
	};
	struct failure failure;

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		const struct failure_header header = {.kind = VERDICT_EXCEPTION,
			.type_bytes = sizes[i][0],
			.error_bytes = sizes[i][1],
			.traceback_bytes = sizes[i][2]};

		assert_int_equal(
			decode(header, sizes[i][0] + sizes[i][1] + sizes[i][2], &failure), -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_whole_failure),
		cmocka_unit_test(test_no_texts),
		cmocka_unit_test(test_every_prefix_and_excess_is_refused),
		cmocka_unit_test(test_only_claimable_kinds),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_sums_that_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
