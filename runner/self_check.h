/* What a template looks at in itself before it serves. proc: descriptor of a procfs. */
#ifndef VIVARIUM_SELF_CHECK_H
#define VIVARIUM_SELF_CHECK_H

#include "sandbox/err.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Private writable memory and address space of this process: what the limits of jobs are counted
 * on top of. Returns 0 or -EIO.
 */
int self_check_measure(int proc, uint64_t *data_bytes, uint64_t *address_bytes, struct err *err);

/*
 * Whether a fork hands on nothing that it should not: no shared writable memory, no descriptor but
 * 0, 1, 2 and the count expected ones, no second thread whose locks would stay locked.
 * Returns 0, or a negative errno with what was found.
 */
int self_check_forkable(int proc, const int *expected, size_t count, struct err *err);

#endif
