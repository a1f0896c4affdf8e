/*
 * What the kernel does not limit the worker looks at, every few hundredths of a second once a
 * script has run that long: without a memory control group the sum of what its processes use, in
 * /tmp too; with one of v1, whether a process was killed for it. Scripts that are over by then
 * cost nothing.
 *
 * A look that missed processes because others ended, and one whose sum is too large but counts
 * twice what is shared, is no proof of anything: the processes are stopped, looked at again,
 * weighed if need be, and go on or are ended. So what comes of a look does not depend on how long
 * it takes.
 */
#ifndef VIVARIUM_CELL_WATCH_H
#define VIVARIUM_CELL_WATCH_H

#include "sandbox/cell.h"
#include "sandbox/scale.h"

/* What the watch asks its cell to do. */
enum watch_demand {
	WATCH_NOTHING,
	WATCH_TMP, /* ask the warden for the size of /tmp */
	WATCH_STOP, /* have all processes stopped, and ask the same */
	WATCH_GO_ON, /* let them go on, and ask the same */
	WATCH_STRIKE, /* the job has more than its limit; run.struck_bytes says how much */
};

/* The job was handed over. */
void cell_watch_begin(struct cell *cell);

/* There is nothing more to watch for. Returns whether processes are stopped, and are to go on. */
bool cell_watch_end(struct cell *cell);

/* The watch's time has come. */
enum watch_demand cell_watch_turn(struct cell *cell);

/* The warden's answer to WATCH_TMP or WATCH_STOP. */
void cell_watch_take_tmp(struct cell *cell, uint64_t bytes);

/* The scale's answer. */
enum watch_demand cell_watch_take_weight(struct cell *cell, const struct scale_answer *answer);

#endif
