/*
 * The dispatcher's theory: the one process that parses network bytes, and so the one with nothing
 * to lose: no privilege, no file system, no network, a user and a PID namespace of its own. It
 * holds two listening sockets, which only nginx may connect to, and a lane for each cell.
 *
 * libfcgi binds a thread to a connection for as long as its request takes. So each of the two
 * sockets has threads of its own, and /health is never behind a slow script; and there are as many
 * threads for /execute as requests may run or wait, made when they are first needed. The main
 * thread listens to the master and to the news of the lanes.
 */
#include "fcgi-app/answer.h"
#include "fcgi-app/fcgi.h"
#include "fcgi-app/front.h"
#include "fcgi-app/job_client.h"
#include "fcgi-app/pool.h"
#include "fcgi-app/version.h"
#include "sandbox/clock.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"

#include "fcgi-app/json_out.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>

enum {
	ATTEMPTS_MAX = 3, /* to get a job to a cell that lives */
	THREADS_RESERVE = 16, /* beyond those that run or wait: they say 503 */
	THREADS_CONTROL = 16,
	THREADS_IDLE_LEAST = 2, /* one more is made when fewer are waiting for a request */
	THREAD_STACK_BYTES = 256 * 1024,
	KEEP_BYTES = 256 * 1024,
};

struct thread_group {
	struct dispatcher *dispatcher;
	int listener;
	size_t most;
	atomic_size_t all, idle;
};

struct dispatcher {
	const struct front_setup *setup;
	struct pool *pool;
	struct thread_group execute, control;
	atomic_size_t in_flight; /* executions being answered */
	atomic_bool draining;
	uint64_t hash_seed;
};

/* What one thread works with, kept between requests. */
struct exchange {
	struct dispatcher *dispatcher;
	struct fcgi *fcgi;
	int wake; /* eventfd for the queue */
	struct buffer body, answer;
	struct request request;
	struct job_client client;
	const char *request_id;
};

/* --- sending ------------------------------------------------------------------------------- */

static void respond(struct exchange *exchange, int status, const char *extra_headers)
{
	const struct buffer *answer = &exchange->answer;
	char header[1024], content[96] = "";
	int n;

	if (status != 204) /* which has no content, and no length of it either (RFC 9110, 8.6) */
		snprintf(content, sizeof(content),
			"Content-Type: application/json\r\nContent-Length: %zu\r\n",
			answer->length);
	n = snprintf(header, sizeof(header),
		"Status: %d %s\r\n"
		"%s"
		"X-Request-Id: %s\r\n"
		"Cache-Control: no-store\r\n"
		"X-Content-Type-Options: nosniff\r\n"
		"%s\r\n",
		status, http_reason(status), content, exchange->request_id, extra_headers);
	fcgi_write(exchange->fcgi, header, (size_t)n);
	fcgi_write(exchange->fcgi, answer->data, answer->length);
}

static void refuse(struct exchange *exchange, enum refusal kind, const char *error,
	const struct request_refusal *refusal, const char *extra_headers)
{
	int status;

	buffer_reset(&exchange->answer, KEEP_BYTES);
	status = answer_refusal(kind, error, refusal, exchange->request_id, &exchange->answer);
	if (status < 0)
		exchange->answer.length = 0;
	respond(exchange, refusal_status(kind), extra_headers);
}

/* --- POST /execute ------------------------------------------------------------------------- */

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
		span = strcspn(type, "; \t");
		if (!(span == 5 && strncasecmp(type, "utf-8", 5) == 0) &&
			!(span == 7 && strncasecmp(type, "\"utf-8\"", 7) == 0))
			return false;
	}
	return true;
}

/* Returns whether the body came and is of a kind that is read here; else it was refused. */
static bool read_body(struct exchange *exchange)
{
	struct fcgi *fcgi = exchange->fcgi;
	int r;

	if (*fcgi_parameter(fcgi, "HTTP_CONTENT_ENCODING")) {
		refuse(exchange, REFUSAL_UNSUPPORTED_MEDIA_TYPE,
			"Content-Encoding is not supported: send the body as it is", NULL, "");
		return false;
	}
	if (!is_json_type(fcgi_parameter(fcgi, "CONTENT_TYPE"))) {
		refuse(exchange, REFUSAL_UNSUPPORTED_MEDIA_TYPE,
			"Content-Type must be application/json, in UTF-8", NULL, "");
		return false;
	}
	exchange->body.cap = BODY_MAX_BYTES;
	r = fcgi_read_body(fcgi, &exchange->body);
	if (r == -EMSGSIZE)
		refuse(exchange, REFUSAL_PAYLOAD_TOO_LARGE, "Body is over the limit of 20 MiB", NULL,
			"");
	else if (r == -ENOMEM)
		refuse(exchange, REFUSAL_INTERNAL, "Internal error", NULL, "");
	return r == 0;
}

