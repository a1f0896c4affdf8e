/* UTF-8 as RFC 3629 has it, out of bytes that may be anything. */
#ifndef VIVARIUM_UTF8_H
#define VIVARIUM_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Takes one character off text, which has length bytes, at least one: *code is its code point,
 * *taken what it has of bytes. Returns false where there is none: *code is then U+FFFD, *taken, at
 * least 1, the longest part of a character that a wrong byte cuts off.
 */
bool utf8_take(const unsigned char *text, size_t length, uint32_t *code, size_t *taken);

#endif
