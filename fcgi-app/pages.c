/* What the service says about itself: GET /, /health, /live, /openapi.json and /metrics. */
#include "fcgi-app/exchange.h"
#include "fcgi-app/json_out.h"
#include "fcgi-app/log_output.h"
#include "fcgi-app/version.h"

#include <errno.h>

static void put_layer(struct json_out *out, uint32_t layers, enum layer layer)
{
	json_out_key(out, layer_name(layer));
	json_out_bool(out, LAYER_HAS(layers, layer));
}

/* What the cells' own processes report; what may stand in for it only where it may be missing. */
static void put_isolation(struct json_out *out, const struct dispatcher *dispatcher)
{
	uint32_t layers = atomic_load(&dispatcher->layers);
	int layer;

	json_out_key(out, "isolation");
	json_out_begin(out, '{');
	for (layer = LAYER_USER; layer <= LAYER_RLIMITS; layer++)
		put_layer(out, layers, (enum layer)layer);
	json_out_key(out, "memory_cgroup");
	json_out_bool(out, dispatcher->setup->memory_cgroup);
	json_out_key(out, "pids_cgroup");
	json_out_bool(out, dispatcher->setup->pids_cgroup);
	if (dispatcher->setup->config->isolation != ISOLATION_FULL) {
		put_layer(out, layers, LAYER_OWN_UID);
		put_layer(out, layers, LAYER_LANDLOCK);
	}
	json_out_end(out, '}');
}

static void put_member(struct json_out *out, const char *key, const char *value)
{
	json_out_key(out, key);
	json_out_text(out, value);
}

static void put_pair(struct json_out *out, const char *key, const char *first, size_t first_value,
	const char *second, size_t second_value)
{
	json_out_key(out, key);
	json_out_begin(out, '{');
	json_out_key(out, first);
	json_out_integer(out, (int64_t)first_value);
	json_out_key(out, second);
	json_out_integer(out, (int64_t)second_value);
	json_out_end(out, '}');
}

void pages_handle_health(struct exchange *exchange)
{
	struct dispatcher *dispatcher = exchange->dispatcher;
	struct json_out out = {.buffer = &exchange->answer};
	bool draining = atomic_load(&dispatcher->draining);
	struct pool_counts counts;
	char timestamp[32];
	const char *error;

	pool_count(dispatcher->pool, &counts);
	answer_timestamp(timestamp);
	error = draining ? "the service is stopping"
			 : counts.down == counts.total ? "no cell can run a script" : NULL;
	json_out_begin(&out, '{');
	put_member(&out, "status", error ? "unhealthy" : "healthy");
	if (error)
		put_member(&out, "error", error);
	put_member(&out, "timestamp", timestamp);
	put_member(&out, "version", VIVARIUM_VERSION);
	put_pair(&out, "workers", "total", counts.total, "busy", counts.busy);
	put_pair(&out, "queue", "waiting", counts.waiting, "capacity", counts.capacity);
	put_pair(&out, "parked", "hits", atomic_load(&dispatcher->parked_hits), "misses",
		atomic_load(&dispatcher->parked_misses));
	put_isolation(&out, dispatcher);
	json_out_key(&out, "nsjail_config_exists"); /* clients of an earlier service look for it */
	json_out_bool(&out, true);
	json_out_end(&out, '}');
	if (error)
		exchange->record.kind = RECORD_UNHEALTHY;
	exchange_respond(exchange, error ? 503 : 200, error ? "Retry-After: 1\r\n" : "");
}

void pages_handle_live(struct exchange *exchange)
{
	struct json_out out = {.buffer = &exchange->answer};

	json_out_begin(&out, '{');
	put_member(&out, "status", "alive");
	json_out_end(&out, '}');
	exchange_respond(exchange, 200, "");
}

void pages_handle_openapi(struct exchange *exchange)
{
	const struct buffer *document = exchange->dispatcher->setup->openapi;

	if (buffer_append(&exchange->answer, document->data, document->length) < 0)
		exchange_fail(exchange, "copy the document", ENOMEM);
	else
		exchange_respond(exchange, 200, "");
}

void pages_handle_root(struct exchange *exchange)
{
	static const char *const endpoints[] = {"POST /execute", "POST /mcp", "GET /", "GET /health",
		"GET /live", "GET /libraries", "GET /openapi.json", "GET /metrics"};
	struct json_out out = {.buffer = &exchange->answer};
	size_t i;

	json_out_begin(&out, '{');
	put_member(&out, "status", "ok");
	put_member(&out, "service", "vivarium");
	put_member(&out, "version", VIVARIUM_VERSION);
	json_out_key(&out, "endpoints");
	json_out_begin(&out, '[');
	for (i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++)
		json_out_text(&out, endpoints[i]);
	json_out_end(&out, ']');
	json_out_key(&out, "example");
	json_out_begin(&out, '{');
	put_member(&out, "script", "def main():\n    return 6 * 7");
	json_out_end(&out, '}');
	json_out_end(&out, '}');
	exchange_respond(exchange, 200, "");
}

static void look_at(struct dispatcher *dispatcher, struct metrics_state *state)
{
	struct pool_counts counts;

	pool_count(dispatcher->pool, &counts);
	*state = (struct metrics_state){.idle = counts.idle,
		.busy = counts.busy,
		.preparing = counts.preparing,
		.down = counts.down,
		.waiting = counts.waiting,
		.capacity = counts.capacity,
		.parked_hits = atomic_load(&dispatcher->parked_hits),
		.parked_misses = atomic_load(&dispatcher->parked_misses),
		.held_bytes = atomic_load(&dispatcher->holdings.held_bytes),
		.most_held_bytes = dispatcher->holdings.most_bytes,
		.log_dropped = log_output_dropped(),
		.draining = atomic_load(&dispatcher->draining)};
	pthread_mutex_lock(&dispatcher->tidings_mutex);
	state->tidings = dispatcher->tidings;
	pthread_mutex_unlock(&dispatcher->tidings_mutex);
}

void pages_handle_metrics(struct exchange *exchange)
{
	struct metrics_state state;
	int r;

	look_at(exchange->dispatcher, &state);
	r = metrics_print(&exchange->dispatcher->metrics, &state, &exchange->answer);
	if (r < 0)
		exchange_fail(exchange, "make the page", -r);
	else
		exchange_respond_as(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", "");
}
