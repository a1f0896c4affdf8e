/* A byte buffer that grows up to a cap and keeps its memory between uses. */
#ifndef VIVARIUM_BUFFER_H
#define VIVARIUM_BUFFER_H

#include <stddef.h>

struct buffer {
	char *data; /* owned; NULL while nothing was ever stored */
	size_t length; /* bytes in use */
	size_t capacity; /* bytes allocated */
	size_t cap; /* length may not exceed this; 0: no cap */
};

/* Appends length bytes. Returns 0, -EMSGSIZE over the cap, -ENOMEM; unchanged on failure. */
int buffer_append(struct buffer *buffer, const void *data, size_t length);

/*
 * Makes room for length more bytes after the used ones without using them.
 * Returns 0, -EMSGSIZE over the cap, -ENOMEM.
 */
int buffer_reserve(struct buffer *buffer, size_t length);

/* Drops the first length bytes, which must be there. */
void buffer_consume(struct buffer *buffer, size_t length);

/* Forgets the content; memory above keep_bytes is given back. */
void buffer_reset(struct buffer *buffer, size_t keep_bytes);

/* Gives all memory back; the buffer may be used again. */
void buffer_free(struct buffer *buffer);

#endif
