#include "fcgi-app/base64.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* 0 to 63, or -1. */
static int digit_of(char character)
{
	/* 1 more than the digit, for what can stand there */
	static const unsigned char digits[256] = {['A'] = 1, ['B'] = 2, ['C'] = 3, ['D'] = 4,
		['E'] = 5, ['F'] = 6, ['G'] = 7, ['H'] = 8, ['I'] = 9, ['J'] = 10, ['K'] = 11,
		['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18,
		['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24, ['Y'] = 25,
		['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
		['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39,
		['n'] = 40, ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46,
		['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53,
		['1'] = 54, ['2'] = 55, ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60,
		['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64};

	return digits[(unsigned char)character] - 1;
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
