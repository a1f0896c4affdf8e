/*
 * A cell is built by a short-lived fork of the template, the builder: it takes the cell's user id,
 * makes the namespaces, forks the warden into them, tells the worker, and exits.
 *
 * The warden then lives as process 1 of the cell. It holds the namespaces, forks one execution at
 * a time, reaps, sweeps, restores /tmp. It is given descriptors, never a byte of a job: it closes
 * its copies as soon as the execution has its own. Signals come as a descriptor. Its privilege is
 * CAP_SYS_ADMIN in the cell's own user namespace, for /tmp. It ends when its worker is gone, and
 * the kernel ends with it whatever runs in its PID namespace.
 */
#include "runner/warden.h"

#include "runner/execution.h"
#include "runner/python.h"
#include "sandbox/identity.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"
#include "sandbox/tree.h"
#include "sandbox/warden_call.h"
#include "sandbox/work_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where a warden keeps its own descriptors; the rest below is its log. */
enum {
	WARDEN_FD_CONTROL = 3,
	WARDEN_FD_PROC = 4, /* builder only */
};

struct warden {
	const struct warden_setup *setup;
	const struct template_request *request;
	const int *groups; /* builder only: the files by which it joins the control groups */
	size_t group_count;
	struct tree_tmp tmp;
	int work; /* without mounts: the directory in place of /tmp */
	uint32_t execution_id; /* ids that executions take; 0: the warden's own */
	uint32_t layers; /* LAYER_BITs put in force so far */
	char work_path[ARRANGEMENT_PATH_BYTES + 16];
	int signals; /* signalfd of SIGCHLD */
	pid_t execution; /* 0: none */
	uint32_t execution_number;
};

static _Noreturn void fail(const char *step, int code)
{
	struct cell_report report = {.type = CELL_REPORT_FAILED, .code = code};

	snprintf(report.step, sizeof(report.step), "%s", step);
	message_send(WARDEN_FD_CONTROL, &report, sizeof(report), NULL, 0);
	_exit(1);
}

static bool has_layer(const struct warden *warden, enum layer layer)
{
	return LAYER_HAS(warden->setup->arrangement->layers, layer);
}

/*
 * Where executions have ids of their own, the warden may signal them and clear what they left only
 * in their name: by the effective id alone. The real and the saved one stay, bring it back, and
 * keep it out of their reach meanwhile (kill(2) looks at those two of its target).
 */
static void act_as_execution(const struct warden *warden, bool on)
{
	uint32_t id = on ? warden->execution_id : warden->request->uid;

	if (warden->execution_id && warden_call(SYS_setresuid, -1, id, -1, 0, 0) < 0)
		fail("identity", errno);
}

/* --- building ------------------------------------------------------------------------------ */

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
	else if (!uid && has_layer(warden, LAYER_USER))
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
	act_as_execution(warden, true);
	if (warden->execution_id)
		kill(-1, SIGKILL); /* there may be nobody, which is as good */
	act_as_execution(warden, false);
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
	act_as_execution(warden, true);
	/* a script may have left it without any right; nobody else can have put a link there */
	if (chmod(warden->work_path, 0700) == 0)
		warden->work = open(warden->work_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = warden->work < 0 ? err_set(err, errno, "open %s", warden->work_path)
			     : work_dir_clear(warden->work, err);
	act_as_execution(warden, false);
	return r;
}

/* Some place to write, for scripts: a /tmp of the cell's own, or what stands in for it. */
static int make_room(struct warden *warden, struct err *err)
{
	if (has_layer(warden, LAYER_MOUNT)) {
		warden->layers |= LAYER_BIT(LAYER_MOUNT);
		return mount_tmp(warden, err);
	}
	python_set_directory(warden->work_path);
	return open_work(warden, err);
}

static int confine_to_tree(struct warden *warden, struct err *err)
{
	const struct landlock_rule own = {.path = warden->work_path, .writable = true};

	return tree_landlock(python_name(), &own, 1, err);
}

