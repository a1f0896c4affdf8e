/*
 * What a role of the service does to itself once its sockets, root and identity are settled: limits
 * and a filter of its own. The cells' are in rlimits.h and seccomp.h.
 */
#ifndef VIVARIUM_ROLE_H
#define VIVARIUM_ROLE_H

#include "sandbox/err.h"

#include <stdint.h>

/*
 * Limits the calling process for good: data_bytes of private writable memory (RLIMIT_DATA) beyond
 * which allocations fail, open_files descriptors (0: as many as now), no core file, no locked
 * memory, no message queues, no real-time priority. Returns 0 or a negative errno.
 */
int role_limit(uint64_t data_bytes, uint64_t open_files, struct err *err);

/*
 * Puts the calling thread, and so all threads that it starts later, under the policy whose text
 * the descriptor holds (policy.h; [allow] and [errno] sections). policy stays the caller's and is
 * read from its beginning. Needs no_new_privs. Returns 0 or a negative errno; then the process must
 * not go on.
 */
int role_filter(int policy, struct err *err);

#endif
