#include "sandbox/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEEP_BYTES = 64 * 1024, /* memory a quiet stream keeps between executions */
};

static size_t half(const struct capture *capture)
{
	return capture->max_bytes / 2;
}

static void ring_add(struct capture *capture, const char *data, size_t length)
{
	size_t size = half(capture), run;

	if (length > size) {
		data += length - size;
		length = size;
	}
	while (length) {
		run = size - capture->tail_next;
		if (run > length)
			run = length;
		memcpy(capture->tail + capture->tail_next, data, run);
		capture->tail_next = (capture->tail_next + run) % size;
		data += run;
		length -= run;
	}
}

/* The stream turns out too long: its second half moves into a ring of the latest bytes. */
static int start_ring(struct capture *capture)
{
	capture->tail = malloc(half(capture));
	if (!capture->tail)
		return -ENOMEM;
	capture->tail_next = 0;
	ring_add(capture, capture->head.data + half(capture), half(capture));
	capture->head.length = half(capture);
	return 0;
}

int capture_add(struct capture *capture, const char *data, size_t length)
{
	size_t room = capture_room(capture);
	size_t now = length < room ? length : room;
	int r;

	if (now) {
		r = buffer_append(&capture->head, data, now);
		if (r < 0)
			return r;
	}
	capture->total += now;
	if (now == length)
		return 0;
	if (!capture->tail) {
		r = start_ring(capture);
		if (r < 0)
			return r;
	}
	ring_add(capture, data + now, length - now);
	capture->total += length - now;
	return 0;
}

static bool is_continuation(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

/* Bytes a UTF-8 sequence has by its first byte; 1 for what starts none. */
static size_t sequence_length(char first)
{
	unsigned char byte = (unsigned char)first;

	if (byte >= 0xf0)
		return 4;
	if (byte >= 0xe0)
		return 3;
	return byte >= 0xc0 ? 2 : 1;
}

/* Length of data without a character that its end cuts in two. */
static size_t whole_prefix(const char *data, size_t length)
{
	size_t back = 1;

	while (back < 4 && back < length && is_continuation(data[length - back]))
		back++;
	if (back <= length && sequence_length(data[length - back]) > back)
		return length - back;
	return length;
}

static int append_ring(struct capture *capture, struct buffer *out, size_t *skipped)
{
	size_t size = half(capture), skip = 0, first;
	int r;

	while (skip < 3 && skip < size &&
		is_continuation(capture->tail[(capture->tail_next + skip) % size]))
		skip++;
	*skipped = skip;
	first = size - capture->tail_next;
	if (skip < first) {
		r = buffer_append(out, capture->tail + capture->tail_next + skip, first - skip);
		if (r < 0)
			return r;
		skip = 0;
	} else {
		skip -= first;
	}
	return buffer_append(out, capture->tail + skip, capture->tail_next - skip);
}

int capture_finish(struct capture *capture, struct buffer *out, uint64_t *dropped, uint64_t *at)
{
	size_t head = capture->head.length, skipped;
	int r;

	*dropped = *at = 0;
	if (!capture->tail)
		return buffer_append(out, capture->head.data, head);
	head = whole_prefix(capture->head.data, head);
	r = buffer_append(out, capture->head.data, head);
	if (r < 0)
		return r;
	r = append_ring(capture, out, &skipped);
	*at = head;
	*dropped = capture->total - head - (half(capture) - skipped);
	return r;
}

size_t capture_room(const struct capture *capture)
{
	return capture->tail ? 0 : capture->max_bytes - capture->head.length;
}

size_t capture_next(const struct capture *capture, size_t most, bool is_end, const char **text)
{
	size_t length;

	if (capture->tail || capture->passed >= capture->head.length)
		return 0;
	*text = capture->head.data + capture->passed;
	length = capture->head.length - capture->passed;
	if (length > most)
		return whole_prefix(*text, most);
	return is_end ? length : whole_prefix(*text, length);
}

void capture_reset(struct capture *capture)
{
	capture->total = capture->passed = 0;
	buffer_reset(&capture->head, KEEP_BYTES);
	free(capture->tail);
	capture->tail = NULL;
	capture->tail_next = 0;
}
