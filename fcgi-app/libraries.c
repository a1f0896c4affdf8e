/*
 * The list is the value of a script of ours that runs like any other, so what it says of imports
 * is true of scripts. One thread makes it for all: who asks meanwhile gets the former list, or
 * waits for some time where there is none. A list that could not be made is an error for those who
 * waited for it, and the next request tries again.
 */
#include "fcgi-app/libraries.h"

#include "fcgi-app/catalogue.h"
#include "fcgi-app/exchange.h"
#include "fcgi-app/json_out.h"
#include "fcgi-app/text_file.h"
#include "sandbox/clock.h"
#include "sandbox/json_scan.h"
#include "sandbox/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	SCRIPT_BYTES = 256 << 10,
	ATTEMPTS_MAX = 3, /* to get the script to a cell that lives */
	TIMEOUT_MS = 240 * 1000, /* to import all there is, from a slow disk */
};

static const uint64_t LIFETIME_US = UINT64_C(60) * 1000 * 1000;

int library_source_load(const struct config *config, struct library_source *source, struct err *err)
{
	char path[CONFIG_TEXT_BYTES + 16];
	int r = text_file_read(
		config->library_catalogue, CATALOGUE_MAX_BYTES, &source->catalogue, err);

	if (!r)
		r = catalogue_check(source->catalogue.data, source->catalogue.length,
			config->library_catalogue, err);
	snprintf(path, sizeof(path), "%s/libraries.py", config->harness_dir);
	return r < 0 ? r : text_file_read(path, SCRIPT_BYTES, &source->script, err);
}

void library_source_free(struct library_source *source)
{
	buffer_free(&source->catalogue);
	buffer_free(&source->script);
}

void library_list_init(struct library_list *list)
{
	pthread_condattr_t attributes;

	*list = (struct library_list){0};
	pthread_mutex_init(&list->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&list->ended, &attributes);
	pthread_condattr_destroy(&attributes);
}

/* --- the script's job ---------------------------------------------------------------------- */

/* The modules that some library set keeps imported, as one array. */
static void put_warm(struct json_out *out, const struct library_sets *sets)
{
	const char *module;
	size_t i, length;

	json_out_key(out, "warm");
	json_out_begin(out, '[');
	for (i = 0; i < sets->count; i++) {
		module = sets->set[i].missing ? "" : sets->set[i].modules;
		for (; *module; module += length + (module[length] == ',')) {
			length = strcspn(module, ",");
			json_out_string(out, module, length);
		}
	}
	json_out_end(out, ']');
}

static int write_arguments(
	const struct front_setup *setup, const struct buffer *known, struct buffer *parts)
{
	const struct buffer *catalogue = &setup->libraries->catalogue;
	struct buffer text = {0};
	struct json_out out = {.buffer = &text};
	int r;

	json_out_begin(&out, '{');
	json_out_key(&out, "catalogue");
	json_out_raw(&out, catalogue->data, catalogue->length);
	put_warm(&out, setup->sets);
	json_out_key(&out, "known");
	json_out_raw(&out, known->length ? known->data : "{}", known->length ? known->length : 2);
	json_out_end(&out, '}');
	r = out.error;
	if (!r)
		r = frame_append(parts, FRAME_KWARGS, text.data, text.length);
	buffer_free(&text);
	return r;
}

/* With the most memory that a client's script may have. */
static int write_request(
	const struct front_setup *setup, const struct buffer *known, struct request *request)
{
	const struct buffer *script = &setup->libraries->script;
	int r;

	request_reset(request);
	request->limits = (struct job_limits){.timeout_ms = TIMEOUT_MS,
		.memory_mib = (uint32_t)setup->config->max_memory_mib,
		.cpu_s = TIMEOUT_MS / 1000,
		.flags = JOB_OWN};
	request->has_entry = true;
	r = buffer_append(&request->script, script->data, script->length);
	if (!r)
		r = buffer_append(&request->entry, "main", 4);
	return r < 0 ? r : write_arguments(setup, known, &request->parts);
}

/* --- making the list ----------------------------------------------------------------------- */

/* On one cell; nobody's hanging up ends it. Returns as pool_acquire and job_client_run do. */
static int run_once(struct exchange *exchange, struct answer_run *run)
{
	const struct front_setup *setup = exchange->dispatcher->setup;
	struct pool *pool = exchange->dispatcher->pool;
	const struct pool_wish wish = {.client_fd = -1,
		.wake = exchange->wake,
		.deadline_us = clock_now_us() + setup->config->queue_timeout_ms * UINT64_C(1000)};
	size_t cell;
	int r = pool_acquire(pool, &wish, &cell);

	if (r < 0)
		return r;
	*run = (struct answer_run){.request = &exchange->request};
	r = job_client_run(&exchange->client, pool_lane(pool, cell), pool_reader(pool, cell), -1,
		NULL, &exchange->request, run);
	pool_release(pool, cell,
		r < 0			       ? POOL_BROKEN
		: exchange->client.cell_leaves ? POOL_LEAVING
					       : POOL_GOOD);
	return r;
}

