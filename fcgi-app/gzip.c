#include "fcgi-app/gzip.h"

#include <stdbool.h>
#include <stdlib.h>
#define ZLIB_CONST /* what is read is not written to */
#include <zlib.h>

enum {
	LEVEL = 2, /* as nginx is configured: most of the gain for a fraction of the time */
	WINDOW_BITS = 15 + 16, /* 32 KiB, and the header and trailer of gzip */
	MEMORY_LEVEL = 8, /* zlib's own: 256 KiB with that window */
	PART_BYTES = 64 * 1024,
};

struct gzip {
	z_stream stream;
	unsigned char packed[PART_BYTES];
};

struct gzip *gzip_new(void)
{
	struct gzip *gzip = calloc(1, sizeof(*gzip));

	if (gzip && deflateInit2(&gzip->stream, LEVEL, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL,
			    Z_DEFAULT_STRATEGY) != Z_OK) {
		free(gzip);
		return NULL;
	}
	return gzip;
}

void gzip_free(struct gzip *gzip)
{
	deflateEnd(&gzip->stream);
	free(gzip);
}

/* Until all of the input is taken in; with the last of it, until all is out. */
static void drain(struct gzip *gzip, int flush, gzip_take_fn *take, void *context)
{
	z_stream *stream = &gzip->stream;

	do {
		stream->next_out = gzip->packed;
		stream->avail_out = sizeof(gzip->packed);
		deflate(stream, flush);
		take(context, (const char *)gzip->packed, sizeof(gzip->packed) - stream->avail_out);
	} while (!stream->avail_out);
}

/* In parts, for zlib counts in 32 bits. */
void gzip_pack(
	struct gzip *gzip, const char *data, size_t length, gzip_take_fn *take, void *context)
{
	size_t part;
	bool is_last;

	do {
		part = length < PART_BYTES ? length : PART_BYTES;
		is_last = part == length;
		gzip->stream.next_in = (const Bytef *)data;
		gzip->stream.avail_in = (uInt)part;
		drain(gzip, is_last ? Z_FINISH : Z_NO_FLUSH, take, context);
		data += part;
		length -= part;
	} while (!is_last);
}
