/*
 * GET /libraries: what scripts can import, as an execution finds it, beside a catalogue. The list
 * is kept for a while, so that it costs nothing to ask for it.
 */
#ifndef VIVARIUM_LIBRARIES_H
#define VIVARIUM_LIBRARIES_H

#include "fcgi-app/config.h"
#include "sandbox/buffer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What the list is made from; read while files can still be opened. */
struct library_source {
	struct buffer catalogue; /* JSON */
	struct buffer script; /* Python, libraries.py of the harness */
};

/*
 * Reads and checks both. Returns 0, or a negative errno with the reason in *err; in either case
 * the source is the caller's to free.
 */
int library_source_load(const struct config *config, struct library_source *source, struct err *err);
void library_source_free(struct library_source *source);

/* The list itself, shared by all threads of the dispatcher. */
struct library_list {
	pthread_mutex_t mutex;
	pthread_cond_t ended; /* one more was made, or could not be */
	bool is_making; /* by one thread, for all */
	size_t rounds; /* ended so far */
	int error; /* of the last one: 0 or a negative errno */
	uint64_t made_us; /* CLOCK_MONOTONIC; 0: there is none */
	struct buffer body; /* JSON */
	struct buffer known; /* likewise: what the next run need not find out again */
};

void library_list_init(struct library_list *list);

#endif
