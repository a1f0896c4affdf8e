/* Base 64 (RFC 4648, section 4), strictly. */
#ifndef VIVARIUM_BASE64_H
#define VIVARIUM_BASE64_H

#include <stddef.h>

enum {
	BASE64_LINE_BYTES = 3, /* become BASE64_LINE_CHARACTERS */
	BASE64_LINE_CHARACTERS = 4,
};

/*
 * Decodes length characters of text; out may be text itself. Padding is required, and whatever an
 * encoder would not have written is refused: other characters, line breaks, bits that are left
 * over. Returns 0 and *out_length, or -EINVAL.
 */
int base64_decode(const char *text, size_t length, char *out, size_t *out_length);

/* Encodes 1 to 3 bytes as four characters. */
void base64_encode_line(const char *data, size_t length, char out[BASE64_LINE_CHARACTERS]);

#endif
