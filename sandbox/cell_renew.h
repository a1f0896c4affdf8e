/*
 * When a cell is built anew: worn out, another library set wanted, or its template replaced. The
 * dispatcher is told before (FRAME_LEAVING), so that no job is handed ahead to a cell that is being
 * built; and of the cells that are merely old only a few leave at once.
 */
#ifndef VIVARIUM_CELL_RENEW_H
#define VIVARIUM_CELL_RENEW_H

#include <stdbool.h>
#include <stddef.h>

struct cell;

/* Of a worker: how many of its cells may leave because they are old, how many are on their way. */
struct cell_turns {
	size_t most, taken;
};

/* A job is over: says with cell->leaving whether the cell is built anew before the next one. */
void cell_renew_after_job(struct cell *cell);

/* For a parked cell: takes a turn to leave if it is old and one is free. Returns whether. */
bool cell_renew_if_old(struct cell *cell);

/* The cell stands again, or is down: gives its turn back. */
void cell_renew_done(struct cell *cell);

#endif
