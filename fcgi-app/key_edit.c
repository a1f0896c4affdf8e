#include "fcgi-app/key_edit.h"

#include "sandbox/clock.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LOCK_WAIT_S = 10,
};

/* The file that a link stands for: a rename would replace the link. */
static char *resolve(const char *path, struct err *err)
{
	char *resolved = realpath(path, NULL);

	if (!resolved && errno == ENOENT)
		resolved = strdup(path);
	if (!resolved)
		err_set(err, errno, "key file %.100s", path);
	return resolved;
}

/*
 * Whoever can open the directory can hold its lock, so it is not waited for without end. Returns 0
 * or a negative errno: -EWOULDBLOCK, somebody else still holds it.
 */
static int lock_in_time(int directory)
{
	static const struct timespec pause = {.tv_nsec = 50L * 1000 * 1000};
	uint64_t deadline_us = clock_now_us() + LOCK_WAIT_S * UINT64_C(1000000);

	while (flock(directory, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || clock_now_us() >= deadline_us)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* The lock is on the directory, because the file is replaced while it is held. */
static int lock_directory(struct key_edit *edit, struct err *err)
{
	char *slash = strrchr(edit->path, '/');
	SCOPE_FREE char *name =
		slash ? strndup(edit->path, (size_t)(slash - edit->path) + 1) : strdup(".");
	int r;

	if (!name)
		return err_set(err, ENOMEM, "lock the key file");
	edit->directory = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (edit->directory < 0)
		return err_set(err, errno, "open the directory of the key file %.100s", edit->path);
	r = lock_in_time(edit->directory);
	if (r == -EWOULDBLOCK)
		return err_set(err, EBUSY,
			"nothing was changed: another process has held the lock (flock) of %.100s "
			"for %d seconds",
			name, LOCK_WAIT_S);
	return r < 0 ? err_set(err, -r, "lock %.100s", name) : 0;
}

int key_edit_begin(struct key_edit *edit, const char *path, bool may_be_new, struct err *err)
{
	int r;

	*edit = (struct key_edit){.directory = -1};
	edit->path = resolve(path, err);
	if (!edit->path)
		return -EINVAL;
	r = lock_directory(edit, err);
	if (r < 0)
		return r;
	if (may_be_new && access(edit->path, F_OK) < 0 && errno == ENOENT)
		return 0;
	return key_file_read(edit->path, &edit->text, &edit->list, err);
}

static int write_all(int fd, const struct buffer *text)
{
	size_t done = 0;
	ssize_t n;

	while (done < text->length) {
		n = write(fd, text->data + done, text->length - done);
		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/*
 * The service may be another user's, who has to go on reading it, by the group perhaps: which is
 * set before it may read.
 */
static int keep_access(int fd, const char *path)
{
	struct stat former, fresh;

	if (stat(path, &former) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &fresh) < 0)
		return -errno;
	if ((former.st_uid != fresh.st_uid || former.st_gid != fresh.st_gid) &&
		fchown(fd, former.st_uid, former.st_gid) < 0)
		return -errno;
	return fchmod(fd, former.st_mode & (S_IRUSR | S_IWUSR | S_IRGRP)) < 0 ? -errno : 0;
}

static int replace(const struct key_edit *edit, char *temporary)
{
	SCOPE_FD fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
	int r;

	if (fd < 0)
		return -errno;
	r = keep_access(fd, edit->path);
	if (!r)
		r = write_all(fd, &edit->text);
	if (!r && rename(temporary, edit->path) < 0)
		r = -errno;
	if (r < 0)
		unlink(temporary);
	else if (fsync(edit->directory) < 0)
		r = -errno;
	return r;
}

int key_edit_write(struct key_edit *edit, struct err *err)
{
	char temporary[PATH_MAX];
	struct key_list list;
	int r = key_file_parse(
		edit->text.data ? edit->text.data : "", edit->text.length, &list, err);

	key_list_free(&list);
	if (r < 0)
		return r;
	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", edit->path) >=
		(int)sizeof(temporary))
		return err_set(err, ENAMETOOLONG, "write the key file");
	r = replace(edit, temporary);
	return r < 0 ? err_set(err, -r, "write the key file %.100s", edit->path) : 0;
}

void key_edit_end(struct key_edit *edit)
{
	fd_close(&edit->directory);
	free(edit->path);
	buffer_free(&edit->text);
	key_list_free(&edit->list);
}