static bool parse_body(struct exchange *exchange)
{
	struct request_refusal refusal;
	int r = request_parse(exchange->body.data ? exchange->body.data : "",
		exchange->body.length, exchange->dispatcher->setup->config,
		exchange->dispatcher->hash_seed, &exchange->request, &refusal);

	if (r == -EINVAL)
		refuse(exchange, REFUSAL_INVALID_REQUEST, refusal.error, &refusal, "");
	else if (r < 0)
		refuse(exchange, REFUSAL_INTERNAL, "Internal error", NULL, "");
	return r == 0;
}

static bool acquire_cell(struct exchange *exchange, size_t *cell)
{
	struct dispatcher *dispatcher = exchange->dispatcher;
	uint64_t deadline =
		clock_now_us() + dispatcher->setup->config->queue_timeout_ms * UINT64_C(1000);
	struct request *request = &exchange->request;
	size_t wanted = library_sets_choose(
		dispatcher->setup->sets, request->script.data, request->script.length);
	int r = pool_acquire(dispatcher->pool, wanted, deadline,
		fcgi_connection(exchange->fcgi), exchange->wake, cell);

	request->limits.wanted_set = (uint32_t)wanted;
	if (r == -EAGAIN)
		refuse(exchange, REFUSAL_OVERLOADED, "Too many requests are waiting", NULL,
			"Retry-After: 1\r\n");
	else if (r == -ETIMEDOUT)
		refuse(exchange, REFUSAL_OVERLOADED, "No execution became free in time", NULL,
			"Retry-After: 1\r\n");
	return r == 0;
}

static void answer_with(struct exchange *exchange, const struct answer_run *run)
{
	char timing[256], headers[512];
	int status;

	buffer_reset(&exchange->answer, KEEP_BYTES);
	status = answer_run(run, &exchange->answer);
	if (status < 0) {
		refuse(exchange, REFUSAL_INTERNAL, "Internal error", NULL, "");
		return;
	}
	answer_server_timing(run, timing, sizeof(timing));
	snprintf(headers, sizeof(headers), "Server-Timing: %s\r\n%s", timing,
		status == 408 ? "X-Should-Retry: false\r\n" : "");
	respond(exchange, status, headers);
}

/* On one cell. Returns as job_client_run does, or -EAGAIN when the request was refused. */
static int run_once(struct exchange *exchange, struct answer_run *run, uint64_t begun_us)
{
	struct pool *pool = exchange->dispatcher->pool;
	size_t cell;
	int r;

	if (!acquire_cell(exchange, &cell))
		return -EAGAIN;
	*run = (struct answer_run){.request = &exchange->request,
		.request_id = exchange->request_id,
		.queue_us = clock_now_us() - begun_us};
	r = job_client_run(&exchange->client, pool_lane(pool, cell), pool_reader(pool, cell),
		fcgi_connection(exchange->fcgi), &exchange->request, run);
	pool_release(pool, cell, r < 0 && r != -ECANCELED);
	return r;
}

/* A script runs at most once; a job that was lost before its script began may go elsewhere. */
static void handle_execute(struct exchange *exchange)
{
	struct answer_run run;
	uint64_t begun_us = clock_now_us();
	int r, attempts = ATTEMPTS_MAX;

	if (!read_body(exchange) || !parse_body(exchange))
		return;
	do
		r = run_once(exchange, &run, begun_us);
	while (!r && run.verdict.unstarted && --attempts);
	if (!r) {
		answer_with(exchange, &run);
	} else if (r != -ECANCELED && r != -EAGAIN) {
		log_line("dispatcher", "%s: its worker is gone: %s", exchange->request_id,
			strerror(-r));
		refuse(exchange, REFUSAL_INTERNAL, "Internal error", NULL, "");
	}
}

/* --- the rest ------------------------------------------------------------------------------ */

