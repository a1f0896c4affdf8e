/*
 * The master's theory: it is process 1 of the service's PID namespace, so nothing of the service
 * can outlive it. It never sees a request. It holds one control socket to each role; a role that
 * finds its socket at an end exits. Who dies, what happens:
 *
 *   template    started again; workers get the new request sockets; cells that stand go on
 *   worker      its wardens read end of file and exit, the kernel ends what ran in them; started
 *               again; its cells get new lanes at both ends
 *   dispatcher  workers end what ran for it; started again; every cell gets a new lane
 *   warden      its worker sees it and asks for another; the request, if any, gets "internal"
 *   execution   a verdict
 *   launcher    the master is killed by its parent-death signal
 *   nginx       whoever started it says so
 *
 * A dispatcher or worker that leaves a ping unanswered for too long, or sends what is no report, is
 * killed; then its row holds.
 */
#include "fcgi-app/master.h"

#include "sandbox/cell_message.h"
#include "sandbox/clock.h"
#include "sandbox/descriptors.h"
#include "sandbox/identity.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"
#include "sandbox/tree.h"
#include "sandbox/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum {
	WORKERS_MAX = 64,
	START_MAX_US = 120 * 1000 * 1000,
	RETRY_FIRST_US = 50 * 1000,
	RETRY_LAST_US = 5 * 1000 * 1000,
	PROVEN_US = 10 * 1000 * 1000, /* a child that lived so long starts its back-off anew */
	END_MAX_US = 3 * 1000 * 1000, /* for the children to go, where the kernel does not end them */
	PINGS = 4, /* in the time after which a child counts as wedged */
	HIGH_FD = 64, /* above every number that the template's descriptors get */
};

struct child {
	pid_t pid; /* 0: not running */
	int pidfd; /* -1: not running */
	int control; /* ours; -1: none */
	uint64_t heard_us, asked_us; /* last news of any kind; last ping that is not answered yet */
	unsigned failures;
	uint64_t started_us, retry_us; /* retry_us: when to start it again */
};

struct master {
	const struct master_setup *setup;
	int proc; /* procfs of the service's PID namespace */
	int own_pid_namespace;
	int signals;
	struct child template, front, worker[WORKERS_MAX];
	int requests[WORKER_SETS_MAX]; /* sending ends to the templates */
	size_t sets_reported;
	bool up[WORKERS_MAX * WORKER_CELLS_MAX];
	uint32_t layers; /* LAYER_BITs in force in every cell that ever came up */
	size_t cells_up;
	bool any_layers, workers_started, front_ready, serving, draining;
	uint64_t begun_us, drain_until_us;
	uint64_t checked_us; /* when pulses were felt last */
	int exit_code; /* -1: go on */
};

static size_t cell_count(const struct master *master)
{
	return master->setup->workers * master->setup->cells_per_worker;
}

