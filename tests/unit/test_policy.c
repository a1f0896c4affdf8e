#include "tests/unit/unit.h"

#include <errno.h>
#include <linux/prctl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "sandbox/policy.h"

static struct policy policy; /* too large for a stack */

static int parse(const char *text, size_t length, struct err *err)
{
	char *copy = unit_copy(text, length);
	int r = policy_parse(copy, length, &policy, err);

	free(copy);
	return r;
}

static void expect_valid(const char *text)
{
	struct err err = {0};

	if (parse(text, strlen(text), &err))
		fail_msg("refused: %s: %s", text, err.text);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.text, "");
}

struct refused {
	const char *text;
	size_t length;
	unsigned line;
	const char *why;
};

static void expect_refused(const struct refused *refused)
{
	struct err err = {0};
	char line[40];

	snprintf(line, sizeof(line), "policy line %u: ", refused->line);
	if (parse(refused->text, refused->length, &err) != -EINVAL)
		fail_msg("not refused: %s", refused->text);
	assert_int_equal(err.code, EINVAL);
	unit_assert_contains(err.text, line);
	unit_assert_contains(err.text, refused->why);
}

static void expect_rule(size_t index, const char *name, enum policy_section section, unsigned line)
{
	assert_true(index < policy.rules);
	assert_string_equal(policy.rule[index].name, name);
	assert_int_equal(policy.rule[index].section, section);
	assert_int_equal(policy.rule[index].line, line);
}

static void expect_condition(const struct policy_rule *rule, size_t index, unsigned argument,
	bool equal, uint64_t mask, uint64_t value)
{
	assert_true(index < rule->conditions);
	assert_int_equal(rule->condition[index].argument, argument);
	assert_int_equal(rule->condition[index].equal, equal);
	assert_int_equal(rule->condition[index].mask, mask);
	assert_int_equal(rule->condition[index].value, value);
}

static void test_nothing(void **state)
{
	static const char *const texts[] = {"", "\n", "\n\n\n", "# comment",
		"  \t \n#\n  # [x\n\r\n", "[allow]", "[allow]\n",
		"[allow]\n[warden]\n[errno EPERM]\n"};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		expect_valid(texts[i]);
		assert_int_equal(policy.rules, 0);
	}
	assert_int_equal(policy_parse(NULL, 0, &policy, NULL), 0);
}

static void test_names_and_sections(void **state)
{
	(void)state;
	expect_valid("# first\n"
		     "[allow]\n"
		     "read write   # both\n"
		     "\tfutex_waitv?\tpwritev2 \r\n"
		     "\n"
		     "[warden] # later\n"
		     "capset\n"
		     "[errno ENOSYS]\n"
		     "clone3\n"
		     "[errno ENOTSUP]\n"
		     "a0_");
	assert_int_equal(policy.rules, 7);
	expect_rule(0, "read", POLICY_ALLOW, 3);
	expect_rule(1, "write", POLICY_ALLOW, 3);
	expect_rule(2, "futex_waitv", POLICY_ALLOW, 4);
	expect_rule(3, "pwritev2", POLICY_ALLOW, 4);
	expect_rule(4, "capset", POLICY_WARDEN, 7);
	expect_rule(5, "clone3", POLICY_ERRNO, 9);
	expect_rule(6, "a0_", POLICY_ERRNO, 11);
	for (size_t i = 0; i < 7; i++) {
		assert_int_equal(policy.rule[i].optional, i == 2);
		assert_int_equal(policy.rule[i].conditions, 0);
	}
	assert_int_equal(policy.rule[4].error, 0);
	assert_int_equal(policy.rule[5].error, ENOSYS);
	assert_int_equal(policy.rule[6].error, ENOTSUP);
}

