/*
 * conf/seccomp.policy without a kernel: the two filters are compiled and run in a BPF machine of
 * our own, call by call against a table, and all numbers against an evaluation of the parsed text.
 */
#include "sandbox/policy.h"
#include "sandbox/scope.h"
#include "sandbox/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#define ALLOW SECCOMP_RET_ALLOW
#define KILL SECCOMP_RET_KILL_PROCESS
#define REFUSE(error) (SECCOMP_RET_ERRNO | (error))
#define HIGH (UINT64_C(1) << 32)
#define X32 0x40000000

enum {
	NUMBERS = 1024, /* beyond the last system call there is */
	TEXT_BYTES = 64 * 1024,
	RANDOM_ROUNDS = 200,
};

static const char *policy_path = "conf/seccomp.policy";
static struct policy policy;
static struct seccomp_program warden, closing;

/* --- a classic-BPF machine ------------------------------------------------------------------ */

static uint32_t load(const struct seccomp_data *data, uint32_t offset)
{
	uint32_t word;

	assert_true(offset % sizeof(word) == 0 && offset + sizeof(word) <= sizeof(*data));
	memcpy(&word, (const char *)data + offset, sizeof(word));
	return word;
}

static bool holds(uint16_t operation, uint32_t accumulator, uint32_t constant)
{
	switch (operation) {
	case BPF_JEQ:
		return accumulator == constant;
	case BPF_JGT:
		return accumulator > constant;
	case BPF_JGE:
		return accumulator >= constant;
	case BPF_JSET:
		return (accumulator & constant) != 0;
	default:
		fail_msg("unknown jump %#x", operation);
		return false;
	}
}

/*
 * Runs the program over one system call, as the kernel would. An instruction that is unknown here,
 * or that leaves program or data, fails the test.
 */
static uint32_t bpf_run(const struct seccomp_program *program, const struct seccomp_data *data)
{
	const struct sock_filter *step;
	uint32_t accumulator = 0, at = 0;

	for (;;) { /* jumps only go forward */
		assert_true(at < program->count);
		step = &program->instructions[at++];
		if (step->code == (BPF_LD | BPF_W | BPF_ABS))
			accumulator = load(data, step->k);
		else if (step->code == (BPF_ALU | BPF_AND | BPF_K))
			accumulator &= step->k;
		else if (step->code == (BPF_JMP | BPF_JA))
			at += step->k;
		else if (BPF_CLASS(step->code) == BPF_JMP && BPF_SRC(step->code) == BPF_K)
			at += holds(BPF_OP(step->code), accumulator, step->k) ? step->jt : step->jf;
		else if (step->code == (BPF_RET | BPF_K))
			return step->k;
		else
			fail_msg("unknown instruction %#x at %u", step->code, at - 1);
	}
}

/* --- the two filters ------------------------------------------------------------------------ */

static uint32_t judge(
	const struct seccomp_program *program, uint32_t arch, int number, const uint64_t *arguments)
{
	struct seccomp_data data = {.nr = number, .arch = arch};

	memcpy(data.args, arguments, sizeof(data.args));
	return bpf_run(program, &data);
}

/* Both filters, as the kernel combines them: the lower value wins, killing comes before all. */
static uint32_t judge_execution(int number, const uint64_t *arguments)
{
	uint32_t first = judge(&warden, AUDIT_ARCH_X86_64, number, arguments);
	uint32_t second = judge(&closing, AUDIT_ARCH_X86_64, number, arguments);

	return (int32_t)(first & SECCOMP_RET_ACTION_FULL) <
			       (int32_t)(second & SECCOMP_RET_ACTION_FULL)
		       ? first
		       : second;
}

