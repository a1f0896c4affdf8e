/* The fields of a request that become frames of the job. */
#include "tests/unit/unit.h"
#include "tests/unit/unit_request.h"

#include <errno.h>

#include "sandbox/frame.h"

static int parse(const char *members)
{
	char body[4096];
	int n = snprintf(body, sizeof(body), "{\"script\":\"x\",%s}", members);

	return parse_request(body, (size_t)n);
}

/* "type:payload;" for each frame. */
static void expect(const char *members, const char *expected)
{
	struct frame_reader reader;
	struct frame frame;
	char text[1024] = "";

	if (parse(members))
		fail_msg("%s refused: %s", members, refusal.error);
	reader = (struct frame_reader){.in = request.parts};
	while (frame_reader_next(&reader, &frame))
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d:%.*s;",
			(int)frame.type, (int)frame.length, frame.payload);
	assert_int_equal(reader.start, request.parts.length);
	assert_string_equal(text, expected);
}

static void expect_refused(const char *members, const char *error, const char *got)
{
	if (parse(members) != -EINVAL)
		fail_msg("not refused: %s", members);
	assert_string_equal(refusal.error, error);
	assert_string_equal(refusal.got, got);
}

static void test_text_goes_on_as_it_stands(void **state)
{
	(void)state;
	expect("\"args\":[ 1, 1e400 ],\"kwargs\":{\"a\\u0062\":[]}",
		"16:[ 1, 1e400 ];17:{\"a\\u0062\":[]};");
	expect("\"argv\":[\"\\u00e9\"],\"env\":{\"A\":\"\"}", "18:[\"\\u00e9\"];19:{\"A\":\"\"};");
	expect("\"stdin\":\"a\\u00e9\"", "21:a\xC3\xA9;");
	expect("\"files\":[{\"content\":\"x\",\"path\":\"a\\/"
	       "b\"},{\"path\":\"c\",\"content_base64\":\"eQ==\"}]",
		"24:a/b;25:x;24:c;25:y;");
}

/* Kept for the answer as well, decoded: the execution and the dispatcher see the same globs. */
static void test_outputs_are_kept(void **state)
{
	static const char globs[] = "**/*.csv\0\xC3\xA9/a";

	(void)state;
	assert_int_equal(parse("\"outputs\": [ \"**/*.csv\", \"\\u00e9\\/a\" ]"), 0);
	assert_int_equal(request.globs.length, sizeof(globs));
	assert_memory_equal(request.globs.data, globs, sizeof(globs));
	assert_int_equal(request.parts.length, sizeof(struct frame_header) + sizeof(globs));
	assert_memory_equal(request.parts.data + sizeof(struct frame_header), globs, sizeof(globs));
	expect("\"outputs\":[]", "");
	assert_int_equal(request.globs.length, 0);
	expect_refused("\"outputs\":[\"a\",\"../b\"]",
		"outputs must be an array of up to 100 relative globs of 1 to 255 bytes, with no "
		"empty, . or .. part",
		"\"../b\"");
	assert_int_equal(request.globs.length, 0);
}

static void test_nothing_is_no_frame(void **state)
{
	(void)state;
	expect("\"args\":[],\"kwargs\":{},\"argv\":[ ],\"env\":{ "
	       "},\"stdin\":\"\",\"files\":[],\"outputs\":[]",
		"");
	expect("\"args\":null,\"kwargs\":null,\"argv\":null,\"env\":null,\"stdin\":null", "");
	expect("\"files\":null,\"outputs\":null,\"encode\":null,\"visualizations\":null", "");
	assert_int_equal(request.limits.flags, JOB_FIGURES);
	expect("\"files\":[{\"path\":\"a\",\"content\":\"\"}]", "24:a;");
}

static void test_switches(void **state)
{
	(void)state;
	expect("\"encode\":\"rich\"", "");
	assert_int_equal(request.limits.flags, JOB_FIGURES | JOB_RICH);
	expect("\"encode\":\"stri\\u0063t\",\"visualizations\":false", "");
	assert_int_equal(request.limits.flags, 0);
}

static void test_refusals(void **state)
{
	(void)state;
	expect_refused("\"args\":{}", "args must be an array", "{}");
	expect_refused("\"kwargs\":[]", "kwargs must be an object", "[]");
	expect_refused("\"argv\":[\"a\",5]", "argv must be an array of strings without a NUL", "5");
	expect_refused("\"stdin\":5", "stdin must be a string", "5");
	expect_refused("\"encode\":\"x\"", "encode must be \"strict\" or \"rich\"", "\"x\"");
	expect_refused("\"visualizations\":1", "visualizations must be true or false", "1");
	expect_refused(
		"\"files\":[{\"path\":\"a\",\"content\":\"\"},{\"path\":\"a\",\"content\":\"\"}]",
		"files[1].path is there twice, or is a directory of another file", "\"a\"");
	expect_refused("\"entry\":null,\"args\":[1]",
		"args and kwargs are for the entry, and entry is null", "[1]");
	assert_string_equal(refusal.field, "args");
	assert_string_equal(refusal.allowed, "nothing where entry is null");
	expect_refused("\"kwargs\":{\"a\": 1},\"entry\":null",
		"args and kwargs are for the entry, and entry is null", "{\"a\": 1}");
	assert_string_equal(refusal.field, "kwargs");
}

static void test_refused_files(void **state)
{
	static const char one[] = "files[0] must have exactly one of content and content_base64";

	(void)state;
	expect_refused("\"files\":[{\"path\":\"a\"}]", one, "neither of them");
	expect_refused("\"files\":[{\"path\":\"a\",\"content\":null,\"content_base64\":null}]", one,
		"neither of them");
	expect_refused("\"files\":[{\"path\":\"a\",\"content\":\"\",\"content_base64\":\"\"}]", one,
		"both of them");
	expect_refused("\"files\":[{\"content\":\"\"}]", "files[0].path must be a string", "nothing");
	expect_refused("\"files\":[{\"path\":null,\"content\":\"\"}]",
		"files[0].path must be a string", "null");
	assert_string_equal(refusal.field, "files");
}

/* 8 MiB together, counted in full when they are more. */
static void test_sizes(void **state)
{
	static const char head[] = "{\"script\":\"x\",\"stdin\":\"", tail[] = "\"}";
	char *body = malloc(FILES_MAX_BYTES + 100);
	size_t length;

	(void)state;
	for (size_t extra = 0; extra < 2; extra++) {
		memcpy(body, head, sizeof(head) - 1);
		memset(body + sizeof(head) - 1, 'x', FILES_MAX_BYTES + extra);
		length = sizeof(head) - 1 + FILES_MAX_BYTES + extra;
		memcpy(body + length, tail, sizeof(tail) - 1);
		request_reset(&request);
		assert_int_equal(request_parse(body, length + sizeof(tail) - 1, &rules, 42,
					 &request, &refusal),
			extra ? -EINVAL : 0);
	}
	assert_string_equal(refusal.unit, "bytes");
	assert_true(refusal.limit == FILES_MAX_BYTES && refusal.used == FILES_MAX_BYTES + 1);
	assert_string_equal(refusal.field, "stdin");
	free(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_text_goes_on_as_it_stands),
		cmocka_unit_test(test_outputs_are_kept),
		cmocka_unit_test(test_nothing_is_no_frame), cmocka_unit_test(test_switches),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_refused_files), cmocka_unit_test(test_sizes)};

	return cmocka_run_group_tests(tests, set_up_request, tear_down_request);
}
