/* POST /execute: from the request to a job, to a cell, to an answer. */
#include "fcgi-app/accept.h"
#include "fcgi-app/exchange.h"
#include "sandbox/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	ATTEMPTS_MAX = 3, /* to get a job to a cell that lives */
};

/* UTF-8 by its name, or by the alias that many clients write; quoted or not. */
static bool is_utf8_name(const char *name, size_t length)
{
	static const char *const names[] = {"utf-8", "utf8", "\"utf-8\"", "\"utf8\""};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (length == strlen(names[i]) && strncasecmp(name, names[i], length) == 0)
			return true;
	}
	return false;
}

/* "application/json", with no charset or with UTF-8; parameters as of RFC 9110, 8.3. */
static bool is_json_type(const char *type)
{
	size_t span = strcspn(type, "; \t");

	if (span != strlen("application/json") || strncasecmp(type, "application/json", span) != 0)
		return false;
	for (type += span; *type; type += strcspn(type, "; \t")) {
		type += strspn(type, "; \t");
		if (strncasecmp(type, "charset=", 8) != 0)
			continue;
		type += 8;
		if (!is_utf8_name(type, strcspn(type, "; \t")))
			return false;
	}
	return true;
}

/* What the client declared, which nginx has counted; without a number as much as there may be. */
static size_t declared_length(const struct exchange *exchange)
{
	const char *text = fcgi_parameter(exchange->fcgi, "CONTENT_LENGTH");
	unsigned long long length = *text ? strtoull(text, NULL, 10) : BODY_MAX_BYTES;

	return length < BODY_MAX_BYTES ? (size_t)length : BODY_MAX_BYTES;
}

static void refuse_type(struct exchange *exchange, const char *error, const char *header,
	const char *allowed, const char *got)
{
	struct request_refusal refusal = {0};

	snprintf(refusal.field, sizeof(refusal.field), "%s", header);
	snprintf(refusal.allowed, sizeof(refusal.allowed), "%s", allowed);
	request_refusal_quote(&refusal, *got ? got : "nothing", strlen(*got ? got : "nothing"));
	exchange_refuse(exchange, REFUSAL_UNSUPPORTED_MEDIA_TYPE, error, &refusal, "");
}

/* Returns whether the body is of a kind that is read here; else it was refused. */
static bool check_type(struct exchange *exchange)
{
	const char *encoding = fcgi_parameter(exchange->fcgi, "HTTP_CONTENT_ENCODING");
	const char *type = fcgi_parameter(exchange->fcgi, "CONTENT_TYPE");

	if (*encoding)
		refuse_type(exchange, "Content-Encoding is not supported: send the body as it is",
			"Content-Encoding", "nothing", encoding);
	else if (!is_json_type(type))
		refuse_type(exchange, "Content-Type must be application/json, in UTF-8",
			"Content-Type", "application/json, with no charset or with utf-8", type);
	else
		return true;
	return false;
}

/* Returns whether the body came and is of a kind that is read here; else it was refused. */
static bool read_body(struct exchange *exchange)
{
	struct fcgi *fcgi = exchange->fcgi;
	struct request_refusal too_large = {.unit = "bytes",
		.limit = BODY_MAX_BYTES,
		.used = atof(fcgi_parameter(fcgi, "CONTENT_LENGTH"))};
	int r;

	if (!check_type(exchange))
		return false;
	exchange->body.cap = declared_length(exchange) + 1; /* no cap is no cap at all */
	if (exchange->body.cap > BODY_MAX_BYTES)
		exchange->body.cap = BODY_MAX_BYTES;
	r = fcgi_read_body(fcgi, &exchange->body);
	if (r == -EMSGSIZE)
		exchange_refuse(exchange, REFUSAL_PAYLOAD_TOO_LARGE, "Body is over the limit of 20 MiB",
			&too_large, "");
	else if (r == -ENOMEM)
		exchange_fail(exchange, "read the body", -r);
	return r == 0;
}

static bool parse_body(struct exchange *exchange)
{
	const struct request_rules rules = admission_rules(exchange);
	struct request_refusal refusal;
	int r;

	r = request_parse(exchange->body.data ? exchange->body.data : "", exchange->body.length,
		&rules, exchange->dispatcher->hash_seed, &exchange->request, &refusal);
	if (r == -EINVAL)
		exchange_refuse(exchange, REFUSAL_INVALID_REQUEST, refusal.error, &refusal, "");
	else if (r < 0)
		exchange_fail(exchange, "parse the body", -r);
	return r == 0;
}

