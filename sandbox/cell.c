#include "sandbox/cell.h"

#include "sandbox/cell_io.h"
#include "sandbox/cell_live.h"
#include "sandbox/cell_parts.h"
#include "sandbox/cell_refusal.h"
#include "sandbox/cell_run.h"
#include "sandbox/cell_watch.h"
#include "sandbox/clock.h"
#include "sandbox/identity.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	START_MAX_US = 20 * 1000 * 1000, /* for a warden to come up */
	FORK_MAX_US = 60 * 1000 * 1000, /* for a sweep, which frees memory, and a fork */
	FINISH_MAX_US = 1000 * 1000, /* threads and atexit handlers after the value */
	TRACE_MAX_US = 30 * 1000, /* for the traceback of a run out of time */
	RETRY_FIRST_US = 20 * 1000,
	RETRY_LAST_US = 5 * 1000 * 1000,
	DRAIN_READS = 4, /* 64 KiB each: what a pipe holds, and some that comes meanwhile */
};

void cell_init(struct cell *cell, const struct cell_environment *environment, uint32_t number,
	size_t set)
{
	int i;

	*cell = (struct cell){.environment = environment,
		.number = number,
		.set = set,
		.state = CELL_DOWN,
		.warden = -1,
		.deadline_us = clock_now_us(),
		.lane_in = {.in = {.cap = LANE_MAX_BYTES}},
		.lane_out = {.out = {.cap = LANE_OUT_MAX_BYTES}},
		.job.out.out.cap = LANE_MAX_BYTES,
		.channel_in = {.in = {.cap = CHANNEL_MAX_BYTES}},
		.output = {.max_bytes = STREAM_MAX_BYTES},
		.error = {.max_bytes = STREAM_MAX_BYTES},
		.run = {.status_file = -1}};
	for (i = 0; i < CELL_SOURCE_COUNT; i++)
		cell->source[i] = (struct cell_source){
			.cell = cell, .kind = (enum cell_source_kind)i, .fd = -1};
}

void cell_note_trouble(struct cell *cell, const char *what, int code)
{
	snprintf(cell->trouble, sizeof(cell->trouble), "%s: %s", what, strerror(code));
}

static void set_deadline(struct cell *cell, uint64_t after_us)
{
	cell->deadline_us = after_us ? clock_now_us() + after_us : 0;
}

/* --- actions ------------------------------------------------------------------------------- */

/* Ends the cell at once: its warden is process 1 of all that runs in it. */
static void kill_warden(struct cell *cell)
{
	if (cell->warden >= 0)
		syscall(SYS_pidfd_send_signal, cell->warden, SIGKILL, NULL, 0);
	fd_close(&cell->warden);
	cell_source_close(cell, CELL_SOURCE_CONTROL);
	cell_source_close(cell, CELL_SOURCE_LISTENER);
	cell_close_execution(cell);
}

/* A full or missing template socket is like a failed start: the retry timer comes back. */
static void act_start(struct cell *cell)
{
	const struct cell_environment *environment = cell->environment;
	struct template_request request = environment->limits;
	int pair[2], fds[TEMPLATE_REQUEST_FDS_MAX], r;
	size_t joins = cell_group_joins(&cell->group, fds + 1);

	kill_warden(cell);
	cell_run_reset(cell);
	cell->served = 0;
	cell->template_replaced = false;
	cell->born_us = clock_now_us();
	set_deadline(cell, START_MAX_US);
	request.cell = cell->number;
	request.uid = arrangement_id(environment->arrangement, IDENTITY_CELL_FIRST + cell->number);
	r = cell_group_renew(&cell->group, request.processes);
	if (!r)
		r = message_pair(SOCK_SEQPACKET, pair);
	if (!r) {
		fds[0] = pair[1];
		r = message_send(environment->requests[cell->set], &request, sizeof(request), fds,
			1 + joins);
		close(pair[1]);
		if (!r)
			r = cell_source_open(cell, CELL_SOURCE_CONTROL, pair[0]);
		else
			close(pair[0]);
	}
	if (r < 0) {
		cell_note_trouble(cell, "ask the template for a warden", -r);
		cell_fire(cell, CELL_EVENT_LOST);
	}
}

static int order(struct cell *cell, enum cell_order_type type, const int *fds, size_t count)
{
	struct cell_order message = {.type = type, .execution = cell->run.number};

	return message_send(
		cell->source[CELL_SOURCE_CONTROL].fd, &message, sizeof(message), fds, count);
}

