/*
 * The worker's theory: it stands between a dispatcher, which may have been taken over, and
 * executions, which are hostile. It holds for each of its cells a lane to the dispatcher, the
 * control socket and a pidfd of the warden, and the channel and two pipes of the execution; it
 * never blocks on one of them. Its privilege is CAP_KILL inside the service's user namespace, for
 * those pidfds; it sees an empty root, no network, and a procfs of the service's own processes.
 * Of control groups it holds the open files of its own cells, and no right to any others.
 */
#include "sandbox/worker.h"

#include "sandbox/cell.h"
#include "sandbox/clock.h"
#include "sandbox/identity.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/refusal.h"
#include "sandbox/role.h"
#include "sandbox/scale.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
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
	/* job and answer with their copies while they grow, a value, two streams, files and figures */
	CELL_BYTES = 256 << 20,
	BASE_FILES = 64,
	CELL_FILES = 40 + CGROUP_FILES, /* six sources and their peers' ends, pidfd, status file */
};

struct worker {
	const struct worker_setup *setup;
	struct cell_environment environment;
	int requests[WORKER_SETS_MAX];
	struct cell cells[WORKER_CELLS_MAX];
	bool was_up[WORKER_CELLS_MAX];
	unsigned told_failures[WORKER_CELLS_MAX];
	struct cell_turns turns;
	bool renewing; /* some cells may still be those of a template that was replaced */
	struct cell_source master, scale; /* told apart by having no cell */
};

#define FOR_EACH_CELL(worker, i) for ((i) = 0; (i) < (worker)->setup->cells; (i)++)

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

static int watch(struct worker *worker, struct cell_source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = source}};

	return source->fd < 0 ? 0
			      : epoll_ctl(worker->environment.epoll, EPOLL_CTL_ADD, source->fd,
					&event);
}

static int watch_others(struct worker *worker, struct err *err)
{
	worker->environment.epoll = epoll_create1(EPOLL_CLOEXEC);
	worker->master = (struct cell_source){.fd = worker->setup->control};
	worker->scale = (struct cell_source){.fd = worker->environment.scale};
	if (worker->environment.epoll < 0 || watch(worker, &worker->master) < 0 ||
		watch(worker, &worker->scale) < 0)
		return err_set(err, errno, "watch the master");
	return 0;
}

/* Only where the kernel does not do it, and before the right to make such a process is gone. */
static int start_scale(struct worker *worker, struct err *err)
{
	const struct worker_setup *setup = worker->setup;
	int r;

	worker->environment.scale = -1;
	/* without the user namespace over the cells nobody has the right to look into them */
	if (setup->cgroup->memory || !LAYER_HAS(setup->arrangement->layers, LAYER_USER))
		return 0;
	r = scale_start(setup->proc, setup->arrangement, &worker->environment.scale, err);
	if (!r && fcntl(worker->environment.scale, F_SETFL, O_NONBLOCK) < 0)
		r = err_set(err, errno, "set up the scale");
	return r;
}

static void init_cells(struct worker *worker)
{
	const struct worker_setup *setup = worker->setup;
	struct cell *cell;
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
	worker->environment.turns = &worker->turns;
	worker->turns.most = setup->cells < 8 ? 1 : setup->cells / 4;
	FOR_EACH_CELL(worker, i) {
		cell = &worker->cells[i];
		cell_init(cell, &worker->environment, setup->first_cell + (uint32_t)i,
			setup->cell_sets[i]);
		cell->group.cgroup = setup->cgroup;
		cell->group.leaf = setup->cgroup->leaf ? &setup->cgroup->leaf[cell->number] : NULL;
	}
}

static void mark_cells(struct worker *worker)
{
	size_t i;

	FOR_EACH_CELL(worker, i)
		worker->cells[i].template_replaced = true;
	worker->renewing = true;
}

/* Each that stands again makes room for the next: no timer is needed. */
static void renew_cells(struct worker *worker)
{
	size_t i;

	if (!worker->renewing)
		return;
	worker->renewing = false;
	FOR_EACH_CELL(worker, i) {
		cell_ask_to_leave(&worker->cells[i]);
		worker->renewing |= worker->cells[i].template_replaced;
	}
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
	if (order.type == WORKER_ORDER_PING && fd < 0)
		return answer_ping(worker);
	if (order.type == WORKER_ORDER_RENEW && fd < 0) {
		mark_cells(worker);
		return 0;
	}
	return -EPROTO;
}

/* Returns 0, or a negative errno when the scale is gone: then nothing limits memory any more. */
static int handle_scale(struct worker *worker)
{
	struct scale_answer answer;
	size_t none = 0;
	int r = message_receive(worker->scale.fd, &answer, sizeof(answer), NULL, &none);

	if (r <= 0)
		return r == -EAGAIN ? 0 : -ECHILD;
	if (answer.cell - worker->setup->first_cell >= worker->setup->cells)
		return -EPROTO;
	cell_take_weight(&worker->cells[answer.cell - worker->setup->first_cell], &answer);
	return 0;
}

/* Tells the master of cells that came up or failed again. A full socket waits for the next turn. */
static void report_changes(struct worker *worker)
{
	struct worker_report report;
	struct cell *cell;
	size_t i;

	FOR_EACH_CELL(worker, i) {
		cell = &worker->cells[i];
		if (cell->was_refused) {
			log_error("worker", "cell %u: the policy refuses Vivarium itself: %s",
				cell->number, refusal_name(cell->refused));
			cell->was_refused = false;
		}
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
	uint64_t now = clock_now_us(), first = UINT64_MAX, next, wait;
	size_t i;

	FOR_EACH_CELL(worker, i) {
		next = cell_next_deadline_us(&worker->cells[i]);
		if (next < first)
			first = next;
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
			else if (source == &worker->scale)
				r = handle_scale(worker);
			else
				r = handle_master(worker);
		}
		if (r < 0)
			return r;
		check_deadlines(worker);
		renew_cells(worker);
		report_changes(worker);
	}
}

int worker_main(const struct worker_setup *setup)
{
	SCOPE_FREE struct worker *worker = calloc(1, sizeof(*worker));
	struct err err = {0};
	int r = worker ? 0 : err_set(&err, ENOMEM, "begin");

	if (!r) {
		worker->setup = setup;
		r = start_scale(worker, &err);
	}
	if (!r)
		r = confine(setup, &err);
	if (!r) {
		init_cells(worker);
		r = watch_others(worker, &err);
	}
	if (r) {
		log_error("worker", "%u: %s", setup->number, err.text);
		return 1;
	}
	r = serve(worker);
	if (r != -EPIPE)
		log_error("worker", "%u: %s", setup->number, strerror(-r));
	return r == -EPIPE ? 0 : 1;
}