static void put_isolation(struct json_out *out)
{
	/* Every layer here was set up, or the service would not have started. */
	static const struct {
		const char *name;
		bool on;
	} layers[] = {{"user", true}, {"pid", true}, {"mount", true}, {"network", true},
		{"ipc", true}, {"uts", true}, {"cgroup", true}, {"seccomp", true},
		{"capabilities", true}, {"no_new_privs", true}, {"rlimits", true},
		{"memory_cgroup", false}, {"pids_cgroup", false}};
	size_t i;

	json_out_key(out, "isolation");
	json_out_begin(out, '{');
	for (i = 0; i < sizeof(layers) / sizeof(layers[0]); i++) {
		json_out_key(out, layers[i].name);
		json_out_bool(out, layers[i].on);
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

static void handle_health(struct exchange *exchange)
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
	put_isolation(&out);
	json_out_key(&out, "nsjail_config_exists"); /* clients of an earlier service look for it */
	json_out_bool(&out, true);
	json_out_end(&out, '}');
	respond(exchange, error ? 503 : 200, error ? "Retry-After: 1\r\n" : "");
}

static void handle_live(struct exchange *exchange)
{
	struct json_out out = {.buffer = &exchange->answer};

	json_out_begin(&out, '{');
	put_member(&out, "status", "alive");
	json_out_end(&out, '}');
	respond(exchange, 200, "");
}

static void handle_root(struct exchange *exchange)
{
	static const char *const endpoints[] = {"POST /execute", "GET /", "GET /health", "GET /live"};
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
	respond(exchange, 200, "");
}

/* --- routes -------------------------------------------------------------------------------- */

static const struct route {
	const char *path, *method; /* GET includes HEAD: nginx leaves its body out */
	const char *allow;
	void (*handle)(struct exchange *);
} routes[] = {
	{"/execute", "POST", "POST, OPTIONS", handle_execute},
	{"/", "GET", "GET, HEAD, OPTIONS", handle_root},
	{"/health", "GET", "GET, HEAD, OPTIONS", handle_health},
	{"/live", "GET", "GET, HEAD, OPTIONS", handle_live},
};

static void handle_by_method(struct exchange *exchange, const struct route *route)
{
	const char *method = fcgi_parameter(exchange->fcgi, "REQUEST_METHOD");
	char allow[64];

	snprintf(allow, sizeof(allow), "Allow: %s\r\n", route->allow);
	if (strcmp(method, route->method) == 0 ||
		(strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0))
		route->handle(exchange);
	else if (strcmp(method, "OPTIONS") == 0)
		respond(exchange, 204, allow);
	else
		refuse(exchange, REFUSAL_METHOD_NOT_ALLOWED, "Method not allowed", NULL, allow);
}

static void handle_request(struct exchange *exchange)
{
	const char *path = fcgi_parameter(exchange->fcgi, "SCRIPT_NAME");
	size_t i;

	exchange->request_id = fcgi_parameter(exchange->fcgi, "REQUEST_ID");
	buffer_reset(&exchange->body, KEEP_BYTES);
	buffer_reset(&exchange->answer, KEEP_BYTES);
	request_reset(&exchange->request);
	for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (strcmp(path, routes[i].path) == 0) {
			handle_by_method(exchange, &routes[i]);
			return;
		}
	}
	refuse(exchange, REFUSAL_NOT_FOUND, "Not found", NULL, "");
}

/* --- threads ------------------------------------------------------------------------------- */

static void *thread_main(void *argument);

static int add_thread(struct thread_group *group)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int r;

	if (atomic_fetch_add(&group->all, 1) >= group->most) {
		atomic_fetch_sub(&group->all, 1);
		return 0;
	}
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attributes, thread_main, group);
	pthread_attr_destroy(&attributes);
	if (r)
		atomic_fetch_sub(&group->all, 1);
	return -r;
}

static void serve_one(struct exchange *exchange, struct thread_group *group)
{
	struct dispatcher *dispatcher = exchange->dispatcher;
	bool counted = group == &dispatcher->execute;

	if (counted)
		atomic_fetch_add(&dispatcher->in_flight, 1);
	if (atomic_fetch_sub(&group->idle, 1) <= THREADS_IDLE_LEAST)
		add_thread(group); /* a failure leaves requests to the threads there are */
	handle_request(exchange);
	fcgi_finish(exchange->fcgi);
	if (counted)
		atomic_fetch_sub(&dispatcher->in_flight, 1);
	atomic_fetch_add(&group->idle, 1);
}

