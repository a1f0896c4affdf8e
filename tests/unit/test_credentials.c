#include "tests/unit/unit.h"

#include "fcgi-app/credentials.h"

static void expect(const char *authorization, const char *api_key, enum credentials_kind kind,
	const char *expected)
{
	const char *key = NULL;
	size_t length = 0;

	if (credentials_find(authorization, api_key, &key, &length) != kind)
		fail_msg("\"%s\" and \"%s\"", authorization, api_key);
	if (!expected)
		return;
	assert_int_equal(length, strlen(expected));
	assert_memory_equal(key, expected, length);
}

static void test_one_place(void **state)
{
	(void)state;
	expect("", "", CREDENTIALS_NONE, NULL);
	expect("Bearer abc", "", CREDENTIALS_KEY, "abc");
	expect("bEARER   abc", "", CREDENTIALS_KEY, "abc");
	expect("", "abc", CREDENTIALS_KEY, "abc");
	expect("", "a-._~+/9==", CREDENTIALS_KEY, "a-._~+/9==");
}

static void test_other_schemes(void **state)
{
	(void)state;
	expect("Basic abc", "", CREDENTIALS_NONE, NULL);
	expect("Bearerabc", "", CREDENTIALS_NONE, NULL);
	expect("abc", "", CREDENTIALS_NONE, NULL);
	expect("Basic abc", "def", CREDENTIALS_KEY, "def");
}

static void test_two_places(void **state)
{
	(void)state;
	expect("Bearer abc", "abc", CREDENTIALS_KEY, "abc");
	expect("Bearer abc", "abd", CREDENTIALS_SEVERAL, NULL);
	expect("Bearer abc", "abcd", CREDENTIALS_SEVERAL, NULL);
	expect("Bearer", "abc", CREDENTIALS_SEVERAL, NULL);
}

static void test_what_no_key_looks_like(void **state)
{
	static const char *const tokens[] = {
		"a b", "a,b", "=", "=a", "a=b", "\"a\"", "a\tb", "\xc3\xbc", "a\x7f", "a{b"};
	char longest[CREDENTIALS_KEY_MAX_BYTES + 2];
	char header[32];

	(void)state;
	expect("Bearer", "", CREDENTIALS_MALFORMED, NULL);
	expect("Bearer ", "", CREDENTIALS_MALFORMED, NULL);
	for (size_t i = 0; i < COUNT(tokens); i++) {
		expect("", tokens[i], CREDENTIALS_MALFORMED, NULL);
		snprintf(header, sizeof(header), "Bearer %s", tokens[i]);
		expect(header, "", CREDENTIALS_MALFORMED, NULL);
	}
	memset(longest, 'x', sizeof(longest));
	longest[CREDENTIALS_KEY_MAX_BYTES + 1] = '\0';
	expect("", longest, CREDENTIALS_MALFORMED, NULL);
	longest[CREDENTIALS_KEY_MAX_BYTES] = '\0';
	expect("", longest, CREDENTIALS_KEY, longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_place),
		cmocka_unit_test(test_other_schemes),
		cmocka_unit_test(test_two_places),
		cmocka_unit_test(test_what_no_key_looks_like),
	};

	return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}
