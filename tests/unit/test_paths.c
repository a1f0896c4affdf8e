#include "tests/unit/unit.h"

#include "sandbox/paths.h"

static bool is_plain(const char *path, size_t length)
{
	char *copy = unit_copy(path, length);
	bool plain = paths_is_plain(copy, length);

	free(copy);
	return plain;
}

static void test_plain(void **state)
{
	static const char *const good[] = {
		"a", "a/b", "...", "a/...", ".a", "a.", "..a", "a..", "a b", "\\", "\n", "\xff"};
	static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "./a", "../a",
		"a/.", "a/..", "a/./b", "a/../b", "//"};

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(is_plain(good[i], strlen(good[i])));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(is_plain(bad[i], strlen(bad[i])));
	assert_false(is_plain(TEXT("a\0b")));
	assert_false(is_plain(TEXT("a\0")));
}

static void test_above(void **state)
{
	(void)state;
	assert_true(paths_is_above(TEXT("a"), TEXT("a/b")));
	assert_true(paths_is_above(TEXT("a/b"), TEXT("a/b/c/d")));
	assert_false(paths_is_above(TEXT("a"), TEXT("a")));
	assert_false(paths_is_above(TEXT("a"), TEXT("ab")));
	assert_false(paths_is_above(TEXT("a"), TEXT("ab/c")));
	assert_false(paths_is_above(TEXT("a/b"), TEXT("a")));
	assert_false(paths_is_above(TEXT("b"), TEXT("a/b")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain), cmocka_unit_test(test_above)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