/* Orphans of a script come to process 1 of its namespace; without one they are asked to. */
static int adopt_orphans(struct warden *warden, struct err *err)
{
	if (!has_layer(warden, LAYER_PID) && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
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
	uint64_t keep = has_layer(warden, LAYER_MOUNT) ? CAPABILITY(CAP_SYS_ADMIN) : 0;

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
			fail(steps[i].name, err.code);
		warden->layers |= steps[i].layers & planned;
	}
}

/* --- serving ------------------------------------------------------------------------------- */

static void report_exit(const struct warden *warden, int status, const struct rusage *usage)
{
	struct cell_report report = {.type = CELL_REPORT_EXITED,
		.execution = warden->execution_number,
		.status = status,
		.peak_kib = (uint64_t)usage->ru_maxrss};

	report.cpu_us = (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000u +
			(uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
	message_send(WARDEN_FD_CONTROL, &report, sizeof(report), NULL, 0);
}

/* Reaps whoever has ended, orphans included. */
static void handle_signals(struct warden *warden)
{
	struct signalfd_siginfo info;
	struct rusage usage;
	int status;
	pid_t pid;

	while (read(warden->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
		if (pid == warden->execution) {
			report_exit(warden, status, &usage);
			warden->execution = 0;
		}
	}
}

/*
 * All of the cell: of its PID namespace, or of its executions' id. Where neither is the cell's own
 * a script cannot fork (single-id.policy): there is nobody but the execution.
 */
static void kill_all(const struct warden *warden)
{
	if (warden->setup->exposed.count)
		return;
	act_as_execution(warden, true);
	kill(-1, SIGKILL);
	act_as_execution(warden, false);
}

static void signal_execution(const struct warden *warden, int signal)
{
	act_as_execution(warden, true);
	kill(warden->execution, signal);
	act_as_execution(warden, false);
}

static void end_execution(struct warden *warden)
{
	pid_t pid = warden->execution;

	if (!pid)
		return;
	signal_execution(warden, SIGKILL);
	warden->execution = 0; /* its end is ordered: nobody asks how it came */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/*
 * Ends all that runs in the cell. Whoever the execution leaves behind becomes a child of the
 * warden; kill(-1) looks at every process of the machine, so it is called when there is somebody,
 * and until there is nobody who might have forked meanwhile.
 */
static void sweep(struct warden *warden)
{
	pid_t pid;

	end_execution(warden);
	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 || errno == EINTR) {
		if (pid == 0) {
			kill_all(warden);
			waitpid(-1, NULL, 0);
		}
	}
	if (errno != ECHILD)
		fail("sweep", errno);
}

static void restore_tmp(struct warden *warden)
{
	struct err err = {0};

	if (!has_layer(warden, LAYER_MOUNT)) {
		act_as_execution(warden, true);
		if (work_dir_clear(warden->work, &err) < 0)
			fail("clear the directory", err.code);
		act_as_execution(warden, false);
		return;
	}
	if (tree_tmp_untouched(&warden->tmp))
		return;
	if (tree_tmp_replace(&warden->tmp, &err) < 0)
		fail("restore /tmp", err.code);
}

/* A directory in place of /tmp lies on a disk, and is no memory. */
static void report_tmp(const struct warden *warden, uint32_t execution)
{
	struct cell_report report = {.type = CELL_REPORT_WEIGHED, .execution = execution};

	if (has_layer(warden, LAYER_MOUNT))
		report.tmp_bytes = tree_tmp_used_bytes(&warden->tmp);
	message_send(WARDEN_FD_CONTROL, &report, sizeof(report), NULL, 0);
}

static void fork_execution(struct warden *warden, uint32_t number, const int fds[3])
{
	struct execution_setup setup = {.channel = fds[0],
		.output = fds[1],
		.error = fds[2],
		.closing = &warden->setup->closing,
		.exposed = warden->setup->exposed.count ? &warden->setup->exposed : NULL,
		.arrangement = warden->setup->arrangement,
		.own_id = warden->execution_id,
		.layers = warden->layers,
		.data_bytes = warden->setup->data_bytes,
		.address_bytes = warden->setup->address_bytes,
		.limits = {.processes = warden->request->processes,
			.open_files = warden->request->open_files,
			.file_mib = warden->request->file_mib,
			.stack_mib = warden->request->stack_mib},
		.hot = &warden->setup->hot};
	pid_t pid;

	if (has_layer(warden, LAYER_MOUNT))
		tree_tmp_settle(&warden->tmp);
	pid = fork();
	if (pid < 0)
		fail("fork", errno);
	if (!pid)
		execution_main(&setup);
	warden->execution = pid;
	warden->execution_number = number;
}

static void obey(struct warden *warden, const struct cell_order *order, const int *fds, size_t count)
{
	switch ((enum cell_order_type)order->type) {
	case CELL_ORDER_FORK:
		if (count != 3)
			fail("order", EPROTO);
		sweep(warden);
		restore_tmp(warden);
		fork_execution(warden, order->execution, fds);
		return;
	case CELL_ORDER_WEIGH:
		report_tmp(warden, order->execution);
		return;
	case CELL_ORDER_TRACE:
		if (warden->execution && order->execution == warden->execution_number)
			signal_execution(warden, CELL_TRACE_SIGNAL);
		return;
	default:
		fail("order", EPROTO);
	}
}

static void handle_order(struct warden *warden)
{
	struct cell_order order;
	int fds[MESSAGE_FDS_MAX];
	size_t count = MESSAGE_FDS_MAX, i;
	int r = message_receive(WARDEN_FD_CONTROL, &order, sizeof(order), fds, &count);

	if (r == 0) {
		/* the worker is gone: so is the cell, which ends with its PID namespace */
		if (!has_layer(warden, LAYER_PID))
			sweep(warden);
		_exit(0);
	}
	if (r < 0)
		fail("receive", -r);
	obey(warden, &order, fds, count);
	for (i = 0; i < count; i++)
		close(fds[i]);
}

static _Noreturn void warden_main(struct warden *warden)
{
	struct pollfd watched[2];

	run_steps(warden, warden_steps, sizeof(warden_steps) / sizeof(warden_steps[0]));
	python_before_fork();
	watched[0] = (struct pollfd){.fd = warden->signals, .events = POLLIN};
	watched[1] = (struct pollfd){.fd = WARDEN_FD_CONTROL, .events = POLLIN};
	for (;;) {
		if (poll(watched, 2, -1) < 0 && errno != EINTR)
			fail("poll", errno);
		if (watched[0].revents)
			handle_signals(warden);
		if (watched[1].revents)
			handle_order(warden);
	}
}

/* The worker gets to hold the warden by a pidfd: the one kill that ends a whole cell. */
static void introduce(const struct warden *warden, pid_t pid)
{
	struct cell_report report = {
		.type = CELL_REPORT_HELLO, .image_bytes = warden->setup->image_bytes};
	SCOPE_FD pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int r;

	if (pidfd < 0)
		fail("pidfd", errno);
	r = message_send(WARDEN_FD_CONTROL, &report, sizeof(report), &pidfd, 1);
	if (r < 0)
		_exit(1);
}

static _Noreturn void build(struct warden *warden, int control, int proc)
{
	pid_t pid;

	/* both are moved out of each other's way first: control may be any number */
	control = fcntl(control, F_DUPFD, 16);
	proc = fcntl(proc, F_DUPFD, 16);
	if (dup2(control, WARDEN_FD_CONTROL) < 0 || dup2(proc, WARDEN_FD_PROC) < 0)
		_exit(1);
	run_steps(warden, builder_steps, sizeof(builder_steps) / sizeof(builder_steps[0]));
	pid = fork();
	if (pid < 0)
		fail("fork", errno);
	if (!pid)
		warden_main(warden);
	introduce(warden, pid);
	_exit(0);
}

void warden_spawn(const struct warden_setup *setup, const struct template_request *request,
	const int *fds, size_t count)
{
	struct warden warden = {.setup = setup,
		.request = request,
		.groups = fds + 1,
		.group_count = count - 1,
		.signals = -1,
		.work = -1};
	struct cell_report report = {.type = CELL_REPORT_FAILED, .step = "fork"};
	pid_t pid = fork();

	if (!pid)
		build(&warden, fds[0], TEMPLATE_FD_PROC);
	if (pid < 0) {
		report.code = errno;
		message_send(fds[0], &report, sizeof(report), NULL, 0);
		return;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
