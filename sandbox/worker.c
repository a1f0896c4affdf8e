/*
 * The worker's theory: it stands between a dispatcher, which may have been taken over, and
 * executions, which are hostile. It holds for each of its cells a lane to the dispatcher, the
 * control socket and a pidfd of the warden, and the channel and two pipes of the execution; it
 * never blocks on one of them. Its privilege is CAP_KILL inside the service's user namespace, for
 * those pidfds; it sees an empty root, no network, and a procfs of the service's own processes.
 */
#include "sandbox/worker.h"

#include "sandbox/cell.h"
#include "sandbox/clock.h"
#include "sandbox/identity.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/role.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
	EVENTS_MAX = 64,
	BASE_BYTES = 64 << 20,
	/* job and answer with their copies while they grow, a value, two streams */
	CELL_BYTES = 192 << 20,
	BASE_FILES = 64,
	CELL_FILES = 32, /* five sources and their peers' ends, pidfd, status file */
};

struct worker {
	const struct worker_setup *setup;
	struct cell_environment environment;
	int requests[WORKER_SETS_MAX];
	struct cell cells[WORKER_CELLS_MAX];
	bool was_up[WORKER_CELLS_MAX];
	unsigned told_failures[WORKER_CELLS_MAX];
	struct cell_source master; /* told apart by having no cell */
};

#define FOR_EACH_CELL(worker, i) for (i = 0; i < (worker)->setup->cells; i++)

/* An ordinary user's processes are all one's own: there is neither a need for it, nor it. */
static uint64_t kill_right(const struct arrangement *arrangement)
{
	bool has_it = arrangement->ranged || LAYER_HAS(arrangement->layers, LAYER_USER);

	return has_it ? CAPABILITY(CAP_KILL) : 0;
}

static int confine(const struct worker_setup *setup, struct err *err)
{
	bool has_root = LAYER_HAS(setup->arrangement->layers, LAYER_MOUNT);
	sigset_t all;
	int r;

	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
		return err_set(err, errno, "block signals");
	r = arrangement_unshare(setup->arrangement,
		CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS, err);
	if (!r && has_root)
		r = arrangement_hide_files(setup->arrangement, setup->proc, err);
	if (!r)
		r = identity_become(arrangement_id(setup->arrangement,
					    IDENTITY_WORKER_FIRST + setup->number),
			kill_right(setup->arrangement), err);
	if (!r && !has_root) /* with Landlock the order is the other way round */
		r = arrangement_hide_files(setup->arrangement, setup->proc, err);
	if (!r && prctl(PR_SET_DUMPABLE, 0) < 0)
		r = err_set(err, errno, "become undumpable");
	/* a change of credentials has cleared it */
	if (!r && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		r = err_set(err, errno, "ask to die with the master");
	if (!r)
		r = role_limit(BASE_BYTES + setup->cells * CELL_BYTES,
			BASE_FILES + setup->cells * CELL_FILES, err);
	if (!r)
		r = role_filter(setup->policy, err);
	close(setup->policy);
	return r;
}

static int watch_master(struct worker *worker, struct err *err)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = &worker->master}};

	worker->environment.epoll = epoll_create1(EPOLL_CLOEXEC);
	worker->master = (struct cell_source){.fd = worker->setup->control};
	if (worker->environment.epoll < 0 ||
		epoll_ctl(worker->environment.epoll, EPOLL_CTL_ADD, worker->master.fd, &event) < 0)
		return err_set(err, errno, "watch the master");
	return 0;
}

static void init_cells(struct worker *worker)
{
	const struct worker_setup *setup = worker->setup;
	size_t i;

	memcpy(worker->requests, setup->requests, sizeof(worker->requests));
	worker->environment.proc = setup->proc;
	worker->environment.requests = worker->requests;
	worker->environment.set_names = setup->set_names;
	worker->environment.set_parents = setup->set_parents;
	worker->environment.sets = setup->sets;
	worker->environment.limits = setup->limits;
	worker->environment.arrangement = setup->arrangement;
	worker->environment.max_executions = setup->max_executions;
	worker->environment.max_age_s = setup->max_age_s;
	FOR_EACH_CELL(worker, i)
		cell_init(&worker->cells[i], &worker->environment, setup->first_cell + (uint32_t)i,
			setup->cell_sets[i]);
}

