#include "fcgi-app/base64.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* 0 to 63, or -1. */
static int digit_of(char character)
{
	if (character >= 'A' && character <= 'Z')
		return character - 'A';
	if (character >= 'a' && character <= 'z')
		return character - 'a' + 26;
	if (character >= '0' && character <= '9')
		return character - '0' + 52;
	return character == '+' ? 62 : character == '/' ? 63 : -1;
}

/* Four characters, of which the last `padding` are "=". Returns the bytes written, or -EINVAL. */
static int decode_line(const char *line, size_t padding, char *out)
{
	uint32_t bits = 0;
	size_t i;
	int digit;

	for (i = 0; i < BASE64_LINE_CHARACTERS; i++) {
		digit = i < BASE64_LINE_CHARACTERS - padding ? digit_of(line[i]) : 0;
		if (digit < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)digit;
	}
	if (bits & ((1u << (8 * padding)) - 1))
		return -EINVAL;
	for (i = 0; i < BASE64_LINE_BYTES - padding; i++)
		out[i] = (char)(bits >> (16 - 8 * i) & 0xff);
	return (int)i;
}

int base64_decode(const char *text, size_t length, char *out, size_t *out_length)
{
	size_t at, padding = 0;
	int n;

	*out_length = 0;
	if (length % BASE64_LINE_CHARACTERS)
		return -EINVAL;
	for (at = 0; at < length; at += BASE64_LINE_CHARACTERS) {
		if (at + BASE64_LINE_CHARACTERS == length && text[length - 1] == '=')
			padding = text[length - 2] == '=' ? 2 : 1;
		n = decode_line(text + at, padding, out + *out_length);
		if (n < 0)
			return n;
		*out_length += (size_t)n;
	}
	return 0;
}

void base64_encode_line(const char *data, size_t length, char out[BASE64_LINE_CHARACTERS])
{
	unsigned char bytes[BASE64_LINE_BYTES] = {0};
	uint32_t bits;

	memcpy(bytes, data, length);
	bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
	out[0] = alphabet[bits >> 18 & 63];
	out[1] = alphabet[bits >> 12 & 63];
	out[2] = length > 1 ? alphabet[bits >> 6 & 63] : '=';
	out[3] = length > 2 ? alphabet[bits & 63] : '=';
}
