#include "runner/channel.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Drops what was sent from the front of the parts. */
static void advance(struct msghdr *message, size_t sent)
{
	while (message->msg_iovlen && sent >= message->msg_iov->iov_len) {
		sent -= message->msg_iov->iov_len;
		message->msg_iov++;
		message->msg_iovlen--;
	}
	if (message->msg_iovlen) {
		message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + sent;
		message->msg_iov->iov_len -= sent;
	}
}

int channel_send(int channel, enum frame_type type, const void *payload, size_t length, bool is_last)
{
	struct frame_header header = {.type = type, .length = (uint32_t)length};
	struct frame_header done = {.type = FRAME_DONE};
	struct iovec parts[3] = {{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)payload, .iov_len = length},
		{.iov_base = &done, .iov_len = sizeof(done)}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = is_last ? 3 : 2};
	ssize_t n;

	while (message.msg_iovlen) {
		n = sendmsg(channel, &message, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		advance(&message, (size_t)n);
	}
	return 0;
}
