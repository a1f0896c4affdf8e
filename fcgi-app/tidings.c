#include "fcgi-app/tidings.h"

#include "fcgi-app/log_output.h"
#include "sandbox/proc_status.h"
#include "sandbox/scope.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	OLD_US = 2000 * 1000,
};

void tidings_count(struct tidings *tidings, enum front_role role)
{
	tidings->now.restarts[role]++;
	tidings->told_us = 0;
}

bool tidings_are_due(const struct tidings *tidings, uint64_t now_us)
{
	return !tidings->told_us || now_us - tidings->told_us >= OLD_US;
}

/* 0 for a process that is not there. */
static uint64_t resident_bytes(int proc, const struct child *child)
{
	struct proc_status status;
	char path[32];
	SCOPE_FD fd = -1;

	if (!child->pid)
		return 0;
	snprintf(path, sizeof(path), "%d/status", (int)child->pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || proc_status_read(fd, &status) < 0)
		return 0;
	return (status.anon_kib + status.file_kib + status.shmem_kib) * 1024;
}

static uint64_t cell_bytes(const struct cgroup *cgroup)
{
	uint64_t sum = 0;
	char text[32];
	ssize_t n;
	size_t i;
	int fd;

	for (i = 0; cgroup->leaf && i < cgroup->cells; i++) {
		fd = cgroup->leaf[i].file[CGROUP_MEMORY_CURRENT];
		n = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		sum += strtoull(text, NULL, 10);
	}
	return sum;
}

void tidings_look(struct tidings *tidings, int proc, const struct child *front,
	const struct child *workers, size_t count, const struct cgroup *cgroup, uint64_t now_us)
{
	uint64_t *bytes = tidings->now.resident_bytes;
	size_t i;

	bytes[FRONT_ROLE_DISPATCHER] = resident_bytes(proc, front);
	bytes[FRONT_ROLE_WORKER] = 0;
	for (i = 0; i < count; i++)
		bytes[FRONT_ROLE_WORKER] += resident_bytes(proc, &workers[i]);
	bytes[FRONT_ROLE_CELL] = cell_bytes(cgroup);
	tidings->now.log_dropped = log_output_dropped();
	tidings->told_us = now_us;
}