static uint64_t elapsed_ms(const struct master *master)
{
	return (clock_now_us() - master->begun_us) / 1000;
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

/* --- children that have to go ------------------------------------------------------------- */

/* Its death is reaped like any other; one that has ended by itself keeps its exit status. */
static void let_go(struct child *child)
{
	if (child->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
	fd_close(&child->pidfd);
	fd_close(&child->control);
}

static void put_down(struct child *child, const char *name, const char *why)
{
	if (child->pidfd < 0)
		return;
	log_line("master", "%s %s: it is killed", name, why);
	let_go(child);
}

/* An order that a child does not take in time (SO_SNDTIMEO) is one that nobody reads. */
static void tell(struct child *child, const char *name, const void *order, size_t size,
	const int *fd)
{
	if (message_send(child->control, order, size, fd, fd ? 1 : 0) == -EAGAIN)
		put_down(child, name, "takes no orders");
}

static int control_pair(const struct master *master, int pair[2])
{
	uint64_t patience_ms = master->setup->config->wedged_after_ms;
	const struct timeval patience = {.tv_sec = (time_t)(patience_ms / 1000),
		.tv_usec = (suseconds_t)(patience_ms % 1000 * 1000)};
	int r = message_pair(SOCK_SEQPACKET, pair);

	if (!r && setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0) {
		r = -errno;
		close(pair[0]);
		close(pair[1]);
	}
	return r;
}

/* --- lanes --------------------------------------------------------------------------------- */

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
	tell(worker, "a worker", &to_worker, sizeof(to_worker), &pair[0]);
	tell(&master->front, master->setup->front_name, &to_front, sizeof(to_front), &pair[1]);
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

/*
 * In a fork of the master. Its own session: a Ctrl-C is the launcher's to hear. Standard error is
 * the log; standard output is for a front that speaks: that of `vivarium run`.
 */
static void become_child(bool speaks, const int *keep, size_t count)
{
	int closed = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (closed >= 0) {
		dup2(closed, STDIN_FILENO);
		if (!speaks)
			dup2(closed, STDOUT_FILENO);
	}
	descriptors_keep(keep, count);
}

static void note_start(struct child *child, pid_t pid, int control)
{
	fd_close(&child->control);
	child->pid = pid;
	child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	child->control = control;
	child->started_us = child->heard_us = clock_now_us();
	child->retry_us = child->asked_us = 0;
}

/* Puts the descriptors where the template looks for them, and nothing else (cell_message.h). */
static _Noreturn void exec_template(const struct master *master, int control, const int *requests)
{
	const struct library_sets *sets = master->setup->sets;
	char arrangement[ARRANGEMENT_TEXT_BYTES];
	const char *arguments[WORKER_SETS_MAX + 3] = {
		"vivarium-template", arrangement};
	int keep[TEMPLATE_FD_REQUESTS + WORKER_SETS_MAX + 1], from[sizeof(keep) / sizeof(keep[0])];
	int last = TEMPLATE_FD_REQUESTS + (int)sets->count - 1, i;
	/* symbols bound once, before all forks, and not by every execution; scripts do not see it */
	const char *environment[] = {"LD_BIND_NOW=1", NULL};
	sigset_t none;

	arrangement_print(&master->setup->arrangement, arrangement);
	from[TEMPLATE_FD_CONTROL] = control;
	from[TEMPLATE_FD_PROC] = master->proc;
	from[TEMPLATE_FD_POLICY] = master->setup->policy;
	from[TEMPLATE_FD_HARNESS] = master->setup->harness;
	for (i = 0; i < (int)sets->count; i++) {
		arguments[2 + i] = sets->set[i].text;
		from[TEMPLATE_FD_REQUESTS + i] = requests[i];
	}
	for (i = TEMPLATE_FD_CONTROL; i <= last; i++)
		from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, HIGH_FD);
	keep[0] = fcntl(master->setup->program, F_DUPFD_CLOEXEC, HIGH_FD);
	for (i = TEMPLATE_FD_CONTROL; i <= last; i++)
		keep[i - TEMPLATE_FD_CONTROL + 1] = dup2(from[i], i);
	become_child(false, keep, (size_t)(last - TEMPLATE_FD_CONTROL + 2));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execveat(keep[0], "", (char *const *)arguments, (char *const *)environment, AT_EMPTY_PATH);
	log_line("master", "exec %s: %s", master->setup->config->template_program, strerror(errno));
	_exit(1);
}

static int make_request_sockets(struct master *master, int *receivers)
{
	int pair[2], r = 0;
	size_t i;

	for (i = 0; !r && i < master->setup->sets->count; i++) {
		r = message_pair(SOCK_SEQPACKET, pair);
		if (r < 0)
			break;
		receivers[i] = pair[1];
		fd_close(&master->requests[i]);
		master->requests[i] = pair[0];
		/* a worker that cannot ask now asks later, and never waits here */
		if (fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
			r = -errno;
	}
	return r;
}

/* Workers learn where the new template is asked. */
static void announce_template(struct master *master)
{
	struct worker_order order = {.type = WORKER_ORDER_TEMPLATE};
	size_t i, set;

	for (i = 0; i < master->setup->workers; i++) {
		for (set = 0; set < master->setup->sets->count; set++) {
			order.index = (uint32_t)set;
			if (master->worker[i].control >= 0)
				tell(&master->worker[i], "a worker", &order, sizeof(order),
					&master->requests[set]);
		}
	}
}

static int start_template(struct master *master)
{
	int receivers[WORKER_SETS_MAX], pair[2], r;
	size_t i;
	pid_t pid;

	for (i = 0; i < WORKER_SETS_MAX; i++)
		receivers[i] = -1;
	r = message_pair(SOCK_SEQPACKET, pair);
	if (r < 0)
		return r;
	r = make_request_sockets(master, receivers);
	pid = r < 0 ? -1 : fork();
	if (!pid)
		exec_template(master, pair[1], receivers);
	close(pair[1]);
	for (i = 0; i < WORKER_SETS_MAX; i++)
		fd_close(&receivers[i]);
	if (pid < 0) {
		close(pair[0]);
		return r < 0 ? r : -errno;
	}
	note_start(&master->template, pid, pair[0]);
	announce_template(master);
	return 0;
}

/* Half the cells hold the bare interpreter, the others one library set each; traffic decides. */
static size_t first_set(const struct library_sets *sets, size_t cell)
{
	size_t turns = cell / 2, i = 0;

	if (cell % 2 == 0)
		return 0;
	for (;;) {
		i = sets->count - 1 - turns % sets->count;
		if (!sets->set[i].missing)
			return i;
		turns++;
	}
}

static void fill_limits(const struct config *config, struct template_request *limits)
{
	*limits = (struct template_request){.tmp_mib = (uint32_t)config->tmp_mib,
		.tmp_inodes = (uint32_t)config->tmp_inodes,
		.processes = (uint32_t)config->max_processes,
		.open_files = (uint32_t)config->max_open_files,
		.file_mib = (uint32_t)config->max_file_mib,
		.stack_mib = (uint32_t)config->stack_mib};
}

static _Noreturn void run_worker(const struct master *master, size_t number, int control)
{
	const struct master_setup *setup = master->setup;
	struct worker_setup worker = {.number = (uint32_t)number,
		.first_cell = (uint32_t)(number * setup->cells_per_worker),
		.cells = setup->cells_per_worker,
		.sets = setup->sets->count,
		.control = control,
		.proc = master->proc,
		.policy = setup->worker_policy,
		.arrangement = &setup->arrangement,
		.max_executions = (uint32_t)setup->config->cell_executions,
		.max_age_s = (uint32_t)(setup->config->cell_age_ms / 1000)};
	int keep[WORKER_SETS_MAX + 3] = {control, master->proc, setup->worker_policy};
	size_t i;

	fill_limits(setup->config, &worker.limits);
	for (i = 0; i < worker.sets; i++) {
		worker.set_names[i] = setup->sets->set[i].name;
		worker.set_parents[i] = setup->sets->set[i].parent_index;
		worker.requests[i] = keep[3 + i] = master->requests[i];
	}
	for (i = 0; i < worker.cells; i++)
		worker.cell_sets[i] = first_set(setup->sets, worker.first_cell + i);
	become_child(false, keep, 3 + worker.sets);
	_exit(worker_main(&worker));
}

static int start_worker(struct master *master, size_t number)
{
	size_t per_worker = master->setup->cells_per_worker;
	int pair[2], r = control_pair(master, pair);
	pid_t pid = r < 0 ? -1 : fork();

	if (!pid)
		run_worker(master, number, pair[1]);
	if (r < 0)
		return r;
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return -errno;
	}
	note_start(&master->worker[number], pid, pair[0]);
	connect_cells(master, number * per_worker, per_worker);
	return 0;
}

static _Noreturn void run_front(const struct master *master, int control)
{
	const struct master_setup *setup = master->setup;
	const struct front_setup front = {.config = setup->config,
		.sets = setup->sets,
		.cells = cell_count(master),
		.arrangement = &setup->arrangement,
		.control = control,
		.proc = master->proc,
		.policy = setup->dispatcher_policy,
		.execute_listener = setup->execute_listener,
		.control_listener = setup->control_listener,
		.job = setup->job};
	const int keep[] = {control, master->proc, setup->dispatcher_policy,
		setup->execute_listener, setup->control_listener};

	/* -1 sorts first and is passed over */
	become_child(setup->front_is_all, keep, sizeof(keep) / sizeof(keep[0]));
	_exit(setup->front(&front));
}

/*
 * Forks into a PID namespace of the child's own: unshare(2) says where the next child goes, and
 * setns(2) takes it back for those after it.
 */
static pid_t fork_into_pid_namespace(const struct master *master)
{
	pid_t pid;

	if (master->own_pid_namespace < 0)
		return fork(); /* a layer that is not to be had */
	if (unshare(CLONE_NEWPID) < 0)
		return -1;
	pid = fork();
	if (pid && setns(master->own_pid_namespace, CLONE_NEWPID) < 0) {
		log_line("master", "back to one's own PID namespace: %s", strerror(errno));
		_exit(1); /* whatever was started next would land in the wrong place */
	}
	return pid;
}

static int start_front(struct master *master)
{
	int pair[2], r = control_pair(master, pair);
	pid_t pid = r < 0 ? -1 : fork_into_pid_namespace(master);

	if (!pid)
		run_front(master, pair[1]);
	if (r < 0)
		return r;
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return -errno;
	}
	note_start(&master->front, pid, pair[0]);
	connect_cells(master, 0, cell_count(master));
	return 0;
}

