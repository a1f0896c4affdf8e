/*
 * What the kernel does not limit the worker looks at, every few hundredths of a second once a
 * script has run that long: without a memory control group the sum of what its processes use, in
 * /tmp too; with one of v1, whether a process was killed for it. Scripts that are over by then
 * cost nothing.
 */
#ifndef VIVARIUM_CELL_WATCH_H
#define VIVARIUM_CELL_WATCH_H

#include "sandbox/cell.h"
#include "sandbox/scale.h"

/* The job was handed over. */
void cell_watch_begin(struct cell *cell);

/*
 * The watch's time has come. tmp_wanted is set where the warden is to be asked for the size of
 * /tmp (CELL_ORDER_WEIGH). Returns whether the job has more than its limit; run.struck_bytes then
 * says how much.
 */
bool cell_watch_turn(struct cell *cell, bool *tmp_wanted);

/* The warden's answer. */
void cell_watch_take_tmp(struct cell *cell, uint64_t bytes);

/* The scale's answer. Returns as cell_watch_turn does. */
bool cell_watch_take_weight(struct cell *cell, const struct scale_answer *answer);

#endif
