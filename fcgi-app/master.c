/*
 * The master's theory: it is process 1 of the service's PID namespace, so nothing of the service
 * can outlive it. It never sees a request. It holds one control socket to each role; a role that
 * finds its socket at an end exits. Who dies, what happens:
 *
 *   template    its tree is started again; the tree's workers get the new request sockets; cells
 *               that stand go on, and so do the other trees
 *   worker      its wardens read end of file and exit, the kernel ends what ran in them; started
 *               again; its cells get new lanes at both ends
 *   dispatcher  workers end what ran for it; started again; every cell gets a new lane
 *   warden      its worker sees it and asks for another; the request, if any, gets "internal"
 *   execution   a verdict
 *   launcher    the master is killed by its parent-death signal
 *   key reader  the keys stay as they are, and the log says so
 *   nginx       whoever started it says so
 *
 * A dispatcher or worker that leaves a ping unanswered for too long, or sends what is no report, is
 * killed; then its row holds.
 */
#include "fcgi-app/master_parts.h"

#include "sandbox/clock.h"
#include "sandbox/identity.h"
#include "sandbox/log.h"
#include "sandbox/scope.h"
#include "sandbox/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

enum {
	START_MAX_US = 120 * 1000 * 1000,
	END_MAX_US = 3 * 1000 * 1000, /* for the children to go, where the kernel does not end them */
	MAPPED_LEAST_BYTES = 256 * 1024, /* what malloc asks the kernel for by itself */
};

size_t master_cell_count(const struct master *master)
{
	return master->setup->workers * master->setup->cells_per_worker;
}

void master_end(struct master *master, int code)
{
	if (master->exit_code < 0)
		master->exit_code = code;
}

void master_end_in_failure(struct master *master)
{
	master_end(master, master->setup->failure_code);
}

void master_tell_front(struct master *master, const struct front_order *order, const int *fd)
{
	child_tell(&master->front, master->setup->front_name, order, sizeof(*order), fd);
}

/* --- signals ------------------------------------------------------------------------------- */

/* What a file says, not what a request says: the one thing that is reread while the service runs. */
static void reload(struct master *master)
{
	int r = master->base.keys.reader < 0 ? 0 : key_source_refresh(&master->base.keys);

	if (r < 0)
		log_error("master", "have the key file read: %s", strerror(-r));
}

static void drain(struct master *master)
{
	const struct front_order order = {.type = FRONT_ORDER_DRAIN};

	if (!master->serving || master->draining || !master->front.pid) {
		master_end(master, 0); /* nothing to wait for, or asked for the second time */
		return;
	}
	master->draining = true;
	master->drain_until_us =
		clock_now_us() + master->setup->config->drain_timeout_ms * UINT64_C(1000);
	master_tell_front(master, &order, NULL);
}

