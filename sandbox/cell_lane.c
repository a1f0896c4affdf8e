/* A cell's lane: jobs come over it, hostile only if the dispatcher was taken over. */
#include "sandbox/cell_io.h"
#include "sandbox/cell_live.h"
#include "sandbox/cell_parts.h"
#include "sandbox/cell_run.h"
#include "sandbox/clock.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	LANE_KEEP_BYTES = 64 * 1024, /* memory that an idle cell keeps for the next job or answer */
};

void cell_lane_flush(struct cell *cell)
{
	/* after an error, too: the end of the lane is seen when it is read */
	if (cell_source_flush(cell, CELL_SOURCE_LANE, &cell->lane_out) < 0 ||
		!cell->lane_out.out.length)
		frame_writer_reset(&cell->lane_out, LANE_KEEP_BYTES);
}

int cell_lane_offer(struct cell *cell)
{
	uint32_t set = (uint32_t)cell->set;

	return frame_append(&cell->lane_out.out, FRAME_READY, &set, sizeof(set));
}

/* Nobody waits any more, whether it runs already or not. */
static void abandon_job(struct cell *cell)
{
	cell_fire(cell, CELL_EVENT_ABANDONED);
	cell_job_reset(cell);
}

void cell_lane_drop(struct cell *cell)
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
		cell_fire(cell, CELL_EVENT_WORN);
	}
	return 0;
}

/* The job was lost with the cell while it came: whoever sends it gets an answer all the same. */
static int refuse_rest(struct cell *cell, const struct frame *frame)
{
	if (frame->type == FRAME_GO && cell_run_answer_internal(cell) == 0)
		cell_lane_flush(cell);
	return 0;
}

/*
 * The answer may have crossed the order, and the news of the next execution with it: whoever
 * cancels throws away all that comes before the acknowledgement, and is told again.
 */
static int take_cancel(struct cell *cell)
{
	int r;

	abandon_job(cell);
	r = frame_append(&cell->lane_out.out, FRAME_CANCELLED, NULL, 0);
	if (!r && cell->state == CELL_PARKED)
		r = cell_lane_offer(cell);
	cell_lane_flush(cell);
	return r;
}

/*
 * Room for a large job: the dispatcher writes it there, the execution reads it there, and nobody
 * passes it on piece by piece. It is made here, and can never grow, because a process that makes
 * such files can fill all memory, and the dispatcher is to have no way to that: one room for each
 * cell, emptied when the job is over, whoever still holds it (cell_job_reset).
 */
static int make_room(struct cell *cell, uint32_t bytes)
{
	SCOPE_FD room = -1;
	int r;

	if (cell->lane_out.descriptor)
		return -EPROTO; /* the one before was called off and never received */
	room = memfd_create("job", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (room < 0 || ftruncate(room, bytes) < 0 || fcntl(room, F_ADD_SEALS, F_SEAL_GROW) < 0)
		return -errno;
	cell->job.body = fcntl(room, F_DUPFD_CLOEXEC, 0) + 1;
	if (!cell->job.body)
		return -errno;
	r = frame_append(&cell->lane_out.out, FRAME_ROOM, NULL, 0);
	if (!r) {
		cell->lane_out.descriptor = fd_take(&room) + 1;
		cell_lane_flush(cell);
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

/*
 * From here on nobody writes to it; a mapping that still could makes sealing fail. Who cuts it short
 * ends his own job.
 */
static int take_body(struct cell *cell)
{
	int body = cell->job.body - 1, copy;

	if (body < 0 || cell->job.out.descriptor ||
		fcntl(body, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -EPROTO;
	copy = fcntl(body, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;
	cell->job.out.descriptor = copy + 1;
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
			cell_fire(cell, CELL_EVENT_JOB);
		}
		return r;
	case FRAME_CHANGE:
		return take_change(cell, frame);
	case FRAME_CANCEL:
		return take_cancel(cell);
	default:
		return -EPROTO;
	}
}

void cell_lane_handle(struct cell *cell, uint32_t events)
{
	struct frame_header header;
	struct frame frame;
	int r;

	if (events & EPOLLOUT) {
		cell_lane_flush(cell);
		cell_live_go_on(cell);
	}
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
		cell_lane_drop(cell);
	else if (cell->lane_in.start == cell->lane_in.in.length)
		frame_reader_reset(&cell->lane_in, LANE_KEEP_BYTES);
}
