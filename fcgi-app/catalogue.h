/* The catalogue of libraries that GET /libraries shows: an operator's file. Pure. */
#ifndef VIVARIUM_CATALOGUE_H
#define VIVARIUM_CATALOGUE_H

#include "sandbox/err.h"

#include <stddef.h>

enum {
	CATALOGUE_MAX_BYTES = 1 << 20,
};

/*
 * Whether length bytes of text are a catalogue: strict JSON, categories by name, each with its
 * title and its libraries by name, each of those with import, example and description; docs of
 * the members are in docs/libraries.md. name: of the file, for the error.
 * Returns 0; -EINVAL with the place and what is wrong there in *err; -ENOMEM.
 */
int catalogue_check(const char *text, size_t length, const char *name, struct err *err);

#endif
