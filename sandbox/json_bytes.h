/* Bytes of JSON, one at a time or eight: what the scanner and its keys both look at. */
#ifndef VIVARIUM_JSON_BYTES_H
#define VIVARIUM_JSON_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define JSON_BYTES_ONES UINT64_C(0x0101010101010101)
#define JSON_BYTES_HIGH_BITS (JSON_BYTES_ONES * 0x80)

/* Eight bytes as they lie in memory; at need not be aligned. */
static inline uint64_t json_bytes_load(const unsigned char *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* The high bit of a byte is set if that byte equals wanted; others may be set only if one is. */
static inline uint64_t json_bytes_have(uint64_t word, unsigned char wanted)
{
	uint64_t differs = word ^ (JSON_BYTES_ONES * wanted);

	return (differs - JSON_BYTES_ONES) & ~differs & JSON_BYTES_HIGH_BITS;
}

static inline bool json_bytes_is_digit(unsigned char byte)
{
	return byte >= '0' && byte <= '9';
}

/* The value of a hexadecimal digit, or -1. */
static inline int json_bytes_hex_digit(unsigned char byte)
{
	if (json_bytes_is_digit(byte))
		return byte - '0';
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The code unit of the escape \uXXXX at at, or -1 if there is none. */
static inline long json_bytes_unicode_escape(const unsigned char *at, const unsigned char *end)
{
	long unit = 0;

	if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		int digit = json_bytes_hex_digit(at[i]);

		if (digit < 0)
			return -1;
		unit = unit * 16 + digit;
	}
	return unit;
}

#endif
