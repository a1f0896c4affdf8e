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
#include "fcgi-app/master.h"

#include "fcgi-app/overheard.h"
#include "fcgi-app/start.h"
#include "fcgi-app/template_trees.h"
#include "fcgi-app/tidings.h"
#include "sandbox/clock.h"
#include "sandbox/identity.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"
#include "sandbox/tree.h"
#include "sandbox/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

enum {
	WORKERS_MAX = 64,
	START_MAX_US = 120 * 1000 * 1000,
	END_MAX_US = 3 * 1000 * 1000, /* for the children to go, where the kernel does not end them */
	MAPPED_LEAST_BYTES = 256 * 1024, /* what malloc asks the kernel for by itself */
};

struct master {
	const struct master_setup *setup;
	struct start_base base;
	int signals;
	struct template_trees trees;
	struct child front, worker[WORKERS_MAX];
	bool up[WORKERS_MAX * WORKER_CELLS_MAX];
	uint32_t layers; /* LAYER_BITs in force in every cell that ever came up */
	size_t cells_up;
	bool any_layers, workers_started, front_ready, serving, draining;
	uint64_t drain_until_us;
	uint64_t checked_us; /* when pulses were felt last */
	struct tidings tidings;
	struct overheard overheard; /* from templates */
	int exit_code; /* -1: go on */
};

static size_t cell_count(const struct master *master)
{
	return master->setup->workers * master->setup->cells_per_worker;
}

static void end(struct master *master, int code)
{
	if (master->exit_code < 0)
		master->exit_code = code;
}

static void end_in_failure(struct master *master)
{
	end(master, master->setup->failure_code);
}

/* --- lanes --------------------------------------------------------------------------------- */

static void tell_front(struct master *master, const struct front_order *order, const int *fd)
{
	child_tell(&master->front, master->setup->front_name, order, sizeof(*order), fd);
}

/* A worker or front that is just dying fails to take its end; its successor gets another. */
static void connect_cell(struct master *master, size_t cell)
{
	size_t per_worker = master->setup->cells_per_worker;
	struct worker_order to_worker = {
		.type = WORKER_ORDER_LANE, .index = (uint32_t)(cell % per_worker)};
	struct front_order to_front = {.type = FRONT_ORDER_LANE, .cell = (uint32_t)cell};
	struct child *worker = &master->worker[cell / per_worker];
	int pair[2];

	if (worker->control < 0 || master->front.control < 0 || message_pair(SOCK_STREAM, pair) < 0)
		return;
	child_tell(worker, "a worker", &to_worker, sizeof(to_worker), &pair[0]);
	tell_front(master, &to_front, &pair[1]);
	close(pair[0]);
	close(pair[1]);
}

static void connect_cells(struct master *master, size_t first, size_t count)
{
	size_t i;

	for (i = first; i < first + count; i++)
		connect_cell(master, i);
}

/* --- starting ------------------------------------------------------------------------------ */

static int start_worker_with_lanes(struct master *master, size_t number)
{
	size_t per_worker = master->setup->cells_per_worker;
	int r = start_worker(&master->base, &master->worker[number], number,
		template_trees_requests(&master->trees, number));

	if (!r)
		connect_cells(master, number * per_worker, per_worker);
	return r;
}

static int start_front_with_lanes(struct master *master)
{
	int r = start_front(&master->base, &master->front);

	if (!r)
		connect_cells(master, 0, cell_count(master));
	return r;
}

/* --- children that die --------------------------------------------------------------------- */

static void note_death(struct master *master, enum front_role role, struct child *child,
	const char *name, int status)
{
	child_note_death(child, name, status, master->serving);
	tidings_count(&master->tidings, role);
	if (!master->serving)
		end_in_failure(master);
}

static void note_front_death(struct master *master, int status)
{
	if (master->draining || master->setup->front_is_all) {
		master->front.pid = 0;
		end(master,
			WIFEXITED(status) ? WEXITSTATUS(status) : master->setup->failure_code);
		return;
	}
	note_death(master, FRONT_ROLE_DISPATCHER, &master->front, master->setup->front_name,
		status);
}

