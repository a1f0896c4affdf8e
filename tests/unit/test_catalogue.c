#include "tests/unit/unit.h"

#include <errno.h>

#include "fcgi-app/catalogue.h"

#define PANDAS                                                                                     \
	"\"pandas\": {\"import\": \"import pandas\", \"example\": \"x = 1\", \"description\": \"d\"}"

static void expect(const char *text, int expected, const char *words)
{
	struct err err = {0};
	char *copy = unit_copy(text, strlen(text));
	int r = catalogue_check(copy, strlen(text), "libraries.json", &err);

	free(copy);
	if (r != expected || (words && strcmp(err.text, words) != 0))
		fail_msg("%d, \"%s\" for: %s", r, err.text, text);
	assert_int_equal(err.code, -expected);
}

static void test_good(void **state)
{
	(void)state;
	expect("{}", 0, NULL);
	expect("{\"a\": {\"title\": \"A\", \"libraries\": {}}}", 0, NULL);
	expect("{\"a\": {\"libraries\": {" PANDAS "}, \"title\": \"A\"}}", 0, NULL);
	expect("{\"a\": {\"title\": \"A\", \"libraries\": {\"x\": {\"import\": \"\", \"example\": "
	       "\"\", \"description\": \"\", \"distributions\": [\"x\", \"y\"]}, " PANDAS "}}, "
	       "\"b\": {\"title\": \"\", \"libraries\": {}}}",
		0, NULL);
}

static void test_not_json(void **state)
{
	(void)state;
	expect("", -EINVAL, "libraries.json: no JSON value at line 1, column 1: Invalid argument");
	expect("{\"a\": }", -EINVAL, NULL);
	expect("{\"a\": {}, \"a\": {}}", -EINVAL, NULL);
	expect("{} {}", -EINVAL, NULL);
	expect("{\"a\": \"\xff\"}", -EINVAL, NULL);
	expect("[]", -EINVAL, "libraries.json: not an object of categories");
	expect("\"a\"", -EINVAL, "libraries.json: not an object of categories");
}

static void test_category(void **state)
{
	(void)state;
	expect("{\"a\": []}", -EINVAL, "libraries.json: \"a\": not an object");
	expect("{\"a\": {}}", -EINVAL, "libraries.json: \"a\": lacks title");
	expect("{\"a\": {\"title\": \"A\"}}", -EINVAL, "libraries.json: \"a\": lacks libraries");
	expect("{\"a\": {\"title\": 1, \"libraries\": {}}}", -EINVAL,
		"libraries.json: \"a\": of the wrong type: title");
	expect("{\"a\": {\"title\": \"A\", \"libraries\": []}}", -EINVAL,
		"libraries.json: \"a\": of the wrong type: libraries");
	expect("{\"a\": {\"title\": \"A\", \"libraries\": {}, \"more\": 1}}", -EINVAL,
		"libraries.json: \"a\": unknown member \"more\"");
}

static void test_library(void **state)
{
	(void)state;
	expect("{\"a\": {\"title\": \"A\", \"libraries\": {\"x\": 1}}}", -EINVAL,
		"libraries.json: \"a\": \"x\": not an object");
	expect("{\"a\": {\"title\": \"A\", \"libraries\": {\"x\": {\"import\": \"import x\"}}}}",
		-EINVAL, "libraries.json: \"a\": \"x\": lacks example");
	expect("{\"a\": {\"title\": \"A\", \"libraries\": {" PANDAS ", \"x\": {\"import\": null}}}}",
		-EINVAL, "libraries.json: \"a\": \"x\": of the wrong type: import");
	expect("{\"a\": {\"title\": \"A\", \"libraries\": {\"x\": {\"installed\": true}}}}", -EINVAL,
		"libraries.json: \"a\": \"x\": unknown member \"installed\"");
	expect("{\"a\": {\"title\": \"A\", \"libraries\": {\"x\": {\"distributions\": [1]}}}}",
		-EINVAL, "libraries.json: \"a\": \"x\": not a string among its distributions");
	expect("{\"a\": {\"libraries\": {" PANDAS "}}}", -EINVAL,
		"libraries.json: \"a\": lacks title");
}

/* A key of any length is clipped and nothing is written beyond. */
static void test_long_names(void **state)
{
	static char text[4096], key[1024];
	struct err err = {0};

	(void)state;
	memset(key, 'k', sizeof(key) - 1);
	snprintf(text, sizeof(text), "{\"%s\": {\"title\": \"A\", \"libraries\": {\"%s\": {\"%s\": 1}}}}",
		key, key, key);
	assert_int_equal(catalogue_check(text, strlen(text), key, &err), -EINVAL);
	assert_true(strlen(err.text) < sizeof(err.text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_not_json),
		cmocka_unit_test(test_category),
		cmocka_unit_test(test_library),
		cmocka_unit_test(test_long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
