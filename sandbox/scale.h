/*
 * The scale: a small process beside a worker whose cells have no memory control group. Memory that
 * a script's processes share by fork has to be counted once, and only who may look into them can
 * tell. So that the worker need not, this one may, and does nothing else: process ids in, sums out.
 * Cells take turns, a process each: none waits until another one's many are weighed. Of a cell the
 * last question is answered, and no others.
 */
#ifndef VIVARIUM_SCALE_H
#define VIVARIUM_SCALE_H

#include "sandbox/arrangement.h"
#include "sandbox/err.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	SCALE_PIDS_MAX = 512,
};

/* Worker to scale. */
struct scale_request {
	uint32_t cell, execution; /* come back in the answer */
	uint32_t count;
	int32_t pids[SCALE_PIDS_MAX]; /* as the worker sees them */
};

/* Scale to worker. */
struct scale_answer {
	uint32_t cell, execution;
	uint32_t missing; /* how many of the processes had ended: without them the sums say little */
	uint64_t anon_bytes; /* own memory, in swap or not; what n processes share counts 1/n each */
	uint64_t shmem_bytes; /* shared mappings and mapped files of a tmpfs, likewise */
};

/*
 * Starts the scale as a child, which confines itself and ends with this process. proc: procfs of
 * the service; stays the caller's. *ret_socket: where it is asked. Returns 0 or a negative errno.
 */
int scale_start(
	int proc, const struct arrangement *arrangement, int *ret_socket, struct err *err);

#endif
