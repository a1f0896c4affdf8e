#include "tests/unit/unit.h"

#include <errno.h>

#include "sandbox/err.h"

static void test_text_and_code(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(err_set(&err, ENOENT, "open %s (%d)", "/tmp/x", 7), -ENOENT);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err.text, "open /tmp/x (7): No such file or directory");
}

static void test_plain_text(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(err_set_plainly(&err, EINVAL, "--%s takes %d", "x", 7), -EINVAL);
	assert_int_equal(err.code, EINVAL);
	assert_string_equal(err.text, "--x takes 7");
	assert_int_equal(err_set_plainly(NULL, 0, "x"), -EIO);
}

/* A short write leaves errno as it was, maybe 0: a failure all the same. */
static void test_no_code_is_a_failure(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(err_set(&err, 0, "write"), -EIO);
	assert_int_equal(err.code, EIO);
	assert_int_equal(err_set(NULL, 0, "write"), -EIO);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, EPERM, "%s", "anything"), -EPERM);
}

static void test_last_one_stands(void **state)
{
	struct err err = {0};

	(void)state;
	err_set(&err, ENOENT, "a first and longer text");
	err_set(&err, EPERM, "second");
	assert_int_equal(err.code, EPERM);
	assert_string_equal(err.text, "second: Operation not permitted");
}

static void test_empty_text(void **state)
{
	struct err err = {0};

	(void)state;
	err_set(&err, EINVAL, "%s", "");
	assert_string_equal(err.text, ": Invalid argument");
}

/* Every length around the end of the text: cut, terminated, and nothing written beyond. */
static void test_long_texts_are_cut(void **state)
{
	char word[600];

	(void)state;
	for (size_t length = 200; length < 300; length++) {
		struct {
			struct err err;
			char fence[8];
		} fenced;

		memset(&fenced, '#', sizeof(fenced));
		memset(word, 'w', sizeof(word));
		word[length] = '\0';
		assert_int_equal(err_set(&fenced.err, EINVAL, "%s", word), -EINVAL);
		assert_memory_equal(fenced.fence, "########", 8);
		assert_non_null(memchr(fenced.err.text, '\0', sizeof(fenced.err.text)));
		assert_memory_equal(fenced.err.text, word,
			length < sizeof(fenced.err.text) ? length : sizeof(fenced.err.text) - 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_and_code),
		cmocka_unit_test(test_plain_text),
		cmocka_unit_test(test_no_code_is_a_failure),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_last_one_stands),
		cmocka_unit_test(test_empty_text),
		cmocka_unit_test(test_long_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
