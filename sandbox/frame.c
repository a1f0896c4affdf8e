#include "sandbox/frame.h"

#include "sandbox/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	READ_BYTES = 64 * 1024, /* least room offered to one read */
};

int frame_append(struct buffer *out, enum frame_type type, const void *payload, size_t length)
{
	struct frame_header header = {.type = type, .length = (uint32_t)length};
	int r;

	if (length > UINT32_MAX)
		return -EMSGSIZE;
	r = buffer_reserve(out, sizeof(header) + length);
	if (r < 0)
		return r;
	buffer_append(out, &header, sizeof(header));
	return buffer_append(out, payload, length);
}

static void compact(struct frame_reader *reader)
{
	if (!reader->start)
		return;
	buffer_consume(&reader->in, reader->start);
	reader->start = 0;
}

static size_t fill_room(const struct frame_reader *reader)
{
	size_t left = reader->in.cap - reader->in.length;

	return left < READ_BYTES ? left : READ_BYTES;
}

/* One descriptor is kept, the first; whatever else came along is nobody's. */
static void take_descriptors(struct frame_reader *reader, const struct cmsghdr *part)
{
	size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int), i;
	int fd;

	for (i = 0; i < count; i++) {
		memcpy(&fd, CMSG_DATA(part) + i * sizeof(fd), sizeof(fd));
		if (reader->descriptor)
			close(fd);
		else
			reader->descriptor = fd + 1;
	}
}

static ssize_t receive(
	struct frame_reader *reader, int fd, void *data, size_t room, pid_t *sender)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {.iov_base = data, .iov_len = room};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		/* what has no room is not received (unix(7)) */
		.msg_controllen = reader->takes_descriptor
					  ? sizeof(control)
					  : CMSG_SPACE(sizeof(struct ucred))};
	struct ucred credentials;
	struct cmsghdr *found;
	ssize_t n;

	if (!sender && !reader->takes_descriptor)
		return recv(fd, data, room, 0);
	if (sender)
		*sender = 0;
	n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	for (found = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL; found;
		found = CMSG_NXTHDR(&message, found)) {
		if (found->cmsg_level != SOL_SOCKET)
			continue;
		if (found->cmsg_type == SCM_RIGHTS)
			take_descriptors(reader, found);
		if (found->cmsg_type == SCM_CREDENTIALS && sender) {
			memcpy(&credentials, CMSG_DATA(found), sizeof(credentials));
			*sender = credentials.pid;
		}
	}
	return n;
}

int frame_reader_fill(struct frame_reader *reader, int fd, pid_t *sender)
{
	size_t room;
	ssize_t n;
	int r;

	compact(reader);
	room = fill_room(reader);
	if (!room)
		return -EMSGSIZE;
	r = buffer_reserve(&reader->in, room);
	if (r < 0)
		return r;
	do
		n = receive(reader, fd, reader->in.data + reader->in.length, room, sender);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	reader->in.length += (size_t)n;
	return (int)n;
}

int frame_reader_peek(const struct frame_reader *reader, struct frame_header *header)
{
	if (reader->in.length - reader->start < sizeof(*header))
		return 0;
	memcpy(header, reader->in.data + reader->start, sizeof(*header));
	return 1;
}

int frame_reader_next(struct frame_reader *reader, struct frame *frame)
{
	struct frame_header header;

	if (!frame_reader_peek(reader, &header) ||
		reader->in.length - reader->start - sizeof(header) < header.length)
		return 0;
	frame->type = header.type;
	frame->length = header.length;
	frame->payload = reader->in.data + reader->start + sizeof(header);
	reader->start += sizeof(header) + header.length;
	return 1;
}

int frame_reader_take_descriptor(struct frame_reader *reader)
{
	int fd = reader->descriptor - 1;

	reader->descriptor = 0;
	return fd;
}

void frame_reader_reset(struct frame_reader *reader, size_t keep_bytes)
{
	buffer_reset(&reader->in, keep_bytes);
	reader->start = 0;
	if (reader->descriptor)
		close(frame_reader_take_descriptor(reader));
}

void frame_reader_free(struct frame_reader *reader)
{
	frame_reader_reset(reader, 0);
}

int frame_reader_wait(struct frame_reader *reader, int fd, struct frame *frame)
{
	int r;

	while (!frame_reader_next(reader, frame)) {
		r = frame_reader_fill(reader, fd, NULL);
		if (r <= 0)
			return r;
	}
	return 1;
}

static void close_sent(struct frame_writer *writer)
{
	if (writer->descriptor)
		close(writer->descriptor - 1);
	writer->descriptor = 0;
}

static ssize_t send_some(struct frame_writer *writer, int fd)
{
	const char *data = writer->out.data + writer->sent;
	size_t length = writer->out.length - writer->sent;
	int descriptor = writer->descriptor - 1;
	ssize_t n;

	if (writer->descriptor)
		n = message_send_some(fd, data, length, descriptor);
	else
		n = send(fd, data, length, MSG_NOSIGNAL);
	if (n > 0)
		close_sent(writer);
	return n;
}

int frame_flush(struct frame_writer *writer, int fd)
{
	ssize_t n;

	while (writer->sent < writer->out.length) {
		n = send_some(writer, fd);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		writer->sent += (size_t)n;
	}
	writer->out.length = writer->sent = 0;
	return 0;
}

void frame_writer_reset(struct frame_writer *writer, size_t keep_bytes)
{
	buffer_reset(&writer->out, keep_bytes);
	writer->sent = 0;
	close_sent(writer);
}
