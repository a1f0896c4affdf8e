#include "sandbox/cell_walk.h"

#include "sandbox/proc_status.h"
#include "sandbox/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum {
	THREAD_KERNEL_BYTES = 16 * 1024, /* a thread's stack in the kernel */
	LIST_BYTES = 16 * 1024,
};

struct pids {
	uint32_t count;
	int32_t pid[SCALE_PIDS_MAX];
};

/* A worker has one thread. */
static struct pids all; /* found, in the order in which they are visited */
static struct pids dead, dead_before; /* that nobody has waited for: in this walk, in the last */

static bool pids_add(struct pids *pids, int pid)
{
	if (pids->count == SCALE_PIDS_MAX)
		return false;
	pids->pid[pids->count++] = pid;
	return true;
}

static bool pids_have(const struct pids *pids, int pid)
{
	uint32_t i;

	for (i = 0; i < pids->count; i++) {
		if (pids->pid[i] == pid)
			return true;
	}
	return false;
}

/* The whole of a file: of a list in /proc a read gives no more than a page. */
static ssize_t read_all(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t n = 0;

	while (length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0)
		length += (size_t)n;
	text[length] = '\0';
	return n < 0 ? n : (ssize_t)length;
}

/* Children belong to the thread that forked them: "children" is a list of process ids. */
static void add_children(
	const struct cell *cell, struct cell_walk *walk, int pid, const char *thread)
{
	char path[64], list[LIST_BYTES], *at = list, *end;
	SCOPE_FD fd = -1;
	long child;

	snprintf(path, sizeof(path), "%d/task/%.20s/children", pid, thread);
	fd = openat(cell->environment->proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read_all(fd, list, sizeof(list)) < 0) {
		walk->moved = true;
		return;
	}
	while ((child = strtol(at, &end, 10)) > 0 && end != at) {
		if (!pids_add(&all, (int)child))
			walk->overflow = true;
		at = end;
	}
}

static int read_status(const struct cell *cell, const char *path, struct proc_status *status)
{
	SCOPE_FD fd = openat(cell->environment->proc, path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -1 : proc_status_read(fd, status);
}

static bool has_memory(const struct proc_status *status)
{
	return status->peak_kib > 0;
}

/*
 * The children of all threads but the first. A first thread that has ended shows no memory, though
 * the others have it: *status and *id are then those of one of them.
 */
static void add_threads(const struct cell *cell, struct cell_walk *walk, int pid,
	struct proc_status *status, int *id)
{
	char path[64];
	struct dirent *entry;
	DIR *threads;
	int fd;

	snprintf(path, sizeof(path), "%d/task", pid);
	fd = openat(cell->environment->proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	threads = fd < 0 ? NULL : fdopendir(fd);
	if (!threads) {
		fd_close(&fd);
		walk->moved = true;
		return;
	}
	while ((entry = readdir(threads))) {
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == pid)
			continue;
		add_children(cell, walk, pid, entry->d_name);
		if (has_memory(status))
			continue;
		snprintf(path, sizeof(path), "%d/task/%.20s/status", pid, entry->d_name);
		if (read_status(cell, path, status) == 0)
			*id = atoi(entry->d_name);
	}
	closedir(threads);
	if (!has_memory(status))
		walk->moved = true; /* the one that had it has just ended */
}

static void add_memory(struct cell_walk *walk, int id, const struct proc_status *status)
{
	if (walk->scale.count < SCALE_PIDS_MAX)
		walk->scale.pids[walk->scale.count++] = id;
	walk->own_bytes += (status->anon_kib + status->swap_kib) * 1024;
	walk->shmem_bytes += status->shmem_kib * 1024;
	walk->kernel_bytes += status->tables_kib * 1024;
}

/* Whether one had ended before this walk began is known of those that the last one has seen. */
static void add_dead(struct cell_walk *walk, int pid)
{
	pids_add(&dead, pid);
	if (!pids_have(&dead_before, pid))
		walk->moved = true;
}

/*
 * Its children first: whoever still lives after that has kept them until then. The children of one
 * that has ended are the warden's, and were so perhaps only after the warden's list was read.
 */
static void add_process(const struct cell *cell, struct cell_walk *walk, int pid)
{
	struct proc_status status;
	char path[32];
	int id = pid;

	snprintf(path, sizeof(path), "%d", pid);
	add_children(cell, walk, pid, path);
	snprintf(path, sizeof(path), "%d/status", pid);
	if (read_status(cell, path, &status) < 0) {
		walk->moved = true;
		return;
	}
	walk->kernel_bytes += (uint64_t)status.threads * THREAD_KERNEL_BYTES;
	if (status.threads > 1)
		add_threads(cell, walk, pid, &status, &id);
	if (has_memory(&status)) {
		add_memory(walk, id, &status);
		walk->standing &= proc_status_is_standing(&status);
		walk->some_stopped |= proc_status_is_stopped(&status);
	} else if (proc_status_is_dead(&status)) {
		add_dead(walk, pid);
	}
}

static void walk_once(const struct cell *cell, struct cell_walk *walk)
{
	char warden[16];
	uint32_t next;

	*walk = (struct cell_walk){.standing = true};
	walk->scale.cell = cell->number;
	walk->scale.execution = cell->run.number;
	all.count = dead.count = 0;
	snprintf(warden, sizeof(warden), "%d", (int)cell->run.parent);
	add_children(cell, walk, cell->run.parent, warden);
	for (next = 0; next < all.count; next++)
		add_process(cell, walk, all.pid[next]);
}

void cell_walk(const struct cell *cell, struct cell_walk *walk)
{
	dead_before.count = 0;
	walk_once(cell, walk);
	if (!walk->moved)
		return;
	dead_before = dead;
	walk_once(cell, walk);
}
