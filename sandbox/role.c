#include "sandbox/role.h"

#include "sandbox/rlimits.h"
#include "sandbox/scope.h"
#include "sandbox/seccomp.h"

#include <errno.h>

enum {
	TEXT_MAX_BYTES = 64 * 1024,
};

/*
 * AddressSanitizer reserves terabytes, and its leak check attaches to the process at the end: a
 * build with it is for finding faults, and must not be served to anybody.
 */
#ifdef __SANITIZE_ADDRESS__
enum {
	SANITIZED = 1
};
#else
enum {
	SANITIZED = 0
};
#endif

int role_limit(uint64_t data_bytes, uint64_t open_files, struct err *err)
{
	const struct rlimits_role limits = {
		.data_bytes = SANITIZED ? UINT64_MAX : data_bytes, .open_files = open_files};

	return rlimits_set_role(&limits, err);
}

static int compile(int file, struct seccomp_program *program, struct err *err)
{
	SCOPE_FREE struct policy *policy = malloc(sizeof(*policy));
	SCOPE_FREE char *text = malloc(TEXT_MAX_BYTES);
	ssize_t length;
	int r;

	if (!policy || !text)
		return err_set(err, ENOMEM, "read a policy");
	length = pread(file, text, TEXT_MAX_BYTES, 0);
	if (length < 0)
		return err_set(err, errno, "read a policy");
	if (length == TEXT_MAX_BYTES)
		return err_set(err, EFBIG, "read a policy");
	r = policy_parse(text, (size_t)length, policy, err);
	return r < 0 ? r : seccomp_compile_role(policy, program, err);
}

int role_filter(int policy, struct err *err)
{
	struct seccomp_program program = {0};
	int r = compile(policy, &program, err);

	if (!r && !SANITIZED)
		r = seccomp_install(&program, err);
	seccomp_program_free(&program);
	return r;
}
