#include "sandbox/cell_io.h"

#include "sandbox/cell_live.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	OUTPUT_READ_BYTES = 64 * 1024,
};

static int watch(struct cell_source *source, int operation)
{
	struct epoll_event event = {.events = (source->is_paused ? 0 : (uint32_t)EPOLLIN) |
					      (source->wants_write ? (uint32_t)EPOLLOUT : 0),
		.data = {.ptr = source}};

	if (epoll_ctl(source->cell->environment->epoll, operation, source->fd, &event) < 0)
		return -errno;
	return 0;
}

int cell_source_open(struct cell *cell, enum cell_source_kind kind, int fd)
{
	struct cell_source *source = &cell->source[kind];

	cell_source_close(cell, kind);
	source->fd = fd;
	source->wants_write = source->is_paused = false;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return watch(source, EPOLL_CTL_ADD);
}

int cell_source_pause(struct cell *cell, enum cell_source_kind kind, bool is_paused)
{
	struct cell_source *source = &cell->source[kind];

	source->is_paused = is_paused;
	return source->fd < 0 ? 0 : watch(source, EPOLL_CTL_MOD);
}

void cell_source_close(struct cell *cell, enum cell_source_kind kind)
{
	fd_close(&cell->source[kind].fd);
}

int cell_source_flush(struct cell *cell, enum cell_source_kind kind, struct frame_writer *out)
{
	struct cell_source *source = &cell->source[kind];
	int r = source->fd < 0 ? -EPIPE : frame_flush(out, source->fd);
	bool left = r == -EAGAIN;

	if (r < 0 && !left)
		return r;
	if (left == source->wants_write)
		return 0;
	source->wants_write = left;
	return watch(source, EPOLL_CTL_MOD);
}

int cell_drain_output(struct cell *cell, enum cell_source_kind kind, unsigned reads)
{
	struct cell_source *source = &cell->source[kind];
	char data[OUTPUT_READ_BYTES];
	ssize_t n;
	int r;

	while (reads-- && source->fd >= 0) {
		n = read(source->fd, data, sizeof(data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return 0; /* EAGAIN: nothing there now */
		if (n == 0) {
			cell_source_close(cell, kind);
			return 0;
		}
		r = cell_live_keep(cell, kind, data, (size_t)n);
		if (r < 0)
			return r;
		if ((size_t)n < sizeof(data))
			return 0;
	}
	return 0;
}

static int open_pipe(struct cell *cell, enum cell_source_kind kind, int *end)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	*end = pair[1];
	return cell_source_open(cell, kind, pair[0]);
}

static int open_channel(struct cell *cell, int *end)
{
	int pair[2], on = 1;
	int r = message_pair(SOCK_STREAM, pair);

	if (r < 0)
		return r;
	*end = pair[1];
	r = cell_source_open(cell, CELL_SOURCE_CHANNEL, pair[0]);
	if (!r && setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		r = -errno;
	return r;
}

int cell_open_execution(struct cell *cell, int ends[3])
{
	int r, i;

	ends[0] = ends[1] = ends[2] = -1;
	r = open_channel(cell, &ends[0]);
	if (!r)
		r = open_pipe(cell, CELL_SOURCE_STDOUT, &ends[1]);
	if (!r)
		r = open_pipe(cell, CELL_SOURCE_STDERR, &ends[2]);
	if (!r)
		return 0;
	for (i = 0; i < 3; i++)
		fd_close(&ends[i]);
	cell_close_execution(cell);
	return r;
}

void cell_close_execution(struct cell *cell)
{
	cell_source_close(cell, CELL_SOURCE_CHANNEL);
	cell_source_close(cell, CELL_SOURCE_STDOUT);
	cell_source_close(cell, CELL_SOURCE_STDERR);
}
