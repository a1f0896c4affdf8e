/* Paths of files that go into a working directory or come out of one. */
#ifndef VIVARIUM_PATHS_H
#define VIVARIUM_PATHS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether a path of length bytes is relative and plain: no part of it is empty, "." or "..", and
 * there is no NUL. Such a path names something beneath a directory, unless a link leads away.
 */
bool paths_is_plain(const char *path, size_t length);

/* Whether path is a directory on the way to other: "a" for "a/b", and not "a" for "ab". */
bool paths_is_above(const char *path, size_t length, const char *other, size_t other_length);

#endif