static bool acquire_cell(struct exchange *exchange, size_t *cell)
{
	struct dispatcher *dispatcher = exchange->dispatcher;
	uint64_t begun_us = clock_now_us();
	struct request_refusal too_long = {
		.unit = "s", .limit = (double)dispatcher->setup->config->queue_timeout_ms / 1000};
	struct request *request = &exchange->request;
	const struct pool_wish wish = {
		.client = admission_client(exchange),
		.client_fd = fcgi_connection(exchange->fcgi),
		.wake = exchange->wake,
		.wanted = library_sets_choose(
			dispatcher->setup->sets, request->script.data, request->script.length),
		.deadline_us =
			begun_us + dispatcher->setup->config->queue_timeout_ms * UINT64_C(1000)};
	int r = pool_acquire(dispatcher->pool, &wish, cell);

	request->limits.wanted_set = (uint32_t)wish.wanted;
	exchange->record.queue_us = clock_now_us() - exchange->record.begun_us;
	exchange->record.waited = r != -EAGAIN;
	if (r == -EAGAIN)
		exchange_refuse(exchange, REFUSAL_OVERLOADED, "Too many requests are waiting", NULL,
			"Retry-After: 1\r\n");
	if (r == -ETIMEDOUT) {
		too_long.used = (double)(clock_now_us() - begun_us) / 1000000;
		exchange_refuse(exchange, REFUSAL_OVERLOADED, "No execution became free in time",
			&too_long, "Retry-After: 1\r\n");
	}
	return r == 0;
}

static void answer_with(struct exchange *exchange, const struct answer_run *run)
{
	char timing[256], headers[512];
	int status;

	buffer_reset(&exchange->answer, EXCHANGE_KEEP_BYTES);
	status = exchange->form
			 ? exchange->form->run(exchange->form->context, run, &exchange->answer)
			 : answer_run(run, &exchange->answer);
	if (status < 0) {
		exchange_fail(exchange, "make the answer", -status);
		return;
	}
	answer_server_timing(run, timing, sizeof(timing));
	snprintf(headers, sizeof(headers), "Server-Timing: %s\r\n%s", timing,
		status == 408 ? "X-Should-Retry: false\r\n" : "");
	record_take_run(&exchange->record, run, exchange->dispatcher->setup->config->log_scripts);
	exchange_respond(exchange, status, headers);
}

/* Whoever wants events is told that the request was admitted; a second attempt goes on with them. */
static struct job_live *open_stream(struct exchange *exchange)
{
	struct event_stream *stream = &exchange->stream;

	if (exchange->form || !accept_wants_events(fcgi_parameter(exchange->fcgi, "HTTP_ACCEPT")))
		return NULL;
	if (!stream->is_open)
		event_stream_open(stream, exchange->fcgi, exchange->request_id);
	return &stream->live;
}

/* On one cell. Returns as job_client_run does, or -EAGAIN when the request was refused. */
static int run_once(struct exchange *exchange, struct answer_run *run)
{
	struct pool *pool = exchange->dispatcher->pool;
	size_t cell;
	int r;

	if (!acquire_cell(exchange, &cell))
		return -EAGAIN;
	exchange->record.started = true;
	*run = (struct answer_run){.request = &exchange->request,
		.request_id = exchange->request_id,
		.queue_us = clock_now_us() - exchange->record.begun_us};
	r = job_client_run(&exchange->client, pool_lane(pool, cell), pool_reader(pool, cell),
		fcgi_connection(exchange->fcgi), open_stream(exchange), &exchange->request, run);
	if (!r && !run->verdict.unstarted)
		atomic_fetch_add(run->verdict.parked ? &exchange->dispatcher->parked_hits
						     : &exchange->dispatcher->parked_misses,
			1);
	pool_release(pool, cell,
		r < 0 && r != -ECANCELED	? POOL_BROKEN
		: exchange->client.cell_leaves ? POOL_LEAVING
					       : POOL_GOOD);
	return r;
}

/* A script runs at most once; a job that was lost before its script began may go elsewhere. */
void execute_run(struct exchange *exchange)
{
	struct answer_run run;
	int r, attempts = ATTEMPTS_MAX;

	do
		r = run_once(exchange, &run);
	while (!r && run.verdict.unstarted && --attempts);
	if (!r) {
		run.live_is_cut = exchange->stream.is_cut;
		answer_with(exchange, &run);
	} else if (r != -ECANCELED && r != -EAGAIN) {
		exchange_fail(exchange, "its worker is gone", -r);
	}
}

static void handle_held(struct exchange *exchange, void (*handle)(struct exchange *))
{
	if (atomic_load(&exchange->dispatcher->draining)) /* it came over a kept connection */
		exchange_refuse(exchange, REFUSAL_OVERLOADED, "The service is stopping", NULL,
			"Retry-After: 1\r\n");
	else if (read_body(exchange))
		handle(exchange);
}

void execute_with_body(struct exchange *exchange, void (*handle)(struct exchange *))
{
	if (!exchange_hold(exchange, holdings_of_body(declared_length(exchange)))) {
		exchange_refuse(exchange, REFUSAL_OVERLOADED,
			"The requests at hand are too large to take one more", NULL,
			"Retry-After: 1\r\n");
		return;
	}
	handle_held(exchange, handle);
	exchange_forget(exchange);
	exchange_hold(exchange, 0);
}

static void handle_body(struct exchange *exchange)
{
	if (parse_body(exchange))
		execute_run(exchange);
}

void execute_handle(struct exchange *exchange)
{
	exchange->record.executes = true;
	execute_with_body(exchange, handle_body);
}
