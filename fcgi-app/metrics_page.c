/* GET /metrics in Prometheus' text format 0.0.4: names, help and labels of all that is counted. */
#include "fcgi-app/metrics.h"
#include "fcgi-app/version.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* Remembers its first failure, and does nothing after it. */
struct page {
	struct buffer *buffer;
	int error;
};

__attribute__((format(printf, 2, 3))) static void put(struct page *page, const char *format, ...)
{
	char text[512];
	va_list arguments;
	int n;

	if (page->error)
		return;
	va_start(arguments, format);
	n = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	page->error = n < 0 || n >= (int)sizeof(text)
			      ? -EMSGSIZE
			      : buffer_append(page->buffer, text, (size_t)n);
}

static void put_head(struct page *page, const char *name, const char *type, const char *help)
{
	put(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_single(struct page *page, const char *name, const char *type, const char *help,
	uint64_t value)
{
	put_head(page, name, type, help);
	put(page, "%s %" PRIu64 "\n", name, value);
}

static void put_counter(struct page *page, const char *name, const char *help, uint64_t value)
{
	put_single(page, name, "counter", help, value);
}

static void put_gauge(struct page *page, const char *name, const char *help, uint64_t value)
{
	put_single(page, name, "gauge", help, value);
}

/* unit: how many of what is kept make one of what is shown. */
static void put_histogram(struct page *page, const char *name, const char *help,
	const struct histogram *histogram, double unit)
{
	uint64_t count = 0;
	size_t i;

	put_head(page, name, "histogram", help);
	for (i = 0; i < histogram->count; i++) {
		count += atomic_load(&histogram->bucket[i]);
		put(page, "%s_bucket{le=\"%.10g\"} %" PRIu64 "\n", name,
			(double)histogram->bounds[i] / unit, count);
	}
	count += atomic_load(&histogram->bucket[i]);
	put(page, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
	put(page, "%s_sum %.10g\n", name, (double)atomic_load(&histogram->sum) / unit);
	put(page, "%s_count %" PRIu64 "\n", name, count);
}

static const char *route_name(const struct metrics *metrics, size_t route)
{
	return route < metrics->routes ? metrics->route[route] : "other";
}

static void put_requests_of_kind(struct page *page, const struct metrics *metrics, size_t route,
	unsigned kind)
{
	uint64_t count;
	size_t status;

	for (status = 0; status <= HTTP_STATUSES; status++) {
		count = atomic_load(&metrics->requests[route][kind][status]);
		if (count)
			put(page,
				"vivarium_requests_total{route=\"%s\",status=\"%d\",kind=\"%s\"} "
				"%" PRIu64 "\n",
				route_name(metrics, route),
				status < HTTP_STATUSES ? http_status_at(status) : 0,
				record_kind_word(kind), count);
	}
}

/* What did not happen yet has no series: there would be thousands. */
static void put_requests(struct page *page, const struct metrics *metrics)
{
	size_t route;
	unsigned kind;

	put_head(page, "vivarium_requests_total", "counter",
		"Requests that have ended, by path, status and kind (cause.kind of the answer).");
	for (route = 0; route <= metrics->routes; route++) {
		for (kind = 0; kind < RECORD_KINDS; kind++)
			put_requests_of_kind(page, metrics, route, kind);
	}
}

static void put_executions(struct page *page, const struct metrics *metrics)
{
	uint64_t count;
	unsigned kind;

	put_head(page, "vivarium_executions_total", "counter",
		"Scripts that were given to a worker, by what became of them.");
	for (kind = 0; kind < RECORD_KINDS; kind++) {
		count = atomic_load(&metrics->executions[kind]);
		if (count || kind < RECORD_REFUSALS || kind == RECORD_CANCELLED)
			put(page, "vivarium_executions_total{cause=\"%s\"} %" PRIu64 "\n",
				record_kind_word(kind), count);
	}
}

static void put_workers(struct page *page, const struct metrics_state *state)
{
	const struct {
		const char *name;
		size_t count;
	} rows[] = {{"idle", state->idle}, {"busy", state->busy}, {"preparing", state->preparing},
		{"down", state->down}};
	size_t i;

	put_head(page, "vivarium_workers", "gauge",
		"Places where one script runs at a time, by state.");
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		put(page, "vivarium_workers{state=\"%s\"} %zu\n", rows[i].name, rows[i].count);
}

#define ROLE_WORD(name, word) word,
static const char *const role_words[] = {FRONT_ROLES(ROLE_WORD)};

static void put_roles(struct page *page, const struct front_tidings *tidings)
{
	size_t i;

	put_head(page, "vivarium_restarts_total", "counter",
		"Processes started again after they died, and cells that went down, by role.");
	for (i = 0; i < FRONT_ROLE_COUNT; i++)
		put(page, "vivarium_restarts_total{role=\"%s\"} %" PRIu64 "\n", role_words[i],
			tidings->restarts[i]);
	put_head(page, "vivarium_resident_memory_bytes", "gauge",
		"Resident memory of a role's processes, as the master last saw it.");
	for (i = 0; i < FRONT_ROLE_COUNT; i++) {
		if (tidings->resident_bytes[i])
			put(page, "vivarium_resident_memory_bytes{role=\"%s\"} %" PRIu64 "\n",
				role_words[i], tidings->resident_bytes[i]);
	}
}

static void put_histograms(struct page *page, const struct metrics *metrics)
{
	const double second = 1000000;

	put_histogram(page, "vivarium_request_duration_seconds",
		"Requests for a run, from the first look at them to the answer.", &metrics->total,
		second);
	put_histogram(page, "vivarium_queue_wait_seconds",
		"Requests for a run, until a worker took them or they gave up.", &metrics->queue,
		second);
	put_histogram(page, "vivarium_execution_duration_seconds",
		"Scripts, from the hand-over to the value or the verdict.", &metrics->run, second);
	put_histogram(page, "vivarium_execution_memory_bytes",
		"The most memory a script had at a time, on top of the warm interpreter.",
		&metrics->memory, 1);
}

static void put_state(struct page *page, const struct metrics_state *state)
{
	put_workers(page, state);
	put_gauge(page, "vivarium_queue_waiting", "Requests that wait for a worker.",
		state->waiting);
	put_gauge(page, "vivarium_queue_capacity", "Requests that may wait.", state->capacity);
	put_counter(page, "vivarium_parked_hits_total",
		"Scripts that found an execution waiting for them.", state->parked_hits);
	put_counter(page, "vivarium_parked_misses_total",
		"Scripts that had to wait for an execution to be made.", state->parked_misses);
	put_gauge(page, "vivarium_request_memory_bytes",
		"Memory that the requests at hand count with (request_memory).", state->held_bytes);
	put_gauge(page, "vivarium_request_memory_limit_bytes",
		"Memory that all requests at hand may count with.", state->most_held_bytes);
	put_roles(page, &state->tidings);
	put_counter(page, "vivarium_log_lines_dropped_total",
		"Lines that the log did not take, of the dispatcher and the master.",
		state->log_dropped + state->tidings.log_dropped);
	put_gauge(page, "vivarium_draining", "1 while the service stops.", state->draining);
}

int metrics_print(const struct metrics *metrics, const struct metrics_state *state,
	struct buffer *page)
{
	struct page out = {.buffer = page};

	put_head(&out, "vivarium_build_info", "gauge", "Always 1; the labels tell what runs.");
	put(&out, "vivarium_build_info{version=\"%s\"} 1\n", VIVARIUM_VERSION);
	put_gauge(&out, "vivarium_start_time_seconds",
		"When the dispatcher began, and with it all counts but those of restarts.",
		(uint64_t)metrics->begun);
	put_requests(&out, metrics);
	put_executions(&out, metrics);
	put_histograms(&out, metrics);
	put_state(&out, state);
	return out.error;
}
