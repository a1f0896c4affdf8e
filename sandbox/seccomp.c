#include "sandbox/seccomp.h"

#include "sandbox/scope.h"
#include "sandbox/warden_call.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void release_context(scmp_filter_ctx *context)
{
	if (*context)
		seccomp_release(*context);
}

static struct scmp_arg_cmp comparison(const struct policy_condition *condition)
{
	struct scmp_arg_cmp compare = {.arg = condition->argument};

	if (condition->mask != UINT64_MAX) {
		compare.op = SCMP_CMP_MASKED_EQ;
		compare.datum_a = condition->mask;
		compare.datum_b = condition->value;
		return compare;
	}
	compare.op = condition->equal ? SCMP_CMP_EQ : SCMP_CMP_NE;
	compare.datum_a = condition->value;
	return compare;
}

/* Rules of [warden] hold for marked calls: warden_call.h says why. */
static int add_rule(
	scmp_filter_ctx context, uint32_t action, const struct policy_rule *rule, struct err *err)
{
	struct scmp_arg_cmp compare[POLICY_CONDITIONS_MAX + 1];
	int number = seccomp_syscall_resolve_name(rule->name), r;
	size_t i;

	if (number == __NR_SCMP_ERROR && rule->optional)
		return 0;
	if (number == __NR_SCMP_ERROR)
		return err_set(err, EINVAL, "policy line %u: unknown system call \"%s\"",
			rule->line, rule->name);
	for (i = 0; i < rule->conditions; i++) {
		if (rule->condition[i].mask != UINT64_MAX && !rule->condition[i].equal)
			return err_set(err, EINVAL, "policy line %u: \"&\" goes with \"==\" only",
				rule->line);
		compare[i] = comparison(&rule->condition[i]);
	}
	if (rule->section == POLICY_WARDEN)
		compare[i++] = (struct scmp_arg_cmp){.arg = WARDEN_CALL_ARGUMENT,
			.op = SCMP_CMP_EQ,
			.datum_a = WARDEN_CALL_MARK};
	r = seccomp_rule_add_array(context, action, number, (unsigned)i, compare);
	return r < 0 ? err_set(err, -r, "policy line %u: rule for %s", rule->line, rule->name) : 0;
}

/* libseccomp writes the program to a descriptor; it is kept to be installed many times. */
static int export_program(scmp_filter_ctx context, struct seccomp_program *program, struct err *err)
{
	SCOPE_FD fd = memfd_create("seccomp", MFD_CLOEXEC);
	struct stat status;
	int r;

	if (fd < 0)
		return err_set(err, errno, "keep a filter");
	r = seccomp_export_bpf(context, fd);
	if (r < 0)
		return err_set(err, -r, "compile the policy");
	if (fstat(fd, &status) < 0 || status.st_size <= 0 ||
		(size_t)status.st_size / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return err_set(err, EINVAL, "size of the compiled policy");
	program->instructions = malloc((size_t)status.st_size);
	if (!program->instructions)
		return err_set(err, ENOMEM, "keep a filter");
	if (pread(fd, program->instructions, (size_t)status.st_size, 0) != status.st_size) {
		seccomp_program_free(program);
		return err_set(err, EIO, "read the compiled policy");
	}
	program->count = (unsigned short)((size_t)status.st_size / sizeof(struct sock_filter));
	return 0;
}

static scmp_filter_ctx make_context(uint32_t otherwise, struct err *err)
{
	scmp_filter_ctx context = seccomp_init(otherwise);
	int r = context ? 0 : -ENOMEM;

	if (!r)
		r = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!r)
		r = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree */
	if (!r)
		return context;
	err_set(err, -r, "begin a filter");
	release_context(&context);
	return NULL;
}

/* otherwise: what becomes of calls that the policy does not name. */
static int compile(const struct policy *policy, uint32_t otherwise,
	struct seccomp_program *program, struct err *err)
{
	__attribute__((cleanup(release_context))) scmp_filter_ctx context =
		make_context(otherwise, err);
	const struct policy_rule *rule;
	uint32_t action;
	size_t i;
	int r = 0;

	if (!context)
		return -ENOMEM;
	for (i = 0; !r && i < policy->rules; i++) {
		rule = &policy->rule[i];
		action = rule->section == POLICY_ERRNO ? SCMP_ACT_ERRNO((uint32_t)rule->error)
						       : SCMP_ACT_ALLOW;
		r = add_rule(context, action, rule, err);
	}
	return r < 0 ? r : export_program(context, program, err);
}

int seccomp_compile_policy(
	const struct policy *policy, struct seccomp_program *program, struct err *err)
{
	return compile(policy, SCMP_ACT_NOTIFY, program, err);
}

int seccomp_compile_role(
	const struct policy *policy, struct seccomp_program *program, struct err *err)
{
	return compile(policy, SCMP_ACT_ERRNO(EPERM), program, err);
}

int seccomp_compile_further(
	const struct policy *policy, struct seccomp_program *program, struct err *err)
{
	return compile(policy, SCMP_ACT_ALLOW, program, err);
}

int seccomp_compile_closing(
	const struct policy *policy, struct seccomp_program *program, struct err *err)
{
	__attribute__((cleanup(release_context))) scmp_filter_ctx context =
		make_context(SCMP_ACT_ALLOW, err);
	size_t i;
	int r = 0;

	if (!context)
		return -ENOMEM;
	for (i = 0; !r && i < policy->rules; i++) {
		if (policy->rule[i].section == POLICY_WARDEN)
			r = add_rule(context, SCMP_ACT_ERRNO(EPERM), &policy->rule[i], err);
	}
	return r < 0 ? r : export_program(context, program, err);
}

static int install(const struct seccomp_program *program, unsigned flags, struct err *err)
{
	struct sock_fprog filter = {.len = program->count, .filter = program->instructions};
	long r;

	if (!program->count)
		return err_set(err, EINVAL, "install an empty filter");
	r = warden_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, (long)&filter, 0, 0);
	return r < 0 ? err_set(err, errno, "install a filter") : (int)r;
}

int seccomp_install(const struct seccomp_program *program, struct err *err)
{
	return install(program, 0, err);
}

/* Once the worker has taken a call, no signal ends the wait for its answer but SIGKILL. */
int seccomp_install_listened(const struct seccomp_program *program, int *listener, struct err *err)
{
	int r = install(program,
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, err);

	if (r < 0)
		return r;
	*listener = r;
	return 0;
}

void seccomp_program_free(struct seccomp_program *program)
{
	free(program->instructions);
	program->instructions = NULL;
	program->count = 0;
}
