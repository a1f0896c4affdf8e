#include "tests/unit/unit.h"

#include "sandbox/globs.h"

/* Copies, so that a sanitizer sees what is read too far. */
static bool match(const char *globs, size_t length, const char *path, size_t path_length)
{
	char *globs_copy = unit_copy(globs, length), *path_copy = unit_copy(path, path_length);
	bool matches = globs_match(globs_copy, length, path_copy, path_length);

	free(globs_copy);
	free(path_copy);
	return matches;
}

static const struct {
	const char *glob, *matched, *others; /* paths, between spaces */
} rows[] = {
	{"a.csv", "a.csv", "b.csv A.csv a.csv.x xa.csv d/a.csv a.cs"},
	{"*.csv", "a.csv b.c.csv", ".csv .a.csv d/a.csv a.csv/b a.csvx"},
	{"*", "a a.b", ".a a/b"},
	{"***", "a a.b", ".a a/b"},
	{"a*", "a ab a.", "b/a ba a/b"},
	{"*a*b*", "ab xaxbx aabb", "ba a b"},
	{"?", "a \xc3\xa9 \xf0\x9f\x90\x8d \xff", "aa .  \xc3\xa9\xc3\xa9 \xff\xff \xc3\xa9\xff"},
	{"a?", "ab a. a?", "a abc a/b"},
	{"[ab]", "a b", "c ab [ab] A"},
	{"[!ab]", "c ! \xc3\xa9", "a b cc ."},
	{"[a-c]x", "ax bx cx", "dx -x `x x"},
	{"[c-a]", "", "a b c - [c-a]"},
	{"[!c-a]", "a b c -", "aa"},
	{"[a-]", "a -", "b"},
	{"[-a]", "a -", "b"},
	{"[a-c-e]", "a b c - e", "d"},
	{"[]a]", "] a", "b [ []a]"},
	{"[!]a]", "b [", "] a"},
	{"[]-a]", "] ^ _ a", "b [ -"},
	{"[^a]", "^ a", "b"},
	{"[[a]", "[ a", "b"},
	{"[\\a]", "\\ a", "b"},
	{"[&&a||~~]", "& a | ~", "b"},
	{"[\xc3\xa0-\xc3\xaf]", "\xc3\xa0 \xc3\xa9 \xc3\xaf", "\xc3\xb0 a \xc3 \xa9"},
	{"[!a]", "\xff \xed", "a \xed\xa0\x80 \xff\xff"},
	{"[", "[", "a [["},
	{"[]", "[]", "] [ a"},
	{"[!]", "[!]", "! ] a"},
	{"[a", "[a", "a"},
	{"[a/b]", "[a/b]", "a b /"},
	{"\\*", "\\a \\", "* a"},
	{"a.b", "a.b", "axb"},
	{"a+(b)|^$", "a+(b)|^$", "aab"},
	{".*", ".a .. .", "a a/.b"},
	{"[.]a", "", ".a [.]a"},
	{"?a", "ba", ".a"},
	{"*/*.csv", "d/c.csv", "c.csv d/e/c.csv .d/c.csv d/.c.csv"},
	{"**", "a a/b a/b/c", ".a a/.b .a/b a/b/.c"},
	{"**/**", "a a/b/c", ".a a/.b"},
	{"**/*.csv", "a.csv d/a.csv d/e/a.csv", "a.txt .d/a.csv d/.a.csv"},
	{"d/**", "d/a d/e/f d", "da e/d/a d/.a"},
	{"**/a/**", "a a/b b/a b/a/c a/a", "b b/c ab .b/a"},
	{"d/**/e/**/f", "d/e/f d/x/e/y/z/f d/e/e/f", "d/f e/f d/e d/x/f"},
	{"**/a/b", "a/b a/a/b x/a/b a/b/a/b", "a/b/c b a"},
	{"**/.x", ".x d/.x", "x .d/.x d/.x/e"},
	{".git/*", ".git/config", ".git/a/b git/config .git"},
	{"**/.h/**", ".h/a .h/a/b d/.h/a", "a d/h/a .h/.a"},
	{"a**b", "ab axb", "a/b"},
	{"**a", "a ba", "b/a"},
};

static void check_paths(const char *glob, const char *paths, bool expected)
{
	const char *end;

	for (; *paths; paths = *end ? end + 1 : end) {
		end = strchr(paths, ' ') ? strchr(paths, ' ') : paths + strlen(paths);
		if (end > paths &&
			match(glob, strlen(glob) + 1, paths, (size_t)(end - paths)) != expected)
			fail_msg("\"%s\" and \"%.*s\"", glob, (int)(end - paths), paths);
	}
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		check_paths(rows[i].glob, rows[i].matched, true);
		check_paths(rows[i].glob, rows[i].others, false);
	}
}

static void test_several(void **state)
{
	(void)state;
	assert_false(globs_match(NULL, 0, TEXT("a")));
	assert_true(match(TEXT("a\0b\0"), TEXT("a")));
	assert_true(match(TEXT("a\0b\0"), TEXT("b")));
	assert_false(match(TEXT("a\0b\0"), TEXT("ab")));
	assert_false(match(TEXT("a\0b\0"), TEXT("a\0b")));
	assert_true(match(TEXT("a\0b"), TEXT("b"))); /* without its NUL */
}

/* Any bytes, as a jail might say them: an end, and nothing read that is not there. */
static void test_any_bytes(void **state)
{
	static const char alphabet[] = "ab/*?[]!-.\xc3\xa9\xff";
	uint64_t seed = 7;
	char globs[24], path[24];

	(void)state;
	for (int round = 0; round < 200000; round++) {
		for (size_t i = 0; i < sizeof(globs); i++) {
			globs[i] = alphabet[unit_random(&seed) % sizeof(alphabet)];
			path[i] = alphabet[unit_random(&seed) % sizeof(alphabet)];
		}
		match(globs, unit_random(&seed) % sizeof(globs), path,
			unit_random(&seed) % sizeof(path));
	}
}

/* A hundred hostile globs against the longest path do not keep a dispatcher busy. */
static void test_steps_are_bounded(void **state)
{
	static char globs[100 * 256], path[4095];

	(void)state;
	memset(path, 'a', sizeof(path));
	for (size_t i = 0; i < 100; i++) {
		memset(globs + i * 256, 'a', 255);
		globs[i * 256] = '*';
		globs[i * 256 + 254] = 'b';
		globs[i * 256 + 255] = '\0';
	}
	assert_false(globs_match(globs, sizeof(globs), path, sizeof(path)));
	/* a glob behind them is not tried any more, one before them is */
	memcpy(globs + 99 * 256, "*", 2);
	assert_false(globs_match(globs, sizeof(globs), path, sizeof(path)));
	memcpy(globs, "*", 2);
	assert_true(globs_match(globs, sizeof(globs), path, sizeof(path)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table),
		cmocka_unit_test(test_several), cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_steps_are_bounded)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
