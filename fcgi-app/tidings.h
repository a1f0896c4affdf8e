/* What the master tells the dispatcher for GET /metrics: restarts, and memory of others. */
#ifndef VIVARIUM_TIDINGS_H
#define VIVARIUM_TIDINGS_H

#include "fcgi-app/child.h"
#include "fcgi-app/front.h"
#include "sandbox/cgroup.h"

struct tidings {
	struct front_tidings now;
	uint64_t told_us; /* CLOCK_MONOTONIC; 0: what is there has not been told */
};

/* One more restart; to be told at the next occasion. */
void tidings_count(struct tidings *tidings, enum front_role role);

/* Whether they are due: there is something new, or what was told is seconds old. */
bool tidings_are_due(const struct tidings *tidings, uint64_t now_us);

/*
 * Looks at what changes by itself: resident memory of the front and of `count` workers, in proc, a
 * procfs of the service, and the memory of the cells' control groups. Then they count as told.
 */
void tidings_look(struct tidings *tidings, int proc, const struct child *front,
	const struct child *workers, size_t count, const struct cgroup *cgroup, uint64_t now_us);

#endif
