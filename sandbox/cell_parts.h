/* What the files of a cell share: its events, its lane, its channel. */
#ifndef VIVARIUM_CELL_PARTS_H
#define VIVARIUM_CELL_PARTS_H

#include "sandbox/cell.h"

enum {
	LANE_MAX_BYTES = 2 * JOB_LANE_MAX_BYTES, /* of a job whose frames come by the lane */
	LANE_OUT_MAX_BYTES = 32 << 20, /* an answer at its largest, and more: for one who reads */
	CHANNEL_MAX_BYTES = RESULT_MAX_BYTES + 64 * 1024,
};

/* Something happened: the cell does what the table of cell_state.h says. */
void cell_fire(struct cell *cell, enum cell_event event);

/* Notes for the log why the cell is about to go down; code: a positive errno. */
void cell_note_trouble(struct cell *cell, const char *what, int code);

/* --- cell_lane.c: jobs, hostile only if the dispatcher was taken over --- */

/* An epoll event of the lane. */
void cell_lane_handle(struct cell *cell, uint32_t events);

/* Sends what is in lane_out, as far as it goes; the rest goes when there is room. */
void cell_lane_flush(struct cell *cell);

/* Appends to lane_out that the cell takes a job. Returns 0 or a negative errno. */
int cell_lane_offer(struct cell *cell);

/* Gives up the lane and the job that came over it. */
void cell_lane_drop(struct cell *cell);

/* --- cell_channel.c: the words of an execution, every byte hostile once a job runs --- */

/* An epoll event of the channel. */
void cell_channel_handle(struct cell *cell, uint32_t events);

/*
 * Takes what the execution said before it died. Returns whether that execution is still the one at
 * hand.
 */
bool cell_channel_read_rest(struct cell *cell);

#endif
