#include "sandbox/cell_live.h"

#include "sandbox/cell_parts.h"

static bool is_live(const struct cell *cell)
{
	return cell->run.started_us && (cell->job.limits.flags & JOB_LIVE);
}

static struct capture *capture_of(struct cell *cell, enum cell_source_kind kind)
{
	return kind == CELL_SOURCE_STDOUT ? &cell->output : &cell->error;
}

/* Appends one frame. Returns 1, 0 when there is nothing for one, or a negative errno. */
static int append_next(struct cell *cell, enum cell_source_kind kind, bool is_end)
{
	enum frame_type type = kind == CELL_SOURCE_STDOUT ? FRAME_LIVE_STDOUT : FRAME_LIVE_STDERR;
	struct capture *capture = capture_of(cell, kind);
	const char *text;
	size_t length = capture_next(capture, LIVE_MAX_BYTES, is_end, &text);
	int r = length ? frame_append(&cell->lane_out.out, type, text, length) : 0;

	if (r < 0 || !length)
		return r;
	capture->passed += length;
	return 1;
}

static int append_all(struct cell *cell, enum cell_source_kind kind, bool is_end)
{
	int r;

	do
		r = append_next(cell, kind, is_end);
	while (r > 0);
	return r;
}

/* Without the memory for a frame it is tried again with what is printed next. */
void cell_live_go_on(struct cell *cell)
{
	bool some = is_live(cell);

	while (some && !cell->lane_out.out.length) {
		some = append_next(cell, CELL_SOURCE_STDOUT, false) > 0;
		some |= append_next(cell, CELL_SOURCE_STDERR, false) > 0;
		if (some)
			cell_lane_flush(cell);
	}
}

int cell_live_keep(struct cell *cell, enum cell_source_kind kind, const char *data, size_t length)
{
	struct capture *capture = capture_of(cell, kind);
	size_t room = capture_room(capture);
	int r;

	if (length <= room || !is_live(cell))
		return capture_add(capture, data, length);
	r = capture_add(capture, data, room);
	if (!r)
		r = append_all(cell, kind, false);
	return r < 0 ? r : capture_add(capture, data + room, length - room);
}

int cell_live_finish(struct cell *cell)
{
	int r = 0;

	if (is_live(cell))
		r = append_all(cell, CELL_SOURCE_STDOUT, true);
	if (!r && is_live(cell))
		r = append_all(cell, CELL_SOURCE_STDERR, true);
	return r;
}
