#include "fcgi-app/event_stream.h"

#include "fcgi-app/json_out.h"
#include "sandbox/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum {
	HEARTBEAT_US = 10 * 1000 * 1000,
	BACKLOG_MAX_BYTES = 4 << 20, /* both streams' 1 MiB, and headers of small frames */
	/*
	 * A Unix socket has room as long as three quarters of its buffer are free, which is 208 KiB
	 * unless the machine has another default: so much can be written then without waiting.
	 */
	WRITE_BYTES = 16 * 1024,
	END_US = 30 * 1000 * 1000, /* for the reader to take what is left */
	END_BYTES_PER_S = 64 * 1024, /* and with it so much more each second */
	/*
	 * nginx goes on only when a third of its own send buffer is free, which may be a MiB: a
	 * steady reader at END_BYTES_PER_S seems to pause for as long as it needs for that.
	 */
	STALL_US = 20 * 1000 * 1000,
};

static const char heartbeat[] = ": heartbeat\n\n";

static void note_wants(struct event_stream *stream)
{
	stream->live.wants_room = stream->sent < stream->out.length ||
				  stream->taken < stream->backlog.length || stream->heartbeat_due;
}

/* --- live output --------------------------------------------------------------------------- */

/* One that waits takes in what follows of the same stream: few frames are left, however small. */
static bool extend_last(
	struct event_stream *stream, enum frame_type type, const char *text, size_t length)
{
	struct frame_header header;

	if (stream->last < stream->taken || stream->last >= stream->backlog.length)
		return false;
	memcpy(&header, stream->backlog.data + stream->last, sizeof(header));
	if (header.type != type || header.length + length > LIVE_MAX_BYTES ||
		buffer_append(&stream->backlog, text, length) < 0)
		return false;
	header.length += (uint32_t)length;
	memcpy(stream->backlog.data + stream->last, &header, sizeof(header));
	return true;
}

/* A gap would be worse than an end: once some is dropped, so is the rest. */
static void take(void *context, enum frame_type type, const char *text, size_t length)
{
	struct event_stream *stream = context;
	size_t last;

	if (stream->is_cut || extend_last(stream, type, text, length))
		return;
	if (stream->taken > stream->backlog.length / 2) {
		buffer_consume(&stream->backlog, stream->taken);
		stream->taken = 0;
	}
	last = stream->backlog.length;
	stream->is_cut = frame_append(&stream->backlog, type, text, length) < 0;
	if (!stream->is_cut)
		stream->last = last;
	note_wants(stream);
}

/* --- events -------------------------------------------------------------------------------- */

static int append(struct event_stream *stream, const char *text)
{
	return buffer_append(&stream->out, text, strlen(text));
}

static int append_output(struct event_stream *stream)
{
	struct json_out data = {.buffer = &stream->out};
	struct frame_header header;
	int r;

	memcpy(&header, stream->backlog.data + stream->taken, sizeof(header));
	stream->taken += sizeof(header);
	r = append(stream, header.type == FRAME_LIVE_STDOUT ? "event: stdout\ndata: "
							    : "event: stderr\ndata: ");
	json_out_string(&data, stream->backlog.data + stream->taken, header.length);
	stream->taken += header.length;
	if (!r)
		r = data.error;
	return r < 0 ? r : append(stream, "\n\n");
}

/* The next thing to send, where nothing is on its way. Without memory live output ends here. */
static void make_next(struct event_stream *stream)
{
	int r = 0;

	if (stream->sent < stream->out.length)
		return;
	stream->out.length = stream->sent = 0;
	if (stream->heartbeat_due)
		r = append(stream, heartbeat);
	else if (stream->taken < stream->backlog.length)
		r = append_output(stream);
	stream->heartbeat_due = false;
	if (r < 0) {
		stream->out.length = stream->backlog.length = stream->taken = 0;
		stream->is_cut = true;
	}
}

static size_t at_most(size_t length)
{
	return length < WRITE_BYTES ? length : WRITE_BYTES;
}

/* Sends a part of what there is; the connection has room for it. */
static void send_some(struct event_stream *stream)
{
	size_t length;

	make_next(stream);
	length = at_most(stream->out.length - stream->sent);
	fcgi_write(stream->fcgi, stream->out.data + stream->sent, length);
	fcgi_flush(stream->fcgi);
	stream->sent += length;
	note_wants(stream);
}