static void reap(struct master *master)
{
	char name[32];
	int status;
	pid_t pid;
	size_t i;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (template_trees_reap(&master->trees, pid, status, master->serving)) {
			tidings_count(&master->tidings, FRONT_ROLE_TEMPLATE);
			if (!master->serving)
				end_in_failure(master);
		}
		if (pid == master->front.pid)
			note_front_death(master, status);
		for (i = 0; i < master->setup->workers; i++) {
			if (pid != master->worker[i].pid)
				continue;
			snprintf(name, sizeof(name), "worker %zu", i);
			note_death(master, FRONT_ROLE_WORKER, &master->worker[i], name, status);
		}
		/* anybody else: wardens, whose builder has gone, and their like */
	}
}

static void restart_due(struct master *master)
{
	uint64_t now = clock_now_us();
	size_t i;

	if (child_is_due(&master->front, now))
		child_note_attempt(&master->front, start_front_with_lanes(master),
			master->setup->front_name);
	for (i = 0; i < master->setup->workers; i++) {
		if (child_is_due(&master->worker[i], now))
			child_note_attempt(&master->worker[i],
				start_worker_with_lanes(master, i), "a worker");
	}
}

/* --- reports ------------------------------------------------------------------------------- */

static void start_workers(struct master *master)
{
	char text[96];
	int r = 0;
	size_t i;

	master->workers_started = true;
	for (i = 0; !r && i < master->setup->workers; i++)
		r = start_worker_with_lanes(master, i);
	if (!r)
		r = start_front_with_lanes(master);
	if (r < 0) {
		log_error("master", "start workers and %s: %s", master->setup->front_name,
			strerror(-r));
		end_in_failure(master);
		return;
	}
	snprintf(text, sizeof(text), "%zu workers with %zu cells each started",
		master->setup->workers, master->setup->cells_per_worker);
	start_tell(&master->base, text);
	start_tell(&master->base, master->setup->cgroup.text);
}

static void handle_templates(struct master *master, const struct pollfd *watched)
{
	template_trees_handle(&master->trees, watched);
	if (!master->workers_started && template_trees_are_warm(&master->trees))
		start_workers(master);
}

static void begin_serving(struct master *master)
{
	char layers[160], text[192];

	if (master->serving || !master->front_ready || master->cells_up < cell_count(master))
		return;
	layers_print(master->layers, layers, sizeof(layers));
	snprintf(text, sizeof(text), "layers in force: %s", layers);
	start_tell(&master->base, text);
	start_tell(&master->base, "all cells stand: serving");
	master->serving = true;
	if (master->setup->ready >= 0 && write(master->setup->ready, "\n", 1) == 1)
		close(master->setup->ready);
}

static void tell_layers(struct master *master)
{
	const struct front_order order = {.type = FRONT_ORDER_LAYERS, .layers = master->layers};

	tell_front(master, &order, NULL);
}

/* What one cell lacks, the service lacks. */
static void note_layers(struct master *master, uint32_t layers)
{
	uint32_t before = master->layers;

	layers |= master->setup->arrangement.layers & LAYER_BIT(LAYER_PROCFS);
	master->layers = master->any_layers ? before & layers : layers;
	master->any_layers = true;
	if (master->layers != before)
		tell_layers(master);
}

static void handle_worker(struct master *master, size_t number)
{
	struct worker_report report;
	struct child *worker = &master->worker[number];

	if (!child_hear(worker, "a worker", &report, sizeof(report)))
		return;
	if (report.type == WORKER_REPORT_ALIVE)
		return;
	if (report.type != WORKER_REPORT_CELL || report.cell >= cell_count(master)) {
		child_put_down(worker, "a worker", "sent what is no report");
		return;
	}
	report.text[sizeof(report.text) - 1] = '\0';
	master->cells_up += (size_t)(report.is_up != 0) - (size_t)master->up[report.cell];
	master->up[report.cell] = report.is_up != 0;
	if (report.is_up) {
		log_debug("master", "cell %u stands", report.cell);
		note_layers(master, report.layers);
	}
	if (!report.is_up && !master->draining) {
		log_warning("master", "cell %u is down: %s", report.cell, report.text);
		tidings_count(&master->tidings, FRONT_ROLE_CELL);
	}
	if (!report.is_up && !master->serving) {
		log_error("master", "a cell cannot be built: the service does not start");
		end_in_failure(master);
	}
	begin_serving(master);
}

static void handle_front(struct master *master)
{
	struct front_report report;

	if (!child_hear(&master->front, master->setup->front_name, &report, sizeof(report)))
		return;
	if (report.type == FRONT_REPORT_READY) {
		master->front_ready = true;
		tell_layers(master);
		master->tidings.told_us = 0; /* not by this one */
	}
	begin_serving(master);
}

