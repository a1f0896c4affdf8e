#include "sandbox/cell_watch.h"

#include "sandbox/clock.h"
#include "sandbox/message.h"
#include "sandbox/proc_status.h"
#include "sandbox/scope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	EVERY_US = 30 * 1000,
	SHARE = 20, /* a look may take one part in so many of the time */
	THREAD_KERNEL_BYTES = 16 * 1024, /* a thread's stack in the kernel */
	LIST_BYTES = 16 * 1024,
};

/* The processes of a script, and what they use at the most. */
struct sum {
	struct scale_request scale; /* with their ids */
	bool overflow; /* there are more than the scale takes */
	uint64_t own_bytes; /* memory of their own; more than that where they share some by fork */
	uint64_t shmem_bytes; /* likewise, of shared mappings */
	uint64_t kernel_bytes; /* page tables and stacks */
};

void cell_watch_begin(struct cell *cell)
{
	if (cell_group_ends_whole(&cell->group))
		return; /* which is seen at once */
	cell->watch.next_us = cell->run.started_us + EVERY_US;
}

/* --- walking ------------------------------------------------------------------------------- */

static void add_pid(struct sum *sum, int pid)
{
	if (sum->scale.count < SCALE_PIDS_MAX)
		sum->scale.pids[sum->scale.count++] = pid;
	else
		sum->overflow = true;
}

/* Children belong to the thread that forked them: "children" is a list of process ids. */
static void add_children(const struct cell *cell, struct sum *sum, int pid, const char *thread)
{
	char path[64], list[LIST_BYTES], *at = list, *end;
	SCOPE_FD fd = -1;
	ssize_t n;
	long child;

	snprintf(path, sizeof(path), "%d/task/%.20s/children", pid, thread);
	fd = openat(cell->environment->proc, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, list, sizeof(list) - 1);
	list[n > 0 ? n : 0] = '\0';
	while ((child = strtol(at, &end, 10)) > 0 && end != at) {
		add_pid(sum, (int)child);
		at = end;
	}
}

static void add_children_of_all(const struct cell *cell, struct sum *sum, int pid)
{
	char path[32];
	struct dirent *entry;
	DIR *threads;
	int fd;

	snprintf(path, sizeof(path), "%d/task", pid);
	fd = openat(cell->environment->proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	threads = fd < 0 ? NULL : fdopendir(fd);
	if (!threads) {
		fd_close(&fd);
		return;
	}
	while ((entry = readdir(threads))) {
		if (entry->d_name[0] != '.')
			add_children(cell, sum, pid, entry->d_name);
	}
	closedir(threads);
}

static void add_process(const struct cell *cell, struct sum *sum, int pid)
{
	struct proc_status status;
	char path[32];
	SCOPE_FD fd = -1;

	snprintf(path, sizeof(path), "%d/status", pid);
	fd = openat(cell->environment->proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || proc_status_read(fd, &status) < 0)
		return; /* it has ended */
	sum->own_bytes += (status.anon_kib + status.swap_kib) * 1024;
	sum->shmem_bytes += status.shmem_kib * 1024;
	sum->kernel_bytes += status.tables_kib * 1024 + (uint64_t)status.threads * THREAD_KERNEL_BYTES;
	snprintf(path, sizeof(path), "%d", pid);
	if (status.threads == 1)
		add_children(cell, sum, pid, path);
	else
		add_children_of_all(cell, sum, pid);
}

/* All that the warden has forked, and what they forked; orphans are the warden's, too. */
static void add_all(const struct cell *cell, struct sum *sum)
{
	char warden[16];
	uint32_t next;

	snprintf(warden, sizeof(warden), "%d", (int)cell->run.parent);
	add_children(cell, sum, cell->run.parent, warden);
	for (next = 0; next < sum->scale.count; next++)
		add_process(cell, sum, sum->scale.pids[next]);
}

/* --- judging ------------------------------------------------------------------------------- */

/* Files of /tmp that are mapped are in both numbers: the larger counts. */
static uint64_t total_of(const struct cell *cell, uint64_t own, uint64_t shmem, uint64_t kernel)
{
	return own + kernel + (shmem > cell->watch.tmp_bytes ? shmem : cell->watch.tmp_bytes);
}

static bool is_over(struct cell *cell, uint64_t total)
{
	uint64_t limit = (uint64_t)cell->job.limits.memory_mib << 20;

	if (total <= limit + cell->run.allowance_bytes)
		return false;
	cell->run.struck_bytes = total - cell->run.warm_bytes;
	return true;
}

/*
 * The sum counts what is shared as often as it is shared: before it strikes, it is weighed, where
 * there is a scale (worker.c). Where there is none, it strikes.
 */
static bool judge(struct cell *cell, struct sum *sum)
{
	uint64_t total = total_of(cell, sum->own_bytes, sum->shmem_bytes, sum->kernel_bytes);

	if (sum->scale.count == 1 || sum->overflow || cell->environment->scale < 0)
		return is_over(cell, total);
	if (total <= ((uint64_t)cell->job.limits.memory_mib << 20) + cell->run.allowance_bytes)
		return false;
	cell->watch.kernel_bytes = sum->kernel_bytes;
	sum->scale.cell = cell->number;
	sum->scale.execution = cell->run.number;
	/* should it be busy, there is another turn */
	message_send(cell->environment->scale, &sum->scale, sizeof(sum->scale), NULL, 0);
	return false;
}

static bool look(struct cell *cell)
{
	static struct sum sum; /* a worker has one thread */

	sum.scale.count = 0;
	sum.overflow = false;
	sum.own_bytes = sum.shmem_bytes = sum.kernel_bytes = 0;
	add_all(cell, &sum);
	return judge(cell, &sum);
}

bool cell_watch_turn(struct cell *cell, bool *tmp_wanted)
{
	uint64_t begun = clock_now_us(), pause;
	bool over;

	*tmp_wanted = !cell_group_limits_memory(&cell->group);
	if (*tmp_wanted)
		over = look(cell);
	else
		over = cell_group_was_struck(&cell->group, &cell->run.struck_bytes);
	pause = (clock_now_us() - begun) * SHARE;
	cell->watch.next_us = begun + (pause > EVERY_US ? pause : EVERY_US);
	return over;
}

void cell_watch_take_tmp(struct cell *cell, uint64_t bytes)
{
	cell->watch.tmp_bytes = bytes;
}

bool cell_watch_take_weight(struct cell *cell, const struct scale_answer *answer)
{
	return cell->watch.next_us && answer->execution == cell->run.number &&
	       is_over(cell, total_of(cell, answer->anon_bytes, answer->shmem_bytes,
				      cell->watch.kernel_bytes));
}