/* --- children that die --------------------------------------------------------------------- */

static void describe_status(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "was killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
}

static void note_death(struct master *master, struct child *child, const char *name, int status)
{
	uint64_t wait = RETRY_FIRST_US, now = clock_now_us();
	char how[64];
	unsigned i;

	describe_status(status, how, sizeof(how));
	child->pid = 0;
	fd_close(&child->pidfd);
	fd_close(&child->control);
	if (now - child->started_us > PROVEN_US)
		child->failures = 0;
	for (i = 0; i < child->failures && wait < RETRY_LAST_US; i++)
		wait *= 2;
	child->failures++;
	child->retry_us = now + wait;
	if (!master->serving) {
		log_line("master", "%s %s: the service does not start", name, how);
		end_in_failure(master);
		return;
	}
	log_line("master", "%s %s; it is started again in %llu ms", name, how,
		(unsigned long long)wait / 1000);
}

static void note_front_death(struct master *master, int status)
{
	if (master->draining || master->setup->front_is_all) {
		master->front.pid = 0;
		end(master,
			WIFEXITED(status) ? WEXITSTATUS(status) : master->setup->failure_code);
		return;
	}
	note_death(master, &master->front, master->setup->front_name, status);
}

static void reap(struct master *master)
{
	char name[32];
	int status;
	pid_t pid;
	size_t i;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == master->template.pid)
			note_death(master, &master->template, "template", status);
		else if (pid == master->front.pid)
			note_front_death(master, status);
		for (i = 0; i < master->setup->workers; i++) {
			if (pid != master->worker[i].pid)
				continue;
			snprintf(name, sizeof(name), "worker %zu", i);
			note_death(master, &master->worker[i], name, status);
		}
		/* anybody else: wardens, whose builder has gone, and their like */
	}
}

