/*
 * Streams whose script has ended and whose reader has not taken all of it yet. Each keeps a thread,
 * and how long is its reader's choice: so they are counted apart from requests, and are bounded
 * together. Those that still have something to write keep their answer as well. The others are
 * whole: nginx holds their connection until the reader has taken what lies in the socket, and they
 * cannot be told from a connection that nginx keeps for the next request.
 *
 * Where one more is too many, the one that has waited longest is cut: readers that keep pace are
 * done in milliseconds and are not met. Whole ones go first, because they lose nothing by it: nginx
 * reads what was written before the end. Thread-safe.
 */
#ifndef VIVARIUM_STREAM_ENDS_H
#define VIVARIUM_STREAM_ENDS_H

#include "fcgi-app/fcgi.h"

#include <pthread.h>

/* One of them: its thread's own, and in a list from enter to leave, unless it is cut. */
struct stream_end {
	struct fcgi *fcgi;
	size_t bytes; /* that it keeps */
	bool is_whole; /* there is nothing left to write */
	bool is_cut;
	struct stream_end *next, *previous;
};

/* The first has waited longest. */
struct stream_end_list {
	struct stream_end *first, *last;
};

struct stream_ends {
	size_t most, most_bytes;
	void (*entered)(void *context); /* without the lock: one more thread waits for a reader */
	void *context;
	pthread_mutex_t mutex;
	struct stream_end_list whole, partial;
	size_t count, bytes;
};

/* Readies ends, whose bounds and hook are filled in. */
void stream_ends_init(struct stream_ends *ends);

/*
 * end has fcgi, bytes and is_whole filled in, and lives until it has left; until then its connection
 * stays open. Cuts the connections of others until there is room. One that is alone may be larger
 * than the bound: there is an end to how large an answer can be. For a whole one only whole ones are
 * cut; where there are none it is one too many until the next one comes.
 */
void stream_ends_enter(struct stream_ends *ends, struct stream_end *end);

/* Returns whether it was cut meanwhile. */
bool stream_ends_leave(struct stream_ends *ends, struct stream_end *end);

/* How many there are. */
size_t stream_ends_count(struct stream_ends *ends);

#endif