static int answer_ping(const struct worker *worker)
{
	const struct worker_report report = {.type = WORKER_REPORT_ALIVE};

	return message_send(worker->master.fd, &report, sizeof(report), NULL, 0);
}

/* Returns 0, or a negative errno when the master is gone. */
static int handle_master(struct worker *worker)
{
	struct worker_order order;
	SCOPE_FD fd = -1;
	size_t count = 1;
	int r = message_receive(worker->master.fd, &order, sizeof(order), &fd, &count);

	if (r == 0)
		return -EPIPE;
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	if (order.type == WORKER_ORDER_LANE && fd >= 0 && order.index < worker->setup->cells) {
		cell_set_lane(&worker->cells[order.index], fd_take(&fd));
		return 0;
	}
	if (order.type == WORKER_ORDER_TEMPLATE && fd >= 0 && order.index < worker->setup->sets) {
		fd_close(&worker->requests[order.index]);
		worker->requests[order.index] = fd_take(&fd);
		return 0;
	}
	return order.type == WORKER_ORDER_PING ? answer_ping(worker) : -EPROTO;
}

/* Tells the master of cells that came up or failed again. A full socket waits for the next turn. */
static void report_changes(struct worker *worker)
{
	struct worker_report report;
	struct cell *cell;
	size_t i;

	FOR_EACH_CELL(worker, i) {
		cell = &worker->cells[i];
		if (cell->is_up == worker->was_up[i] && cell->failures == worker->told_failures[i])
			continue;
		report = (struct worker_report){.type = WORKER_REPORT_CELL,
			.cell = cell->number, .is_up = cell->is_up,
			.layers = cell->layers};
		snprintf(report.text, sizeof(report.text), "%s", cell->is_up ? "" : cell->trouble);
		if (message_send(worker->master.fd, &report, sizeof(report), NULL, 0) < 0)
			return;
		worker->was_up[i] = cell->is_up;
		worker->told_failures[i] = cell->failures;
	}
}

/* Milliseconds until the next deadline, rounded up; -1: none. */
static int next_timeout(const struct worker *worker)
{
	uint64_t now = clock_now_us(), first = UINT64_MAX, wait;
	size_t i;

	FOR_EACH_CELL(worker, i) {
		if (worker->cells[i].deadline_us && worker->cells[i].deadline_us < first)
			first = worker->cells[i].deadline_us;
	}
	if (first == UINT64_MAX)
		return -1;
	wait = first > now ? (first - now + 999) / 1000 : 0;
	return wait > 60000 ? 60000 : (int)wait;
}

static void check_deadlines(struct worker *worker)
{
	uint64_t now = clock_now_us();
	size_t i;

	FOR_EACH_CELL(worker, i)
		cell_check_deadline(&worker->cells[i], now);
}

static int serve(struct worker *worker)
{
	struct epoll_event events[EVENTS_MAX];
	struct cell_source *source;
	int count, i, r = 0;

	for (;;) {
		count = epoll_wait(worker->environment.epoll, events, EVENTS_MAX,
			next_timeout(worker));
		if (count < 0 && errno != EINTR)
			return -errno;
		for (i = 0; i < count && !r; i++) {
			source = events[i].data.ptr;
			if (source->cell)
				cell_handle(source->cell, source->kind, events[i].events);
			else
				r = handle_master(worker);
		}
		if (r < 0)
			return r;
		check_deadlines(worker);
		report_changes(worker);
	}
}

int worker_main(const struct worker_setup *setup)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	struct err err = {0};
	int r = worker ? confine(setup, &err) : err_set(&err, ENOMEM, "begin");

	if (!r) {
		worker->setup = setup;
		init_cells(worker);
		r = watch_master(worker, &err);
	}
	if (r < 0) {
		log_line("worker", "%u: %s", setup->number, err.text);
		return 1;
	}
	r = serve(worker);
	if (r != -EPIPE)
		log_line("worker", "%u: %s", setup->number, strerror(-r));
	return r == -EPIPE ? 0 : 1;
}
