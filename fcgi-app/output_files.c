#include "fcgi-app/output_files.h"

#include "sandbox/frame.h"
#include "sandbox/globs.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/paths.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	FEED_MAX_BYTES = FILES_MAX_BYTES + FILE_PATH_MAX_BYTES + (64 << 10),
};

/* --- the front ----------------------------------------------------------------------------- */

static int send_frame(int feed, enum frame_type type, const void *payload, size_t length)
{
	struct frame_writer writer = {0};
	int r = frame_append(&writer.out, type, payload, length);

	if (!r)
		r = frame_flush(&writer, feed);
	frame_writer_reset(&writer, 0);
	return r;
}

int output_files_send(int feed, const struct answer_run *run)
{
	const struct answer_file *file = run->files, *end = file + run->file_count;
	int r = 0;

	for (; !r && file < end; file++) {
		r = send_frame(feed, FRAME_FILE, file->path.data, file->path.length);
		if (!r)
			r = send_frame(
				feed, FRAME_CONTENT, file->content.data, file->content.length);
	}
	return r < 0 ? r : send_frame(feed, FRAME_DONE, NULL, 0);
}

/* --- the writer ---------------------------------------------------------------------------- */

struct writing {
	int directory;
	const struct buffer *globs;
	char path[FILE_PATH_MAX_BYTES + 1]; /* of the file that content comes for; "": none */
	size_t count, bytes;
	bool has_failed;
};

/* The directory of the file, which is made, or a negative errno. */
static int open_parent(struct writing *writing)
{
	int at = fcntl(writing->directory, F_DUPFD_CLOEXEC, 0), next;
	char *part = writing->path, *slash;

	if (at < 0)
		return -errno;
	while (at >= 0 && (slash = strchr(part, '/'))) {
		*slash = '\0';
		/* one part at a time, and never through a link: there is no way out */
		mkdirat(at, part, 0777);
		next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		next = next < 0 ? -errno : next;
		*slash = '/';
		close(at);
		at = next;
		part = slash + 1;
	}
	return at;
}

/* Whatever has that name already, a link or a FIFO too, stays what it is. */
static int open_file(struct writing *writing)
{
	const char *slash = strrchr(writing->path, '/');
	SCOPE_FD parent = open_parent(writing);
	int fd;

	if (parent < 0)
		return parent;
	fd = openat(parent, slash ? slash + 1 : writing->path,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	return fd < 0 ? -errno : fd;
}

static int write_file(struct writing *writing, const struct frame *frame)
{
	SCOPE_FD fd = open_file(writing);
	size_t done = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	while (done < frame->length) {
		n = write(fd, frame->payload + done, frame->length - done);
		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int take_path(struct writing *writing, const struct frame *frame)
{
	if (*writing->path || frame->length > FILE_PATH_MAX_BYTES ||
		!paths_is_plain(frame->payload, frame->length) ||
		!globs_match(writing->globs->data, writing->globs->length, frame->payload,
			frame->length) ||
		writing->count++ == FILES_MAX)
		return -EPROTO;
	memcpy(writing->path, frame->payload, frame->length);
	writing->path[frame->length] = '\0';
	return 0;
}

/* A file that cannot be written keeps no other one from it. */
static int take_content(struct writing *writing, const struct frame *frame)
{
	int r;

	writing->bytes += frame->length;
	if (!*writing->path || writing->bytes > FILES_MAX_BYTES)
		return -EPROTO;
	r = write_file(writing, frame);
	if (r < 0) {
		log_clean(writing->path); /* the script chose it */
		fprintf(stderr, "vivarium: %s was not written: %s\n", writing->path,
			r == -EEXIST ? "there is something of that name" : strerror(-r));
		writing->has_failed = true;
	}
	*writing->path = '\0';
	return 0;
}

/* Returns 0 once all has come and is written. */
static int write_all(int directory, const struct buffer *globs, int feed)
{
	struct frame_reader reader = {.in = {.cap = FEED_MAX_BYTES}};
	struct writing writing = {.directory = directory, .globs = globs};
	struct frame frame;
	int r;

	for (;;) {
		r = frame_reader_wait(&reader, feed, &frame);
		if (r <= 0)
			return r ? r : -EPIPE;
		if (frame.type == FRAME_DONE)
			return writing.has_failed ? -EIO : 0;
		r = frame.type == FRAME_FILE	  ? take_path(&writing, &frame)
		    : frame.type == FRAME_CONTENT ? take_content(&writing, &frame)
						  : -EPROTO;
		if (r < 0)
			return r;
	}
}

/* --- who typed the command ----------------------------------------------------------------- */

int output_files_start(struct output_files *files, const char *directory,
	const struct buffer *globs, struct err *err)
{
	SCOPE_FD fd = -1;
	int pair[2], r;

	if (mkdir(directory, 0777) < 0 && errno != EEXIST)
		return err_set(err, errno, "make %s", directory);
	fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open %s", directory);
	r = message_pair(SOCK_STREAM, pair);
	if (r < 0)
		return err_set(err, -r, "make a socket");
	files->feed = pair[0];
	files->writer = fork();
	if (!files->writer) {
		close(pair[0]);
		_exit(write_all(fd, globs, pair[1]) < 0 ? 1 : 0);
	}
	r = files->writer < 0 ? err_set(err, errno, "fork") : 0;
	close(pair[1]);
	return r;
}

int output_files_finish(struct output_files *files)
{
	int status = 0;

	fd_close(&files->feed);
	if (files->writer <= 0)
		return 0;
	while (waitpid(files->writer, &status, 0) < 0 && errno == EINTR)
		;
	return status ? -EIO : 0;
}