/* The warden first ends what is left of the execution before. */
static void act_fork(struct cell *cell)
{
	int ends[3], i, r;

	cell_close_execution(cell);
	cell_run_reset(cell);
	set_deadline(cell, FORK_MAX_US);
	r = cell_open_execution(cell, ends);
	if (!r)
		r = order(cell, CELL_ORDER_FORK, ends, 3);
	for (i = 0; i < 3; i++)
		fd_close(&ends[i]);
	if (r < 0) {
		cell_note_trouble(cell, "order an execution", -r);
		cell_fire(cell, CELL_EVENT_LOST);
	}
}

static const char *template_name(const struct cell *cell)
{
	return cell->environment->set_names[cell->set];
}

static void act_offer(struct cell *cell)
{
	cell_renew_done(cell);
	cell->failures = 0;
	cell->is_up = true;
	set_deadline(cell, 0);
	if (cell->job.complete) {
		cell_fire(cell, CELL_EVENT_JOB);
		return;
	}
	cell->run.was_parked = true;
	if (cell->source[CELL_SOURCE_LANE].fd < 0)
		return; /* said when a lane comes */
	if (cell_lane_offer(cell) == 0)
		cell_lane_flush(cell);
}

static void act_run(struct cell *cell)
{
	int r = cell_group_limit_job(&cell->group, &cell->job.limits, cell->run.allowance_bytes);

	if (r < 0) {
		cell_note_trouble(cell, "limit the memory of a job", -r);
		cell_fire(cell, CELL_EVENT_LOST);
		return;
	}
	cell->served++;
	cell_run_note_started(cell);
	cell_watch_begin(cell);
	set_deadline(cell, cell->job.limits.timeout_ms * UINT64_C(1000));
	if (cell_source_flush(cell, CELL_SOURCE_CHANNEL, &cell->job.out) < 0)
		cell_source_close(cell, CELL_SOURCE_CHANNEL); /* its exit will say why */
}

static void act_finish(struct cell *cell)
{
	uint64_t end = clock_now_us() + FINISH_MAX_US;

	if (end < cell->deadline_us)
		cell->deadline_us = end;
}

static void act_trace(struct cell *cell)
{
	cell->run.timed_out = true;
	set_deadline(cell, TRACE_MAX_US);
	if (cell_watch_end(cell))
		order(cell, CELL_ORDER_GO_ON, NULL, 0);
	if (order(cell, CELL_ORDER_TRACE, NULL, 0) < 0)
		cell_fire(cell, CELL_EVENT_DEADLINE);
}

/* The job is answered or abandoned: what runs ends, and the next execution, or cell, is made. */
static void end_execution(struct cell *cell)
{
	cell_job_reset(cell);
	if (cell->leaving)
		cell_fire(cell, CELL_EVENT_WORN);
	else
		act_fork(cell);
}

static void act_discard(struct cell *cell)
{
	cell_renew_after_job(cell);
	end_execution(cell);
}

/* What was printed before the end is in the pipes by now; then the answer, then the sweep. */
static void act_conclude(struct cell *cell)
{
	const char *ran_on = template_name(cell);
	size_t unsent = cell->lane_out.out.length;
	int r = cell_drain_output(cell, CELL_SOURCE_STDOUT, DRAIN_READS);

	cell_renew_after_job(cell);
	if (!r)
		r = cell_drain_output(cell, CELL_SOURCE_STDERR, DRAIN_READS);
	if (!r)
		r = cell_live_finish(cell);
	if (!r && cell->leaving)
		r = frame_append(&cell->lane_out.out, FRAME_LEAVING, NULL, 0);
	if (!r)
		r = cell_run_answer(cell, ran_on);
	if (r < 0) {
		cell->lane_out.out.length = unsent; /* of which a part may be on its way */
		cell_run_answer_internal(cell);
	}
	cell_lane_flush(cell);
	end_execution(cell);
}

static void act_fail(struct cell *cell)
{
	uint64_t wait = RETRY_FIRST_US;
	unsigned i;

	if (cell->job.complete)
		cell_run_answer_internal(cell);
	cell_job_reset(cell);
	if (frame_append(&cell->lane_out.out, FRAME_DOWN, NULL, 0) == 0)
		cell_lane_flush(cell);
	kill_warden(cell);
	cell_run_reset(cell);
	cell_renew_done(cell);
	for (i = 0; i < cell->failures && wait < RETRY_LAST_US; i++)
		wait *= 2;
	cell->failures++;
	cell->is_up = false;
	set_deadline(cell, wait < RETRY_LAST_US ? wait : RETRY_LAST_US);
}

