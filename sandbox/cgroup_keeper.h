/*
 * The keeper: a process beside the service, outside of its namespaces, that waits for its end,
 * however that comes, and then removes its control groups; nobody inside could.
 */
#ifndef VIVARIUM_CGROUP_KEEPER_H
#define VIVARIUM_CGROUP_KEEPER_H

#include "sandbox/err.h"

#include <stddef.h>

#define CGROUP_KEPT_PREFIX "vivarium-"

/* An instance's subtree in one hierarchy. */
struct cgroup_kept {
	int parent, top; /* directories; -1: none */
	char name[32]; /* of the top, in the parent */
};

/* Removes the subtrees in `parent` that nobody has locked: their instances are dead. */
void cgroup_keeper_remove_dead(int parent);

/*
 * Starts the keeper of count subtrees, CGROUP_HIERARCHIES_MAX at most. *ret_life is open in this process and in what it forks; when
 * the last copy is closed the keeper removes the subtrees and ends. A child of nobody: it is not
 * to be waited for. Returns 0 or a negative errno.
 */
int cgroup_keeper_start(const struct cgroup_kept *kept, size_t count, int *ret_life,
	struct err *err);

#endif
