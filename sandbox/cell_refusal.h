/* The calls of a cell that its policy refuses, as its worker meets them. */
#ifndef VIVARIUM_CELL_REFUSAL_H
#define VIVARIUM_CELL_REFUSAL_H

#include "sandbox/cell.h"

/*
 * An epoll event of the listener: refuses one call and keeps the first of the running script.
 * Returns 0, or a negative errno when the listener is of no use any more.
 */
int cell_refusal_take(struct cell *cell, uint32_t events);

/* Ends the listener's pause if it is over by now_us, CLOCK_MONOTONIC. Returns 0 or -errno. */
int cell_refusal_resume(struct cell *cell, uint64_t now_us);

#endif