static void act(struct cell *cell, enum cell_action action)
{
	switch (action) {
	case CELL_ACTION_NONE:
		return;
	case CELL_ACTION_START:
		act_start(cell);
		return;
	case CELL_ACTION_FORK:
		act_fork(cell);
		return;
	case CELL_ACTION_OFFER:
		act_offer(cell);
		return;
	case CELL_ACTION_RUN:
		act_run(cell);
		return;
	case CELL_ACTION_FINISH:
		act_finish(cell);
		return;
	case CELL_ACTION_TRACE:
		act_trace(cell);
		return;
	case CELL_ACTION_CONCLUDE:
		act_conclude(cell);
		return;
	case CELL_ACTION_DISCARD:
		act_discard(cell);
		return;
	case CELL_ACTION_FAIL:
		act_fail(cell);
		return;
	case CELL_ACTION_COUNT:
		return;
	}
}

void cell_fire(struct cell *cell, enum cell_event event)
{
	struct cell_transition transition = cell_transition(cell->state, event);

	cell->state = transition.next;
	act(cell, transition.action);
}

/* --- the warden ---------------------------------------------------------------------------- */

static bool is_busy(const struct cell *cell)
{
	return cell->state == CELL_RUNNING || cell->state == CELL_FINISHING ||
	       cell->state == CELL_TRACING;
}

static void take_exit(struct cell *cell, const struct cell_report *report)
{
	if (report->execution != cell->run.number || !cell_channel_read_rest(cell))
		return;
	if (is_busy(cell))
		cell_group_was_struck(&cell->group, &cell->run.struck_bytes);
	cell->run.exited = true;
	cell->run.status = report->status;
	cell->run.exit_cpu_us = report->cpu_us;
	cell->run.exit_peak_kib = report->peak_kib;
	if (cell->state == CELL_PARKED || cell->state == CELL_FORKING)
		snprintf(cell->trouble, sizeof(cell->trouble),
			"a waiting execution ended with status %#x", (unsigned)report->status);
	cell_fire(cell, CELL_EVENT_EXITED);
}

/* The kernel ends a cell that is over its memory limit whole: that is a verdict, and no accident. */
static void take_end(struct cell *cell, int code)
{
	if ((is_busy(cell) || cell->state == CELL_FORKING) &&
		cell_group_was_struck(&cell->group, &cell->run.struck_bytes)) {
		cell_source_close(cell, CELL_SOURCE_CONTROL);
		if (cell->state == CELL_FORKING)
			cell_fire(cell, CELL_EVENT_WORN); /* what was left of a script did it */
		else if (cell_channel_read_rest(cell))
			cell_fire(cell, CELL_EVENT_EXITED);
		return;
	}
	cell_note_trouble(cell, "the warden is gone", code);
	cell_fire(cell, CELL_EVENT_LOST);
}

static void lose_if(struct cell *cell, int r)
{
	if (r < 0) {
		cell_note_trouble(cell, "answer refused calls", -r);
		cell_fire(cell, CELL_EVENT_LOST);
	}
}

static void take_report(struct cell *cell, const struct cell_report *report, int *fd)
{
	switch ((enum cell_report_type)report->type) {
	case CELL_REPORT_HELLO:
		fd_close(&cell->warden);
		cell->warden = fd_take(fd);
		cell->image_bytes = report->image_bytes;
		cell_fire(cell, CELL_EVENT_HELLO);
		return;
	case CELL_REPORT_LISTENER:
		lose_if(cell, *fd < 0 ? -EPROTO
				      : cell_source_open(cell, CELL_SOURCE_LISTENER, fd_take(fd)));
		return;
	case CELL_REPORT_EXITED:
		take_exit(cell, report);
		return;
	case CELL_REPORT_FAILED:
		snprintf(cell->trouble, sizeof(cell->trouble), "warden, step \"%.31s\": %s",
			report->step, strerror(report->code));
		cell_fire(cell, CELL_EVENT_LOST);
		return;
	case CELL_REPORT_WEIGHED:
		if (report->execution == cell->run.number)
			cell_watch_take_tmp(cell, report->tmp_bytes);
		return;
	}
}

