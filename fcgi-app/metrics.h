/*
 * What GET /metrics counts. All of it is atomic, nobody waits for anybody; it lives and dies with
 * the dispatcher. metrics_page.c has the names.
 */
#ifndef VIVARIUM_METRICS_H
#define VIVARIUM_METRICS_H

#include "fcgi-app/front.h"
#include "fcgi-app/http_status.h"
#include "fcgi-app/record.h"
#include "sandbox/buffer.h"

#include <stdatomic.h>
#include <stdint.h>

enum {
	METRICS_ROUTES_MAX = 24, /* and one for all other paths */
	HISTOGRAM_BOUNDS_MAX = 20,
};

/* Counts by upper bound; the last bucket is for what is above all of them. */
struct histogram {
	const uint64_t *bounds; /* ascending, `count` of them */
	size_t count;
	atomic_uint_least64_t bucket[HISTOGRAM_BOUNDS_MAX + 1]; /* not cumulative */
	atomic_uint_least64_t sum;
};

/* A value equal to a bound counts below it. */
void histogram_add(struct histogram *histogram, uint64_t value);

struct metrics {
	const char *route[METRICS_ROUTES_MAX]; /* paths */
	size_t routes;
	time_t begun; /* when the dispatcher began */
	atomic_uint_least64_t requests[METRICS_ROUTES_MAX + 1][RECORD_KINDS]
				     [HTTP_STATUSES + 1];
	atomic_uint_least64_t executions[RECORD_KINDS]; /* by what became of them */
	struct histogram total, queue, run; /* of what asked for a script to be run; microseconds */
	struct histogram memory; /* bytes */
};

/* Readies *metrics, which must be zero; paths: of the routes, in the order of record->route. */
void metrics_init(struct metrics *metrics, const char *const *paths, size_t count);

/* Counts one request that has ended. */
void metrics_count(struct metrics *metrics, const struct record *record);

/* What only others know, at the moment it is asked for. */
struct metrics_state {
	size_t idle, busy, preparing, down; /* cells */
	size_t waiting, capacity; /* of the queue */
	uint64_t parked_hits, parked_misses;
	uint64_t held_bytes, most_held_bytes; /* memory that requests at hand are counted with */
	uint64_t log_dropped;
	struct front_tidings tidings; /* the master's */
	bool draining;
};

/* Appends the page, in Prometheus' text format 0.0.4. Returns 0 or a negative errno. */
int metrics_print(const struct metrics *metrics, const struct metrics_state *state,
	struct buffer *page);

#endif