/* For GET /metrics; a front that is not the dispatcher has none. */
static void tell_tidings(struct master *master, uint64_t now)
{
	struct front_order order = {.type = FRONT_ORDER_TIDINGS};

	if (!master->front_ready || master->setup->front_is_all ||
		!tidings_are_due(&master->tidings, now))
		return;
	tidings_look(&master->tidings, master->base.proc, &master->front, master->worker,
		master->setup->workers, &master->setup->cgroup, now);
	order.tidings = master->tidings.now;
	tell_front(master, &order, NULL);
}

/* --- keys ---------------------------------------------------------------------------------- */

static void handle_keys(struct master *master)
{
	struct key_source *keys = &master->base.keys;
	struct front_order order = {.type = FRONT_ORDER_KEYS};
	struct err err = {0};
	int r = key_source_hear(keys, &err);

	if (r < 0) {
		log_error("master", "%s: the keys stay as they were", err.text);
		return;
	}
	order.keys = keys->count;
	tell_front(master, &order, &keys->table);
	log_info("master", "the key file was read again: %u keys", keys->count);
}

/* What a file says, not what a request says: the one thing that is reread while the service runs. */
static void reload(struct master *master)
{
	int r = master->base.keys.reader < 0 ? 0 : key_source_refresh(&master->base.keys);

	if (r < 0)
		log_error("master", "have the key file read: %s", strerror(-r));
}

/* --- children that are wedged -------------------------------------------------------------- */

static void forgive(struct master *master)
{
	size_t i;

	master->front.asked_us = 0;
	for (i = 0; i < master->setup->workers; i++)
		master->worker[i].asked_us = 0;
}

static void check_pulses(struct master *master)
{
	const struct front_order to_front = {.type = FRONT_ORDER_PING};
	const struct worker_order to_worker = {.type = WORKER_ORDER_PING};
	uint64_t now = clock_now_us(), since_us = now - master->checked_us;
	char name[32];
	size_t i;

	master->checked_us = now;
	if (!master->serving)
		return;
	if (since_us > master->setup->config->wedged_after_ms * UINT64_C(1000) / 2) {
		forgive(master); /* we were stopped ourselves, and they perhaps with us */
		return;
	}
	if (!master->setup->front_is_all)
		child_check_pulse(&master->front, master->setup->front_name, &to_front,
			sizeof(to_front));
	for (i = 0; i < master->setup->workers; i++) {
		snprintf(name, sizeof(name), "worker %zu", i);
		child_check_pulse(&master->worker[i], name, &to_worker, sizeof(to_worker));
	}
}

/* --- the loop ------------------------------------------------------------------------------ */

static void drain(struct master *master)
{
	const struct front_order order = {.type = FRONT_ORDER_DRAIN};

	if (!master->serving || master->draining || !master->front.pid) {
		end(master, 0); /* nothing to wait for, or asked for the second time */
		return;
	}
	master->draining = true;
	master->drain_until_us =
		clock_now_us() + master->setup->config->drain_timeout_ms * UINT64_C(1000);
	tell_front(master, &order, NULL);
}

static void handle_signals(struct master *master)
{
	struct signalfd_siginfo info;

	while (read(master->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(master);
		else if (info.ssi_signo == SIGTERM)
			drain(master);
		else if (info.ssi_signo == SIGINT)
			end(master, 0);
		else if (info.ssi_signo == SIGHUP)
			reload(master);
	}
}

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
		end_in_failure(master);
	}
	if (master->draining && now >= master->drain_until_us)
		end(master, 0);
	check_pulses(master);
	template_trees_check_time(&master->trees, now, may_replace_templates(master));
	restart_due(master);
	tell_tidings(master, now);
}

static void turn(struct master *master)
{
	struct pollfd watched[4 + TEMPLATE_TREES_WATCHED + WORKERS_MAX], *templates = watched + 3,
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
	handle_templates(master, templates);
	for (i = 0; i < master->setup->workers; i++) {
		if (workers[i].revents)
			handle_worker(master, i);
	}
	if (watched[1].revents)
		handle_front(master);
	if (watched[2].revents)
		handle_keys(master);
	if (watched[0].revents)
		handle_signals(master);
	check_time(master);
}

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
	for (i = 0; i < WORKERS_MAX; i++) {
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