static int set_up(void **state)
{
	struct err err = {0};
	SCOPE_FREE char *text = malloc(TEXT_BYTES);
	FILE *file = fopen(policy_path, "r");
	size_t length;

	(void)state;
	if (!text || !file) {
		print_error("cannot open %s\n", policy_path);
		return -1;
	}
	length = fread(text, 1, TEXT_BYTES, file);
	fclose(file);
	if (policy_parse(text, length, &policy, &err) < 0 ||
		seccomp_compile_policy(&policy, &warden, &err) < 0 ||
		seccomp_compile_closing(&policy, &closing, &err) < 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	seccomp_program_free(&warden);
	seccomp_program_free(&closing);
	return 0;
}

/* --- the table ----------------------------------------------------------------------------- */

static const struct expectation {
	const char *name;
	uint64_t arguments[6];
	uint32_t warden, execution;
} expectations[] = {
	{"read", {0}, ALLOW, ALLOW},
	{"openat", {0}, ALLOW, ALLOW},
	{"futex", {0}, ALLOW, ALLOW},
	{"exit_group", {0}, ALLOW, ALLOW},
	{"kill", {1, 9}, ALLOW, ALLOW},
	{"capget", {0}, ALLOW, ALLOW},
	/* other programs */
	{"execve", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"execveat", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	/* sockets */
	{"socket", {AF_UNIX, SOCK_STREAM}, REFUSE(EPERM), REFUSE(EPERM)},
	{"socket", {AF_INET, SOCK_STREAM}, REFUSE(EPERM), REFUSE(EPERM)},
	{"connect", {3}, REFUSE(EPERM), REFUSE(EPERM)},
	{"bind", {3}, REFUSE(EPERM), REFUSE(EPERM)},
	{"socketpair", {AF_UNIX, SOCK_STREAM}, ALLOW, ALLOW},
	{"socketpair", {AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK}, ALLOW, ALLOW},
	{"socketpair", {AF_UNIX, SOCK_DGRAM}, REFUSE(EPERM), REFUSE(EPERM)},
	{"socketpair", {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC}, REFUSE(EPERM), REFUSE(EPERM)},
	{"socketpair", {AF_UNIX, SOCK_RAW}, REFUSE(EPERM), REFUSE(EPERM)},
	{"socketpair", {AF_INET, SOCK_STREAM}, REFUSE(EPERM), REFUSE(EPERM)},
	{"socketpair", {AF_NETLINK, SOCK_STREAM}, REFUSE(EPERM), REFUSE(EPERM)},
	/* namespaces, by any way */
	{"clone", {0}, ALLOW, ALLOW},
	{"clone", {CLONE_VM | CLONE_VFORK | 17}, ALLOW, ALLOW},
	{"clone", {CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_FS | CLONE_FILES}, ALLOW, ALLOW},
	{"clone", {CLONE_NEWUSER}, REFUSE(EPERM), REFUSE(EPERM)},
	{"clone", {CLONE_NEWNS | 17}, REFUSE(EPERM), REFUSE(EPERM)},
	{"clone", {CLONE_NEWPID}, REFUSE(EPERM), REFUSE(EPERM)},
	{"clone", {CLONE_NEWNET}, REFUSE(EPERM), REFUSE(EPERM)},
	{"clone", {CLONE_NEWIPC}, REFUSE(EPERM), REFUSE(EPERM)},
	{"clone", {CLONE_NEWUTS}, REFUSE(EPERM), REFUSE(EPERM)},
	{"clone", {CLONE_NEWCGROUP}, REFUSE(EPERM), REFUSE(EPERM)},
	{"clone", {HIGH | CLONE_NEWUSER}, REFUSE(EPERM), REFUSE(EPERM)},
	{"clone3", {0}, REFUSE(ENOSYS), REFUSE(ENOSYS)},
	{"unshare", {CLONE_NEWUSER}, ALLOW, REFUSE(EPERM)},
	{"unshare", {0}, ALLOW, REFUSE(EPERM)},
	{"setns", {3}, REFUSE(EPERM), REFUSE(EPERM)},
	/* mounts */
	{"mount", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"umount2", {0}, ALLOW, REFUSE(EPERM)},
	{"fsopen", {0}, ALLOW, REFUSE(EPERM)},
	{"fsconfig", {0}, ALLOW, REFUSE(EPERM)},
	{"fsmount", {0}, ALLOW, REFUSE(EPERM)},
	{"move_mount", {0}, ALLOW, REFUSE(EPERM)},
	{"open_tree", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"mount_setattr", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"pivot_root", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"chroot", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	/* who one is */
	{"capset", {0}, ALLOW, REFUSE(EPERM)},
	{"seccomp", {1}, ALLOW, REFUSE(EPERM)},
	{"setuid", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"setresuid", {0}, ALLOW, REFUSE(EPERM)},
	{"setresgid", {0}, ALLOW, REFUSE(EPERM)},
	{"setgroups", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"setfsuid", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prctl", {PR_SET_NAME}, ALLOW, ALLOW},
	{"prctl", {PR_GET_DUMPABLE}, ALLOW, ALLOW},
	{"prctl", {PR_SET_DUMPABLE, 1}, ALLOW, REFUSE(EPERM)},
	{"prctl", {HIGH | PR_SET_DUMPABLE, 1}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prctl", {PR_CAPBSET_DROP}, ALLOW, REFUSE(EPERM)},
	{"prctl", {PR_SET_SECCOMP, 2}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prctl", {PR_SET_KEEPCAPS}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prctl", {PR_SET_SECUREBITS}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prctl", {PR_SET_MM}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prctl", {PR_SET_PTRACER}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prctl", {PR_SET_CHILD_SUBREAPER, 1}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prctl", {PR_SET_SYSCALL_USER_DISPATCH}, REFUSE(EPERM), REFUSE(EPERM)},
	/* other processes */
	{"ptrace", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"process_vm_readv", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"process_vm_writev", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"pidfd_open", {1}, REFUSE(EPERM), REFUSE(EPERM)},
	{"pidfd_getfd", {1}, REFUSE(EPERM), REFUSE(EPERM)},
	{"pidfd_send_signal", {1}, REFUSE(EPERM), REFUSE(EPERM)},
	{"kcmp", {1}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prlimit64", {0}, ALLOW, ALLOW},
	{"prlimit64", {1}, REFUSE(EPERM), REFUSE(EPERM)},
	{"prlimit64", {HIGH}, REFUSE(EPERM), REFUSE(EPERM)},
	{"sched_setaffinity", {0}, ALLOW, ALLOW},
	{"sched_setaffinity", {1}, REFUSE(EPERM), REFUSE(EPERM)},
	{"sched_setscheduler", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"setpriority", {0, 0, 5}, ALLOW, ALLOW},
	{"setpriority", {0, 1, 5}, REFUSE(EPERM), REFUSE(EPERM)},
	{"ioprio_set", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	/* files and devices */
	{"mknod", {0, S_IFIFO | 0600}, ALLOW, ALLOW},
	{"mknod", {0, S_IFCHR | 0600}, REFUSE(EPERM), REFUSE(EPERM)},
	{"mknod", {0, S_IFBLK | 0600}, REFUSE(EPERM), REFUSE(EPERM)},
	{"mknod", {0, S_IFSOCK | 0600}, REFUSE(EPERM), REFUSE(EPERM)},
	{"mknodat", {0, 0, S_IFIFO | 0600}, ALLOW, ALLOW},
	{"mknodat", {0, 0, S_IFCHR | 0600}, REFUSE(EPERM), REFUSE(EPERM)},
	{"setxattr", {0}, REFUSE(ENOTSUP), REFUSE(ENOTSUP)},
	{"name_to_handle_at", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"open_by_handle_at", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"ioctl", {0, 0x5401}, ALLOW, ALLOW}, /* TCGETS */
	{"ioctl", {0, 0x5412}, REFUSE(EPERM), REFUSE(EPERM)}, /* TIOCSTI */
	{"ioctl", {0, HIGH | 0x5401}, REFUSE(EPERM), REFUSE(EPERM)},
	{"inotify_init1", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"fanotify_init", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"memfd_create", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"quotactl", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"swapon", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	/* the kernel */
	{"bpf", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"perf_event_open", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"userfaultfd", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"io_uring_setup", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"io_setup", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"keyctl", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"add_key", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"shmget", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"mq_open", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"init_module", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"kexec_load", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"reboot", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"clock_settime", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"sethostname", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"personality", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"iopl", {3}, REFUSE(EPERM), REFUSE(EPERM)},
	{"modify_ldt", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"vmsplice", {0}, REFUSE(EPERM), REFUSE(EPERM)},
	{"syslog", {0}, REFUSE(EPERM), REFUSE(EPERM)},
};

static void test_table(void **state)
{
	const struct expectation *row;
	size_t i, wrong = 0;
	uint32_t seen_warden, seen_execution;
	int number;

	(void)state;
	for (i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
		row = &expectations[i];
		number = seccomp_syscall_resolve_name(row->name);
		assert_true(number >= 0);
		seen_warden = judge(&warden, AUDIT_ARCH_X86_64, number, row->arguments);
		seen_execution = judge_execution(number, row->arguments);
		if (seen_warden == row->warden && seen_execution == row->execution)
			continue;
		print_error(
			"%s(%#llx, %#llx, %#llx): warden %#x, not %#x; execution %#x, not %#x\n",
			row->name, (unsigned long long)row->arguments[0],
			(unsigned long long)row->arguments[1],
			(unsigned long long)row->arguments[2], seen_warden, row->warden,
			seen_execution, row->execution);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

/* --- architectures ------------------------------------------------------------------------- */

static void test_other_architectures_are_killed(void **state)
{
	static const uint32_t others[] = {
		AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM, AUDIT_ARCH_RISCV64, 0};
	static const uint64_t arguments[6] = {0};
	size_t i;
	int number;

	(void)state;
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		for (number = 0; number < NUMBERS; number++) {
			assert_int_equal(judge(&warden, others[i], number, arguments), KILL);
			assert_int_equal(judge(&closing, others[i], number, arguments), KILL);
		}
	}
}

static void test_x32_calls_are_killed(void **state)
{
	static const uint64_t arguments[6] = {0};
	int number;

	(void)state;
	for (number = 0; number < NUMBERS; number++) {
		assert_int_equal(judge(&warden, AUDIT_ARCH_X86_64, X32 | number, arguments), KILL);
		assert_int_equal(judge(&closing, AUDIT_ARCH_X86_64, X32 | number, arguments), KILL);
	}
}

static void test_numbers_out_of_range_are_refused(void **state)
{
	static const int numbers[] = {-1, -2, INT32_MIN, INT32_MAX, 0x3fffffff, 512, 547};
	static const uint64_t arguments[6] = {0};
	uint32_t action;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		action = judge(&warden, AUDIT_ARCH_X86_64, numbers[i], arguments);
		if (action != KILL)
			assert_int_equal(action, REFUSE(EPERM));
	}
}

/* --- every number, against the text -------------------------------------------------------- */

static bool condition_holds(const struct policy_condition *condition, const uint64_t *arguments)
{
	bool same = (arguments[condition->argument] & condition->mask) == condition->value;

	return same == condition->equal;
}

/* One rule that fits is enough; a call has rules of one section only. */
static uint32_t expected_action(int number, const uint64_t *arguments, bool of_closing)
{
	const struct policy_rule *rule;
	size_t i, j;

	for (i = 0; i < policy.rules; i++) {
		rule = &policy.rule[i];
		if (seccomp_syscall_resolve_name(rule->name) != number)
			continue;
		for (j = 0; j < rule->conditions; j++) {
			if (!condition_holds(&rule->condition[j], arguments))
				break;
		}
		if (j < rule->conditions || (of_closing && rule->section != POLICY_WARDEN))
			continue;
		if (of_closing)
			return REFUSE(EPERM);
		return rule->section == POLICY_ERRNO ? REFUSE((uint32_t)rule->error) : ALLOW;
	}
	return of_closing ? ALLOW : REFUSE(EPERM);
}

static uint64_t random_word(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Arguments near what the rules speak of, with and without bits that nobody looks at. */
static void random_arguments(uint64_t *seed, uint64_t *arguments)
{
	const struct policy_rule *rule;
	size_t i;

	for (i = 0; i < 6; i++) {
		rule = &policy.rule[random_word(seed) % policy.rules];
		arguments[i] = random_word(seed) % 4 ? random_word(seed) % 64 : random_word(seed);
		if (rule->conditions && random_word(seed) % 2)
			arguments[i] = rule->condition[0].value;
		if (random_word(seed) % 4 == 0)
			arguments[i] |= UINT64_C(1) << random_word(seed) % 64;
	}
}

static void check_number(int number, const uint64_t *arguments)
{
	assert_int_equal(judge(&warden, AUDIT_ARCH_X86_64, number, arguments),
		expected_action(number, arguments, false));
	assert_int_equal(judge(&closing, AUDIT_ARCH_X86_64, number, arguments),
		expected_action(number, arguments, true));
}

static void test_every_number_is_judged_as_written(void **state)
{
	uint64_t seed = 0x9e3779b97f4a7c15, arguments[6];
	int number, round;

	(void)state;
	for (number = 0; number < NUMBERS; number++) {
		memset(arguments, 0, sizeof(arguments));
		check_number(number, arguments);
		memset(arguments, 0xff, sizeof(arguments));
		check_number(number, arguments);
		for (round = 0; round < RANDOM_ROUNDS; round++) {
			random_arguments(&seed, arguments);
			check_number(number, arguments);
		}
	}
}

static bool is_named(int number, enum policy_section section, bool *always)
{
	bool named = false;
	size_t i;

	for (i = 0; i < policy.rules; i++) {
		if (policy.rule[i].section != section ||
			seccomp_syscall_resolve_name(policy.rule[i].name) != number)
			continue;
		named = true;
		*always = !policy.rule[i].conditions;
	}
	return named;
}

/* The number is for people; the bounds are for whoever opens the policy by accident. */
static void test_how_many_calls_are_allowed(void **state)
{
	int number, allowed = 0, conditional = 0, of_warden = 0;
	bool always;

	(void)state;
	for (number = 0; number < NUMBERS; number++) {
		if (is_named(number, POLICY_ALLOW, &always)) {
			allowed++;
			conditional += !always;
		}
		of_warden += is_named(number, POLICY_WARDEN, &always);
	}
	print_message("scripts may make %d system calls, %d of them with certain arguments only; "
		      "wardens %d more or otherwise; %u and %u instructions\n",
		allowed, conditional, of_warden, warden.count, closing.count);
	assert_in_range(allowed, 150, 240);
	assert_in_range(warden.count, 100, 1500);
	assert_in_range(closing.count, 10, 100);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_other_architectures_are_killed),
		cmocka_unit_test(test_x32_calls_are_killed),
		cmocka_unit_test(test_numbers_out_of_range_are_refused),
		cmocka_unit_test(test_every_number_is_judged_as_written),
		cmocka_unit_test(test_how_many_calls_are_allowed),
	};

	if (argc > 1)
		policy_path = argv[1];
	return cmocka_run_group_tests_name("policy", tests, set_up, tear_down);
}
