/* The library sets of the configuration, and which of them a script wants. Pure. */
#ifndef VIVARIUM_LIBRARY_SETS_H
#define VIVARIUM_LIBRARY_SETS_H

#include "sandbox/err.h"
#include "sandbox/worker.h"

#include <stdbool.h>
#include <stddef.h>

struct library_set {
	char text[512]; /* "name:parent:modules", as the template takes it */
	char name[32], parent[32];
	char modules[256];
	size_t parent_index; /* its own for the first */
	bool missing; /* not installed: nobody may run there */
};

struct library_sets {
	size_t count;
	struct library_set set[WORKER_SETS_MAX];
};

/*
 * Parses the blank-separated list of the configuration. The first set is the root of the tree,
 * each other names an earlier one as its parent. Returns 0 or -EINVAL.
 */
int library_sets_parse(const char *text, struct library_sets *sets, struct err *err);

/* Whether a process that has set `have` warm has all that set `wanted` has. */
bool library_sets_covers(const struct library_sets *sets, size_t have, size_t wanted);

/*
 * A quick look at the import statements of length bytes of Python: the smallest set that is there
 * and has the most of what they name. A wrong guess costs time, never correctness.
 */
size_t library_sets_choose(const struct library_sets *sets, const char *script, size_t length);

#endif
