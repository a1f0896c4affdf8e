/* The Python half of the runner: which modules there are, and in which order they are loaded. */
#ifndef VIVARIUM_MODULES_H
#define VIVARIUM_MODULES_H

#include "sandbox/err.h"

#include <stddef.h>

/*
 * The text of a file below directory, NUL-terminated, at most MODULES_TEXT_MAX_BYTES of it; *length
 * without the NUL. The caller's to free; NULL with errno set on failure.
 */
enum {
	MODULES_TEXT_MAX_BYTES = 1 << 20,
};
char *modules_read_text(int directory, const char *path, size_t *length);

/*
 * Starts Python and loads all modules from directory. Returns 0 or a negative errno with the
 * reason in *err.
 */
int modules_load(int directory, struct err *err);

#endif
