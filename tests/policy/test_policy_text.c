/* Texts that are no policy: each is refused, with its line. */
#include "sandbox/policy.h"
#include "sandbox/seccomp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_refused(const char *text, unsigned line, const char *words)
{
	static struct policy parsed;
	struct err err = {0};
	char where[32];

	snprintf(where, sizeof(where), "policy line %u:", line);
	assert_int_equal(policy_parse(text, strlen(text), &parsed, &err), -EINVAL);
	if (!strstr(err.text, where) || !strstr(err.text, words))
		fail_msg(
			"\"%s\" gave \"%s\", expected \"%s ... %s\"", text, err.text, where, words);
}

static void test_parse_errors_name_their_line(void **state)
{
	(void)state;
	assert_refused("read\n", 1, "before the first [section]");
	assert_refused("# nothing\n\n[allow\n", 3, "no closing bracket");
	assert_refused("[]\n", 1, "unknown section");
	assert_refused("[allowed]\n", 1, "unknown section");
	assert_refused("[errno]\n", 1, "unknown section");
	assert_refused("[errno EFOO]\n", 1, "unknown section");
	assert_refused("[allow]\nRead\n", 2, "not the name");
	assert_refused("[allow]\nread;write\n", 2, "not the name");
	assert_refused("[allow]\n?\n", 2, "not the name");
	assert_refused("[allow]\na_name_that_is_longer_than_any_system_call\n", 2, "not the name");
	assert_refused("[allow]\nioctl:\n", 2, "condition");
	assert_refused("[allow]\nioctl: ,\n", 2, "condition");
	assert_refused("[allow]\nioctl: arg6 == 0\n", 2, "begins with arg0 to arg5");
	assert_refused("[allow]\nioctl: arg == 0\n", 2, "begins with arg0 to arg5");
	assert_refused("[allow]\nioctl: arg10 == 0\n", 2, "begins with arg0 to arg5");
	assert_refused("[allow]\nioctl: arg1\n", 2, "expected == or !=");
	assert_refused("[allow]\nioctl: arg1 = 0\n", 2, "expected == or !=");
	assert_refused("[allow]\nioctl: arg1 < 7\n", 2, "expected == or !=");
	assert_refused("[allow]\nioctl: arg1 == \n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 == -1\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 == 0x\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 == 99999999999999999999\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 == TIOCSTI\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 & == 0\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 & ~ == 0\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 & 1| == 0\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 & |1 == 0\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 & 1|~2 == 0\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 & ~~2 == 0\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 & PROT_READ|PROT_NONSENSE == 0\n", 2, "not a number");
	assert_refused("[allow]\nioctl: arg1 & ~3 == 1\n", 2, "outside its mask");
	assert_refused("[allow]\nioctl: arg1 == 0 0\n", 2, "text after the condition");
	assert_refused("[allow]\nioctl: arg1 == 0,\n", 2, "begins with arg0 to arg5");
	assert_refused("[allow]\nioctl: arg1 & 3 == 4\n", 2, "outside its mask");
	assert_refused("[allow]\nioctl: arg0 == 0, arg1 == 0, arg2 == 0, arg3 == 0, arg4 == 0\n", 2,
		"too many conditions");
}

static void test_long_lines_and_nul_are_refused(void **state)
{
	static struct policy parsed;
	struct err err = {0};
	char text[1024];

	(void)state;
	memset(text, ' ', sizeof(text));
	assert_int_equal(policy_parse(text, sizeof(text), &parsed, &err), -EINVAL);
	memcpy(text, "[allow]\nread\0\n", 14);
	assert_int_equal(policy_parse(text, 14, &parsed, &err), -EINVAL);
	assert_non_null(strstr(err.text, "policy line 2:"));
}

static void test_too_many_rules_are_refused(void **state)
{
	static struct policy parsed;
	struct err err = {0};
	size_t length = 0;
	char text[16 * (POLICY_RULES_MAX + 2)];
	int i;

	(void)state;
	length += (size_t)snprintf(text, sizeof(text), "[allow]\n");
	for (i = 0; i <= POLICY_RULES_MAX; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "read\n");
	assert_int_equal(policy_parse(text, length, &parsed, &err), -EINVAL);
	assert_non_null(strstr(err.text, "too many rules"));
}

static int compile(const char *text, struct err *err)
{
	static struct policy parsed;
	struct seccomp_program program = {0};
	int r;

	assert_int_equal(policy_parse(text, strlen(text), &parsed, err), 0);
	r = seccomp_compile_policy(&parsed, &program, err);
	seccomp_program_free(&program);
	return r;
}

static void test_unknown_calls_do_not_compile(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(compile("[allow]\nread\nraed\n", &err), -EINVAL);
	assert_non_null(strstr(err.text, "policy line 3: unknown system call \"raed\""));
	assert_int_equal(compile("[allow]\nread\nraed?\n", &err), 0);
	assert_int_equal(compile("[allow]\nioctl: arg1 & 7 != 0\n", &err), -EINVAL);
	assert_non_null(strstr(err.text, "goes with \"==\" only"));
}

static void test_empty_filter_is_not_installed(void **state)
{
	const struct seccomp_program program = {0};
	struct err err = {0};

	(void)state;
	assert_int_equal(seccomp_install(&program, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_errors_name_their_line),
		cmocka_unit_test(test_long_lines_and_nul_are_refused),
		cmocka_unit_test(test_too_many_rules_are_refused),
		cmocka_unit_test(test_unknown_calls_do_not_compile),
		cmocka_unit_test(test_empty_filter_is_not_installed),
	};

	return cmocka_run_group_tests_name("policy text", tests, NULL, NULL);
}
