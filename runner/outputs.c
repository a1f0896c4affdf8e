#include "runner/outputs.h"

#include "runner/channel.h"
#include "runner/python.h"
#include "sandbox/job.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* glibc has no wrapper for it. O_NONBLOCK: a FIFO must not make us wait for its other end. */
static int open_beneath(int directory, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV};
	long fd = syscall(SYS_openat2, directory, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* No more than size bytes: the file may grow while it is read, and may shrink. */
static int send_content(int channel, int fd, uint64_t size)
{
	static char part[CONTENT_MAX_BYTES]; /* there may be no memory left to ask for */
	ssize_t n;
	int r = 0;

	while (!r && size) {
		n = read(fd, part, size < sizeof(part) ? size : sizeof(part));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = channel_send(channel, FRAME_CONTENT, part, (size_t)n, false);
		size -= (uint64_t)n;
	}
	return r;
}

int outputs_send_file(int channel, const char *path, uint64_t most, uint64_t *size)
{
	SCOPE_FD directory = open(python_directory(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	SCOPE_FD fd = directory < 0 ? -errno : open_beneath(directory, path);
	struct stat status;
	int r;

	*size = 0;
	if (fd < 0)
		return fd;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	*size = (uint64_t)status.st_size;
	if (*size > most)
		return 0;
	r = channel_send(channel, FRAME_FILE, path, strlen(path), false);
	return r < 0 ? r : send_content(channel, fd, *size);
}
