/* A cell's channel: what an execution says, every byte of it hostile once a job runs. */
#include "sandbox/cell_io.h"
#include "sandbox/cell_parts.h"
#include "sandbox/cell_run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

enum {
	LAST_READS = 2 * CHANNEL_MAX_BYTES / (64 * 1024), /* orphans may write for ever */
};

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
		cell_note_trouble(cell, "see the new execution", -r);
		cell_fire(cell, CELL_EVENT_LOST);
		return;
	}
	cell_fire(cell, CELL_EVENT_IS_PARKED);
}

static void take_step_failed(struct cell *cell, const struct frame *frame)
{
	struct step_failure failure;

	if (cell->state != CELL_FORKING || frame->length != sizeof(failure))
		return; /* forged: its exit will be judged */
	memcpy(&failure, frame->payload, sizeof(failure));
	snprintf(cell->trouble, sizeof(cell->trouble), "jail step %u \"%.31s\": %s", failure.step,
		failure.name, strerror(failure.code));
	cell_fire(cell, CELL_EVENT_LOST);
}

static void take_claim(struct cell *cell, const struct frame *frame)
{
	struct failure claim;

	if (cell->state != CELL_RUNNING || cell->run.claim.length ||
		failure_decode(frame->payload, frame->length, &claim) < 0)
		return;
	if (buffer_append(&cell->run.claim, frame->payload, frame->length) == 0)
		cell_fire(cell, CELL_EVENT_CLAIM);
}

static void take_value(struct cell *cell, const struct frame *frame)
{
	if (cell->state != CELL_RUNNING)
		return;
	if (cell_run_keep_value(cell, frame->payload, frame->length) < 0)
		return; /* out of memory ourselves: the job will run into its time */
	cell_fire(cell, cell->run.has_value ? CELL_EVENT_VALUE : CELL_EVENT_CLAIM);
}

static void take_traceback(struct cell *cell, const struct frame *frame)
{
	if (cell->state != CELL_TRACING || cell->run.traceback.length ||
		frame->length > TRACEBACK_MAX_BYTES)
		return;
	buffer_append(&cell->run.traceback, frame->payload, frame->length);
}

/*
 * Figures come first, then all files, perhaps twice. Without the memory for it the answer goes
 * without it.
 */
static void take_extra(struct cell *cell, const struct frame *frame)
{
	struct cell_run *run = &cell->run;
	enum frame_type kind = run->extra ? FRAME_FILE : FRAME_FIGURE;

	if (cell->state != CELL_RUNNING && cell->state != CELL_FINISHING)
		return;
	if (frame->type != FRAME_FILES)
		extras_take(&run->extras[run->extra], kind, frame);
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
			cell_fire(cell, CELL_EVENT_FINISHED);
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
	cell_fire(cell, CELL_EVENT_CLAIM);
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

void cell_channel_handle(struct cell *cell, uint32_t events)
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
		cell_note_trouble(cell, "wait for the new execution", EPIPE);
		cell_fire(cell, CELL_EVENT_LOST);
	}
}

bool cell_channel_read_rest(struct cell *cell)
{
	uint32_t number = cell->run.number;
	unsigned reads = LAST_READS;

	while (reads-- && cell->source[CELL_SOURCE_CHANNEL].fd >= 0 && read_channel(cell) > 0)
		;
	return cell->run.number == number;
}
