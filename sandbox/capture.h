/*
 * Keeps a bounded part of an output stream: the first half and the last half of what came. As long
 * as it is all there, it can be passed on live.
 */
#ifndef VIVARIUM_CAPTURE_H
#define VIVARIUM_CAPTURE_H

#include "sandbox/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* Zeroed with max_bytes set is ready for use. */
struct capture {
	size_t max_bytes; /* kept at the most; even */
	uint64_t total; /* bytes seen */
	size_t passed; /* bytes that were passed on live, from the start */
	struct buffer head; /* all, up to max_bytes, then the first half */
	char *tail; /* ring of max_bytes / 2, allocated when the head is full; owned */
	size_t tail_next; /* where the next byte of the ring goes */
};

/* Takes length bytes. Returns 0 or -ENOMEM. */
int capture_add(struct capture *capture, const char *data, size_t length);

/*
 * Appends what was kept to out. When bytes were left out the cut lies between UTF-8 characters:
 * a character that a cut would split is dropped whole. *dropped are the bytes left out, *at the
 * offset of the cut in what was appended. Returns 0, -ENOMEM or -EMSGSIZE.
 */
int capture_finish(struct capture *capture, struct buffer *out, uint64_t *dropped, uint64_t *at);

/* How many more bytes are kept before some are left out. */
size_t capture_room(const struct capture *capture);

/*
 * What may be passed on live: up to most of the bytes of the first max_bytes that were not, in
 * whole UTF-8 characters; is_end: what looks like the start of a character, too. Points *text at
 * them and returns their number, 0 also once some were left out. The caller counts in `passed`.
 */
size_t capture_next(const struct capture *capture, size_t most, bool is_end, const char **text);

/* Forgets the content, ready for the next stream; the ring is given back. */
void capture_reset(struct capture *capture);

#endif
