/*
 * Live output of a job that asked for it (JOB_LIVE). The captures are its buffer: the next frame is
 * made when the lane has taken the one before, so a dispatcher that does not read costs no memory,
 * and a script never waits for anybody.
 */
#ifndef VIVARIUM_CELL_LIVE_H
#define VIVARIUM_CELL_LIVE_H

#include "sandbox/cell.h"

/* Sends what was printed since, as far as the lane takes it. */
void cell_live_go_on(struct cell *cell);

/*
 * Takes length bytes of stdout or stderr into their capture. Where that is about to leave some out,
 * what can still go live is put on the lane first. Returns 0 or a negative errno.
 */
int cell_live_keep(struct cell *cell, enum cell_source_kind kind, const char *data, size_t length);

/* Appends to lane_out what has not gone live at the end of a run. Returns 0 or a negative errno. */
int cell_live_finish(struct cell *cell);

#endif