static void handle_signals(struct master *master)
{
	struct signalfd_siginfo info;

	while (read(master->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			master_children_reap(master);
		else if (info.ssi_signo == SIGTERM)
			drain(master);
		else if (info.ssi_signo == SIGINT)
			master_end(master, 0);
		else if (info.ssi_signo == SIGHUP)
			reload(master);
	}
}

/* --- time ---------------------------------------------------------------------------------- */

static void consider(uint64_t *first, uint64_t time)
{
	if (time && time < *first)
		*first = time;
}

/* Not while the service starts or stops, and not for one job. */
static bool may_replace_templates(const struct master *master)
{
	return master->serving && !master->draining && !master->setup->front_is_all;
}

static int next_timeout(const struct master *master)
{
	uint64_t now = clock_now_us(), first = now + 60 * UINT64_C(1000000);
	uint64_t patience_us = master->setup->config->wedged_after_ms * UINT64_C(1000);
	size_t i;

	if (!master->serving)
		consider(&first, master->base.begun_us + START_MAX_US);
	else
		consider(&first, now + patience_us / CHILD_PINGS);
	consider(&first, master->drain_until_us);
	consider(&first, template_trees_next_time(&master->trees, may_replace_templates(master)));
	consider(&first, master->front.retry_us);
	for (i = 0; i < master->setup->workers; i++)
		consider(&first, master->worker[i].retry_us);
	return first <= now ? 0 : (int)((first - now + 999) / 1000);
}

static void check_time(struct master *master)
{
	uint64_t now = clock_now_us();

	if (!master->serving && now >= master->base.begun_us + START_MAX_US) {
		log_error("master", "not ready after %d s: the service does not start",
			START_MAX_US / 1000000);
		master_end_in_failure(master);
	}
	if (master->draining && now >= master->drain_until_us)
		master_end(master, 0);
	master_children_check_pulses(master);
	template_trees_check_time(&master->trees, now, may_replace_templates(master));
	master_children_restart_due(master);
	master_reports_pass_tidings(master, now);
}

/* --- the loop ------------------------------------------------------------------------------ */

static void turn(struct master *master)
{
	struct pollfd watched[4 + TEMPLATE_TREES_WATCHED + MASTER_WORKERS_MAX], *templates = watched + 3,
									*workers;
	size_t i;

	watched[0] = (struct pollfd){.fd = master->signals, .events = POLLIN};
	watched[1] = (struct pollfd){.fd = master->front.control, .events = POLLIN};
	watched[2] = (struct pollfd){.fd = master->base.keys.reader, .events = POLLIN};
	workers = templates + template_trees_watch(&master->trees, templates);
	for (i = 0; i < master->setup->workers; i++)
		workers[i] = (struct pollfd){.fd = master->worker[i].control, .events = POLLIN};
	workers[i] = (struct pollfd){.fd = master->overheard.reader, .events = POLLIN};
	if (poll(watched, (nfds_t)(workers - watched) + i + 1, next_timeout(master)) < 0)
		return;
	overheard_handle(&master->overheard, "template"); /* last words come before a death */
	master_reports_handle_templates(master, templates);
	for (i = 0; i < master->setup->workers; i++) {
		if (workers[i].revents)
			master_reports_handle_worker(master, i);
	}
	if (watched[1].revents)
		master_reports_handle_front(master);
	if (watched[2].revents)
		master_reports_handle_keys(master);
	if (watched[0].revents)
		handle_signals(master);
	check_time(master);
}

/* --- begin and end ------------------------------------------------------------------------- */

/* The procfs of the service's own PID namespace; without that, the one that is there. */
static int open_proc(struct start_base *base, struct err *err)
{
	if (!LAYER_HAS(base->setup->arrangement.layers, LAYER_PROCFS)) {
		base->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
		return base->proc < 0 ? err_set(err, errno, "open /proc") : 0;
	}
	base->proc = tree_mount_proc(err);
	if (base->proc < 0)
		return base->proc;
	base->own_pid_namespace = openat(base->proc, "self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (base->own_pid_namespace < 0)
		return err_set(err, errno, "open one's own PID namespace");
	return 0;
}

/* What a master that is not process 1, or is root outside of a user namespace, does about that. */
static int settle(struct master *master, struct err *err)
{
	const struct arrangement *arrangement = &master->setup->arrangement;
	uint64_t keep = CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_SETGID) | CAPABILITY(CAP_SETPCAP) |
			CAPABILITY(CAP_KILL);
	int r = open_proc(&master->base, err);

	if (!r && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		r = err_set(err, errno, "become the reaper of orphans");
	if (!r && !LAYER_HAS(arrangement->layers, LAYER_USER))
		r = identity_keep_capabilities(arrangement->ranged ? keep : 0, err);
	return r;
}

static int begin(struct master *master, struct err *err)
{
	sigset_t all;
	size_t i;

	/* Inherited by dispatcher and workers: what is larger goes back to the kernel when it is
	 * freed. Else malloc raises its threshold, and every thread keeps its largest answer. A
	 * malloc that knows no threshold, as a sanitizer's, is no reason not to serve. */
	(void)mallopt(M_MMAP_THRESHOLD, MAPPED_LEAST_BYTES);
	master->base.setup = master->setup;
	master->base.begun_us = clock_now_us();
	master->base.keys = master->setup->keys;
	master->base.proc = master->base.own_pid_namespace = -1;
	master->exit_code = -1;
	template_trees_init(&master->trees, &master->base, master->worker);
	child_init(&master->front);
	master->front.patience_ms = master->setup->config->wedged_after_ms;
	for (i = 0; i < MASTER_WORKERS_MAX; i++) {
		child_init(&master->worker[i]);
		master->worker[i].patience_ms = master->setup->config->wedged_after_ms;
	}
	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
		return err_set(err, errno, "block signals");
	master->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (master->signals < 0)
		return err_set(err, errno, "make a signalfd");
	if (overheard_open(&master->overheard, err) < 0)
		return -err->code;
	master->base.template_stderr = master->overheard.writer;
	return settle(master, err);
}

/*
 * With a PID namespace around the service the kernel ends what is left. Without, workers that lose
 * their socket go, their wardens sweep and go, and all of them become our children to be reaped.
 */
static void end_children(struct master *master)
{
	uint64_t until_us = clock_now_us() + END_MAX_US;
	const struct timespec pause = {.tv_nsec = 2000000};
	size_t i;

	child_let_go(&master->front);
	template_trees_let_go(&master->trees);
	for (i = 0; i < master->setup->workers; i++)
		fd_close(&master->worker[i].control);
	while (waitpid(-1, NULL, WNOHANG) >= 0 && clock_now_us() < until_us)
		nanosleep(&pause, NULL);
}

int master_main(const struct master_setup *setup)
{
	SCOPE_FREE struct master *master = calloc(1, sizeof(*master));
	struct err err = {0};
	int r;

	if (!master)
		return setup->failure_code;
	master->setup = setup;
	r = begin(master, &err);
	if (!r) {
		r = template_trees_start(&master->trees);
		if (r < 0)
			err_set(&err, -r, "start the templates");
	}
	if (r < 0) {
		log_error("master", "%s", err.text);
		return setup->failure_code;
	}
	while (master->exit_code < 0)
		turn(master);
	if (!LAYER_HAS(setup->arrangement.layers, LAYER_PROCFS))
		end_children(master);
	if (master->draining && !setup->quiet)
		log_info("master", "drained");
	return master->exit_code;
}