static bool is_due(const struct child *child, uint64_t now)
{
	return child->retry_us && child->retry_us <= now;
}

static void try_again(struct child *child, int r, const char *name)
{
	if (r == 0)
		return;
	child->retry_us = clock_now_us() + RETRY_LAST_US;
	log_line("master", "start %s: %s", name, strerror(-r));
}

static void restart_due(struct master *master)
{
	uint64_t now = clock_now_us();
	size_t i;

	if (is_due(&master->template, now))
		try_again(&master->template, start_template(master), "the template");
	if (is_due(&master->front, now))
		try_again(&master->front, start_front(master), master->setup->front_name);
	for (i = 0; i < master->setup->workers; i++) {
		if (is_due(&master->worker[i], now))
			try_again(&master->worker[i], start_worker(master, i), "a worker");
	}
}

/* --- reports ------------------------------------------------------------------------------- */

static void tell_layers(struct master *master)
{
	const struct front_order order = {.type = FRONT_ORDER_LAYERS, .layers = master->layers};

	if (master->front.control >= 0)
		tell(&master->front, master->setup->front_name, &order, sizeof(order), NULL);
}

static void say(const struct master *master, const char *text)
{
	if (!master->setup->quiet && !master->serving)
		log_line("master", "%s (%llu ms)", text, (unsigned long long)elapsed_ms(master));
}

static void start_workers(struct master *master)
{
	char text[96];
	int r = 0;
	size_t i;

	master->workers_started = true;
	for (i = 0; !r && i < master->setup->workers; i++)
		r = start_worker(master, i);
	if (!r)
		r = start_front(master);
	if (r < 0) {
		log_line("master", "start workers and %s: %s", master->setup->front_name,
			strerror(-r));
		end_in_failure(master);
		return;
	}
	snprintf(text, sizeof(text), "%zu workers with %zu cells each started",
		master->setup->workers, master->setup->cells_per_worker);
	say(master, text);
}

static void handle_template(struct master *master)
{
	struct library_sets *sets = master->setup->sets;
	struct template_report report;
	char text[320];
	size_t none = 0;

	if (message_receive(master->template.control, &report, sizeof(report), NULL, &none) != 1 ||
		report.set >= sets->count) {
		fd_close(&master->template.control); /* its death comes next */
		return;
	}
	report.text[sizeof(report.text) - 1] = '\0';
	if (report.missing && !sets->set[report.set].missing)
		log_line("master", "library set %s is left out: %s", sets->set[report.set].name,
			report.text);
	sets->set[report.set].missing = report.missing;
	if (!report.missing) {
		snprintf(text, sizeof(text), "library set %s is warm", sets->set[report.set].name);
		say(master, text);
	}
	if (++master->sets_reported >= sets->count && !master->workers_started)
		start_workers(master);
}

