/*
 * Sends a stream in pieces through a socket pair and compares the frames that come out with those
 * that a walk over the whole stream finds. The first three bytes of the input are the reader's cap
 * (0x0000 to 0xffff), and how long the pieces are.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/frame.h"

struct walk {
	const char *at;
	size_t left;
	size_t cap;
};

/* 1: frame; 0: the rest is not a whole frame; -1: the next one is over the cap. */
static int walk_next(struct walk *walk, struct frame *frame)
{
	struct frame_header header;

	if (walk->left < sizeof(header))
		return 0;
	memcpy(&header, walk->at, sizeof(header));
	if (header.length > walk->cap - sizeof(header))
		return -1;
	if (header.length > walk->left - sizeof(header))
		return 0;
	*frame = (struct frame){header.type, header.length, walk->at + sizeof(header)};
	walk->at += sizeof(header) + header.length;
	walk->left -= sizeof(header) + header.length;
	return 1;
}

/* Takes what is whole; each frame must be the walk's next one. Returns how many came. */
static size_t drain(struct frame_reader *reader, struct walk *walk)
{
	struct frame_header header = {0};
	struct frame frame, expected;
	size_t count = 0;

	for (;; count++) {
		int began = frame_reader_peek(reader, &header);

		if (!frame_reader_next(reader, &frame))
			return count;
		CHECK(walk_next(walk, &expected) == 1);
		CHECK(began && header.type == frame.type && header.length == frame.length);
		CHECK(frame.type == expected.type && frame.length == expected.length);
		CHECK(memcmp(frame.payload, expected.payload, frame.length) == 0);
	}
}

static void run(struct walk *walk, size_t piece, int pair[2])
{
	struct frame_reader reader = {.in.cap = walk->cap};
	const char *next = walk->at, *end = walk->at + walk->left;
	struct frame frame;
	int r = 1;

	while (next < end && r > 0) {
		size_t now = (size_t)(end - next) < piece ? (size_t)(end - next) : piece;

		CHECK(write(pair[0], next, now) == (ssize_t)now);
		next += now;
		do { /* every third piece waits inside the reader */
			r = frame_reader_fill(&reader, pair[1], NULL);
			CHECK(reader.in.length <= walk->cap);
			if (r == -EMSGSIZE && drain(&reader, walk))
				r = 1;
			else if ((next - walk->at) % 3)
				drain(&reader, walk);
		} while (r > 0);
		CHECK(r == -EAGAIN || r == -EMSGSIZE);
		if (r == -EAGAIN)
			r = 1;
	}
	drain(&reader, walk);
	CHECK(walk_next(walk, &frame) == (r == -EMSGSIZE ? -1 : 0) || r == 1);
	frame_reader_free(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct walk walk;
	int pair[2];

	if (size < 3)
		return 0;
	walk = (struct walk){(const char *)data + 3, size - 3, data[0] << 8 | data[1]};
	walk.cap = walk.cap < sizeof(struct frame_header) ? sizeof(struct frame_header) : walk.cap;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
	run(&walk, 1 + (size_t)data[2] * 8, pair);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
