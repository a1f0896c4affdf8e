#include "fcgi-app/metrics.h"

#include <time.h>

#define MS UINT64_C(1000)
#define S UINT64_C(1000000)
#define MIB (UINT64_C(1) << 20)

/* From what a trivial script takes to what the longest one may. */
static const uint64_t time_bounds_us[] = {500, 1 * MS, 2500, 5 * MS, 10 * MS, 25 * MS, 50 * MS,
	100 * MS, 250 * MS, 500 * MS, 1 * S, 2500 * MS, 5 * S, 10 * S, 30 * S, 60 * S, 120 * S,
	300 * S};
static const uint64_t memory_bounds_bytes[] = {1 * MIB, 4 * MIB, 16 * MIB, 64 * MIB, 128 * MIB,
	256 * MIB, 512 * MIB, 1024 * MIB, 2048 * MIB};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void add(atomic_uint_least64_t *counter, uint64_t value)
{
	atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
	size_t i;

	for (i = 0; i < histogram->count && value > histogram->bounds[i]; i++)
		;
	add(&histogram->bucket[i], 1);
	add(&histogram->sum, value);
}

void metrics_init(struct metrics *metrics, const char *const *paths, size_t count)
{
	struct histogram *const times[] = {&metrics->total, &metrics->queue, &metrics->run};
	size_t i;

	for (i = 0; i < count && i < METRICS_ROUTES_MAX; i++)
		metrics->route[i] = paths[i];
	metrics->routes = i;
	metrics->begun = time(NULL);
	for (i = 0; i < COUNT(times); i++) {
		times[i]->bounds = time_bounds_us;
		times[i]->count = COUNT(time_bounds_us);
	}
	metrics->memory.bounds = memory_bounds_bytes;
	metrics->memory.count = COUNT(memory_bounds_bytes);
}

void metrics_count(struct metrics *metrics, const struct record *record)
{
	size_t route = record->route < metrics->routes ? record->route : metrics->routes;

	add(&metrics->requests[route][record->kind]
		[http_status_index(record->status)],
		1);
	if (record->executes)
		histogram_add(&metrics->total, record->total_us);
	if (record->waited)
		histogram_add(&metrics->queue, record->queue_us);
	if (record->started)
		add(&metrics->executions[record->kind], 1);
	if (!record->ran)
		return;
	histogram_add(&metrics->run, record->verdict.wall_us);
	histogram_add(&metrics->memory, record->verdict.memory_bytes);
}
