/* One execution: the process that runs one script, and nothing ever again. */
#ifndef VIVARIUM_EXECUTION_H
#define VIVARIUM_EXECUTION_H

#include "runner/hot_pages.h"
#include "sandbox/arrangement.h"
#include "sandbox/rlimits.h"
#include "sandbox/seccomp.h"

#include <stdint.h>

enum {
	EXECUTION_FD_CHANNEL = 1000, /* above RLIMIT_NOFILE: no script gets there by accident */
	EXECUTION_EXIT_UNLIMITED = 77, /* the job's limits could not be set; no line has run */
};

struct execution_setup {
	int channel, output, error; /* the worker's: a stream socket and two pipes */
	const struct seccomp_program *closing;
	const struct seccomp_program *exposed; /* NULL: none is needed */
	const struct arrangement *arrangement;
	uint32_t own_id; /* user and group to become; 0: those of the warden */
	uint32_t layers; /* LAYER_BITs that the warden has put in force */
	uint64_t data_bytes, address_bytes;
	struct rlimits_cell limits;
	const struct hot_pages *hot;
};

/* In a fresh fork of a warden: jails itself, reports that it is parked, runs one job, ends. */
_Noreturn void execution_main(const struct execution_setup *setup);

/*
 * What a job costs, without the jail: takes one from the channel and runs it, in a scout of the
 * template. Returns 0 or a negative errno.
 */
int execution_run_unjailed(int channel, struct err *err);

#endif