static void *thread_main(void *argument)
{
	struct thread_group *group = argument;
	struct exchange exchange = {.dispatcher = group->dispatcher,
		.fcgi = fcgi_new(group->listener),
		.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

	if (exchange.fcgi && exchange.wake >= 0) {
		atomic_fetch_add(&group->idle, 1);
		while (fcgi_accept(exchange.fcgi) == 0)
			serve_one(&exchange, group);
		atomic_fetch_sub(&group->idle, 1);
	}
	if (exchange.fcgi)
		fcgi_free(exchange.fcgi);
	if (exchange.wake >= 0)
		close(exchange.wake);
	buffer_free(&exchange.body);
	buffer_free(&exchange.answer);
	request_free(&exchange.request);
	job_client_free(&exchange.client);
	atomic_fetch_sub(&group->all, 1);
	return NULL;
}

/* --- the main thread ----------------------------------------------------------------------- */

/* Accepting threads come back from a socket that is shut down; those at work finish first. */
static void drain(struct dispatcher *dispatcher)
{
	atomic_store(&dispatcher->draining, true);
	shutdown(dispatcher->execute.listener, SHUT_RDWR);
}

/* Returns 0, or a negative errno when the master is gone. */
static int handle_master(struct dispatcher *dispatcher)
{
	struct front_order order;
	SCOPE_FD fd = -1;
	size_t count = 1;
	int r = message_receive(
		dispatcher->setup->control, &order, sizeof(order), &fd, &count);

	if (r == 0)
		return -EPIPE;
	if (r < 0)
		return r;
	if (order.type == FRONT_ORDER_LANE && fd >= 0)
		pool_set_lane(dispatcher->pool, order.cell, fd_take(&fd));
	else if (order.type == FRONT_ORDER_DRAIN)
		drain(dispatcher);
	return 0;
}

static int tell_ready(const struct dispatcher *dispatcher)
{
	const struct front_report report = {.is_ready = 1};

	return message_send(dispatcher->setup->control, &report, sizeof(report), NULL, 0);
}

static int serve(struct dispatcher *dispatcher)
{
	struct pollfd watched[2] = {{.fd = dispatcher->setup->control, .events = POLLIN},
		{.fd = pool_descriptor(dispatcher->pool), .events = POLLIN}};
	bool draining;
	int r = tell_ready(dispatcher);

	while (!r) {
		draining = atomic_load(&dispatcher->draining);
		if (draining && !atomic_load(&dispatcher->in_flight))
			return 0;
		if (poll(watched, 2, draining ? 20 : -1) < 0 && errno != EINTR)
			return -errno;
		if (watched[1].revents)
			pool_handle(dispatcher->pool);
		if (watched[0].revents)
			r = handle_master(dispatcher);
	}
	return r;
}

static int start(struct dispatcher *dispatcher, const struct front_setup *setup, struct err *err)
{
	sigset_t all;
	size_t i;
	int r = fcgi_init();

	if (r < 0)
		return err_set(err, -r, "start libfcgi");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	if (getrandom(&dispatcher->hash_seed, sizeof(dispatcher->hash_seed), 0) < 0)
		return err_set(err, errno, "draw a hash seed");
	dispatcher->setup = setup;
	dispatcher->pool = pool_new(setup->cells, setup->config->queue, setup->sets);
	if (!dispatcher->pool)
		return err_set(err, ENOMEM, "make the pool");
	dispatcher->execute = (struct thread_group){.dispatcher = dispatcher,
		.listener = setup->execute_listener,
		.most = setup->cells + setup->config->queue + THREADS_RESERVE};
	dispatcher->control = (struct thread_group){.dispatcher = dispatcher,
		.listener = setup->control_listener,
		.most = THREADS_CONTROL};
	for (i = 0; !r && i < THREADS_IDLE_LEAST; i++) {
		r = add_thread(&dispatcher->execute);
		if (!r)
			r = add_thread(&dispatcher->control);
	}
	return r < 0 ? err_set(err, -r, "start a thread") : 0;
}

int dispatcher_main(const struct front_setup *setup)
{
	struct dispatcher *dispatcher = calloc(1, sizeof(*dispatcher));
	struct err err = {0};
	int r = dispatcher ? front_confine(setup, &err) : err_set(&err, ENOMEM, "begin");

	if (!r)
		r = start(dispatcher, setup, &err);
	if (r < 0) {
		log_line("dispatcher", "%s", err.text);
		return 1;
	}
	r = serve(dispatcher);
	if (r < 0 && r != -EPIPE)
		log_line("dispatcher", "%s", strerror(-r));
	return r == 0 || r == -EPIPE ? 0 : 1;
}
