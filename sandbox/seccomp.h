/* libseccomp, behind one file: filters made of a policy (seccomp(2)). */
#ifndef VIVARIUM_SECCOMP_H
#define VIVARIUM_SECCOMP_H

#include "sandbox/err.h"
#include "sandbox/policy.h"

struct sock_filter;

struct seccomp_program {
	struct sock_filter *instructions; /* owned; malloc */
	unsigned short count;
};

/*
 * The whole policy as a filter for wardens: [warden] calls allowed where they are marked
 * (warden_call.h), what is not named left to the listener, other architectures and x32 killed.
 * Returns 0, or a negative errno and no program.
 */
int seccomp_compile_policy(const struct policy *policy, struct seccomp_program *program,
	struct err *err);

/*
 * A policy of a role of the service: what is not named is refused with EPERM and told to nobody.
 * Returns 0, or a negative errno and no program.
 */
int seccomp_compile_role(const struct policy *policy, struct seccomp_program *program,
	struct err *err);

/*
 * A filter beside another one: what the policy does not name is allowed, so that only its [errno]
 * sections count. Returns 0, or a negative errno and no program.
 */
int seccomp_compile_further(const struct policy *policy, struct seccomp_program *program,
	struct err *err);

/*
 * The closing filter of an execution: refuses the [warden] calls, allows the rest, which the
 * policy's own filter still judges. Returns 0, or a negative errno and no program.
 */
int seccomp_compile_closing(const struct policy *policy, struct seccomp_program *program,
	struct err *err);

/*
 * Puts the calling thread under the filter for ever. Needs no_new_privs. Returns 0 or a negative
 * errno; then the process must not go on.
 */
int seccomp_install(const struct seccomp_program *program, struct err *err);

/*
 * The same with a listener, for a policy's filter: calls it does not name wait there to be refused
 * (refusal.h); once nobody holds it they fail with ENOSYS. *listener is close-on-exec and becomes
 * the caller's, who must not keep it: whoever has it can let such calls pass.
 */
int seccomp_install_listened(const struct seccomp_program *program, int *listener, struct err *err);

void seccomp_program_free(struct seccomp_program *program);

#endif
