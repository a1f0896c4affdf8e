#include "tests/unit/unit.h"

#include <errno.h>

#include "fcgi-app/edge.h"

typedef int check(const char *key, const char *text, struct err *err);

static void expect_fine(check *function, const char *const *texts, size_t count)
{
	struct err err = {0};

	for (size_t i = 0; i < count; i++) {
		if (function("the_key", texts[i], &err))
			fail_msg("\"%s\" refused: %s", texts[i], err.text);
	}
	assert_int_equal(err.code, 0);
}

static void expect_refused(check *function, const char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct err err = {0};

		if (function("the_key", texts[i], &err) != -EINVAL)
			fail_msg("not refused: \"%s\"", texts[i]);
		assert_int_equal(err.code, EINVAL);
		unit_assert_contains(err.text, "the_key");
		assert_int_equal(function("the_key", texts[i], NULL), -EINVAL);
	}
}

static void test_origins(void **state)
{
	static const char *const fine[] = {"", "  ", "*", " * ", "https://app.example",
		"http://localhost:3000",
		"https://a.example https://b.example:8443\thttp://[::1]:8080",
		"https://xn--bcher-kva.example", "http://127.0.0.1:1", "http://a:65535",
		"http://[2001:db8::1]", "https://a:80", "http://a:443", "capacitor://localhost",
		"chrome-extension://abcdefghijklmnop", "https://under_score.example"};
	static const char *const wrong[] = {"https://app.example/", "https://app.example/a",
		"https://App.example", "HTTPS://app.example", "app.example", "//app.example",
		"https:", "https://", "https:/a", "https://a:", "https://a:0", "https://a:65536",
		"https://a:08", "https://a:80a", "https://a:443", "http://a:80", "https://a:1:2",
		"https://a b", "https://u@a", "https://a?b", "https://a#b", "https://*.example",
		"null", "**", "* https://a", "https://a *", "* *", "https://a,https://b",
		"https://[::1", "https://[]", "https://[::1]x", "https://::1", "https://a\"",
		"https://a;", "https://a\n", "https://a$b", "https://a\\", "https://a{",
		"https://b\xC3\xBC", "https://a|b", "https://a&b"};
	char text[400] = "https://";
	struct err err;

	(void)state;
	expect_fine(edge_check_origins, fine, COUNT(fine));
	expect_refused(edge_check_origins, wrong, COUNT(wrong));
	memset(text + 8, 'a', 246);
	assert_int_equal(edge_check_origins("the_key", text, &err), 0);
	memset(text + 8, 'a', 380);
	assert_int_equal(edge_check_origins("the_key", text, &err), -EINVAL);
}

static void test_networks(void **state)
{
	static const char *const fine[] = {"", " \t ", "127.0.0.1", "127.0.0.0/8 ::1", "0.0.0.0/0",
		"::/0", "10.1.2.3/32", "10.0.0.0/9", "10.128.0.0/9", "2001:db8::/32",
		"2001:db8::1/128", "fe80::/10", "::ffff:10.0.0.1",
		"192.0.2.0/24\t198.51.100.0/24  203.0.113.7"};
	static const char *const wrong[] = {"localhost", "10.0.0", "10.0.0.256", "10.0.0.0/33",
		"10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/8/8", "/8", "10.0.0.1/8",
		"10.64.0.0/9", "10.0.0.1/31", "2001:db8::1/127", "2001:db8::/129", "2001:db8::1/32",
		"fe80::1%eth0", "[::1]", "::1::", "1.2.3.4:80", "10.0.0.0/8,::1", "10.0.0.0/8;",
		"10.0.0.1\n", "10.0.0.1 all", "unix:", "*", "10.0.0.1;}", "$a",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"a"};

	(void)state;
	expect_fine(edge_check_networks, fine, COUNT(fine));
	expect_refused(edge_check_networks, wrong, COUNT(wrong));
}

static void test_rate(void **state)
{
	static const char *const fine[] = {"", "1/s", "10/s", "30/m", "100000/s", "100000/m"};
	static const char *const wrong[] = {"0/s", "0/m", "10", "10/", "/s", "10/h", "10/ss",
		"10 /s", "10/s ", " 10/s", "-1/s", "+1/s", "1.5/s", "1e3/s", "0x1/s", "010/s",
		"100001/s", "999999999999999999999/s", "10/s;", "10r/s", "10/S", "off",
		"10/s burst=5"};

	(void)state;
	expect_fine(edge_check_rate, fine, COUNT(fine));
	expect_refused(edge_check_rate, wrong, COUNT(wrong));
}

static void test_path(void **state)
{
	static const char *const fine[] = {"", "/etc/letsencrypt/live/a.example/fullchain.pem",
		"relative.pem", "/a b/c", "/a_b+c,d=e@f:g~h%i-j"};
	static const char *const wrong[] = {"/a\"", "/a'", "/a;b", "/a$b", "/a\\b", "/a{", "/a}",
		"/a\n", "/a#", "/a|b", "/a&b", "/a*", "/a`b`", "/a\tb", "/\xC3\xBC", "/a(b)"};

	(void)state;
	expect_fine(edge_check_path, fine, COUNT(fine));
	expect_refused(edge_check_path, wrong, COUNT(wrong));
}

/* Whatever is let through holds nothing that ends a word or a directive in nginx's configuration.
 */
static void test_nothing_dangerous_gets_through(void **state)
{
	static check *const functions[] = {
		edge_check_origins, edge_check_networks, edge_check_rate, edge_check_path};
	static const char alphabet[] = "ah:/:/.1* \t;\"'{}$\\#|&\n";
	uint64_t seed = 1;
	char text[24];
	size_t length;

	(void)state;
	for (size_t round = 0; round < 200000; round++) {
		length = unit_random(&seed) % (sizeof(text) - 1);
		for (size_t i = 0; i < length; i++)
			text[i] = alphabet[unit_random(&seed) % (sizeof(alphabet) - 1)];
		text[length] = '\0';
		if (functions[round % COUNT(functions)]("the_key", text, NULL) == 0)
			assert_null(strpbrk(text, ";\"'{}$\\#|&\n"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_origins),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_nothing_dangerous_gets_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
