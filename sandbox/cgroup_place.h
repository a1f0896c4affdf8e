/* Where control groups may be made: which hierarchy, and whether the group we are in is ours. */
#ifndef VIVARIUM_CGROUP_PLACE_H
#define VIVARIUM_CGROUP_PLACE_H

#include "sandbox/err.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	CGROUP_PATH_BYTES = 512,
	CGROUP_HIERARCHIES_MAX = 3, /* of one instance: v1 has one for each controller */
};

/* The group that this process is in, in one hierarchy. */
struct cgroup_place {
	bool unified; /* cgroup v2; else v1 */
	bool is_top; /* nothing above it can be seen: the machine's or the container's own root */
	size_t top_bytes; /* how much of the path leads to that root */
	char path[CGROUP_PATH_BYTES]; /* of its directory */
};

/*
 * From the texts of /proc/self/mountinfo and /proc/self/cgroup: the v1 hierarchy that has
 * `controller` (or is named "name=..."), or the unified one for NULL. Pure. Returns 0, or -ENOENT
 * when it is not mounted or our group lies outside of what is.
 */
int cgroup_place_find(const char *mounts, const char *membership, const char *controller,
	struct cgroup_place *place);

/*
 * The group below which this process may make others with `controller`: v2 if that has the
 * controller, else v1. Ours is the top of all we can see, and a group that its manager has marked
 * as delegated (systemd's Delegate=yes); in any other one somebody else keeps order. Returns 0, or
 * a negative errno with the reason in *err.
 */
int cgroup_place_choose(const char *controller, struct cgroup_place *place, struct err *err);

/* The leaf that takes the processes of a delegated group, which may have none of its own. */
#define CGROUP_REST "vivarium-rest"

#endif
