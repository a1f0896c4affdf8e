/*
 * conf/seccomp.policy without a kernel: the two filters are compiled and run in a BPF machine of
 * our own, call by call against a table, and all numbers against an evaluation of the parsed text.
 */
#include "sandbox/policy.h"
#include "sandbox/refusal.h"
#include "sandbox/scope.h"
#include "sandbox/seccomp.h"
#include "sandbox/warden_call.h"

#include <errno.h>
#include <fcntl.h>
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
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#define ALLOW SECCOMP_RET_ALLOW
#define KILL SECCOMP_RET_KILL_PROCESS
#define REFUSE(error) (SECCOMP_RET_ERRNO | (error)) /* by the kernel itself */
#define TELL SECCOMP_RET_USER_NOTIF /* by the worker, who says which and why */
#define DONE SECCOMP_RET_ERRNO /* answered as if it had been done */
#define MARK WARDEN_CALL_MARK
#define THREAD_FLAGS                                                                               \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |        \
		CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)
#define HIGH (UINT64_C(1) << 32)
#define X32 0x40000000

enum {
	NUMBERS = 1024, /* beyond the last system call there is */
	TEXT_BYTES = 64 * 1024,
	RANDOM_ROUNDS = 200,
	DOCKER_CALLS = 297, /* moby, profiles/seccomp/default.json: x86-64, no capabilities */
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
	{"openat2", {0}, ALLOW, ALLOW},
	{"futex", {0}, ALLOW, ALLOW},
	{"exit_group", {0}, ALLOW, ALLOW},
	{"kill", {1, 9}, ALLOW, ALLOW},
	{"capget", {0}, ALLOW, ALLOW},
	/* other programs */
	{"execve", {0}, TELL, TELL},
	{"execveat", {0}, TELL, TELL},
	/* sockets */
	{"socket", {AF_UNIX, SOCK_STREAM}, TELL, TELL},
	{"socket", {AF_INET, SOCK_STREAM}, TELL, TELL},
	{"connect", {3}, TELL, TELL},
	{"bind", {3}, TELL, TELL},
	{"socketpair", {AF_UNIX, SOCK_STREAM}, ALLOW, ALLOW},
	{"socketpair", {AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK}, ALLOW, ALLOW},
	{"socketpair", {AF_UNIX, SOCK_DGRAM}, TELL, TELL},
	{"socketpair", {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC}, TELL, TELL},
	{"socketpair", {AF_UNIX, SOCK_RAW}, TELL, TELL},
	{"socketpair", {AF_INET, SOCK_STREAM}, TELL, TELL},
	{"socketpair", {AF_NETLINK, SOCK_STREAM}, TELL, TELL},
	/* namespaces, by any way */
	{"clone", {0}, ALLOW, ALLOW},
	{"clone", {CLONE_VM | CLONE_VFORK | 17}, ALLOW, ALLOW},
	{"clone", {CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_FS | CLONE_FILES}, ALLOW, ALLOW},
	{"clone", {CLONE_NEWUSER}, TELL, TELL},
	{"clone", {CLONE_NEWNS | 17}, TELL, TELL},
	{"clone", {CLONE_NEWPID}, TELL, TELL},
	{"clone", {CLONE_NEWNET}, TELL, TELL},
	{"clone", {CLONE_NEWIPC}, TELL, TELL},
	{"clone", {CLONE_NEWUTS}, TELL, TELL},
	{"clone", {CLONE_NEWCGROUP}, TELL, TELL},
	{"clone", {HIGH | CLONE_NEWUSER}, TELL, TELL},
	{"clone", {0x80}, TELL, TELL}, /* CLONE_NEWTIME in other calls */
	{"clone", {CLONE_PARENT | 17}, TELL, TELL},
	{"clone", {CLONE_PTRACE | 17}, TELL, TELL},
	{"clone", {CLONE_PIDFD | 17}, TELL, TELL},
	{"clone", {HIGH | 17}, TELL, TELL},
	{"clone", {CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | 17}, ALLOW, ALLOW}, /* fork */
	{"clone", {THREAD_FLAGS}, ALLOW, ALLOW},
	{"clone3", {0}, REFUSE(ENOSYS), REFUSE(ENOSYS)},
	{"unshare", {CLONE_NEWUSER, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"unshare", {CLONE_NEWUSER}, TELL, TELL},
	{"unshare", {CLONE_NEWNS, 0, 0, 0, 0, MARK}, TELL, TELL},
	{"unshare", {0}, TELL, TELL},
	{"setns", {3}, TELL, TELL},
	/* mounts */
	{"mount", {0}, TELL, TELL},
	{"umount2", {0, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"umount2", {0}, TELL, TELL},
	{"fsopen", {0, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"fsopen", {0}, TELL, TELL},
	{"fsconfig", {0, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"fsconfig", {0}, TELL, TELL},
	{"fsmount", {0, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"fsmount", {0}, TELL, TELL},
	{"move_mount", {0, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"move_mount", {0}, TELL, TELL},
	{"open_tree", {0}, TELL, TELL},
	{"mount_setattr", {0}, TELL, TELL},
	{"pivot_root", {0}, TELL, TELL},
	{"chroot", {0}, TELL, TELL},
	/* who one is */
	{"capset", {0, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"capset", {0}, TELL, TELL},
	{"seccomp", {1, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"seccomp", {1}, TELL, TELL},
	{"setuid", {0}, TELL, TELL},
	{"setresuid", {0, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"setresuid", {0}, TELL, TELL},
	{"setresgid", {0, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"setresgid", {0}, TELL, TELL},
	{"setgroups", {0}, TELL, TELL},
	{"setfsuid", {0}, TELL, TELL},
	{"prctl", {PR_SET_NAME}, ALLOW, ALLOW},
	{"prctl", {PR_GET_DUMPABLE}, ALLOW, ALLOW},
	{"prctl", {PR_SET_DUMPABLE, 1, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"prctl", {PR_SET_DUMPABLE, 1}, TELL, TELL},
	{"prctl", {HIGH | PR_SET_DUMPABLE, 1}, TELL, TELL},
	{"prctl", {PR_CAPBSET_DROP, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)},
	{"prctl", {PR_CAPBSET_DROP}, TELL, TELL},
	{"prctl", {PR_SET_SECCOMP, 2, 0, 0, 0, MARK}, TELL, TELL},
	{"prctl", {PR_SET_VMA}, REFUSE(EPERM), REFUSE(EPERM)}, /* allocators ask */
	{"prctl", {PR_SET_SECCOMP, 2}, TELL, TELL},
	{"prctl", {PR_SET_KEEPCAPS}, TELL, TELL},
	{"prctl", {PR_SET_SECUREBITS}, TELL, TELL},
	{"prctl", {PR_SET_MM}, TELL, TELL},
	{"prctl", {PR_SET_PTRACER}, TELL, TELL},
	{"prctl", {PR_SET_CHILD_SUBREAPER, 1}, TELL, TELL},
	{"prctl", {PR_SET_SYSCALL_USER_DISPATCH}, TELL, TELL},
	/* other processes */
	{"ptrace", {0}, TELL, TELL},
	{"process_vm_readv", {0}, TELL, TELL},
	{"process_vm_writev", {0}, TELL, TELL},
	{"pidfd_open", {1}, TELL, TELL},
	{"pidfd_getfd", {1}, TELL, TELL},
	{"pidfd_send_signal", {1}, TELL, TELL},
	{"kcmp", {1}, TELL, TELL},
	{"prlimit64", {0}, ALLOW, ALLOW},
	{"prlimit64", {1}, TELL, TELL},
	{"prlimit64", {HIGH}, TELL, TELL},
	{"sched_getaffinity", {0}, ALLOW, ALLOW},
	{"sched_getaffinity", {7}, REFUSE(EPERM), REFUSE(EPERM)}, /* OpenBLAS asks */
	{"sched_setaffinity", {0}, ALLOW, ALLOW},
	{"sched_setaffinity", {1}, TELL, TELL},
	{"sched_setscheduler", {0}, TELL, TELL},
	{"getpriority", {PRIO_PROCESS, 1}, ALLOW, ALLOW},
	{"getpriority", {PRIO_USER, 0}, TELL, TELL},
	{"setpriority", {0, 0, 5}, ALLOW, ALLOW},
	{"setpriority", {0, 1, 5}, TELL, TELL},
	{"sched_getscheduler", {0}, ALLOW, ALLOW},
	{"sched_getscheduler", {1}, TELL, TELL},
	{"ioprio_set", {0}, TELL, TELL},
	/* files and devices */
	{"mknod", {0, S_IFIFO | 0600}, TELL, TELL}, /* libc has mknodat for it */
	{"mknod", {0, S_IFCHR | 0600}, TELL, TELL},
	{"mknod", {0, S_IFBLK | 0600}, TELL, TELL},
	{"mknod", {0, S_IFSOCK | 0600}, TELL, TELL},
	{"mknodat", {0, 0, S_IFIFO | 0600}, ALLOW, ALLOW},
	{"mknodat", {0, 0, S_IFCHR | 0600}, TELL, TELL},
	{"setxattr", {0}, REFUSE(ENOTSUP), REFUSE(ENOTSUP)},
	{"name_to_handle_at", {0}, TELL, TELL},
	{"open_by_handle_at", {0}, TELL, TELL},
	{"ioctl", {0, 0x5401}, ALLOW, ALLOW}, /* TCGETS */
	{"ioctl", {0, 0x5412}, TELL, TELL}, /* TIOCSTI */
	{"ioctl", {0, HIGH | 0x5401}, TELL, TELL},
	{"inotify_init1", {0}, TELL, TELL},
	{"fanotify_init", {0}, TELL, TELL},
	{"memfd_create", {0}, TELL, TELL},
	{"quotactl", {0}, TELL, TELL},
	{"swapon", {0}, TELL, TELL},
	{"fcntl", {0, F_SETLK}, ALLOW, ALLOW},
	{"fcntl", {0, F_GETLK}, ALLOW, ALLOW},
	{"fcntl", {0, F_SETLEASE}, TELL, TELL},
	{"fcntl", {0, F_NOTIFY}, TELL, TELL},
	{"fcntl", {0, F_SETOWN}, TELL, TELL},
	{"fcntl", {0, F_SETSIG}, TELL, TELL},
	{"fcntl", {0, F_SETPIPE_SZ}, TELL, TELL},
	{"fcntl", {0, F_ADD_SEALS}, TELL, TELL},
	{"flock", {0, 2}, REFUSE(ENOSYS), REFUSE(ENOSYS)},
	{"statfs", {0, 0, 0, 0, 0, MARK}, ALLOW, REFUSE(EPERM)}, /* the warden, of /tmp */
	{"statfs", {0}, REFUSE(ENOSYS), REFUSE(ENOSYS)},
	{"statfs", {0, 0, 0, 0, 0, HIGH | MARK}, REFUSE(ENOSYS), REFUSE(ENOSYS)},
	{"fstatfs", {0}, REFUSE(ENOSYS), REFUSE(ENOSYS)},
	{"fstatfs", {0, 0, 0, 0, 0, MARK}, REFUSE(ENOSYS), REFUSE(ENOSYS)},
	{"fsync", {0}, DONE, DONE},
	{"msync", {0}, DONE, DONE},
	{"fadvise64", {0, 0, 0, POSIX_FADV_WILLNEED}, ALLOW, ALLOW},
	{"fadvise64", {0, 0, 0, POSIX_FADV_DONTNEED}, TELL, TELL},
	{"preadv2", {0, 0, 0, 0, 0, 0}, ALLOW, ALLOW},
	{"preadv2", {0, 0, 0, 0, 0, 8}, TELL, TELL}, /* RWF_NOWAIT */
	{"splice", {0}, TELL, TELL},
	{"chown", {0}, TELL, TELL},
	{"getxattr", {0}, REFUSE(ENOTSUP), REFUSE(ENOTSUP)},
	/* memory */
	{"mmap", {0, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS}, ALLOW, ALLOW},
	{"mmap", {0, 0, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS}, ALLOW, ALLOW},
	{"mmap", {0, 0, 7, MAP_PRIVATE | MAP_ANONYMOUS}, ALLOW, ALLOW},
	{"mmap", {0, 0, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN}, TELL, TELL},
	{"mmap", {0, 0, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB}, TELL, TELL},
	{"mmap", {0, 0, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED}, TELL, TELL},
	{"mmap", {0, 0, 3, MAP_ANONYMOUS | 8}, TELL, TELL}, /* MAP_DROPPABLE */
	{"mmap", {0, 0, 3, HIGH | MAP_PRIVATE}, TELL, TELL},
	{"mmap", {0, 0, HIGH | 3, MAP_PRIVATE}, TELL, TELL},
	{"mprotect", {0, 0, PROT_READ | PROT_EXEC}, ALLOW, ALLOW},
	{"mprotect", {0, 0, PROT_READ | PROT_GROWSDOWN}, TELL, TELL},
	{"mremap", {0, 0, 0, MREMAP_MAYMOVE}, ALLOW, ALLOW},
	{"mremap", {0, 0, 0, MREMAP_MAYMOVE | 4}, TELL, TELL}, /* MREMAP_DONTUNMAP */
	{"madvise", {0, 0, MADV_DONTNEED}, ALLOW, ALLOW},
	{"madvise", {0, 0, MADV_MERGEABLE}, TELL, TELL},
	{"madvise", {0, 0, MADV_PAGEOUT}, TELL, TELL},
	{"madvise", {0, 0, MADV_HWPOISON}, TELL, TELL},
	{"pkey_alloc", {0}, TELL, TELL},
	{"membarrier", {1}, TELL, TELL},
	/* out-of-band data */
	{"sendto", {0, 0, 0, MSG_NOSIGNAL}, ALLOW, ALLOW},
	{"sendto", {0, 0, 0, MSG_OOB | MSG_NOSIGNAL}, TELL, TELL},
	{"recvfrom", {0, 0, 0, MSG_OOB}, TELL, TELL},
	{"sendmsg", {0, 0, MSG_OOB}, TELL, TELL},
	{"recvmsg", {0, 0, 0}, ALLOW, ALLOW},
	{"recvmsg", {0, 0, MSG_OOB}, TELL, TELL},
	/* the kernel */
	{"arch_prctl", {0x1023, 18}, ALLOW, ALLOW}, /* ARCH_REQ_XCOMP_PERM */
	{"arch_prctl", {0x1002, 0}, TELL, TELL}, /* ARCH_SET_FS */
	{"arch_prctl", {0x1012, 0}, TELL, TELL}, /* ARCH_SET_CPUID */
	{"timer_create", {0}, TELL, TELL},
	{"bpf", {0}, TELL, TELL},
	{"perf_event_open", {0}, TELL, TELL},
	{"userfaultfd", {0}, TELL, TELL},
	{"io_uring_setup", {0}, TELL, TELL},
	{"io_setup", {0}, TELL, TELL},
	{"keyctl", {0}, TELL, TELL},
	{"add_key", {0}, TELL, TELL},
	{"shmget", {0}, TELL, TELL},
	{"mq_open", {0}, TELL, TELL},
	{"init_module", {0}, TELL, TELL},
	{"kexec_load", {0}, TELL, TELL},
	{"reboot", {0}, TELL, TELL},
	{"clock_settime", {0}, TELL, TELL},
	{"sethostname", {0}, TELL, TELL},
	{"personality", {0}, TELL, TELL},
	{"iopl", {3}, TELL, TELL},
	{"modify_ldt", {0}, TELL, TELL},
	{"vmsplice", {0}, TELL, TELL},
	{"syslog", {0}, TELL, TELL},
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
			assert_int_equal(action, TELL);
	}
}

/* --- every number, against the text -------------------------------------------------------- */

static bool condition_holds(const struct policy_condition *condition, const uint64_t *arguments)
{
	bool same = (arguments[condition->argument] & condition->mask) == condition->value;

	return same == condition->equal;
}

/* One rule that fits is enough; none of different sections fit at once. */
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
		if (rule->section == POLICY_WARDEN && arguments[WARDEN_CALL_ARGUMENT] != MARK)
			continue;
		if (of_closing)
			return REFUSE(EPERM);
		return rule->section == POLICY_ERRNO ? REFUSE((uint32_t)rule->error) : ALLOW;
	}
	return of_closing ? ALLOW : TELL;
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
	if (random_word(seed) % 4 == 0)
		arguments[WARDEN_CALL_ARGUMENT] = MARK;
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

/* The numbers are for people; the bounds are for whoever opens the policy by accident. */
static void test_how_many_calls_are_allowed(void **state)
{
	size_t conditional, allowed = policy_count_allowed(&policy, &conditional);

	(void)state;
	print_message("scripts may make %zu system calls, %zu of them with certain arguments only, "
		      "of the %d that Docker's default profile allows; %u and %u instructions\n",
		allowed, conditional, DOCKER_CALLS, warden.count, closing.count);
	assert_in_range(allowed, 120, DOCKER_CALLS / 2 + 10);
	assert_in_range(conditional, 20, allowed);
	assert_in_range(warden.count, 100, 1500);
	assert_in_range(closing.count, 10, 100);
}

/* --- what is said of a refused call -------------------------------------------------------- */

/* Whether the kernel answers the call whatever the arguments, the warden's own apart. */
static bool answers_all(const struct policy_rule *rule)
{
	const struct policy_condition *first = &rule->condition[0];

	return rule->section != POLICY_WARDEN &&
	       (!rule->conditions || (rule->conditions == 1 && !first->equal &&
					     first->argument == WARDEN_CALL_ARGUMENT &&
					     first->value == WARDEN_CALL_MARK));
}

/* Whether some arguments make the policy leave the call to the worker. */
static bool can_be_told(int number)
{
	size_t i;

	for (i = 0; i < policy.rules; i++) {
		if (answers_all(&policy.rule[i]) &&
			seccomp_syscall_resolve_name(policy.rule[i].name) == number)
			return false;
	}
	return true;
}

/* Those and no others have words of their own, under the name that libseccomp has for the call. */
static void test_every_refusal_is_explained(void **state)
{
	int number, explained = 0, wrong = 0;
	bool has_words;
	char *name;

	(void)state;
	for (number = 0; number < NUMBERS; number++) {
		name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);
		has_words = strcmp(refusal_meaning(number), refusal_meaning(-1)) != 0;
		explained += has_words;
		if (name && (has_words != can_be_told(number) ||
				    (has_words && strcmp(name, refusal_name(number)) != 0))) {
			print_error("%d is %s, \"%s\": \"%s\"\n", number, name,
				refusal_name(number), refusal_meaning(number));
			wrong++;
		}
		free(name);
	}
	assert_int_equal(wrong, 0);
	assert_in_range(explained, 200, 300);
}

/* A word for everybody: no line breaks, none that is cut in a log, no answer without a name. */
static void test_words_fit_a_line(void **state)
{
	const char *text;
	int number;

	(void)state;
	for (number = -1; number < NUMBERS; number++) {
		text = refusal_meaning(number);
		assert_in_range(strlen(text), 20, 110);
		assert_null(strpbrk(text, "\n\r\t\""));
		assert_in_range(strlen(refusal_name(number)), 3, 30);
	}
	assert_string_equal(refusal_name(-1), "an unknown system call");
	assert_string_equal(refusal_name(59), "execve");
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
		cmocka_unit_test(test_every_refusal_is_explained),
		cmocka_unit_test(test_words_fit_a_line),
	};

	if (argc > 1)
		policy_path = argv[1];
	return cmocka_run_group_tests_name("policy", tests, set_up, tear_down);
}
