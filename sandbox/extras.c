#include "sandbox/extras.h"

#include "sandbox/job.h"
#include "sandbox/paths.h"

#include <string.h>

static int keep(struct extras *extras, const struct frame *frame)
{
	return frame_append(
		&extras->frames, (enum frame_type)frame->type, frame->payload, frame->length);
}

/* Ascending order is also what keeps one path from coming twice. */
static bool follows(const struct extras *extras, const struct frame *frame)
{
	size_t shared = extras->last_path_length;
	const char *last;
	int order;

	if (!extras->files)
		return true;
	last = extras->frames.data + extras->last_path;
	if (frame->length < shared)
		shared = frame->length;
	order = memcmp(frame->payload, last, shared);
	return order > 0 || (order == 0 && frame->length > extras->last_path_length);
}

/* Content in single bytes must not cost a header for each: small frames are joined. */
static int keep_content(struct extras *extras, const struct frame *frame)
{
	struct frame_header header;
	int r;

	if (extras->last_content)
		memcpy(&header, extras->frames.data + extras->last_content, sizeof(header));
	if (!extras->last_content || frame->length > CONTENT_MAX_BYTES ||
		header.length > CONTENT_MAX_BYTES - frame->length) {
		extras->last_content = extras->frames.length;
		return keep(extras, frame);
	}
	r = buffer_append(&extras->frames, frame->payload, frame->length);
	if (r < 0)
		return r;
	header.length += frame->length;
	memcpy(extras->frames.data + extras->last_content, &header, sizeof(header));
	return 0;
}

static void close_open(struct extras *extras)
{
	extras->open = 0;
	extras->last_content = 0;
}

static int take_file(struct extras *extras, const struct frame *frame)
{
	close_open(extras);
	if (extras->files == FILES_MAX || frame->length > FILE_PATH_MAX_BYTES ||
		!paths_is_plain(frame->payload, frame->length) || !follows(extras, frame))
		return 0;
	extras->files++;
	extras->last_path = extras->frames.length + sizeof(struct frame_header);
	extras->last_path_length = frame->length;
	extras->open = FRAME_FILE;
	return keep(extras, frame);
}

static int take_figure(struct extras *extras, const struct frame *frame)
{
	close_open(extras);
	if (extras->figures == FIGURES_MAX || frame->length != sizeof(struct figure_header))
		return 0;
	extras->figures++;
	extras->open = FRAME_FIGURE;
	return keep(extras, frame);
}

static int take_content(struct extras *extras, const struct frame *frame)
{
	bool of_file = extras->open == FRAME_FILE;
	size_t *bytes = of_file ? &extras->file_bytes : &extras->figure_bytes;
	size_t most = of_file ? FILES_MAX_BYTES : FIGURES_MAX_BYTES;

	/* an empty one would cost a header that nothing counts */
	if (!extras->open || !frame->length || frame->length > most - *bytes)
		return 0;
	*bytes += frame->length;
	return keep_content(extras, frame);
}

static int take_warning(struct extras *extras, const struct frame *frame)
{
	if (extras->warnings == WARNINGS_MAX || frame->length > WARNING_MAX_BYTES)
		return 0;
	extras->warnings++;
	close_open(extras);
	return keep(extras, frame);
}

int extras_take(struct extras *extras, enum frame_type kind, const struct frame *frame)
{
	if ((frame->type == FRAME_FILE || frame->type == FRAME_FIGURE) && frame->type != kind) {
		close_open(extras);
		return 0;
	}
	switch ((int)frame->type) {
	case FRAME_FILE:
		return take_file(extras, frame);
	case FRAME_FIGURE:
		return take_figure(extras, frame);
	case FRAME_CONTENT:
		return take_content(extras, frame);
	case FRAME_WARNING:
		return take_warning(extras, frame);
	default:
		return 0;
	}
}

void extras_reset(struct extras *extras, size_t keep_bytes)
{
	struct buffer frames = extras->frames;

	buffer_reset(&frames, keep_bytes);
	*extras = (struct extras){.frames = frames};
}
