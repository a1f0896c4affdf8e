/* zlib, behind one file: data in the gzip format (RFC 1952), as it is sent. */
#ifndef VIVARIUM_GZIP_H
#define VIVARIUM_GZIP_H

#include <stddef.h>

enum {
	/* private memory of a struct gzip: a window, a hash table, and what waits to be taken */
	GZIP_MEMORY_BYTES = 352 * 1024,
};

struct gzip;

/* Takes length bytes of packed data, which die with the call. */
typedef void gzip_take_fn(void *context, const char *data, size_t length);

/* Readies for one text; the caller's to free. NULL without memory. */
struct gzip *gzip_new(void);
void gzip_free(struct gzip *gzip);

/*
 * Packs length bytes of data, which are the whole text, and gives all of it to take, in parts.
 * It allocates nothing and cannot fail.
 */
void gzip_pack(
	struct gzip *gzip, const char *data, size_t length, gzip_take_fn *take, void *context);

#endif
