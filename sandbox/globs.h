/*
 * The globs that a client names its output files by. One matcher for both sides of the jail: the
 * execution finds files with it, and whoever takes them believes none that the globs do not name.
 */
#ifndef VIVARIUM_GLOBS_H
#define VIVARIUM_GLOBS_H

#include <stdbool.h>
#include <stddef.h>

enum {
	GLOBS_MAX_STEPS = 1 << 18, /* that one path may take: hostile globs are not worth more */
};

/*
 * Whether one of the globs, each with a NUL behind it, length bytes together, matches a path of
 * path_length bytes. Within one part of a path "*" is any text, "?" any character, "[a-z]" one of a
 * set, "[!a-z]" one of none, and a "[" that is never closed is itself; a leading dot has to be
 * written out. "**" is any number of parts without a leading dot, also none. Bytes of the path that
 * are not UTF-8 are characters U+DC80 to U+DCFF, as Python has them. A path that takes more than
 * GLOBS_MAX_STEPS matches nothing. Pure; any bytes will do.
 */
bool globs_match(const char *globs, size_t length, const char *path, size_t path_length);

#endif
