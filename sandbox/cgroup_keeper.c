#include "sandbox/cgroup_keeper.h"

#include "sandbox/cgroup_place.h"
#include "sandbox/descriptors.h"
#include "sandbox/identity.h"
#include "sandbox/scope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum {
	TRIES = 600, /* of removing, while what ran in the groups is still ending */
	TRY_EVERY_NS = 50 * 1000 * 1000,
};

/* The groups in a directory; it is only the kernel that makes files there. */
static DIR *list(int directory)
{
	int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);

	if (!entries && copy >= 0)
		close(copy);
	return entries;
}

/* A group and the groups in it, which have none in them. Returns whether it is gone. */
static bool remove_subtree(int parent, int top, const char *name)
{
	DIR *entries = list(top);
	struct dirent *entry;

	while (entries && (entry = readdir(entries))) {
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			unlinkat(top, entry->d_name, AT_REMOVEDIR);
	}
	if (entries)
		closedir(entries);
	return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

void cgroup_keeper_remove_dead(int parent)
{
	DIR *entries = list(parent);
	struct dirent *entry;
	int top;

	while (entries && (entry = readdir(entries))) {
		if (entry->d_type != DT_DIR || strcmp(entry->d_name, CGROUP_REST) == 0 ||
			strncmp(entry->d_name, CGROUP_KEPT_PREFIX, strlen(CGROUP_KEPT_PREFIX)) != 0)
			continue;
		top = openat(parent, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (top < 0)
			continue;
		if (flock(top, LOCK_EX | LOCK_NB) == 0)
			remove_subtree(parent, top, entry->d_name);
		close(top);
	}
	if (entries)
		closedir(entries);
}

/* Nothing of the one who started it but the directories, and no right but to write in them. */
static int confine(const struct cgroup_kept *kept, size_t count, int life)
{
	int keep[1 + 2 * CGROUP_HIERARCHIES_MAX] = {life}, null = open("/dev/null", O_RDWR);
	sigset_t all;
	size_t i;

	for (i = 0; i < count; i++) {
		keep[1 + 2 * i] = kept[i].parent;
		keep[2 + 2 * i] = kept[i].top;
	}
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
		dup2(null, STDERR_FILENO) < 0 || chdir("/") < 0)
		return -errno;
	descriptors_keep(keep, 1 + 2 * count);
	setsid();
	prctl(PR_SET_NAME, "vivarium-keeper");
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (geteuid() == 0)
		return identity_become(0, CAPABILITY(CAP_DAC_OVERRIDE), NULL);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static _Noreturn void keep(const struct cgroup_kept *kept, size_t count, int life)
{
	const struct timespec pause = {.tv_nsec = TRY_EVERY_NS};
	bool left = true;
	int tries;
	size_t i;
	char byte;

	if (confine(kept, count, life) < 0)
		_exit(1);
	while (read(life, &byte, 1) < 0 && errno == EINTR)
		;
	for (tries = 0; left && tries < TRIES; tries++) {
		left = false;
		for (i = 0; i < count; i++)
			left |= !remove_subtree(kept[i].parent, kept[i].top, kept[i].name);
		if (left)
			nanosleep(&pause, NULL);
	}
	_exit(left ? 1 : 0);
}

int cgroup_keeper_start(const struct cgroup_kept *kept, size_t count, int *ret_life, struct err *err)
{
	int ends[2], status = 0;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(err, errno, "make a pipe");
	child = fork();
	if (!child) {
		child = fork(); /* its parent ends: it is nobody's child that would be waited for */
		if (!child)
			keep(kept, count, ends[0]);
		_exit(child < 0 ? errno : 0);
	}
	close(ends[0]);
	if (child < 0 || waitpid(child, &status, 0) < 0 || status) {
		close(ends[1]);
		return err_set(err, child < 0 ? errno : EAGAIN, "start the keeper of control groups");
	}
	*ret_life = ends[1];
	return 0;
}
