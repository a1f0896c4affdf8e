#include "sandbox/cell.h"

#include "sandbox/cell_io.h"
#include "sandbox/cell_refusal.h"
#include "sandbox/cell_run.h"
#include "sandbox/cell_watch.h"
#include "sandbox/clock.h"
#include "sandbox/identity.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
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
	LANE_MAX_BYTES = 2 * JOB_LANE_MAX_BYTES, /* of a job whose frames come by the lane */
	LANE_KEEP_BYTES = 64 * 1024, /* memory that an idle cell keeps for the next job or answer */
	CHANNEL_MAX_BYTES = RESULT_MAX_BYTES + 64 * 1024,
	LAST_READS = 2 * CHANNEL_MAX_BYTES / (64 * 1024), /* orphans may write for ever */
	DRAIN_READS = 4, /* 64 KiB each: what a pipe holds, and some that comes meanwhile */
};

static void fire(struct cell *cell, enum cell_event event);

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
		.job = {.out = {.out = {.cap = LANE_MAX_BYTES}}},
		.channel_in = {.in = {.cap = CHANNEL_MAX_BYTES}},
		.output = {.max_bytes = STREAM_MAX_BYTES},
		.error = {.max_bytes = STREAM_MAX_BYTES},
		.run = {.status_file = -1}};
	for (i = 0; i < CELL_SOURCE_COUNT; i++)
		cell->source[i] = (struct cell_source){
			.cell = cell, .kind = (enum cell_source_kind)i, .fd = -1};
}

static void note_trouble(struct cell *cell, const char *what, int code)
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
		note_trouble(cell, "ask the template for a warden", -r);
		fire(cell, CELL_EVENT_LOST);
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
		note_trouble(cell, "order an execution", -r);
		fire(cell, CELL_EVENT_LOST);
	}
}

static void flush_lane(struct cell *cell)
{
	/* after an error, too: the end of the lane is seen when it is read */
	if (cell_source_flush(cell, CELL_SOURCE_LANE, &cell->lane_out) < 0 ||
		!cell->lane_out.out.length)
		frame_writer_reset(&cell->lane_out, LANE_KEEP_BYTES);
}

static const char *template_name(const struct cell *cell)
{
	return cell->environment->set_names[cell->set];
}

static void act_offer(struct cell *cell)
{
	uint32_t set = (uint32_t)cell->set;

	cell_renew_done(cell);
	cell->failures = 0;
	cell->is_up = true;
	set_deadline(cell, 0);
	if (cell->job.complete) {
		fire(cell, CELL_EVENT_JOB);
		return;
	}
	cell->run.was_parked = true;
	if (cell->source[CELL_SOURCE_LANE].fd < 0)
		return; /* said when a lane comes */
	if (frame_append(&cell->lane_out.out, FRAME_READY, &set, sizeof(set)) == 0)
		flush_lane(cell);
}

