#include "runner/self_check.h"

#include "sandbox/scope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Reads "data" and "size" of /proc/self/statm, what job limits are counted on top of. */
int self_check_measure(int proc, uint64_t *data_bytes, uint64_t *address_bytes, struct err *err)
{
	SCOPE_FD fd = openat(proc, "self/statm", O_RDONLY | O_CLOEXEC);
	unsigned long long size, resident, shared, code, libraries, data;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	char text[256] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ||
		sscanf(text, "%llu %llu %llu %llu %llu %llu", &size, &resident, &shared, &code,
			&libraries, &data) != 6)
		return err_set(err, EIO, "read /proc/self/statm");
	*address_bytes = size * page;
	*data_bytes = data * page;
	return 0;
}

/* What a fork would hand to scripts: no shared writable memory may be among it. */
static int check_maps(int proc, struct err *err)
{
	int fd = openat(proc, "self/maps", O_RDONLY | O_CLOEXEC);
	FILE *maps = fd < 0 ? NULL : fdopen(fd, "r");
	char line[512], permissions[8];
	int r = 0;

	if (!maps)
		return err_set(err, errno, "read /proc/self/maps");
	while (!r && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%*s %7s", permissions) == 1 && permissions[1] == 'w' &&
			permissions[3] == 's')
			r = err_set(err, EPERM, "shared writable memory: %.150s", line);
	}
	fclose(maps);
	return r;
}

static bool is_expected(int fd, const int *expected, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (expected[i] == fd)
			return true;
	}
	return fd <= STDERR_FILENO;
}

/* Close-on-exec closes nothing where there is no exec: every descriptor must have its reason. */
static int check_fds(int proc, const int *expected, size_t count, struct err *err)
{
	int fd = openat(proc, "self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	char target[128] = "";
	int r = 0;

	if (!directory)
		return err_set(err, errno, "list /proc/self/fd");
	while (!r && (entry = readdir(directory))) {
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory) &&
			!is_expected(atoi(entry->d_name), expected, count)) {
			if (readlinkat(dirfd(directory), entry->d_name, target,
				    sizeof(target) - 1) < 0)
				target[0] = '\0';
			r = err_set(err, EPERM, "stray descriptor %s (%s)", entry->d_name, target);
		}
	}
	closedir(directory);
	return r;
}

/* fork(2) of a process with a second thread would copy that thread's locks and not the thread. */
static int check_threads(int proc, struct err *err)
{
	struct stat status;

	if (fstatat(proc, "self/task", &status, 0) < 0)
		return err_set(err, errno, "look at /proc/self/task");
	if (status.st_nlink != 3) /* one directory a thread, and "." and ".." */
		return err_set(err, EPERM, "a library started a thread");
	return 0;
}

int self_check_forkable(int proc, const int *expected, size_t count, struct err *err)
{
	int r = check_maps(proc, err);

	if (!r)
		r = check_fds(proc, expected, count, err);
	return r < 0 ? r : check_threads(proc, err);
}
