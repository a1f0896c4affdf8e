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
#include "runner/warden_build.h"

#include "runner/execution.h"
#include "runner/python.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"
#include "sandbox/work_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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
static void signal_all(const struct warden *warden, int signal)
{
	if (warden->setup->exposed.count)
		return;
	warden_act_as_execution(warden, true);
	kill(-1, signal);
	warden_act_as_execution(warden, false);
}

static void signal_execution(const struct warden *warden, int signal)
{
	warden_act_as_execution(warden, true);
	kill(warden->execution, signal);
	warden_act_as_execution(warden, false);
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
			signal_all(warden, SIGKILL);
			waitpid(-1, NULL, 0);
		}
	}
	if (errno != ECHILD)
		warden_fail("sweep", errno);
}

static void restore_tmp(struct warden *warden)
{
	struct err err = {0};

	if (!warden_has_layer(warden, LAYER_MOUNT)) {
		warden_act_as_execution(warden, true);
		if (work_dir_clear(warden->work, &err) < 0)
			warden_fail("clear the directory", err.code);
		warden_act_as_execution(warden, false);
		return;
	}
	if (tree_tmp_untouched(&warden->tmp))
		return;
	if (tree_tmp_replace(&warden->tmp, &err) < 0)
		warden_fail("restore /tmp", err.code);
}

/* A directory in place of /tmp lies on a disk, and is no memory. */
static void report_tmp(const struct warden *warden, uint32_t execution)
{
	struct cell_report report = {.type = CELL_REPORT_WEIGHED, .execution = execution};

	if (warden_has_layer(warden, LAYER_MOUNT))
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

	if (warden_has_layer(warden, LAYER_MOUNT))
		tree_tmp_settle(&warden->tmp);
	pid = fork();
	if (pid < 0)
		warden_fail("fork", errno);
	if (!pid)
		execution_main(&setup);
	warden->execution = pid;
	warden->execution_number = number;
}

static void obey(
	struct warden *warden, const struct cell_order *order, const int *fds, size_t count)
{
	switch ((enum cell_order_type)order->type) {
	case CELL_ORDER_FORK:
		if (count != 3)
			warden_fail("order", EPROTO);
		sweep(warden);
		restore_tmp(warden);
		fork_execution(warden, order->execution, fds);
		return;
	case CELL_ORDER_WEIGH:
		report_tmp(warden, order->execution);
		return;
	case CELL_ORDER_STOP:
		signal_all(warden, SIGSTOP);
		report_tmp(warden, order->execution);
		return;
	case CELL_ORDER_GO_ON:
		signal_all(warden, SIGCONT);
		report_tmp(warden, order->execution);
		return;
	case CELL_ORDER_TRACE:
		if (warden->execution && order->execution == warden->execution_number)
			signal_execution(warden, CELL_TRACE_SIGNAL);
		return;
	default:
		warden_fail("order", EPROTO);
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
		if (!warden_has_layer(warden, LAYER_PID))
			sweep(warden);
		_exit(0);
	}
	if (r < 0)
		warden_fail("receive", -r);
	obey(warden, &order, fds, count);
	for (i = 0; i < count; i++)
		close(fds[i]);
}

static _Noreturn void warden_main(struct warden *warden)
{
	struct pollfd watched[2];

	warden_build_inside(warden);
	python_before_fork();
	watched[0] = (struct pollfd){.fd = warden->signals, .events = POLLIN};
	watched[1] = (struct pollfd){.fd = WARDEN_FD_CONTROL, .events = POLLIN};
	for (;;) {
		if (poll(watched, 2, -1) < 0 && errno != EINTR)
			warden_fail("poll", errno);
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
		warden_fail("pidfd", errno);
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
	warden_build_cell(warden);
	pid = fork();
	if (pid < 0)
		warden_fail("fork", errno);
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
