/* From what a worker saw of an execution to its verdict: a pure function. */
#ifndef VIVARIUM_VERDICT_H
#define VIVARIUM_VERDICT_H

#include "sandbox/job.h"

#include <stdbool.h>

struct verdict_facts {
	const struct job_limits *limits;
	bool timed_out; /* the worker's timer struck before the value came */
	bool has_value; /* a value came and is strict JSON */
	bool unfinished; /* what the script did after it was cut off */
	bool bad_value; /* a value came and is not */
	uint64_t oversize_bytes; /* a value was announced larger than allowed; else 0 */
	uint64_t struck_bytes; /* ended for having so much memory; else 0 */
	const struct failure *claim; /* NULL: none */
	bool exited; /* the warden reaped the execution */
	int status; /* its wait(2) status */
	uint64_t wall_us, cpu_us, memory_bytes;
};

/*
 * Fills kind, after_value, line, exit_code, signal, limit, used and the usage of *verdict; leaves
 * the rest.
 */
void verdict_decide(const struct verdict_facts *facts, struct verdict *verdict);

#endif
