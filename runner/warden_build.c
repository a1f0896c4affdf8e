/* The steps by which a cell is made, a row of a table each. */
#include "runner/warden_build.h"

#include "runner/python.h"
#include "sandbox/identity.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"
#include "sandbox/warden_call.h"
#include "sandbox/work_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

_Noreturn void warden_fail(const char *step, int code)
{
	struct cell_report report = {.type = CELL_REPORT_FAILED, .code = code};

	snprintf(report.step, sizeof(report.step), "%s", step);
	message_send(WARDEN_FD_CONTROL, &report, sizeof(report), NULL, 0);
	_exit(1);
}

bool warden_has_layer(const struct warden *warden, enum layer layer)
{
	return LAYER_HAS(warden->setup->arrangement->layers, layer);
}

void warden_act_as_execution(const struct warden *warden, bool on)
{
	uint32_t id = on ? warden->execution_id : warden->request->uid;

	if (warden->execution_id && warden_call(SYS_setresuid, -1, id, -1, 0, 0) < 0)
		warden_fail("identity", errno);
}

/*
 * What is forked from here on is born in the cell's groups. The files were opened by whoever may
 * do this, which is what counts (Linux 5.16); it takes no right of the writer's.
 */
static int join_groups(struct warden *warden, struct err *err)
{
	size_t i;

	for (i = 0; i < warden->group_count; i++) {
		if (write(warden->groups[i], "0", 1) != 1)
			return err_set(err, errno, "join the cell's control group");
	}
	return 0;
}

static int keep_two_descriptors(struct warden *warden, struct err *err)
{
	(void)warden;
	if (close_range(WARDEN_FD_PROC + 1, ~0u, 0) < 0)
		return err_set(err, errno, "close inherited descriptors");
	return 0;
}

static int take_cell_identity(struct warden *warden, struct err *err)
{
	uint32_t uid = warden->request->uid;

	uint64_t keep = 0;

	warden->execution_id = arrangement_execution_id(warden->setup->arrangement, uid);
	if (warden->execution_id)
		keep = CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_SETGID);
	else if (!uid && warden_has_layer(warden, LAYER_USER))
		/* whoever maps its namespace's 0 into another one must have had this then */
		keep = CAPABILITY(CAP_SETFCAP);
	return identity_become(uid, keep, err);
}

/*
 * Where no namespace ended with it, a warden that was killed may have left processes behind. The
 * builder's to do: a warden's own Landlock rules keep it from signals to those of another.
 */
static int end_leftovers(struct warden *warden, struct err *err)
{
	(void)err;
	warden_act_as_execution(warden, true);
	if (warden->execution_id)
		kill(-1, SIGKILL); /* there may be nobody, which is as good */
	warden_act_as_execution(warden, false);
	return 0;
}

static int make_namespaces(struct warden *warden, struct err *err)
{
	int flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
		    CLONE_NEWNET | CLONE_NEWCGROUP;
	int r = arrangement_unshare(warden->setup->arrangement, flags, err);

	if (r < 0)
		return r;
	/* the change of credentials made us undumpable, and /proc/self/uid_map root's */
	if (prctl(PR_SET_DUMPABLE, 1) < 0)
		return err_set(err, errno, "open one's own id map");
	return identity_map_self(WARDEN_FD_PROC, warden->request->uid, err);
}

static int close_proc(struct warden *warden, struct err *err)
{
	(void)warden;
	return close(WARDEN_FD_PROC) < 0 ? err_set(err, errno, "close the procfs") : 0;
}

static int mount_tmp(struct warden *warden, struct err *err)
{
	warden->tmp.size_mib = warden->request->tmp_mib;
	warden->tmp.inodes = warden->request->tmp_inodes;
	return tree_tmp_replace(&warden->tmp, err);
}

