/*
 * A walk over a script's processes while they live: all that the warden has forked, and what they
 * forked, orphans included, and what /proc says that each of them uses.
 */
#ifndef VIVARIUM_CELL_WALK_H
#define VIVARIUM_CELL_WALK_H

#include "sandbox/cell.h"
#include "sandbox/scale.h"

#include <stdbool.h>
#include <stdint.h>

/* What a walk has found. */
struct cell_walk {
	struct scale_request scale; /* ids of those that have memory; cell and execution are set */
	bool overflow; /* there are more than the scale takes */
	bool moved; /* some ended on the way: others, who were theirs, may be missing */
	bool standing; /* nobody that has memory runs code of its own (proc_status.h) */
	bool some_stopped; /* by a signal */
	uint64_t own_bytes; /* memory of their own; more than that where they share some by fork */
	uint64_t shmem_bytes; /* likewise, of shared mappings */
	uint64_t kernel_bytes; /* page tables and stacks */
};

/* Fills *walk with what the cell's execution has now. Goes a second time if processes moved. */
void cell_walk(const struct cell *cell, struct cell_walk *walk);

#endif