static void act_run(struct cell *cell)
{
	int r = cell_group_limit_job(&cell->group, &cell->job.limits, cell->run.allowance_bytes);

	if (r < 0) {
		note_trouble(cell, "limit the memory of a job", -r);
		fire(cell, CELL_EVENT_LOST);
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
	if (order(cell, CELL_ORDER_TRACE, NULL, 0) < 0)
		fire(cell, CELL_EVENT_DEADLINE);
}

/* The job is answered or abandoned: what runs ends, and the next execution, or cell, is made. */
static void end_execution(struct cell *cell)
{
	cell_job_reset(cell);
	if (cell->leaving)
		fire(cell, CELL_EVENT_WORN);
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
	int r = cell_drain_output(cell, CELL_SOURCE_STDOUT, DRAIN_READS);

	cell_renew_after_job(cell);
	if (!r)
		r = cell_drain_output(cell, CELL_SOURCE_STDERR, DRAIN_READS);
	if (!r && cell->leaving)
		r = frame_append(&cell->lane_out.out, FRAME_LEAVING, NULL, 0);
	if (!r)
		r = cell_run_answer(cell, ran_on);
	if (r < 0) {
		frame_writer_reset(&cell->lane_out, 0);
		cell_run_answer_internal(cell);
	}
	flush_lane(cell);
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
		flush_lane(cell);
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

static void fire(struct cell *cell, enum cell_event event)
{
	struct cell_transition transition = cell_transition(cell->state, event);

	cell->state = transition.next;
	act(cell, transition.action);
}

/* --- the lane: jobs, hostile only if the dispatcher was taken over ------------------------- */

/* Nobody waits any more, whether it runs already or not. */
static void abandon_job(struct cell *cell)
{
	fire(cell, CELL_EVENT_ABANDONED);
	cell_job_reset(cell);
}

static void drop_lane(struct cell *cell)
{
	cell_source_close(cell, CELL_SOURCE_LANE);
	frame_reader_reset(&cell->lane_in, 0);
	frame_writer_reset(&cell->lane_out, 0);
	abandon_job(cell);
}

/* The dispatcher asks for it only while it knows the cell idle; a job cannot be on its way. */
static int take_change(struct cell *cell, const struct frame *frame)
{
	uint32_t set;

	if (frame->length != sizeof(set) || cell->job.begun)
		return -EPROTO;
	memcpy(&set, frame->payload, sizeof(set));
	if (set >= cell->environment->sets)
		return -EPROTO;
	if (cell->state == CELL_PARKED) {
		cell->set = set;
		fire(cell, CELL_EVENT_WORN);
	}
	return 0;
}

/* The job was lost with the cell while it came: whoever sends it gets an answer all the same. */
static int refuse_rest(struct cell *cell, const struct frame *frame)
{
	if (frame->type == FRAME_GO && cell_run_answer_internal(cell) == 0)
		flush_lane(cell);
	return 0;
}

/*
 * Room for a large job: the dispatcher writes it there, the execution reads it there, and nobody
 * passes it on piece by piece. It is made here, of a size that is settled, because a process that
 * makes such files can fill all memory, and the dispatcher is to have no way to that.
 */
static int make_room(struct cell *cell, uint32_t bytes)
{
	SCOPE_FD room = memfd_create("job", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (room < 0 || ftruncate(room, bytes) < 0 ||
		fcntl(room, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	cell->job.body = fcntl(room, F_DUPFD_CLOEXEC, 0) + 1;
	if (!cell->job.body)
		return -errno;
	r = frame_append(&cell->lane_out.out, FRAME_ROOM, NULL, 0);
	if (!r) {
		cell->lane_out.descriptor = fd_take(&room) + 1;
		flush_lane(cell);
	}
	return r;
}

static int begin_job(struct cell *cell, const struct frame *frame)
{
	struct job_limits *limits = &cell->job.limits;
	int r;

	if (frame->length != sizeof(*limits) || cell->job.begun)
		return -EPROTO;
	memcpy(limits, frame->payload, sizeof(*limits));
	if (!limits->timeout_ms || !limits->memory_mib || !limits->cpu_s ||
		limits->wanted_set >= cell->environment->sets || limits->body_bytes > JOB_MAX_BYTES)
		return -EPROTO;
	cell->job.begun = true;
	r = limits->body_bytes ? make_room(cell, limits->body_bytes) : 0;
	return r < 0 ? r
		     : frame_append(
			       &cell->job.out.out, FRAME_JOB, frame->payload, frame->length);
}

/* From here on it cannot change; a mapping that could still write to it makes sealing fail. */
static int take_body(struct cell *cell)
{
	int body = cell->job.body - 1;

	if (body < 0 || cell->job.out.descriptor ||
		fcntl(body, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -EPROTO;
	cell->job.out.descriptor = body + 1;
	cell->job.body = 0;
	return 0;
}

/* A job goes through unread: the frames are the execution's to understand. */
static int take_job_frame(struct cell *cell, const struct frame *frame)
{
	int r;

	switch ((int)frame->type) {
	case FRAME_JOB:
		return begin_job(cell, frame);
	case FRAME_SCRIPT:
	case FRAME_ENTRY:
	case FRAME_ARGS:
	case FRAME_KWARGS:
	case FRAME_ARGV:
	case FRAME_ENV:
	case FRAME_OUTPUTS:
	case FRAME_STDIN:
	case FRAME_FILE:
	case FRAME_CONTENT:
	case FRAME_BODY:
	case FRAME_GO:
		if (!cell->job.begun)
			return refuse_rest(cell, frame);
		if (cell->job.complete || (frame->type == FRAME_BODY && take_body(cell) < 0))
			return -EPROTO;
		r = frame_append(&cell->job.out.out, (enum frame_type)frame->type, frame->payload,
			frame->length);
		if (!r && frame->type == FRAME_GO) {
			cell->job.complete = true;
			cell->job.complete_us = clock_now_us();
			fire(cell, CELL_EVENT_JOB);
		}
		return r;
	case FRAME_CHANGE:
		return take_change(cell, frame);
	case FRAME_CANCEL:
		abandon_job(cell);
		return 0;
	default:
		return -EPROTO;
	}
}

static void handle_lane(struct cell *cell, uint32_t events)
{
	struct frame_header header;
	struct frame frame;
	int r;

	if (events & EPOLLOUT)
		flush_lane(cell);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	r = frame_reader_fill(&cell->lane_in, cell->source[CELL_SOURCE_LANE].fd, NULL);
	if (r == -EAGAIN)
		return;
	while (r > 0 && frame_reader_next(&cell->lane_in, &frame)) {
		if (take_job_frame(cell, &frame) < 0)
			r = -EPROTO;
	}
	if (r > 0 && frame_reader_peek(&cell->lane_in, &header) && header.length > LANE_MAX_BYTES)
		r = -EPROTO; /* one that can never be whole */
	if (r <= 0)
		drop_lane(cell);
	else if (cell->lane_in.start == cell->lane_in.in.length)
		frame_reader_reset(&cell->lane_in, LANE_KEEP_BYTES);
}

/* --- the channel: every byte hostile once a job runs --------------------------------------- */

/* Each layer that is to be there has to be one that the cell's own processes put in force. */
static int take_layers(struct cell *cell, const struct frame *frame)
{
	uint32_t wanted = cell->environment->arrangement->layers & ~LAYER_BIT(LAYER_PROCFS);

	if (frame->length != sizeof(cell->layers))
		return -EPROTO;
	memcpy(&cell->layers, frame->payload, sizeof(cell->layers));
	return wanted & ~cell->layers ? -ENOTSUP : 0;
}

static void take_parked(struct cell *cell, const struct frame *frame, pid_t sender)
{
	int r;

	if (cell->state != CELL_FORKING)
		return; /* forged */
	r = take_layers(cell, frame);
	if (!r)
		r = cell_run_note_parked(cell, sender);
	if (r < 0) {
		note_trouble(cell, "see the new execution", -r);
		fire(cell, CELL_EVENT_LOST);
		return;
	}
	fire(cell, CELL_EVENT_IS_PARKED);
}

static void take_step_failed(struct cell *cell, const struct frame *frame)
{
	struct step_failure failure;

	if (cell->state != CELL_FORKING || frame->length != sizeof(failure))
		return; /* forged: its exit will be judged */
	memcpy(&failure, frame->payload, sizeof(failure));
	snprintf(cell->trouble, sizeof(cell->trouble), "jail step %u \"%.31s\": %s", failure.step,
		failure.name, strerror(failure.code));
	fire(cell, CELL_EVENT_LOST);
}

static void take_claim(struct cell *cell, const struct frame *frame)
{
	struct failure claim;

	if (cell->state != CELL_RUNNING || cell->run.claim.length ||
		failure_decode(frame->payload, frame->length, &claim) < 0)
		return;
	if (buffer_append(&cell->run.claim, frame->payload, frame->length) == 0)
		fire(cell, CELL_EVENT_CLAIM);
}

static void take_value(struct cell *cell, const struct frame *frame)
{
	if (cell->state != CELL_RUNNING)
		return;
	if (cell_run_keep_value(cell, frame->payload, frame->length) < 0)
		return; /* out of memory ourselves: the job will run into its time */
	fire(cell, cell->run.has_value ? CELL_EVENT_VALUE : CELL_EVENT_CLAIM);
}

static void take_traceback(struct cell *cell, const struct frame *frame)
{
	if (cell->state != CELL_TRACING || cell->run.traceback.length ||
		frame->length > TRACEBACK_MAX_BYTES)
		return;
	buffer_append(&cell->run.traceback, frame->payload, frame->length);
}

/* Without the memory for it the answer goes without it. */
static void take_extra(struct cell *cell, const struct frame *frame)
{
	struct cell_run *run = &cell->run;

	if (cell->state != CELL_RUNNING && cell->state != CELL_FINISHING)
		return;
	if (frame->type != FRAME_FILES)
		extras_take(&run->extras[run->extra], frame);
	else if (run->extra < CELL_EXTRAS - 1)
		run->extra++;
}

static void take_channel_frame(struct cell *cell, const struct frame *frame, pid_t sender)
{
	switch ((int)frame->type) {
	case FRAME_PARKED:
		take_parked(cell, frame, sender);
		return;
	case FRAME_STEP_FAILED:
		take_step_failed(cell, frame);
		return;
	case FRAME_RESULT:
		take_value(cell, frame);
		return;
	case FRAME_FAILURE:
		take_claim(cell, frame);
		return;
	case FRAME_TRACEBACK:
		take_traceback(cell, frame);
		return;
	case FRAME_FILE:
	case FRAME_CONTENT:
	case FRAME_FIGURE:
	case FRAME_WARNING:
	case FRAME_FILES:
		take_extra(cell, frame);
		return;
	case FRAME_DONE:
		cell->run.done = cell->state == CELL_FINISHING;
		/* without a value or a claim it means nothing: the exit will be judged */
		if (cell->state == CELL_FINISHING || cell->state == CELL_TRACING)
			fire(cell, CELL_EVENT_FINISHED);
		return;
	default:
		return; /* garbage; it may go on as long as it likes */
	}
}

/* A frame too large to hold is a value over the limit; anything else is no frame of ours. */
static void refuse_oversize(struct cell *cell)
{
	struct frame_header header;

	if (cell->state != CELL_RUNNING || !frame_reader_peek(&cell->channel_in, &header) ||
		header.length <= RESULT_MAX_BYTES)
		return;
	if (header.type != FRAME_RESULT) {
		cell_source_close(cell, CELL_SOURCE_CHANNEL);
		return;
	}
	cell->run.oversize_bytes = header.length;
	fire(cell, CELL_EVENT_CLAIM);
}

/* Reads once and takes what is whole. Returns what frame_reader_fill does. */
static int read_channel(struct cell *cell)
{
	uint32_t number = cell->run.number;
	struct frame frame;
	pid_t sender = 0;
	int r = frame_reader_fill(&cell->channel_in, cell->source[CELL_SOURCE_CHANNEL].fd,
		cell->state == CELL_FORKING ? &sender : NULL);

	if (r <= 0)
		return r;
	while (cell->run.number == number && frame_reader_next(&cell->channel_in, &frame))
		take_channel_frame(cell, &frame, sender);
	if (cell->run.number == number)
		refuse_oversize(cell);
	return cell->run.number == number ? r : -ECANCELED;
}

static void handle_channel(struct cell *cell, uint32_t events)
{
	int r;

	if ((events & EPOLLOUT) &&
		cell_source_flush(cell, CELL_SOURCE_CHANNEL, &cell->job.out) < 0) {
		cell_source_close(cell, CELL_SOURCE_CHANNEL);
		return;
	}
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	r = read_channel(cell);
	if (r > 0 || r == -EAGAIN || r == -ECANCELED)
		return;
	cell_source_close(cell, CELL_SOURCE_CHANNEL); /* its exit, or its time, will be judged */
	if (cell->state == CELL_FORKING) {
		note_trouble(cell, "wait for the new execution", EPIPE);
		fire(cell, CELL_EVENT_LOST);
	}
}

/* --- the warden ---------------------------------------------------------------------------- */

/* What the execution said before it died counts. Returns whether it is still the one at hand. */
static bool read_last_words(struct cell *cell)
{
	uint32_t number = cell->run.number;
	unsigned reads = LAST_READS;

	while (reads-- && cell->source[CELL_SOURCE_CHANNEL].fd >= 0 && read_channel(cell) > 0)
		;
	return cell->run.number == number;
}

static bool is_busy(const struct cell *cell)
{
	return cell->state == CELL_RUNNING || cell->state == CELL_FINISHING ||
	       cell->state == CELL_TRACING;
}

static void take_exit(struct cell *cell, const struct cell_report *report)
{
	if (report->execution != cell->run.number || !read_last_words(cell))
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
	fire(cell, CELL_EVENT_EXITED);
}

/* The kernel ends a cell that is over its memory limit whole: that is a verdict, and no accident. */
static void take_end(struct cell *cell, int code)
{
	if ((is_busy(cell) || cell->state == CELL_FORKING) &&
		cell_group_was_struck(&cell->group, &cell->run.struck_bytes)) {
		cell_source_close(cell, CELL_SOURCE_CONTROL);
		if (cell->state == CELL_FORKING)
			fire(cell, CELL_EVENT_WORN); /* what was left of a script did it */
		else if (read_last_words(cell))
			fire(cell, CELL_EVENT_EXITED);
		return;
	}
	note_trouble(cell, "the warden is gone", code);
	fire(cell, CELL_EVENT_LOST);
}

static void lose_if(struct cell *cell, int r)
{
	if (r < 0) {
		note_trouble(cell, "answer refused calls", -r);
		fire(cell, CELL_EVENT_LOST);
	}
}

static void take_report(struct cell *cell, const struct cell_report *report, int *fd)
{
	switch ((enum cell_report_type)report->type) {
	case CELL_REPORT_HELLO:
		fd_close(&cell->warden);
		cell->warden = fd_take(fd);
		cell->image_bytes = report->image_bytes;
		fire(cell, CELL_EVENT_HELLO);
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
		fire(cell, CELL_EVENT_LOST);
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
		fire(cell, CELL_EVENT_CLAIM);
	} else if (cell->state == CELL_FINISHING) {
		cell->run.unfinished = true;
		fire(cell, CELL_EVENT_DEADLINE);
	}
}

static void turn_watch(struct cell *cell)
{
	bool tmp_wanted;
	bool over = cell_watch_turn(cell, &tmp_wanted);

	if (over)
		strike(cell);
	else if (tmp_wanted)
		order(cell, CELL_ORDER_WEIGH, NULL, 0); /* a warden that has gone shows otherwise */
}

void cell_take_weight(struct cell *cell, const struct scale_answer *answer)
{
	if (cell_watch_take_weight(cell, answer))
		strike(cell);
}

/* --- for the worker's loop ----------------------------------------------------------------- */

void cell_set_lane(struct cell *cell, int fd)
{
	if (cell->source[CELL_SOURCE_LANE].fd >= 0)
		drop_lane(cell);
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
		flush_lane(cell);
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
		handle_lane(cell, events);
		return;
	case CELL_SOURCE_CHANNEL:
		handle_channel(cell, events);
		return;
	case CELL_SOURCE_STDOUT:
	case CELL_SOURCE_STDERR:
		if (cell_drain_output(cell, kind, 1) < 0)
			cell_source_close(cell, kind);
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
		turn_watch(cell);
	if (!cell->deadline_us || now_us < cell->deadline_us)
		return;
	if (cell->state == CELL_FINISHING)
		cell->run.unfinished = true;
	if (cell->state == CELL_STARTING || cell->state == CELL_FORKING)
		note_trouble(cell, cell_state_name(cell->state), ETIMEDOUT);
	fire(cell, CELL_EVENT_DEADLINE);
}