static void test_conditions(void **state)
{
	(void)state;
	expect_valid("[allow]\n"
		     "ioctl: arg1 == 0x5401\n"
		     "clone:arg0 & 0x7e020000 == 0,arg5 != 18446744073709551615\n"
		     "x?: arg0 == 1, arg1 == 2, arg2 == 3, arg3 == 0x4 # four\n");
	assert_int_equal(policy.rules, 3);
	assert_int_equal(policy.rule[0].conditions, 1);
	expect_condition(&policy.rule[0], 0, 1, true, UINT64_MAX, 0x5401);
	assert_int_equal(policy.rule[1].conditions, 2);
	expect_condition(&policy.rule[1], 0, 0, true, 0x7e020000, 0);
	expect_condition(&policy.rule[1], 1, 5, false, UINT64_MAX, UINT64_MAX);
	assert_int_equal(policy.rule[2].conditions, 4);
	assert_true(policy.rule[2].optional);
	for (unsigned i = 0; i < 4; i++)
		expect_condition(&policy.rule[2], i, i, true, UINT64_MAX, i + 1);
}

static void test_constants(void **state)
{
	(void)state;
	expect_valid("[allow]\n"
		     "socketpair: arg0 == AF_UNIX, arg1 & 0xff == SOCK_STREAM\n"
		     "mknod: arg1 & S_IFMT == S_IFIFO\n"
		     "ioctl: arg1 == TCGETS\n"
		     "prctl: arg0 != PR_SET_DUMPABLE\n");
	expect_condition(&policy.rule[0], 0, 0, true, UINT64_MAX, AF_UNIX);
	expect_condition(&policy.rule[0], 1, 1, true, 0xff, SOCK_STREAM);
	expect_condition(&policy.rule[1], 0, 1, true, S_IFMT, S_IFIFO);
	expect_condition(&policy.rule[2], 0, 1, true, UINT64_MAX, TCGETS);
	expect_condition(&policy.rule[3], 0, 0, false, UINT64_MAX, PR_SET_DUMPABLE);
}

static void test_values_are_joined(void **state)
{
	(void)state;
	expect_valid("[errno 0]\nfsync\n[allow]\n"
	      "mmap: arg2 & ~PROT_READ|PROT_WRITE == 0, arg3 == MAP_SHARED|0x20\n");
	assert_int_equal(policy.rule[0].section, POLICY_ERRNO);
	assert_int_equal(policy.rule[0].error, 0);
	assert_true(policy.rule[1].condition[0].mask == ~UINT64_C(3));
	assert_true(policy.rule[1].condition[0].value == 0);
	assert_true(policy.rule[1].condition[1].mask == UINT64_MAX);
	assert_true(policy.rule[1].condition[1].value == 0x21);
}

static void test_allowed_calls_are_counted(void **state)
{
	size_t conditional;

	(void)state;
	expect_valid("");
	assert_int_equal(policy_count_allowed(&policy, &conditional), 0);
	assert_int_equal(conditional, 0);
	expect_valid("[allow]\nread write\nioctl: arg1 == 1\nioctl: arg1 == 2\nfcntl: arg1 == 1\n"
	      "[warden]\nseccomp\nioctl: arg1 == 3\n[errno ENOSYS]\nclone3\n[allow]\nread\n");
	assert_int_equal(policy_count_allowed(&policy, &conditional), 4);
	assert_int_equal(conditional, 2);
}

