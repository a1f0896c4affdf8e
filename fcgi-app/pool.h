/*
 * The cells as the dispatcher sees them: which are idle, who waits. Admission is bounded, and
 * clients take turns (turns.h). Thread-safe.
 */
#ifndef VIVARIUM_POOL_H
#define VIVARIUM_POOL_H

#include "fcgi-app/client.h"
#include "fcgi-app/library_sets.h"
#include "sandbox/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

struct pool_counts {
	size_t total, idle, busy, preparing, down; /* cells */
	size_t waiting, capacity; /* of the queue */
};

/*
 * A pool of `cells` cells, none of which has a lane yet; sets outlives it; seed: secret. NULL
 * without memory or descriptors.
 */
struct pool *pool_new(size_t cells, size_t queue, const struct library_sets *sets, uint64_t seed);

/* An epoll descriptor that is readable when pool_handle has work. */
int pool_descriptor(const struct pool *pool);

/* Takes news from the lanes: cells that got ready, went down, or whose worker died. */
void pool_handle(struct pool *pool);

/*
 * Connects a cell, by index, with its worker; fd becomes the pool's, an older one is given up.
 * number: tells lanes of a cell apart.
 */
void pool_set_lane(struct pool *pool, size_t index, int fd, uint32_t number);

/*
 * A cell whose lane broke, and for which no other one has come: its index and the broken lane's number,
 * told once for each lane. Returns whether there was one. pool_descriptor becomes readable
 * for it, too.
 */
bool pool_take_lost(struct pool *pool, size_t *index, uint32_t *number);

/* Somebody who wants a cell. */
struct pool_wish {
	struct client client; /* with whom turns are taken */
	int client_fd; /* its connection; -1: none */
	int wake; /* an eventfd of the calling thread's own, non-blocking */
	size_t wanted; /* library set */
	uint64_t deadline_us; /* CLOCK_MONOTONIC */
};

/*
 * Waits for an idle cell until the deadline, while the connection shows no hang-up: one with the
 * wanted library set warm if such a one is to be had soon, else any. Returns 0 and *cell, which is
 * the caller's until pool_release; -EAGAIN when the queue has no place for this client or gave it
 * to another, -ETIMEDOUT, or -ECANCELED when the client is gone.
 */
int pool_acquire(struct pool *pool, const struct pool_wish *wish, size_t *cell);

/* The acquired cell's lane and reader: the caller's alone until pool_release. */
int pool_lane(const struct pool *pool, size_t cell);
struct frame_reader *pool_reader(struct pool *pool, size_t cell);

enum pool_return {
	POOL_GOOD,
	POOL_LEAVING, /* it is built anew: nobody gets it before it says that it is ready */
	POOL_BROKEN, /* its lane failed: it is down until a new one comes (pool_take_lost) */
};

/* Gives the cell back. */
void pool_release(struct pool *pool, size_t index, enum pool_return how);

void pool_count(struct pool *pool, struct pool_counts *counts);

#endif
