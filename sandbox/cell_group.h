/*
 * A cell's leaf among the control groups, as its worker uses it: limits are written before they
 * are needed, the peak and the deaths read back. All of it does nothing, and succeeds, for a cell
 * without a leaf.
 */
#ifndef VIVARIUM_CELL_GROUP_H
#define VIVARIUM_CELL_GROUP_H

#include "sandbox/cgroup.h"
#include "sandbox/cgroup_place.h"
#include "sandbox/job.h"

#include <stdint.h>

struct cell_group {
	const struct cgroup *cgroup; /* NULL: none */
	const struct cgroup_leaf *leaf; /* NULL: none */
	uint64_t limit_bytes; /* memory, as last written; 0: none */
	uint64_t base_bytes; /* memory when the execution was parked */
	uint64_t base_peak_bytes;
	uint64_t base_deaths, base_refusals; /* by the out-of-memory killer; at the leaf's limit */
};

/* Whether the kernel limits the memory of the cell as a whole. */
static inline bool cell_group_limits_memory(const struct cell_group *group)
{
	return group->leaf && group->cgroup->memory;
}

/* Whether, where the limit strikes, the kernel ends the cell with its warden. */
static inline bool cell_group_ends_whole(const struct cell_group *group)
{
	return cell_group_limits_memory(group) && group->cgroup->unified;
}

/*
 * For a new warden: ends what may still be in the leaf, and writes every limit anew; memory has
 * none before there is a job. processes: of one execution. Returns 0 or a negative errno.
 */
int cell_group_renew(struct cell_group *group, uint32_t processes);

/* The files by which a builder joins the leaf, into fds; not to be closed. Returns how many. */
size_t cell_group_joins(const struct cell_group *group, int fds[CGROUP_HIERARCHIES_MAX]);

/* The execution is parked: what is used now is the base line. */
void cell_group_note_parked(struct cell_group *group);

/*
 * Before the job: what may be used on top of the base line, allowance_bytes included.
 * Returns 0 or a negative errno.
 */
int cell_group_limit_job(struct cell_group *group, const struct job_limits *limits,
	uint64_t allowance_bytes);

/* The most that was used at a time since the base line, above it; 0: not known. */
uint64_t cell_group_peak_bytes(const struct cell_group *group);

/*
 * Whether the kernel has killed a process of the cell since the execution was parked because the
 * memory limit of the leaf was reached; then *ret_used is what the job had on top of the base line.
 */
bool cell_group_was_struck(const struct cell_group *group, uint64_t *ret_used);

#endif