static void test_bad_lines(void **state)
{
	static const struct refused cases[] = {
		{TEXT("read\n"), 1, "before the first [section]"},
		{TEXT("\n\nread: arg0 == 1"), 3, "before the first [section]"},
		{TEXT("[allow]\nRead"), 2, "not the name of a system call: \"Read\""},
		{TEXT("[allow]\nread, write"), 2, "not the name of a system call: \"read,\""},
		{TEXT("[allow]\nread?? "), 2, "not the name of a system call"},
		{TEXT("[allow]\n?"), 2, "not the name of a system call"},
		{TEXT("[allow]\nre-ad"), 2, "not the name of a system call"},
		{TEXT("[allow]\nread\xC2\xA0"), 2, "not the name of a system call"},
		{TEXT("[allow]\nread\vwrite"), 2, "not the name of a system call"},
		{TEXT("[allow]\nread\rwrite"), 2, "not the name of a system call"},
		{TEXT("[allow]\nabcdefghijabcdefghijabcdefghijabcdefghij"), 2, "not the name"},
		{TEXT("[allow]\nread write: arg0 == 1"), 2, "not the name of a system call"},
		{TEXT("[allow]\nread : arg0 == 1"), 2, "not the name of a system call"},
		{TEXT("[allow]\n: arg0 == 1"), 2, "not the name of a system call"},
		{TEXT("[allow]\nre\0ad"), 2, "with a NUL"},
		{TEXT("[allow]\nread\n\0"), 3, "with a NUL"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		expect_refused(&cases[i]);
}

static void test_bad_sections(void **state)
{
	static const struct refused cases[] = {
		{TEXT("[allow"), 1, "no closing bracket"},
		{TEXT("["), 1, "no closing bracket"},
		{TEXT("[allow] read"), 1, "no closing bracket"},
		{TEXT("\n[]"), 2, "unknown section \"\""},
		{TEXT("[deny]"), 1, "unknown section \"deny\""},
		{TEXT("[Allow]"), 1, "unknown section"},
		{TEXT("[ allow]"), 1, "unknown section"},
		{TEXT("[allow]]"), 1, "unknown section"},
		{TEXT("[allow #]\n"), 1, "no closing bracket"},
		{TEXT("[errno]"), 1, "unknown section"},
		{TEXT("[errno ]"), 1, "unknown section"},
		{TEXT("[errno EIO]"), 1, "unknown section"},
		{TEXT("[errno 1]"), 1, "unknown section"},
		{TEXT("[errno  EPERM]"), 1, "unknown section"},
		{TEXT("[allow]\n[errno EPERM EPERM]"), 2, "unknown section"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		expect_refused(&cases[i]);
}

static void test_bad_conditions(void **state)
{
	static const struct refused cases[] = {
		{TEXT("[allow]\nx:"), 2, "arg0 to arg5"},
		{TEXT("[allow]\nx: ,arg0 == 1"), 2, "arg0 to arg5"},
		{TEXT("[allow]\nx: arg0 == 1,"), 2, "arg0 to arg5"},
		{TEXT("[allow]\nx: arg0 == 1,,arg1 == 1"), 2, "arg0 to arg5"},
		{TEXT("[allow]\nx: arg6 == 1"), 2, "arg0 to arg5"},
		{TEXT("[allow]\nx: arg == 1"), 2, "arg0 to arg5"},
		{TEXT("[allow]\nx: arg10 == 1"), 2, "arg0 to arg5"},
		{TEXT("[allow]\nx: a == 1"), 2, "arg0 to arg5"},
		{TEXT("[allow]\nx: arg0"), 2, "== or !="},
		{TEXT("[allow]\nx: arg0 1"), 2, "== or !="},
		{TEXT("[allow]\nx: arg0==1"), 2, "arg0 to arg5"},
		{TEXT("[allow]\nx: arg0 = 1"), 2, "== or !="},
		{TEXT("[allow]\nx: arg0 > 1"), 2, "== or !="},
		{TEXT("[allow]\nx: arg0 & 1"), 2, "== or !="},
		{TEXT("[allow]\nx: arg0 & 1 & 1 == 1"), 2, "== or !="},
		{TEXT("[allow]\nx: arg0 &"), 2, "not a number or a known constant"},
		{TEXT("[allow]\nx: arg0 & z == 1"), 2, "not a number or a known constant"},
		{TEXT("[allow]\nx: arg0 =="), 2, "not a number or a known constant"},
		{TEXT("[allow]\nx: arg0 == -1"), 2, "not a number or a known constant"},
		{TEXT("[allow]\nx: arg0 == +1"), 2, "not a number or a known constant"},
		{TEXT("[allow]\nx: arg0 == 0x"), 2, "not a number or a known constant"},
		{TEXT("[allow]\nx: arg0 == 1x"), 2, "not a number or a known constant"},
		{TEXT("[allow]\nx: arg0 == 09"), 2, "not a number or a known constant"},
		{TEXT("[allow]\nx: arg0 == af_unix"), 2, "not a number or a known constant"},
		{TEXT("[allow]\nx: arg0 == 18446744073709551616"), 2, "not a number"},
		{TEXT("[allow]\nx: arg0 == 1 2"), 2, "text after the condition"},
		{TEXT("[allow]\nx: arg0 == 1 arg1 == 1"), 2, "text after the condition"},
		{TEXT("[allow]\nx: arg0 & 0xf == 0x10"), 2, "outside its mask"},
		{TEXT("[allow]\nx: arg0 & 0xf != 0x10"), 2, "outside its mask"},
		{TEXT("[allow]\nx: arg0 & 0 == 1"), 2, "outside its mask"},
		{TEXT("[allow]\n\nx: arg0 == 1, arg0 == 1, arg0 == 1, arg0 == 1, arg0 == 1"), 3,
			"too many conditions"},
		{TEXT("[allow]\nx: arg0 == 1: arg1 == 1"), 2, "not a number"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		expect_refused(&cases[i]);
}

static void test_line_lengths(void **state)
{
	char text[1200] = "[allow]\n#";
	struct refused too_long = {text, 0, 2, "line too long"};

	(void)state;
	memset(text + 9, 'c', sizeof(text) - 9);
	assert_int_equal(parse(text, 8 + 511, NULL), 0);
	too_long.length = 8 + 512;
	expect_refused(&too_long);
	text[8 + 511] = '\n';
	assert_int_equal(parse(text, 8 + 512, NULL), 0);
	text[8 + 511] = 'c';
	too_long.length = sizeof(text);
	expect_refused(&too_long);
}

static void test_rules_are_counted(void **state)
{
	size_t length = 8;
	char *text = malloc(8 + 2 * (POLICY_RULES_MAX + 1));
	struct refused one_more;

	(void)state;
	assert_non_null(text);
	memcpy(text, "[allow]\n", 8);
	for (size_t i = 0; i < POLICY_RULES_MAX; i++) {
		text[length++] = 'r';
		text[length++] = '\n';
	}
	assert_int_equal(parse(text, length, NULL), 0);
	assert_int_equal(policy.rules, POLICY_RULES_MAX);
	text[length++] = 'r';
	one_more = (struct refused){text, length, POLICY_RULES_MAX + 2, "too many rules"};
	expect_refused(&one_more);
	free(text);
}

/* What one parse left behind is not in the next. */
static void test_parses_anew(void **state)
{
	(void)state;
	expect_valid("[allow]\nx?: arg0 == 1, arg1 == 1\n");
	assert_int_equal(parse(TEXT("[allow]\nx: arg0 == 1, arg1"), NULL), -EINVAL);
	expect_valid("[warden]\nx\n");
	assert_int_equal(policy.rules, 1);
	assert_int_equal(policy.rule[0].conditions, 0);
	assert_false(policy.rule[0].optional);
	assert_int_equal(parse(TEXT("y"), NULL), -EINVAL);
	assert_int_equal(policy.rules, 0);
}

/* The policy that is delivered. */
static void test_own_policy(void **state)
{
	char *text = malloc(64 << 10);
	FILE *file = fopen("conf/seccomp.policy", "re");
	size_t length, kinds[3] = {0};
	struct err err = {0};

	(void)state;
	assert_non_null(text);
	assert_non_null(file);
	length = fread(text, 1, 64 << 10, file);
	fclose(file);
	if (parse(text, length, &err))
		fail_msg("%s", err.text);
	free(text);
	for (size_t i = 0; i < policy.rules; i++)
		kinds[policy.rule[i].section]++;
	assert_true(kinds[POLICY_ALLOW] > 100);
	assert_true(kinds[POLICY_WARDEN] > 3);
	assert_true(kinds[POLICY_ERRNO] > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_names_and_sections),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_values_are_joined),
		cmocka_unit_test(test_allowed_calls_are_counted),
		cmocka_unit_test(test_constants),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_bad_sections),
		cmocka_unit_test(test_bad_conditions),
		cmocka_unit_test(test_line_lengths),
		cmocka_unit_test(test_rules_are_counted),
		cmocka_unit_test(test_parses_anew),
		cmocka_unit_test(test_own_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
