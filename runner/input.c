#include "runner/input.h"

#include "runner/python.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail(struct input *input)
{
	input->error = errno ? errno : EIO;
}

static void close_content(struct input *input)
{
	if (input->content)
		close(input->content - 1);
	input->content = 0;
}

/* Makes the directories on the way to input->path, which is relative to the working directory. */
static void make_parents(struct input *input)
{
	char *slash;

	for (slash = strchr(input->path, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(input->path, 0755) < 0 && errno != EEXIST)
			fail(input);
		*slash = '/';
		if (input->error)
			return;
	}
}

static void open_file(struct input *input, const struct frame *frame)
{
	int fd;

	close_content(input);
	if (frame->length >= sizeof(input->path)) {
		errno = ENAMETOOLONG;
		fail(input);
		return;
	}
	memcpy(input->path, frame->payload, frame->length);
	input->path[frame->length] = '\0';
	make_parents(input);
	if (input->error)
		return;
	fd = open(input->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		fail(input);
	else
		input->content = fd + 1;
}

/*
 * A pipe would hold 64 KiB, and a memfd is not counted by any limit: standard input is a file of
 * the working directory that never had a name.
 */
static void open_standard(struct input *input)
{
	int fd;

	strcpy(input->path, "stdin");
	fd = open(python_directory(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(input);
	else
		input->standard = fd + 1;
}

static void append(struct input *input, int fd, const struct frame *frame)
{
	size_t done = 0;
	ssize_t n;

	while (done < frame->length) {
		n = write(fd, frame->payload + done, frame->length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			fail(input);
			return;
		}
		done += (size_t)n;
	}
}

void input_take(struct input *input, const struct frame *frame)
{
	if (input->error)
		return;
	if (frame->type == FRAME_FILE) {
		open_file(input, frame);
	} else if (frame->type == FRAME_STDIN) {
		if (!input->standard)
			open_standard(input);
		if (!input->error)
			append(input, input->standard - 1, frame);
	} else if (input->content) {
		append(input, input->content - 1, frame);
	}
}

void input_finish(struct input *input)
{
	close_content(input);
	if (!input->standard)
		return;
	if (lseek(input->standard - 1, 0, SEEK_SET) < 0 ||
		dup2(input->standard - 1, STDIN_FILENO) < 0)
		fail(input);
	close(input->standard - 1);
	input->standard = 0;
}
