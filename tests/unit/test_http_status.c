#include "tests/unit/unit.h"

#include "fcgi-app/http_status.h"
#include "sandbox/job.h"

static void test_refusals(void **state)
{
	static const struct {
		enum refusal refusal;
		const char *word;
		int status;
	} rows[] = {
		{REFUSAL_INVALID_REQUEST, "invalid_request", 400},
		{REFUSAL_UNAUTHORIZED, "unauthorized", 401},
		{REFUSAL_NOT_FOUND, "not_found", 404},
		{REFUSAL_METHOD_NOT_ALLOWED, "method_not_allowed", 405},
		{REFUSAL_PAYLOAD_TOO_LARGE, "payload_too_large", 413},
		{REFUSAL_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415},
		{REFUSAL_RATE_LIMITED, "rate_limited", 429},
		{REFUSAL_OVERLOADED, "overloaded", 503},
		{REFUSAL_INTERNAL, "internal", 500},
	};

	(void)state;
	assert_int_equal(COUNT(rows), REFUSAL_COUNT);
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_string_equal(refusal_word(rows[i].refusal), rows[i].word);
		assert_int_equal(refusal_status(rows[i].refusal), rows[i].status);
	}
}

static void test_verdicts(void **state)
{
	static const int statuses[VERDICT_COUNT] = {
		[VERDICT_OK] = 200,
		[VERDICT_EXCEPTION] = 400,
		[VERDICT_EXIT] = 400,
		[VERDICT_SYNTAX] = 400,
		[VERDICT_NO_MAIN] = 400,
		[VERDICT_NOT_JSON] = 400,
		[VERDICT_BLOCKED_IMPORT] = 400,
		[VERDICT_RESULT_TOO_LARGE] = 400,
		[VERDICT_MEMORY] = 400,
		[VERDICT_SIGNAL] = 400,
		[VERDICT_TIME] = 408,
		[VERDICT_CPU] = 408,
		[VERDICT_INTERNAL] = 500,
	};

	(void)state;
	for (unsigned i = 0; i < VERDICT_COUNT; i++)
		assert_int_equal(verdict_status(i), statuses[i]);
	assert_int_equal(verdict_status(VERDICT_COUNT), 500);
	assert_int_equal(verdict_status(0xffffffff), 500);
}

static void test_every_status_has_a_reason(void **state)
{
	(void)state;
	for (int i = 0; i < REFUSAL_COUNT; i++)
		assert_string_not_equal(http_reason(refusal_status((enum refusal)i)), "Error");
	for (unsigned i = 0; i < VERDICT_COUNT; i++)
		assert_string_not_equal(http_reason(verdict_status(i)), "Error");
}

static void test_reasons(void **state)
{
	(void)state;
	assert_string_equal(http_reason(200), "OK");
	assert_string_equal(http_reason(204), "No Content");
	assert_string_equal(http_reason(404), "Not Found");
	assert_string_equal(http_reason(408), "Request Timeout");
	assert_string_equal(http_reason(503), "Service Unavailable");
	assert_string_equal(http_reason(0), "Error");
	assert_string_equal(http_reason(-1), "Error");
	assert_string_equal(http_reason(999), "Error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_every_status_has_a_reason),
		cmocka_unit_test(test_reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
