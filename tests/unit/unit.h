/* What most of the unit tests need: cmocka and its prerequisites, and a few helpers. */
#ifndef VIVARIUM_TESTS_UNIT_H
#define VIVARIUM_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* A literal and its length: some texts have a NUL inside. */
#define TEXT(literal) literal, sizeof(literal) - 1

/* A small generator (xorshift64*), the same everywhere: a failure can be repeated. */
static inline uint64_t unit_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * UINT64_C(2685821657736338717);
}

/* A copy that ends where its memory does, so that a sanitizer sees every byte read too far. */
static inline char *unit_copy(const void *data, size_t length)
{
	char *copy = malloc(length ? length : 1);

	assert_non_null(copy);
	if (length)
		memcpy(copy, data, length);
	return copy;
}

/* Fails unless text has part in it. */
static inline void unit_assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, text);
}

/* How many descriptors below 256 are open. */
static inline size_t unit_open_descriptors(void)
{
	size_t open = 0;
	int fd;

	for (fd = 0; fd < 256; fd++) {
		char path[32];

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		open += readlink(path, (char[1]){0}, 1) > 0;
	}
	return open;
}

#endif