static void go_on(void *context, bool has_room)
{
	struct event_stream *stream = context;
	uint64_t now = clock_now_us();

	if (now >= stream->live.wake_us) {
		stream->heartbeat_due = true;
		stream->live.wake_us = now + HEARTBEAT_US;
		note_wants(stream);
	}
	if (has_room)
		send_some(stream);
}

void event_stream_open(struct event_stream *stream, struct fcgi *fcgi, const char *request_id)
{
	char header[512];
	int n = snprintf(header, sizeof(header),
		"Status: 200 OK\r\n"
		"Content-Type: text/event-stream\r\n"
		"X-Request-Id: %s\r\n"
		"Cache-Control: no-store\r\n"
		"X-Content-Type-Options: nosniff\r\n"
		"X-Accel-Buffering: no\r\n" /* nginx passes each event on as it comes */
		"\r\n",
		request_id);

	stream->is_open = true;
	stream->fcgi = fcgi;
	stream->stall_us = STALL_US;
	stream->backlog.cap = BACKLOG_MAX_BYTES;
	stream->live = (struct job_live){.context = stream,
		.take = take,
		.go_on = go_on,
		.wake_us = clock_now_us() + HEARTBEAT_US};
	fcgi_write(fcgi, header, (size_t)n);
	fcgi_flush(fcgi);
}

/* --- the end ------------------------------------------------------------------------------- */

/* Returns 0 when the connection has room, or -ECANCELED, -ETIMEDOUT. */
static int wait_for_room(const struct event_stream *stream, uint64_t deadline_us)
{
	struct pollfd watched = {
		.fd = fcgi_connection(stream->fcgi), .events = POLLOUT | POLLRDHUP};
	uint64_t now = clock_now_us();
	int r;

	if (deadline_us > now + stream->stall_us)
		deadline_us = now + stream->stall_us;
	do {
		now = clock_now_us();
		if (now >= deadline_us)
			return -ETIMEDOUT;
		r = poll(&watched, 1, (int)((deadline_us - now + 999) / 1000));
		if (r < 0 && errno != EINTR)
			return -errno;
	} while (r <= 0);
	return watched.revents & ~POLLOUT ? -ECANCELED : 0;
}

static int send_all(
	struct event_stream *stream, const char *data, size_t length, uint64_t deadline_us)
{
	size_t part;
	int r = 0;

	while (length && !r) {
		r = wait_for_room(stream, deadline_us);
		if (r < 0)
			break;
		part = at_most(length);
		fcgi_write(stream->fcgi, data, part);
		fcgi_flush(stream->fcgi);
		data += part;
		length -= part;
	}
	return r;
}

static int send_backlog(struct event_stream *stream, uint64_t deadline_us)
{
	int r = 0;

	while (!r && stream->live.wants_room) {
		r = wait_for_room(stream, deadline_us);
		if (!r)
			send_some(stream);
	}
	return r;
}

/* A value may have line breaks between its parts, which would end the data of an event. */
static void join_lines(struct buffer *body)
{
	size_t i;

	for (i = 0; i < body->length; i++) {
		if (body->data[i] == '\n' || body->data[i] == '\r')
			body->data[i] = ' ';
	}
}

int event_stream_close(struct event_stream *stream, int status, struct buffer *body)
{
	const char *opening = status == 200 ? "event: result\ndata: " : "event: error\ndata: ";
	size_t left = stream->backlog.length - stream->taken + body->length;
	uint64_t deadline_us = clock_now_us() + END_US + left * UINT64_C(1000000) / END_BYTES_PER_S;
	char closing[48];
	int r = send_backlog(stream, deadline_us);

	/* an answer for which there was no memory is empty */
	snprintf(closing, sizeof(closing), "%s\"status\": %d}\n\n", body->length ? ", " : "{",
		status);
	body->length -= body->length > 0;
	join_lines(body);
	if (!r)
		r = send_all(stream, opening, strlen(opening), deadline_us);
	if (!r)
		r = send_all(stream, body->data, body->length, deadline_us);
	if (!r)
		r = send_all(stream, closing, strlen(closing), deadline_us);
	if (r < 0)
		fcgi_cut(stream->fcgi);
	return r;
}

void event_stream_reset(struct event_stream *stream)
{
	buffer_free(&stream->backlog);
	buffer_free(&stream->out);
	*stream = (struct event_stream){.is_open = false};
}
