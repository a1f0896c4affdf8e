#include "sandbox/cell_group.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	CELL_PROCESSES = 8, /* warden, builder, and executions that are just ending */
	CELL_WEIGHT = 100, /* all cells have the same; v2's and v1's scales begin below that */
	LIMIT_STEP_BYTES = 1 << 20, /* so that equal jobs have equal limits, written once */
};

static bool has(const struct cell_group *group, enum cgroup_file file)
{
	return group->leaf && group->leaf->file[file] >= 0;
}

static int put(const struct cell_group *group, enum cgroup_file file, const char *text)
{
	if (!has(group, file))
		return 0;
	return write(group->leaf->file[file], text, strlen(text)) < 0 ? -errno : 0;
}

static int put_number(const struct cell_group *group, enum cgroup_file file, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	return put(group, file, text);
}

static int put_limit(struct cell_group *group, uint64_t bytes)
{
	int r;

	if (bytes)
		r = put_number(group, CGROUP_MEMORY_MAX, bytes);
	else
		r = put(group, CGROUP_MEMORY_MAX, group->cgroup->unified ? "max" : "-1");
	if (!r)
		group->limit_bytes = bytes;
	return r;
}

int cell_group_renew(struct cell_group *group, uint32_t processes)
{
	int r;

	if (!group->leaf)
		return 0;
	r = put(group, CGROUP_KILL, "1");
	if (!r)
		r = put_limit(group, 0);
	if (!r)
		r = put_number(group, CGROUP_SWAP, 0);
	if (!r)
		r = put_number(group, CGROUP_OOM_GROUP, 1);
	if (!r)
		r = put_number(group, CGROUP_PIDS_MAX, processes + CELL_PROCESSES);
	return r < 0 ? r : put_number(group, CGROUP_CPU_WEIGHT, CELL_WEIGHT);
}

size_t cell_group_joins(const struct cell_group *group, int fds[CGROUP_HIERARCHIES_MAX])
{
	size_t count = 0;
	int file;

	for (file = CGROUP_JOIN_FIRST; file <= CGROUP_JOIN_THIRD; file++) {
		if (has(group, (enum cgroup_file)file))
			fds[count++] = group->leaf->file[file];
	}
	return count;
}

/* The number behind `key` in a file of "key number" lines, or, for "", the one at its start. */
static uint64_t get(const struct cell_group *group, enum cgroup_file file, const char *key)
{
	unsigned long long number = 0;
	char text[512], *at = text;
	ssize_t n;

	if (!has(group, file))
		return 0;
	n = pread(group->leaf->file[file], text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	if (*key)
		at = strstr(text, key);
	if (at)
		sscanf(at + strlen(key), "%llu", &number);
	return number;
}

static uint64_t deaths(const struct cell_group *group)
{
	return get(group, CGROUP_MEMORY_EVENTS, "\noom_kill ");
}

/* v1 does not tell a death at this limit from one for want of memory in the whole machine. */
static uint64_t refusals(const struct cell_group *group)
{
	return get(group, CGROUP_MEMORY_EVENTS, group->cgroup->unified ? "\noom " : "\noom_kill ");
}

void cell_group_note_parked(struct cell_group *group)
{
	if (!cell_group_limits_memory(group))
		return;
	group->base_bytes = get(group, CGROUP_MEMORY_CURRENT, "");
	group->base_deaths = deaths(group);
	group->base_refusals = refusals(group);
	if (group->cgroup->resettable)
		put(group, CGROUP_MEMORY_PEAK, "0");
	else
		group->base_peak_bytes = get(group, CGROUP_MEMORY_PEAK, "");
}

int cell_group_limit_job(struct cell_group *group, const struct job_limits *limits,
	uint64_t allowance_bytes)
{
	uint64_t bytes = group->base_bytes + ((uint64_t)limits->memory_mib << 20) + allowance_bytes;

	if (!cell_group_limits_memory(group))
		return 0;
	bytes += LIMIT_STEP_BYTES - bytes % LIMIT_STEP_BYTES;
	return bytes == group->limit_bytes ? 0 : put_limit(group, bytes);
}

uint64_t cell_group_peak_bytes(const struct cell_group *group)
{
	uint64_t peak = cell_group_limits_memory(group) ? get(group, CGROUP_MEMORY_PEAK, "") : 0;

	/* one that cannot be reset tells something only where this job has raised it */
	if (peak <= group->base_bytes ||
		(!group->cgroup->resettable && peak <= group->base_peak_bytes))
		return 0;
	return peak - group->base_bytes;
}

bool cell_group_was_struck(const struct cell_group *group, uint64_t *ret_used)
{
	if (!cell_group_limits_memory(group) || !group->limit_bytes ||
		deaths(group) == group->base_deaths || refusals(group) == group->base_refusals)
		return false;
	*ret_used = group->limit_bytes - group->base_bytes;
	return true;
}
