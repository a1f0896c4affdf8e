/*
 * The key reader: a process beside the service, outside of its namespaces, that reads the key file
 * whenever it changes and hands on what is in it; nobody inside could read root's files. It has
 * digests, and never sees a request.
 */
#ifndef VIVARIUM_KEY_READER_H
#define VIVARIUM_KEY_READER_H

#include "sandbox/err.h"

#include <stddef.h>
#include <stdint.h>

/* The keys as they were last handed on, and who hands them on. */
struct key_source {
	int reader; /* a socket to the key reader; owned; -1: there is no key file */
	int table; /* of key_list_seal; owned; -1 likewise */
	uint32_t count; /* of keys in it */
};

/*
 * Starts the reader of the file at path, and takes what it reads first. A child of nobody, which
 * ends when the last copy of source->reader is closed. Returns 0 and *source, or a negative errno
 * with the file, line and reason in *err.
 */
int key_reader_start(const char *path, struct key_source *source, struct err *err);

/* Has the file read at once, changed or not. Returns 0 or a negative errno. */
int key_source_refresh(const struct key_source *source);

/*
 * Takes what the reader says. Returns 1 when source has other keys now, or a negative errno with
 * the reason in *err: -EPIPE when the reader has gone, and its socket is closed; else the file
 * could not be read or is wrong. *source is as it was then.
 */
int key_source_hear(struct key_source *source, struct err *err);

#endif
