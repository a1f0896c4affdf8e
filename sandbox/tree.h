/* The file system that untrusted code sees: a small read-only tree, and a /tmp. */
#ifndef VIVARIUM_TREE_H
#define VIVARIUM_TREE_H

#include "sandbox/err.h"
#include "sandbox/landlock.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Where the tree has the operator's virtual environment. */
#define TREE_VENV "/venv"

/*
 * Makes the tree that Python scripts need and nothing else of the host (interpreter library,
 * shared objects, time zones, fonts, certificates, a made-up /etc, five devices), makes it the
 * root of the calling process's own mount namespace by pivot_root(2), read-only, and lets the old
 * root go. python: for example "python3.11". venv: an absolute path that is to be seen as
 * TREE_VENV; "": none. Needs CAP_SYS_ADMIN over the mount namespace. Returns 0 or a negative errno; then the process must not go on.
 */
int tree_enter(const char *python, const char *venv, struct err *err);

/* Pivots into an empty, read-only root: for processes that open nothing. Same conditions. */
int tree_enter_empty(struct err *err);

/*
 * Where there are no mounts: Landlock rules (landlock.h) under which exactly the host's paths of
 * that tree can be opened, at their own places, and what the further rules name. Needs
 * no_new_privs. Returns 0 or a negative errno.
 */
int tree_landlock(const char *python, const struct landlock_rule *further, size_t count,
	struct err *err);

/*
 * Pivots into a root that has one file of the host: all that tree_enter asks of the kernel, for
 * whoever wants to know whether it can be had. Same conditions.
 */
int tree_enter_probe(struct err *err);

/*
 * A procfs of the caller's PID namespace that shows processes and nothing of /proc/sys (proc(5),
 * subset=pid, Linux 5.8); it is attached nowhere. Returns its descriptor or a negative errno.
 */
int tree_mount_proc(struct err *err);

/* A cell's /tmp: one tmpfs, and what it looked like before anybody touched it. */
struct tree_tmp {
	uint32_t size_mib, inodes; /* limits, set by the caller */
	bool mounted;
	struct timespec changed; /* ctime of its root when fresh */
	uint64_t files_free, blocks_free;
	uint64_t next_number; /* the inode number that the next file gets */
};

/*
 * Mounts a fresh tmpfs on /tmp (nosuid, nodev, noexec), in place of the one that is there.
 * Returns 0 or a negative errno.
 */
int tree_tmp_replace(struct tree_tmp *tmp, struct err *err);

/* What the files in it hold, contents and what the kernel needs to keep them. */
uint64_t tree_tmp_used_bytes(const struct tree_tmp *tmp);

/*
 * Whether nothing can have been written to /tmp since it was mounted: every entry ever made in it
 * changed the ctime of its root, and every file, one without a name too, took an inode number. Also
 * false when that cannot be known. Takes a number itself.
 */
bool tree_tmp_untouched(struct tree_tmp *tmp);

/*
 * Waits, some milliseconds at the most, until the kernel's coarse clock has moved past the mount:
 * from then on a change is sure to show in the ctime. Call before a script may run.
 */
void tree_tmp_settle(const struct tree_tmp *tmp);

#endif
