#include "tests/unit/unit.h"

#include <errno.h>

#include "fcgi-app/json_in.h"
#include "fcgi-app/openapi.h"
#include "fcgi-app/version.h"
#include "sandbox/json_scan.h"

static int change(const char *json, const char *pointer, const char *value, struct buffer *out)
{
	const struct json_in_change changes[] = {{pointer, value}};

	return json_in_change(json, strlen(json), changes, 1, out);
}

static void expect_change(
	const char *json, const char *pointer, const char *value, const char *expected)
{
	struct buffer out = {0};

	assert_int_equal(change(json, pointer, value, &out), 0);
	assert_int_equal(out.length, strlen(expected));
	assert_memory_equal(out.data, expected, out.length);
	buffer_free(&out);
}

static void test_change(void **state)
{
	(void)state;
	expect_change("{ \"a\": {\"b\": 1} }\n", "/a/b", "2.5", "{\"a\":{\"b\":2.5}}");
	expect_change("{\"a\": [0, 1]}", "/a/1", "\"x\"", "{\"a\":[0,\"x\"]}");
	expect_change("{\"a\": 0.01, \"b\": \"/\"}", "/a", "{}", "{\"a\":{},\"b\":\"/\"}");
}

static void test_change_of_nothing(void **state)
{
	struct buffer out = {0};

	(void)state;
	assert_int_equal(change("{\"a\": 1}", "/b", "2", &out), -ENOENT);
	assert_int_equal(change("{\"a\": 1}", "/a/b", "2", &out), -ENOENT);
	assert_int_equal(change("{\"a\": 1", "/a", "2", &out), -EINVAL);
	assert_int_equal(change("", "/a", "2", &out), -EINVAL);
	assert_int_equal(change("{\"a\": 1}", "/a", "two", &out), -EINVAL);
	assert_int_equal(change("{\"a\": 1}", "/a", "", &out), -EINVAL);
	assert_null(out.data);
}

static void expect_inside(const struct buffer *text, const char *part)
{
	if (!memmem(text->data, text->length, part, strlen(part)))
		fail_msg("not there: %s", part);
}

static void test_document_has_limits_in_force(void **state)
{
	const struct json_scan_options options = {.max_bytes = 1 << 20, .max_depth = 64};
	struct json_scan_result result;
	struct request_rules rules;
	struct buffer text = {0};
	struct config config;

	(void)state;
	config_default(&config, "/bin/vivarium");
	config.default_timeout_ms = 2500;
	config.max_timeout_ms = 12345;
	config.default_memory_mib = 99;
	config.max_memory_mib = 1 << 20;
	request_rules_init(&rules, &config);
	assert_int_equal(openapi_make(&rules, &text, NULL), 0);
	assert_int_equal(json_scan(text.data, text.length, &options, NULL, NULL, &result), 0);
	expect_inside(&text, "\"version\":\"" VIVARIUM_VERSION "\"");
	expect_inside(&text, "\"minimum\":0.01,\"maximum\":12.345,\"default\":2.5");
	expect_inside(&text, "\"minimum\":16,\"maximum\":1048576,\"default\":99");
	assert_null(memmem(text.data, text.length, TEXT("\"memory\":false")));
	buffer_free(&text);
	assert_int_equal(request_rules_allow(&rules, "timeout", NULL), 0);
	assert_int_equal(openapi_make(&rules, &text, NULL), 0);
	assert_int_equal(json_scan(text.data, text.length, &options, NULL, NULL, &result), 0);
	expect_inside(&text, "\"memory\":false");
	expect_inside(&text, "\"visualizations\":false");
	expect_inside(&text, "\"minimum\":0.01,\"maximum\":12.345,\"default\":2.5");
	buffer_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_change_of_nothing),
		cmocka_unit_test(test_document_has_limits_in_force),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
