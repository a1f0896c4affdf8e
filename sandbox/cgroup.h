/*
 * The service's control groups (cgroups(7)): one subtree for each instance, and in it a leaf for
 * each cell, made while the launcher may still do so. Afterwards nobody in the service has a right
 * to them: the master hands to each worker the open files of its own cells and nothing else.
 *
 *	GROUP THAT IS OURS/		see cgroup_place.h
 *		vivarium-rest/		v2: the processes that were in it, as v2 wants them in leaves
 *		vivarium-N/		locked (flock(2)) for as long as the instance lives
 *			service/	v2: all of the service but the cells
 *			cell-K/		the warden of cell K and whatever it forks
 */
#ifndef VIVARIUM_CGROUP_H
#define VIVARIUM_CGROUP_H

#include "sandbox/err.h"

#include <stdbool.h>
#include <stddef.h>

/* The files of a leaf; in v1 they have other names, or there is none. */
enum cgroup_file {
	CGROUP_JOIN_FIRST, /* cgroup.procs, of each hierarchy that is used */
	CGROUP_JOIN_SECOND,
	CGROUP_JOIN_THIRD,
	CGROUP_KILL,
	CGROUP_MEMORY_MAX,
	CGROUP_SWAP, /* v2: a limit; v1: the eagerness to swap */
	CGROUP_OOM_GROUP,
	CGROUP_MEMORY_CURRENT,
	CGROUP_MEMORY_PEAK,
	CGROUP_MEMORY_EVENTS,
	CGROUP_PIDS_MAX,
	CGROUP_CPU_WEIGHT,
	CGROUP_FILES
};

/* A leaf's open files, -1 where there is none. */
struct cgroup_leaf {
	int file[CGROUP_FILES];
};

struct cgroup {
	bool memory, pids; /* the leaves limit them */
	bool unified; /* memory is limited by v2 */
	bool resettable; /* a peak can be taken anew: v1, and v2 from Linux 6.12 on */
	char text[600]; /* what limits what, and why not, for people */
	size_t cells;
	struct cgroup_leaf *leaf; /* `cells` of them; NULL: none at all */
	int keeper; /* the subtree goes when its last copy is closed; -1: none */
};

/*
 * Makes the subtree with a leaf for each cell, with memory, pids and cpu, each where there is a
 * place for it (else *cgroup says so in memory, pids and text), and, in v2, moves this process into
 * it. What dead instances left is removed. A process is started that outlives the service and
 * removes the subtree; its right, if it is root, is to write directories. Single-threaded, before
 * any privilege is given up. Everything in *cgroup stays open until this process and those that it
 * forks end.
 */
void cgroup_make(struct cgroup *cgroup, size_t cells);

/* Makes *cgroup one that limits nothing, because `reason`. */
void cgroup_make_none(struct cgroup *cgroup, const char *reason);

#endif