static void handle_control(struct cell *cell)
{
	struct cell_report report;
	SCOPE_FD fd = -1;
	size_t count = 1;
	int r = message_receive(
		cell->source[CELL_SOURCE_CONTROL].fd, &report, sizeof(report), &fd, &count);

	if (r == -EAGAIN)
		return;
	if (r == 1) {
		take_report(cell, &report, &fd);
		return;
	}
	take_end(cell, r < 0 ? -r : EPIPE);
}

/* --- the watch ----------------------------------------------------------------------------- */

/* After the value there is only the time of threads and handlers to end early. */
static void strike(struct cell *cell)
{
	if (cell->state == CELL_RUNNING) {
		cell_fire(cell, CELL_EVENT_CLAIM);
	} else if (cell->state == CELL_FINISHING) {
		cell->run.unfinished = true;
		cell_fire(cell, CELL_EVENT_DEADLINE);
	}
}

/* A warden that cannot be told any more shows otherwise. */
static void meet(struct cell *cell, enum watch_demand demand)
{
	switch (demand) {
	case WATCH_NOTHING:
		return;
	case WATCH_TMP:
		order(cell, CELL_ORDER_WEIGH, NULL, 0);
		return;
	case WATCH_STOP:
		order(cell, CELL_ORDER_STOP, NULL, 0);
		return;
	case WATCH_GO_ON:
		order(cell, CELL_ORDER_GO_ON, NULL, 0);
		return;
	case WATCH_STRIKE:
		strike(cell);
		return;
	}
}

void cell_take_weight(struct cell *cell, const struct scale_answer *answer)
{
	meet(cell, cell_watch_take_weight(cell, answer));
}

/* --- for the worker's loop ----------------------------------------------------------------- */

void cell_set_lane(struct cell *cell, int fd)
{
	if (cell->source[CELL_SOURCE_LANE].fd >= 0)
		cell_lane_drop(cell);
	if (cell_source_open(cell, CELL_SOURCE_LANE, fd) < 0) {
		cell_source_close(cell, CELL_SOURCE_LANE);
		return;
	}
	if (cell->state == CELL_PARKED)
		act_offer(cell);
}

void cell_ask_to_leave(struct cell *cell)
{
	if (cell->state != CELL_PARKED || cell->job.begun ||
		cell->source[CELL_SOURCE_LANE].fd < 0 || !cell_renew_if_old(cell))
		return;
	if (frame_append(&cell->lane_out.out, FRAME_LEAVING, NULL, 0) == 0)
		cell_lane_flush(cell);
}

void cell_handle(struct cell *cell, enum cell_source_kind kind, uint32_t events)
{
	if (cell->source[kind].fd < 0)
		return; /* closed by an event before this one in the same batch */
	switch (kind) {
	case CELL_SOURCE_CONTROL:
		handle_control(cell);
		return;
	case CELL_SOURCE_LANE:
		cell_lane_handle(cell, events);
		return;
	case CELL_SOURCE_CHANNEL:
		cell_channel_handle(cell, events);
		return;
	case CELL_SOURCE_STDOUT:
	case CELL_SOURCE_STDERR:
		if (cell_drain_output(cell, kind, 1) < 0)
			cell_source_close(cell, kind);
		cell_live_go_on(cell);
		return;
	case CELL_SOURCE_LISTENER:
		lose_if(cell, cell_refusal_take(cell, events));
		return;
	case CELL_SOURCE_COUNT:
		return;
	}
}

uint64_t cell_next_deadline_us(const struct cell *cell)
{
	const uint64_t times_us[] = {
		cell->deadline_us, cell->watch.next_us, cell->paused_until_us};
	uint64_t first = UINT64_MAX;
	size_t i;

	for (i = 0; i < sizeof(times_us) / sizeof(times_us[0]); i++) {
		if (times_us[i] && times_us[i] < first)
			first = times_us[i];
	}
	return first;
}

void cell_check_deadline(struct cell *cell, uint64_t now_us)
{
	lose_if(cell, cell_refusal_resume(cell, now_us));
	if (cell->watch.next_us && now_us >= cell->watch.next_us)
		meet(cell, cell_watch_turn(cell));
	if (!cell->deadline_us || now_us < cell->deadline_us)
		return;
	if (cell->state == CELL_FINISHING)
		cell->run.unfinished = true;
	if (cell->state == CELL_STARTING || cell->state == CELL_FORKING)
		cell_note_trouble(cell, cell_state_name(cell->state), ETIMEDOUT);
	cell_fire(cell, CELL_EVENT_DEADLINE);
}