static int check_verdict(const struct answer_run *run)
{
	char text[512];
	struct answer_text line;

	if (run->verdict.kind == VERDICT_OK)
		return 0;
	line = answer_error_line(run, text, sizeof(text));
	log_error("dispatcher", "the list of libraries: %.*s", (int)line.length, line.data);
	return -EIO;
}

/*
 * Fills run, whose texts exchange->client holds. Returns 0 or a negative errno: -EAGAIN, -ETIMEDOUT
 * of the queue.
 */
static int run_script(struct exchange *exchange, const struct buffer *known, struct answer_run *run)
{
	int attempts = ATTEMPTS_MAX,
	    r = write_request(exchange->dispatcher->setup, known, &exchange->request);

	if (r < 0)
		return r;
	do
		r = run_once(exchange, run);
	while (!r && run->verdict.unstarted && --attempts);
	return r < 0 ? r : check_verdict(run);
}

/* --- under the mutex ----------------------------------------------------------------------- */

static bool is_fresh(const struct library_list *list)
{
	return list->made_us && clock_now_us() - list->made_us < LIFETIME_US;
}

struct parts {
	struct library_list *list;
	int error;
};

/* The two members of the script's value, of which the first is the body. */
static void take_part(void *context, const char *key, size_t key_bytes, const char *value,
	size_t value_bytes, enum json_scan_type type)
{
	struct parts *parts = context;
	struct buffer *part = key_bytes == strlen("answer") && memcmp(key, "answer", key_bytes) == 0
				      ? &parts->list->body
				      : &parts->list->known;

	(void)type;
	buffer_reset(part, 0);
	if (!parts->error)
		parts->error = buffer_append(part, value, value_bytes);
}

static int take_parts(
	struct library_list *list, const struct answer_text *value, uint64_t hash_seed)
{
	const struct json_scan_options options = {.max_bytes = RESULT_MAX_BYTES,
		.max_depth = RESULT_MAX_DEPTH,
		.hash_seed = hash_seed};
	struct parts parts = {.list = list};
	struct json_scan_result result;
	int r = json_scan(value->data, value->length, &options, take_part, &parts, &result);

	return r < 0 ? r : parts.error;
}

static void make_for_all(struct exchange *exchange, struct library_list *list)
{
	struct answer_run run;
	int r;

	list->is_making = true;
	pthread_mutex_unlock(&list->mutex);
	r = run_script(exchange, &list->known, &run); /* which nobody else touches meanwhile */
	pthread_mutex_lock(&list->mutex);
	buffer_reset(&list->body, 0);
	list->error = r = r < 0 ? r : take_parts(list, &run.result, exchange->dispatcher->hash_seed);
	list->made_us = r < 0 ? 0 : clock_now_us();
	list->is_making = false;
	list->rounds++;
	pthread_cond_broadcast(&list->ended);
}

/*
 * No longer than in the queue: who waits here has a thread that scripts could have. Returns 0 or
 * -ETIMEDOUT.
 */
static int wait_for_round(struct library_list *list, uint64_t timeout_ms)
{
	const uint64_t until_us = clock_now_us() + timeout_ms * 1000;
	const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
		.tv_nsec = (long)(until_us % 1000000 * 1000)};
	size_t round = list->rounds;
	int error = 0;

	while (list->rounds == round && !error)
		error = pthread_cond_timedwait(&list->ended, &list->mutex, &until);
	return list->rounds == round ? -error : 0;
}

/* --- the route ----------------------------------------------------------------------------- */

/* The body into exchange->answer. Returns 0 or a negative errno. */
static int get_list(struct exchange *exchange, struct library_list *list)
{
	int r = 0;

	pthread_mutex_lock(&list->mutex);
	if (!is_fresh(list) && !list->is_making)
		make_for_all(exchange, list);
	else if (!list->made_us)
		r = wait_for_round(list, exchange->dispatcher->setup->config->queue_timeout_ms);
	if (!r)
		r = list->made_us
			    ? buffer_append(&exchange->answer, list->body.data, list->body.length)
			    : list->error;
	pthread_mutex_unlock(&list->mutex);
	return r;
}

void libraries_handle(struct exchange *exchange)
{
	int r = atomic_load(&exchange->dispatcher->draining)
			? -EAGAIN
			: get_list(exchange, &exchange->dispatcher->libraries);

	if (!r)
		exchange_respond(exchange, 200, "");
	else if (r == -EAGAIN || r == -ETIMEDOUT)
		exchange_refuse(exchange, REFUSAL_OVERLOADED,
			"Nothing is free to look at the libraries", NULL, "Retry-After: 1\r\n");
	else
		exchange_refuse(
			exchange, REFUSAL_INTERNAL, "The libraries could not be listed", NULL, "");
}
