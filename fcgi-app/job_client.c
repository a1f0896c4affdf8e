#include "fcgi-app/job_client.h"

#include "fcgi-app/asked_files.h"
#include "sandbox/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum {
	KEEP_BYTES = 256 * 1024,
};

/* All but the limits and the end. */
static int write_frames(struct buffer *out, const struct request *request)
{
	int r = frame_append(out, FRAME_SCRIPT, request->script.data, request->script.length);

	if (!r && request->has_entry)
		r = frame_append(out, FRAME_ENTRY, request->entry.data, request->entry.length);
	return r < 0 ? r : buffer_append(out, request->parts.data, request->parts.length);
}

static int write_all(int fd, const struct buffer *bytes)
{
	size_t done = 0;
	ssize_t n;

	while (done < bytes->length) {
		n = pwrite(fd, bytes->data + done, bytes->length - done, (off_t)done);
		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* A large job waits until the worker has made room for it (FRAME_ROOM). */
static int write_job(struct job_client *client, const struct request *request, bool is_live)
{
	struct job_limits limits = request->limits;
	int r = write_frames(&client->body, request);

	if (r < 0)
		return r;
	if (is_live)
		limits.flags |= JOB_LIVE;
	if (client->body.length > JOB_LANE_MAX_BYTES)
		limits.body_bytes = (uint32_t)client->body.length;
	r = frame_append(&client->out.out, FRAME_JOB, &limits, sizeof(limits));
	if (r < 0 || limits.body_bytes)
		return r;
	r = buffer_append(&client->out.out, client->body.data, client->body.length);
	buffer_reset(&client->body, KEEP_BYTES);
	return r < 0 ? r : frame_append(&client->out.out, FRAME_GO, NULL, 0);
}

/* Neither this thread nor the worker, which has other cells, passes a body on piece by piece. */
static int write_body(struct job_client *client, int lane, struct frame_reader *reader)
{
	int room = frame_reader_take_descriptor(reader);
	int r = room < 0 || !client->body.length ? -EPROTO : write_all(room, &client->body);

	if (room >= 0)
		close(room);
	buffer_reset(&client->body, KEEP_BYTES);
	if (!r)
		r = frame_append(&client->out.out, FRAME_BODY, NULL, 0);
	if (!r)
		r = frame_append(&client->out.out, FRAME_GO, NULL, 0);
	if (!r)
		r = frame_flush(&client->out, lane);
	return r == -EAGAIN ? 0 : r;
}

/* Milliseconds until somebody wants to be woken, rounded up; -1: nobody does. */
static int wait_ms(const struct job_live *live)
{
	uint64_t now = clock_now_us();

	if (!live || !live->wake_us)
		return -1;
	return live->wake_us > now ? (int)((live->wake_us - now + 999) / 1000) : 0;
}

/*
 * Waits for news of the lane and the client. Room for a body comes at once, and has to be taken off
 * the lane before the job can be cancelled. Returns 1 when the lane can be read, 0 or -errno.
 */
static int wait_for_news(
	struct job_client *client, int lane, int client_fd, struct job_live *live)
{
	bool wants_room = live && live->wants_room;
	struct pollfd watched[2] = {
		{.fd = lane, .events = (short)(POLLIN | (client->out.out.length ? POLLOUT : 0))},
		{.fd = client->body.length ? -1 : client_fd,
			.events = (short)(POLLRDHUP | (wants_room ? POLLOUT : 0))}};
	int r;

	if (poll(watched, 2, wait_ms(live)) < 0)
		return errno == EINTR ? 0 : -errno;
	if (watched[1].revents & ~POLLOUT)
		return -ECANCELED;
	if (live && live->go_on)
		live->go_on(live->context, watched[1].revents & POLLOUT);
	if (watched[0].revents & POLLOUT) {
		r = frame_flush(&client->out, lane);
		if (r < 0 && r != -EAGAIN)
			return r;
	}
	return watched[0].revents & ~POLLOUT ? 1 : 0;
}

/* Offsets first: the buffer that the texts lie in moves while it grows. */
struct text_place {
	struct answer_text *text;
	size_t offset;
};

enum {
	SINGLE_TEXTS = 8, /* streams, value, words of an error */
	PLACES_MAX = SINGLE_TEXTS + 2 * FILES_MAX + 2 * FIGURES_MAX + 2 * WARNINGS_MAX,
};

struct collecting {
	struct text_place places[PLACES_MAX];
	size_t count;
	struct answer_text *open; /* what content belongs to */
};

static struct answer_text *text_of(struct answer_run *run, uint32_t type)
{
	switch ((int)type) {
	case FRAME_STDOUT:
		return &run->output;
	case FRAME_STDERR:
		return &run->error;
	case FRAME_RESULT:
		return &run->result;
	case FRAME_ERROR_TYPE:
		return &run->error_type;
	case FRAME_ERROR_TEXT:
		return &run->error_text;
	case FRAME_TRACEBACK:
		return &run->traceback;
	case FRAME_FILE:
		return run->file_count < FILES_MAX ? &run->files[run->file_count++].path : NULL;
	case FRAME_FIGURE:
		return run->figure_count < FIGURES_MAX
			       ? &run->figures[run->figure_count++].header
			       : NULL;
	case FRAME_WARNING:
		return run->warning_count < sizeof(run->warnings) / sizeof(run->warnings[0])
			       ? &run->warnings[run->warning_count++]
			       : NULL;
	default:
		return NULL;
	}
}

static int place_text(struct job_client *client, struct collecting *collecting,
	struct answer_text *text, const struct frame *frame)
{
	struct text_place *place;

	if (!text || collecting->count == PLACES_MAX)
		return -EPROTO;
	place = &collecting->places[collecting->count++];
	place->text = text;
	place->offset = client->texts.length;
	text->length = frame->length;
	return buffer_append(&client->texts, frame->payload, frame->length);
}

/* Further content of the same file or figure lies behind what there is. */
static int keep_content(struct job_client *client, struct collecting *collecting,
	const struct frame *frame)
{
	struct answer_text *text = collecting->open;

	if (!text)
		return -EPROTO;
	if (!text->length)
		return place_text(client, collecting, text, frame);
	text->length += frame->length;
	return buffer_append(&client->texts, frame->payload, frame->length);
}

static int keep_text(struct job_client *client, struct answer_run *run,
	struct collecting *collecting, const struct frame *frame)
{
	struct answer_text *text;

	if (frame->type == FRAME_CONTENT)
		return keep_content(client, collecting, frame);
	if (frame->type == FRAME_FIGURE && frame->length != sizeof(struct figure_header))
		return -EPROTO;
	text = text_of(run, frame->type);
	collecting->open = NULL;
	if (text && frame->type == FRAME_FILE)
		collecting->open = &run->files[run->file_count - 1].content;
	else if (text && frame->type == FRAME_FIGURE)
		collecting->open = &run->figures[run->figure_count - 1].content;
	return place_text(client, collecting, text, frame);
}

static int finish(struct job_client *client, struct answer_run *run,
	const struct collecting *collecting, const struct frame *frame)
{
	size_t i;

	if (frame->length != sizeof(run->verdict))
		return -EPROTO;
	memcpy(&run->verdict, frame->payload, sizeof(run->verdict));
	run->verdict.template_name[sizeof(run->verdict.template_name) - 1] = '\0';
	if (run->verdict.kind == VERDICT_OK && !run->result.length)
		return -EPROTO; /* a value that did not come is no answer */
	/* where all texts are empty there is no buffer, and nothing to point into */
	for (i = 0; client->texts.data && i < collecting->count; i++)
		collecting->places[i].text->data = client->texts.data + collecting->places[i].offset;
	return 1;
}

static bool is_live(const struct frame *frame)
{
	return frame->type == FRAME_LIVE_STDOUT || frame->type == FRAME_LIVE_STDERR;
}

/* Returns 1 when the answer is complete, 0 when more has to come, or a negative errno. */
static int take_frames(struct job_client *client, int lane, struct frame_reader *reader,
	struct job_live *live, struct answer_run *run, struct collecting *collecting)
{
	struct frame frame;
	int r = 0;

	while (!r && frame_reader_next(reader, &frame)) {
		if (frame.type == FRAME_VERDICT)
			return finish(client, run, collecting, &frame);
		client->cell_leaves |= frame.type == FRAME_LEAVING;
		if (frame.type == FRAME_READY || frame.type == FRAME_DOWN ||
			frame.type == FRAME_LEAVING)
			continue; /* news that crossed the job */
		if (frame.type == FRAME_ROOM)
			r = write_body(client, lane, reader);
		else if (live && is_live(&frame))
			live->take(live->context, (enum frame_type)frame.type, frame.payload,
				frame.length);
		else
			r = keep_text(client, run, collecting, &frame);
	}
	return r;
}

static int wait_for(int lane, short events)
{
	struct pollfd watched = {.fd = lane, .events = events};

	return poll(&watched, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

/* Reads up to the acknowledgement: what came before must not become the answer of the next job. */
static int discard(struct job_client *client, int lane, struct frame_reader *reader)
{
	struct frame frame;
	int r;

	for (;;) {
		while (frame_reader_next(reader, &frame)) {
			if (frame.type == FRAME_CANCELLED)
				return 0;
			client->cell_leaves |= frame.type == FRAME_LEAVING;
		}
		r = frame_reader_fill(reader, lane, NULL);
		if (r == -EAGAIN)
			r = wait_for(lane, POLLIN);
		else if (r == 0)
			r = -EPIPE;
		if (r < 0)
			return r;
	}
}

/* What is left of the job goes first: half a job would leave the lane useless. */
static int cancel(struct job_client *client, int lane, struct frame_reader *reader)
{
	int r = frame_append(&client->out.out, FRAME_CANCEL, NULL, 0);

	while (!r && (r = frame_flush(&client->out, lane)) == -EAGAIN)
		r = wait_for(lane, POLLOUT);
	if (!r)
		r = discard(client, lane, reader);
	return r < 0 ? r : -ECANCELED;
}

int job_client_run(struct job_client *client, int lane, struct frame_reader *reader, int client_fd,
	struct job_live *live, const struct request *request, struct answer_run *run)
{
	struct collecting collecting = {0};
	int r;

	job_client_reset(client);
	client->cell_leaves = false;
	reader->takes_descriptor = true;
	r = write_job(client, request, live);
	if (!r)
		r = frame_flush(&client->out, lane);
	if (r < 0 && r != -EAGAIN)
		return r;
	for (;;) {
		r = take_frames(client, lane, reader, live, run, &collecting);
		if (r > 0)
			asked_files_keep(run, &request->globs);
		if (r)
			return r < 0 ? r : 0;
		r = wait_for_news(client, lane, client_fd, live);
		if (r == -ECANCELED)
			return cancel(client, lane, reader);
		if (!r)
			continue;
		if (r > 0)
			r = frame_reader_fill(reader, lane, NULL);
		if (r <= 0 && r != -EAGAIN)
			return r ? r : -EPIPE;
	}
}

int job_client_await_ready(int lane, struct frame_reader *reader)
{
	struct frame frame;
	int r;

	do {
		r = frame_reader_wait(reader, lane, &frame);
		if (r <= 0)
			return r ? r : -EPIPE;
	} while (frame.type != FRAME_READY);
	return 0;
}

void job_client_reset(struct job_client *client)
{
	frame_writer_reset(&client->out, KEEP_BYTES);
	buffer_reset(&client->body, KEEP_BYTES);
	buffer_reset(&client->texts, KEEP_BYTES);
}

void job_client_free(struct job_client *client)
{
	frame_writer_reset(&client->out, 0);
	buffer_free(&client->body);
	buffer_free(&client->texts);
}
