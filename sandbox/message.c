#include "sandbox/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int) * MESSAGE_FDS_MAX)];
};

static ssize_t send_with(
	int socket, const void *data, size_t size, const int *fds, size_t count)
{
	struct iovec part = {.iov_base = (void *)data, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	union control control;
	struct cmsghdr *rights;

	if (count) {
		memset(&control, 0, sizeof(control));
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		rights = &control.header; /* as CMSG_FIRSTHDR, and certainly there */
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
	}
	return sendmsg(socket, &header, MSG_NOSIGNAL);
}

int message_send(int socket, const void *message, size_t size, const int *fds, size_t count)
{
	ssize_t n;

	do
		n = send_with(socket, message, size, fds, count);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

ssize_t message_send_some(int socket, const void *data, size_t size, int fd)
{
	return send_with(socket, data, size, &fd, 1);
}

/* Copies up to *count descriptors out of the message and closes any beyond. */
static int take_fds(struct msghdr *header, int *fds, size_t *count)
{
	struct cmsghdr *part;
	size_t taken = 0, i, n;
	int fd, r = 0;

	for (part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		n = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
			if (taken < *count) {
				fds[taken++] = fd;
			} else {
				close(fd);
				r = -EPROTO;
			}
		}
	}
	*count = taken;
	return r;
}

int message_receive(int socket, void *message, size_t size, int *fds, size_t *count)
{
	char beyond; /* a longer message would be cut to size and pass for a right one */
	struct iovec parts[2] = {
		{.iov_base = message, .iov_len = size}, {.iov_base = &beyond, .iov_len = 1}};
	union control control;
	struct msghdr header = {.msg_iov = parts,
		.msg_iovlen = 2,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n;
	int r;

	do
		n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		*count = 0;
		return -errno;
	}
	r = take_fds(&header, fds, count);
	if (!n && !*count)
		return 0;
	if (r < 0 || (size_t)n != size || (header.msg_flags & MSG_CTRUNC)) {
		while (*count)
			close(fds[--*count]);
		return -EPROTO;
	}
	return 1;
}

int message_pair(int type, int pair[2])
{
	return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}