static void begin_serving(struct master *master)
{
	char layers[160], text[192];

	if (master->serving || !master->front_ready || master->cells_up < cell_count(master))
		return;
	layers_print(master->layers, layers, sizeof(layers));
	snprintf(text, sizeof(text), "layers in force: %s", layers);
	say(master, text);
	say(master, "all cells stand: serving");
	master->serving = true;
	if (master->setup->ready >= 0 && write(master->setup->ready, "\n", 1) == 1)
		close(master->setup->ready);
}

/*
 * Takes one report of a child. With the end of its socket it has died, or pretends to; neither
 * that one nor one that breaks the protocol gets to keep its lanes.
 * Returns whether *report was filled.
 */
static bool hear(struct child *child, const char *name, void *report, size_t size)
{
	size_t none = 0;
	int r = message_receive(child->control, report, size, NULL, &none);

	if (r == 1) {
		child->heard_us = clock_now_us();
		child->asked_us = 0;
		return true;
	}
	if (r == -EPROTO)
		put_down(child, name, "sent what is no report");
	else
		let_go(child);
	return false;
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

	if (!hear(worker, "a worker", &report, sizeof(report)))
		return;
	if (report.type == WORKER_REPORT_ALIVE)
		return;
	if (report.type != WORKER_REPORT_CELL || report.cell >= cell_count(master)) {
		put_down(worker, "a worker", "sent what is no report");
		return;
	}
	report.text[sizeof(report.text) - 1] = '\0';
	master->cells_up += (size_t)(report.is_up != 0) - (size_t)master->up[report.cell];
	master->up[report.cell] = report.is_up != 0;
	if (report.is_up)
		note_layers(master, report.layers);
	if (!report.is_up && !master->draining)
		log_line("master", "cell %u is down: %s", report.cell, report.text);
	if (!report.is_up && !master->serving) {
		log_line("master", "a cell cannot be built: the service does not start");
		end_in_failure(master);
	}
	begin_serving(master);
}

static void handle_front(struct master *master)
{
	struct front_report report;

	if (!hear(&master->front, master->setup->front_name, &report, sizeof(report)))
		return;
	if (report.type == FRONT_REPORT_READY) {
		master->front_ready = true;
		tell_layers(master);
	}
	begin_serving(master);
}

/* --- children that are wedged -------------------------------------------------------------- */

/* Asked once it has been silent for a while, then given as long as the configuration says. */
static void check_pulse(const struct master *master, struct child *child, const char *name,
	const void *order, size_t size)
{
	uint64_t patience_us = master->setup->config->wedged_after_ms * UINT64_C(1000);
	uint64_t now = clock_now_us();

	if (child->asked_us && now >= child->asked_us + patience_us)
		put_down(child, name, "does not answer");
	if (child->control < 0)
		return;
	if (child->asked_us || now < child->heard_us + patience_us / PINGS)
		return;
	child->asked_us = now;
	tell(child, name, order, size, NULL);
}

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
	char name[32];
	size_t i;

	uint64_t now = clock_now_us(), since_us = now - master->checked_us;

	master->checked_us = now;
	if (!master->serving)
		return;
	if (since_us > master->setup->config->wedged_after_ms * UINT64_C(1000) / 2) {
		forgive(master); /* we were stopped ourselves, and they perhaps with us */
		return;
	}
	if (!master->setup->front_is_all)
		check_pulse(master, &master->front, master->setup->front_name, &to_front,
			sizeof(to_front));
	for (i = 0; i < master->setup->workers; i++) {
		snprintf(name, sizeof(name), "worker %zu", i);
		check_pulse(master, &master->worker[i], name, &to_worker, sizeof(to_worker));
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
	tell(&master->front, master->setup->front_name, &order, sizeof(order), NULL);
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
	}
}

static void consider(uint64_t *first, uint64_t time)
{
	if (time && time < *first)
		*first = time;
}

static int next_timeout(const struct master *master)
{
	uint64_t now = clock_now_us(), first = now + 60 * UINT64_C(1000000);
	uint64_t patience_us = master->setup->config->wedged_after_ms * UINT64_C(1000);
	size_t i;

	if (!master->serving)
		consider(&first, master->begun_us + START_MAX_US);
	else
		consider(&first, now + patience_us / PINGS);
	consider(&first, master->drain_until_us);
	consider(&first, master->template.retry_us);
	consider(&first, master->front.retry_us);
	for (i = 0; i < master->setup->workers; i++)
		consider(&first, master->worker[i].retry_us);
	return first <= now ? 0 : (int)((first - now + 999) / 1000);
}

