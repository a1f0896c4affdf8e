#include "tests/unit/unit.h"

#include "sandbox/json_walk.h"

struct seen {
	char text[512];
	size_t count, stop_after;
};

/* "key=value(type);" for each; the key with its quotes. */
static bool note(void *context, const struct json_walk_item *item)
{
	struct seen *seen = context;

	assert_int_equal(item->index, seen->count);
	seen->count++;
	snprintf(seen->text + strlen(seen->text), sizeof(seen->text) - strlen(seen->text),
		"%.*s=%.*s(%d);", (int)item->key_length, item->key ? item->key : "",
		(int)item->value_length, item->value, (int)item->type);
	return seen->count != seen->stop_after;
}

static void expect(const char *text, const char *expected)
{
	struct seen seen = {0};
	char *copy = unit_copy(text, strlen(text));

	json_walk(copy, strlen(text), note, &seen);
	free(copy);
	assert_string_equal(seen.text, expected);
}

static void test_arrays(void **state)
{
	(void)state;
	expect("[]", "");
	expect(" [ \n] ", "");
	expect("[1]", "=1(4);");
	expect("[ -1.5e3 ,\t\"a\" , null,true,false ]",
		"=-1.5e3(4);=\"a\"(3);=null(7);=true(5);=false(6);");
	expect("[[],[1,[2]],{\"a\":[3]}]", "=[](2);=[1,[2]](2);={\"a\":[3]}(1);");
}

static void test_objects(void **state)
{
	(void)state;
	expect("{}", "");
	expect("{ }", "");
	expect("{\"a\":1}", "\"a\"=1(4);");
	expect("{ \"a\" : { } , \"b\":\"c\" }", "\"a\"={ }(1);\"b\"=\"c\"(3);");
	expect("{\"\":[{}]}", "\"\"=[{}](2);");
}

/* Brackets, commas and quotes inside strings are text. */
static void test_strings(void **state)
{
	(void)state;
	expect("[\"]\",\"a,b\",\"{\"]", "=\"]\"(3);=\"a,b\"(3);=\"{\"(3);");
	expect("[\"\\\"]\",\"\\\\\",\"\\\\\\\"\"]", "=\"\\\"]\"(3);=\"\\\\\"(3);=\"\\\\\\\"\"(3);");
	expect("{\"}:,\":[\"]}\"]}", "\"}:,\"=[\"]}\"](2);");
}

static void test_other_values(void **state)
{
	(void)state;
	expect("1", "");
	expect("\"[1]\"", "");
	expect("null", "");
}

static void test_walk_can_be_ended(void **state)
{
	struct seen seen = {.stop_after = 2};

	(void)state;
	json_walk(TEXT("[1,2,3]"), note, &seen);
	assert_int_equal(seen.count, 2);
}

static void test_nul(void **state)
{
	(void)state;
	assert_true(json_walk_has_nul(TEXT("\"\\u0000\"")));
	assert_true(json_walk_has_nul(TEXT("\"a\\\\\\u0000b\"")));
	assert_true(json_walk_has_nul(TEXT("\"\\n\\u0000\"")));
	assert_false(json_walk_has_nul(TEXT("\"\\\\u0000\"")));
	assert_false(json_walk_has_nul(TEXT("\"\\u0001 0000\"")));
	assert_false(json_walk_has_nul(TEXT("\"\\\\\"")));
	assert_false(json_walk_has_nul(TEXT("\"\"")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_arrays),
		cmocka_unit_test(test_objects), cmocka_unit_test(test_strings),
		cmocka_unit_test(test_other_values), cmocka_unit_test(test_walk_can_be_ended),
		cmocka_unit_test(test_nul)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
