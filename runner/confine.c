#include "runner/confine.h"

#include "runner/modules.h"
#include "runner/python.h"
#include "sandbox/cell_message.h"
#include "sandbox/identity.h"
#include "sandbox/landlock.h"
#include "sandbox/rlimits.h"
#include "sandbox/scope.h"
#include "sandbox/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
	POLICY_MAX_BYTES = 1 << 20,
};

/* The further filter of executions that are in reach of the service's own id. */
static int compile_exposed(struct warden_setup *warden, struct policy *policy, struct err *err)
{
	SCOPE_FREE char *text = NULL;
	size_t length;
	int r;

	if (!arrangement_is_exposed(warden->arrangement))
		return 0;
	text = modules_read_text(TEMPLATE_FD_HARNESS, "single-id.policy", &length);
	if (!text)
		return err_set(err, errno, "read single-id.policy");
	r = policy_parse(text, length, policy, err);
	return r < 0 ? r : seccomp_compile_further(policy, &warden->exposed, err);
}

static int compile_policy(struct warden_setup *warden, struct err *err)
{
	SCOPE_FREE struct policy *policy = malloc(sizeof(*policy));
	SCOPE_FREE char *text = malloc(POLICY_MAX_BYTES);
	ssize_t length;
	int r;

	if (!policy || !text)
		return err_set(err, ENOMEM, "read the policy");
	length = pread(TEMPLATE_FD_POLICY, text, POLICY_MAX_BYTES, 0);
	if (length < 0)
		return err_set(err, errno, "read the policy");
	r = policy_parse(text, (size_t)length, policy, err);
	if (!r)
		r = seccomp_compile_policy(policy, &warden->policy, err);
	if (!r)
		r = seccomp_compile_closing(policy, &warden->closing, err);
	return r < 0 ? r : compile_exposed(warden, policy, err);
}

/* A /tmp of the template's own, for libraries that want to write while they are imported. */
static int enter_tree(const struct arrangement *arrangement, const char *venv, struct err *err)
{
	struct tree_tmp tmp = {.size_mib = 64, .inodes = 1024};
	int r;

	r = arrangement_unshare(
		arrangement, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS, err);
	if (r < 0 || !LAYER_HAS(arrangement->layers, LAYER_MOUNT))
		return r;
	r = tree_enter(python_name(), venv, err);
	return r < 0 ? r : tree_tmp_replace(&tmp, err);
}

/* Instead of a tree; wardens narrow it further. */
static int confine_to_tree(
	const struct arrangement *arrangement, const char *venv, struct err *err)
{
	const struct landlock_rule own[] = {{.path = arrangement->work, .writable = true},
		{.fd = TEMPLATE_FD_PROC, .writable = true}, {.fd = TEMPLATE_FD_HARNESS},
		{.path = venv}};
	size_t count = sizeof(own) / sizeof(own[0]) - !*venv;

	if (!LAYER_HAS(arrangement->layers, LAYER_LANDLOCK))
		return 0;
	return tree_landlock(python_name(), own, count, err);
}

/* The kernel takes executions first when memory ends; they inherit this. */
static int offer_to_oom_killer(struct err *err)
{
	SCOPE_FD fd = openat(TEMPLATE_FD_PROC, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1000", 4) != 4)
		return err_set(err, errno, "set oom_score_adj");
	return 0;
}

static int set_thread_stack(struct err *err)
{
	pthread_attr_t attributes;
	int r = pthread_attr_init(&attributes);

	if (!r)
		r = pthread_attr_setstacksize(&attributes, (size_t)THREAD_STACK_MIB << 20);
	if (!r)
		r = pthread_setattr_default_np(&attributes);
	return r ? err_set(err, r, "set the stack size of threads") : 0;
}

/* Order matters: the tree hides the host, and changing its mounts is a privilege given up next. */
int confine_template(struct warden_setup *warden, const char *venv, struct err *err)
{
	const struct arrangement *arrangement = warden->arrangement;
	uint64_t keep = CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_SETGID);
	int r = compile_policy(warden, err);

	if (!arrangement->ranged)
		keep = LAYER_HAS(arrangement->layers, LAYER_USER) ? CAPABILITY(CAP_SETFCAP) : 0;

	if (!r)
		r = offer_to_oom_killer(err);
	if (!r)
		r = set_thread_stack(err);
	if (!r)
		r = enter_tree(arrangement, venv, err);
	if (!r)
		r = identity_become(arrangement_id(arrangement, IDENTITY_TEMPLATE), keep, err);
	if (!r)
		r = confine_to_tree(arrangement, venv, err);
	/* a change of credentials has cleared it */
	if (!r && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		r = err_set(err, errno, "ask to die with the master");
	/* maps and oom_score_adj of a process that is not dumpable belong to root */
	if (!r && prctl(PR_SET_DUMPABLE, 1) < 0)
		r = err_set(err, errno, "stay readable for oneself");
	return r;
}