static void check_time(struct master *master)
{
	uint64_t now = clock_now_us();

	if (!master->serving && now >= master->begun_us + START_MAX_US) {
		log_line("master", "not ready after %d s: the service does not start",
			START_MAX_US / 1000000);
		end_in_failure(master);
	}
	if (master->draining && now >= master->drain_until_us)
		end(master, 0);
	check_pulses(master);
	restart_due(master);
}

static void turn(struct master *master)
{
	struct pollfd watched[WORKERS_MAX + 3];
	size_t i;

	watched[0] = (struct pollfd){.fd = master->signals, .events = POLLIN};
	watched[1] = (struct pollfd){.fd = master->template.control, .events = POLLIN};
	watched[2] = (struct pollfd){.fd = master->front.control, .events = POLLIN};
	for (i = 0; i < master->setup->workers; i++)
		watched[3 + i] =
			(struct pollfd){.fd = master->worker[i].control, .events = POLLIN};
	if (poll(watched, 3 + master->setup->workers, next_timeout(master)) < 0)
		return;
	if (watched[1].revents)
		handle_template(master);
	for (i = 0; i < master->setup->workers; i++) {
		if (watched[3 + i].revents)
			handle_worker(master, i);
	}
	if (watched[2].revents)
		handle_front(master);
	if (watched[0].revents)
		handle_signals(master);
	check_time(master);
}

/* The procfs of the service's own PID namespace; without that, the one that is there. */
static int open_proc(struct master *master, struct err *err)
{
	if (!LAYER_HAS(master->setup->arrangement.layers, LAYER_PROCFS)) {
		master->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
		return master->proc < 0 ? err_set(err, errno, "open /proc") : 0;
	}
	master->proc = tree_mount_proc(err);
	if (master->proc < 0)
		return master->proc;
	master->own_pid_namespace = openat(master->proc, "self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (master->own_pid_namespace < 0)
		return err_set(err, errno, "open one's own PID namespace");
	return 0;
}

/* What a master that is not process 1, or is root outside of a user namespace, does about that. */
static int settle(struct master *master, struct err *err)
{
	const struct arrangement *arrangement = &master->setup->arrangement;
	uint64_t keep = CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_SETGID) |
		CAPABILITY(CAP_SETPCAP) | CAPABILITY(CAP_KILL);
	int r = open_proc(master, err);

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

	master->begun_us = clock_now_us();
	master->exit_code = -1;
	master->own_pid_namespace = -1;
	master->template.control = master->front.control = -1;
	master->template.pidfd = master->front.pidfd = -1;
	for (i = 0; i < WORKERS_MAX; i++)
		master->worker[i].control = master->worker[i].pidfd = -1;
	for (i = 0; i < WORKER_SETS_MAX; i++)
		master->requests[i] = -1;
	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
		return err_set(err, errno, "block signals");
	master->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (master->signals < 0)
		return err_set(err, errno, "make a signalfd");
	return settle(master, err);
}

/*
 * With a PID namespace around the service the kernel ends what is left. Without, workers that lose
 * their socket go, their wardens sweep and go, and all of them become our children to be reaped.
 */
static void end_children(struct master *master)
{
	uint64_t until_us = clock_now_us() + END_MAX_US;
	const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
	size_t i;

	let_go(&master->front);
	let_go(&master->template);
	for (i = 0; i < master->setup->workers; i++)
		fd_close(&master->worker[i].control);
	while (waitpid(-1, NULL, WNOHANG) >= 0 && clock_now_us() < until_us)
		nanosleep(&pause, NULL);
}

int master_main(const struct master_setup *setup)
{
	struct master *master = calloc(1, sizeof(*master));
	struct err err = {0};
	int r;

	if (!master)
		return setup->failure_code;
	master->setup = setup;
	r = begin(master, &err);
	if (!r) {
		r = start_template(master);
		if (r < 0)
			err_set(&err, -r, "start the template");
	}
	if (r < 0) {
		log_line("master", "%s", err.text);
		return setup->failure_code;
	}
	while (master->exit_code < 0)
		turn(master);
	if (!LAYER_HAS(setup->arrangement.layers, LAYER_PROCFS))
		end_children(master);
	if (master->draining && !setup->quiet)
		log_line("master", "drained");
	return master->exit_code;
}