static int open_work(struct warden *warden, struct err *err)
{
	int r;

	snprintf(warden->work_path, sizeof(warden->work_path), "%s/%u",
		warden->setup->arrangement->work, warden->request->cell);
	warden_act_as_execution(warden, true);
	/* a script may have left it without any right; nobody else can have put a link there */
	if (chmod(warden->work_path, 0700) == 0)
		warden->work = open(warden->work_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = warden->work < 0 ? err_set(err, errno, "open %s", warden->work_path)
			     : work_dir_clear(warden->work, err);
	warden_act_as_execution(warden, false);
	return r;
}

/* Some place to write, for scripts: a /tmp of the cell's own, or what stands in for it. */
static int make_room(struct warden *warden, struct err *err)
{
	if (warden_has_layer(warden, LAYER_MOUNT)) {
		warden->layers |= LAYER_BIT(LAYER_MOUNT);
		return mount_tmp(warden, err);
	}
	python_set_directory(warden->work_path);
	return open_work(warden, err);
}

static int confine_to_tree(struct warden *warden, struct err *err)
{
	const char *venv = warden->setup->venv;
	const struct landlock_rule own[] = {
		{.path = warden->work_path, .writable = true}, {.path = venv}};

	return tree_landlock(python_name(), own, *venv ? 2 : 1, err);
}

/* Orphans of a script come to process 1 of its namespace; without one they are asked to. */
static int adopt_orphans(struct warden *warden, struct err *err)
{
	if (!warden_has_layer(warden, LAYER_PID) && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return err_set(err, errno, "become the reaper of orphans");
	return 0;
}

static int name_host(struct warden *warden, struct err *err)
{
	(void)warden;
	return sethostname("vivarium", 8) < 0 ? err_set(err, errno, "set the host name") : 0;
}

/* In its own user namespace for mounts; outside of one for the ids of its executions. */
static int keep_few_capabilities(struct warden *warden, struct err *err)
{
	uint64_t keep = warden_has_layer(warden, LAYER_MOUNT) ? CAPABILITY(CAP_SYS_ADMIN) : 0;

	if (warden->execution_id)
		keep = CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_SETGID);
	return identity_become(0, keep, err);
}

static int become_undumpable(struct warden *warden, struct err *err)
{
	(void)warden;
	return prctl(PR_SET_DUMPABLE, 0) < 0 ? err_set(err, errno, "become undumpable") : 0;
}

/*
 * Nothing else is blocked: what process 1 has no handler for is ignored, while blocked real-time
 * signals would queue up, and count against everybody's RLIMIT_SIGPENDING.
 */
static int take_signals(struct warden *warden, struct err *err)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	if (sigprocmask(SIG_SETMASK, &child, NULL) < 0)
		return err_set(err, errno, "block signals");
	warden->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	return warden->signals < 0 ? err_set(err, errno, "make a signalfd") : 0;
}

/*
 * The listener goes to the worker, who answers every call that the policy refuses, and stays with
 * nobody else. Orders are obeyed later: no script can run before it has gone.
 */
static int install_policy(struct warden *warden, struct err *err)
{
	const struct cell_report report = {.type = CELL_REPORT_LISTENER};
	SCOPE_FD listener = -1;
	int r = seccomp_install_listened(&warden->setup->policy, &listener, err);

	if (!r)
		r = message_send(WARDEN_FD_CONTROL, &report, sizeof(report), &listener, 1);
	return r < 0 && !err->code ? err_set(err, -r, "hand over the listener") : r;
}

/* With layers: the step puts in force what of them is to be, and is left out if that is nothing. */
struct warden_step {
	const char *name;
	int (*run)(struct warden *, struct err *);
	uint32_t layers;
};

static const struct warden_step builder_steps[] = {
	{"control groups", join_groups, 0},
	{"descriptors", keep_two_descriptors, 0},
	{"identity", take_cell_identity, LAYER_BIT(LAYER_NO_NEW_PRIVS) | LAYER_BIT(LAYER_OWN_UID)},
	{"leftovers", end_leftovers, 0},
	{"namespaces", make_namespaces,
		LAYER_BIT(LAYER_USER) | LAYER_BIT(LAYER_PID) | LAYER_BIT(LAYER_NETWORK) |
			LAYER_BIT(LAYER_IPC) | LAYER_BIT(LAYER_UTS) | LAYER_BIT(LAYER_CGROUP)},
	{"procfs", close_proc, 0},
};

static const struct warden_step warden_steps[] = {
	{"tmp", make_room, 0},
	{"hostname", name_host, LAYER_BIT(LAYER_UTS)},
	{"capabilities", keep_few_capabilities, 0},
	{"landlock", confine_to_tree, LAYER_BIT(LAYER_LANDLOCK)},
	{"orphans", adopt_orphans, 0},
	{"undumpable", become_undumpable, 0},
	{"signals", take_signals, 0},
	{"seccomp", install_policy, LAYER_BIT(LAYER_SECCOMP)},
};

static void run_steps(struct warden *warden, const struct warden_step *steps, size_t count)
{
	uint32_t planned = warden->setup->arrangement->layers;
	struct err err = {0};
	size_t i;

	for (i = 0; i < count; i++) {
		if (steps[i].layers && !(steps[i].layers & planned))
			continue;
		if (steps[i].run(warden, &err) < 0)
			warden_fail(steps[i].name, err.code);
		warden->layers |= steps[i].layers & planned;
	}
}

void warden_build_cell(struct warden *warden)
{
	run_steps(warden, builder_steps, sizeof(builder_steps) / sizeof(builder_steps[0]));
}

void warden_build_inside(struct warden *warden)
{
	run_steps(warden, warden_steps, sizeof(warden_steps) / sizeof(warden_steps[0]));
}
