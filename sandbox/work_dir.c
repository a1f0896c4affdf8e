#include "sandbox/work_dir.h"

#include "sandbox/scope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	NAME_BYTES = 32,
};

int work_dir_begin(char *path, size_t size, struct err *err)
{
	const char *parent = getenv("TMPDIR");

	if (!parent || *parent != '/')
		parent = "/tmp";
	if (snprintf(path, size, "%s/vivarium-XXXXXX", parent) >= (int)size)
		return err_set(err, ENAMETOOLONG, "make a directory in %s", parent);
	if (!mkdtemp(path) || chmod(path, 0711) < 0)
		return err_set(err, errno, "make a directory in %s", parent);
	return 0;
}

int work_dir_add(const char *base, const char *name, uint32_t id, struct err *err)
{
	SCOPE_FD directory = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (directory < 0 || mkdirat(directory, name, 0700) < 0 ||
		(id && fchownat(directory, name, id, id, AT_SYMLINK_NOFOLLOW) < 0))
		return err_set(err, errno, "make %s/%s", base, name);
	return 0;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Opens a directory that may have been left without any right; its owner has them all the same. */
static DIR *open_below(int parent, const char *name)
{
	int fd;

	if (fchmodat(parent, name, 0700, 0) < 0)
		return NULL;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? NULL : fdopendir(fd);
}

/*
 * No recursion: a tree may be deeper than there are descriptors or stack. The directories in a
 * directory are moved up, beside it, so that it can be removed; each move shortens some path.
 */
static int flatten(int top, const char *name, unsigned long *serial, struct err *err)
{
	DIR *directory = open_below(top, name);
	struct dirent *entry;
	struct stat status;
	char moved[NAME_BYTES];
	int r = 0;

	if (!directory)
		return err_set(err, errno, "open a directory that a script made");
	while (!r && (entry = readdir(directory))) {
		if (is_dots(entry->d_name))
			continue;
		if (unlinkat(dirfd(directory), entry->d_name, 0) == 0)
			continue;
		if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
			!S_ISDIR(status.st_mode)) {
			r = err_set(err, errno, "remove a file that a script made");
			break;
		}
		do
			snprintf(moved, sizeof(moved), ".%lu", (*serial)++);
		while (faccessat(top, moved, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
		/* moving a directory writes its "..": without the right to, there is no moving */
		if (fchmodat(dirfd(directory), entry->d_name, 0700, 0) < 0 ||
			renameat(dirfd(directory), entry->d_name, top, moved) < 0)
			r = err_set(err, errno, "move a directory that a script made");
	}
	closedir(directory);
	if (!r && unlinkat(top, name, AT_REMOVEDIR) < 0)
		r = err_set(err, errno, "remove a directory that a script made");
	return r;
}

/* One pass over the entries. Returns how many there were, or a negative errno. */
static int clear_once(int top, unsigned long *serial, struct err *err)
{
	int again = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = again < 0 ? NULL : fdopendir(again);
	struct dirent *entry;
	int count = 0, r = 0;

	if (!directory)
		return err_set(err, errno, "read a cell's directory");
	while (r >= 0 && (entry = readdir(directory))) {
		if (is_dots(entry->d_name))
			continue;
		count++;
		if (unlinkat(top, entry->d_name, 0) < 0)
			r = flatten(top, entry->d_name, serial, err);
	}
	closedir(directory);
	return r < 0 ? r : count;
}

int work_dir_clear(int directory, struct err *err)
{
	unsigned long serial = 0;
	int r;

	if (fchmod(directory, 0700) < 0)
		return err_set(err, errno, "give a cell's directory its mode back");
	do
		r = clear_once(directory, &serial, err);
	while (r > 0);
	return r;
}

void work_dir_end(const char *base)
{
	SCOPE_FD directory = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (directory >= 0 && work_dir_clear(directory, NULL) == 0)
		rmdir(base);
}
