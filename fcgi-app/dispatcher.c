/*
 * The dispatcher's theory: the one process that parses network bytes, and so the one with nothing
 * to lose: no privilege, no file system, no network, a user and a PID namespace of its own. It
 * holds two listening sockets, which only nginx may connect to, and a lane for each cell.
 *
 * libfcgi binds a thread to a connection for as long as that lasts. So each of the two sockets has
 * threads of its own, and /health is never behind a slow script; and there are as many threads for
 * /execute as requests may run or wait, made when they are first needed, besides those that wait on
 * a connection that nginx keeps or for a stream's slow reader. The main thread listens to the master
 * and to the news of the lanes.
 */
#include "fcgi-app/exchange.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>

enum {
	THREADS_RESERVE = 16, /* beyond those that run or wait: they say 503 */
	THREADS_CONTROL = 16,
	THREADS_IDLE_LEAST = 2, /* one more is made when fewer are waiting for a connection */
	THREAD_STACK_BYTES = 256 * 1024,
	FREED_BYTE = 0x5a,
};

/* The threads of one socket. */
struct thread_group {
	struct dispatcher *dispatcher;
	int listener;
	size_t most; /* of those that wait neither on a kept connection nor for a reader */
	struct stream_ends *ends; /* of streams that are served here, or NULL */
	atomic_size_t all, kept, idle, busy;
};

struct service {
	struct dispatcher dispatcher; /* what the threads share */
	struct thread_group execute, control;
};

/* --- routes -------------------------------------------------------------------------------- */

static const struct route {
	const char *path, *method; /* GET includes HEAD: nginx leaves its body out */
	const char *allow;
	void (*handle)(struct exchange *);
	bool guarded; /* only for those with a key, where there are keys */
} routes[] = {
	{"/execute", "POST", "POST, OPTIONS", execute_handle, true},
	{"/mcp", "POST", "POST, OPTIONS", mcp_handle, true},
	{"/", "GET", "GET, HEAD, OPTIONS", pages_handle_root, false},
	{"/health", "GET", "GET, HEAD, OPTIONS", pages_handle_health, false},
	{"/live", "GET", "GET, HEAD, OPTIONS", pages_handle_live, false},
	{"/openapi.json", "GET", "GET, HEAD, OPTIONS", pages_handle_openapi, false},
	{"/metrics", "GET", "GET, HEAD, OPTIONS", pages_handle_metrics, false},
	{"/libraries", "GET", "GET, HEAD, OPTIONS", libraries_handle, false},
};

enum {
	ROUTES = sizeof(routes) / sizeof(routes[0]),
};

static void handle_admitted(struct exchange *exchange, const struct route *route)
{
	if (!route->guarded) {
		route->handle(exchange);
	} else if (admission_enter(exchange)) {
		route->handle(exchange);
		admission_leave(exchange);
	}
}

static void handle_by_method(struct exchange *exchange, const struct route *route)
{
	const char *method = fcgi_parameter(exchange->fcgi, "REQUEST_METHOD");
	char allow[64];

	snprintf(allow, sizeof(allow), "Allow: %s\r\n", route->allow);
	if (strcmp(method, route->method) == 0 ||
		(strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0))
		handle_admitted(exchange, route);
	else if (strcmp(method, "OPTIONS") == 0)
		exchange_respond(exchange, 204, allow);
	else
		exchange_refuse(exchange, REFUSAL_METHOD_NOT_ALLOWED, "Method not allowed", NULL, allow);
}

static void begin_record(struct exchange *exchange, const char *path)
{
	struct fcgi *fcgi = exchange->fcgi;

	record_begin(&exchange->record, exchange->request_id, fcgi_parameter(fcgi, "REMOTE_ADDR"),
		fcgi_parameter(fcgi, "REQUEST_METHOD"), path);
	exchange->record.request_bytes =
		strtoull(fcgi_parameter(fcgi, "CONTENT_LENGTH"), NULL, 10);
}

static void handle_request(struct exchange *exchange)
{
	const char *path = fcgi_parameter(exchange->fcgi, "SCRIPT_NAME");
	size_t i;

	exchange->request_id = fcgi_parameter(exchange->fcgi, "REQUEST_ID");
	if (exchange->dispatcher->keys)
		admission_take_key(exchange);
	begin_record(exchange, path);
	for (i = 0; i < ROUTES && strcmp(path, routes[i].path) != 0; i++)
		;
	exchange->record.route = i;
	if (i < ROUTES)
		handle_by_method(exchange, &routes[i]);
	else
		exchange_refuse(exchange, REFUSAL_NOT_FOUND, "Not found", NULL, "");
	record_end(&exchange->record);
	metrics_count(&exchange->dispatcher->metrics, &exchange->record);
}

static void init_metrics(struct dispatcher *dispatcher)
{
	const char *paths[ROUTES];
	size_t i;

	for (i = 0; i < ROUTES; i++)
		paths[i] = routes[i].path;
	metrics_init(&dispatcher->metrics, paths, ROUTES);
	pthread_mutex_init(&dispatcher->tidings_mutex, NULL);
}

/* --- threads ------------------------------------------------------------------------------- */

static void *thread_main(void *argument);

/*
 * Those that only wait do not count, up to as many of each kind as memory is reckoned for. Of kept
 * connections that no stream went over there are as many as nginx has idle ones.
 */
static size_t most_threads(struct thread_group *group)
{
	size_t kept = atomic_load(&group->kept);

	return group->most + (kept < group->most ? kept : group->most) +
	       (group->ends ? stream_ends_count(group->ends) : 0);
}

static int add_thread(struct thread_group *group)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int r;

	if (atomic_fetch_add(&group->all, 1) >= most_threads(group)) {
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

/* There may be a thousand threads: one that waits must not sit on what its last request took. */
static void serve_one(struct exchange *exchange, struct thread_group *group)
{
	atomic_fetch_add(&group->busy, 1);
	handle_request(exchange);
	fcgi_finish(exchange->fcgi);
	/* the client has its answer and need not wait for this */
	record_write(&exchange->record, group->dispatcher->setup->config->log_requests);
	exchange_forget(exchange);
	atomic_fetch_sub(&group->busy, 1);
}

/* Somebody always waits for a connection. A failure leaves it to the threads there are. */
static void keep_idle_threads(struct thread_group *group)
{
	if (atomic_load(&group->idle) < THREADS_IDLE_LEAST)
		add_thread(group);
}

/* The thread of this end will be away for as long as its reader likes. */
static void replace_thread(void *group)
{
	keep_idle_threads(group);
}

/* nginx may still be busy with the end of the stream, for as long as the reader likes. */
static bool wait_after_stream(struct exchange *exchange, struct thread_group *group)
{
	struct stream_end end = {.fcgi = exchange->fcgi, .is_whole = true};
	bool comes;

	stream_ends_enter(group->ends, &end);
	comes = fcgi_wait_kept(exchange->fcgi);
	return !stream_ends_leave(group->ends, &end) && comes;
}

static bool wait_after_answer(struct exchange *exchange, struct thread_group *group)
{
	bool comes;

	atomic_fetch_add(&group->kept, 1);
	keep_idle_threads(group);
	comes = fcgi_wait_kept(exchange->fcgi);
	atomic_fetch_sub(&group->kept, 1);
	return comes;
}

/* Returns whether the next request comes over the same connection; else that is closed. */
static bool wait_kept(struct exchange *exchange, struct thread_group *group)
{
	bool comes = exchange->record.streamed ? wait_after_stream(exchange, group)
					       : wait_after_answer(exchange, group);

	if (!comes)
		fcgi_drop(exchange->fcgi);
	return comes;
}

/* Takes a connection and serves what comes over it. Returns 0, or a negative errno at the end. */
static int serve_connection(struct exchange *exchange, struct thread_group *group)
{
	int r;

	atomic_fetch_add(&group->idle, 1);
	r = fcgi_accept(exchange->fcgi);
	atomic_fetch_sub(&group->idle, 1);
	if (r < 0)
		return r;
	keep_idle_threads(group);
	do
		serve_one(exchange, group);
	while (wait_kept(exchange, group) && fcgi_accept(exchange->fcgi) == 0);
	return 0;
}

static void *thread_main(void *argument)
{
	struct thread_group *group = argument;
	struct exchange exchange = {.dispatcher = group->dispatcher,
		.fcgi = fcgi_new(group->listener),
		.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

	if (exchange.fcgi && exchange.wake >= 0) {
		while (serve_connection(&exchange, group) == 0)
			;
	}
	if (exchange.fcgi)
		fcgi_free(exchange.fcgi);
	if (exchange.wake >= 0)
		close(exchange.wake);
	buffer_free(&exchange.body);
	buffer_free(&exchange.answer);
	request_free(&exchange.request);
	job_client_free(&exchange.client);
	event_stream_reset(&exchange.stream);
	atomic_fetch_sub(&group->all, 1);
	return NULL;
}

/* --- the main thread ----------------------------------------------------------------------- */

/* Accepting threads come back from a socket that is shut down; those at work finish first. */
static void drain(struct service *service)
{
	atomic_store(&service->dispatcher.draining, true);
	shutdown(service->execute.listener, SHUT_RDWR);
}

static int send_report(const struct service *service, const struct front_report *report)
{
	return message_send(service->dispatcher.setup->control, report, sizeof(*report), NULL, 0);
}

static int report(const struct service *service, enum front_report_type type)
{
	return send_report(service, &(struct front_report){.type = type});
}

/*
 * The worker at its other end lives, perhaps, and has only broken the rules, or seen us do so: then
 * nobody but us knows that the cell is cut off.
 */
static int report_lost_lanes(const struct service *service)
{
	struct front_report lost = {.type = FRONT_REPORT_LANE_LOST};
	size_t cell;
	int r = 0;

	while (!r && pool_take_lost(service->dispatcher.pool, &cell, &lost.lane)) {
		lost.cell = (uint32_t)cell;
		r = send_report(service, &lost);
	}
	return r;
}

/* Whoever can count the cells has the pool's lock: what all requests need is not stuck. */
static int answer_ping(const struct service *service)
{
	struct pool_counts counts;

	pool_count(service->dispatcher.pool, &counts);
	return report(service, FRONT_REPORT_ALIVE);
}

static void take_tidings(struct dispatcher *dispatcher, const struct front_tidings *tidings)
{
	pthread_mutex_lock(&dispatcher->tidings_mutex);
	dispatcher->tidings = *tidings;
	pthread_mutex_unlock(&dispatcher->tidings_mutex);
}

static int take_keys(struct keys *keys, int table, uint32_t count)
{
	struct key_list list;
	int r = key_list_unseal(table, count, &list);

	if (!r)
		r = keys_replace(keys, &list);
	key_list_free(&list);
	return r;
}

/* Without the memory for new keys the former ones stay: those that were revoked as well. */
static void change_keys(struct dispatcher *dispatcher, int table, uint32_t count)
{
	int r = dispatcher->keys ? take_keys(dispatcher->keys, table, count) : 0;

	if (r < 0)
		log_error("dispatcher", "take new keys: %s", strerror(-r));
}

/* Returns 0, or a negative errno when the master is gone. */
static int handle_master(struct service *service)
{
	struct front_order order;
	SCOPE_FD fd = -1;
	size_t count = 1;
	int r = message_receive(
		service->dispatcher.setup->control, &order, sizeof(order), &fd, &count);

	if (r == 0)
		return -EPIPE;
	if (r < 0)
		return r;
	if (order.type == FRONT_ORDER_LANE && fd >= 0)
		pool_set_lane(service->dispatcher.pool, order.cell, fd_take(&fd), order.lane);
	else if (order.type == FRONT_ORDER_DRAIN)
		drain(service);
	else if (order.type == FRONT_ORDER_LAYERS)
		atomic_store(&service->dispatcher.layers, order.layers);
	else if (order.type == FRONT_ORDER_TIDINGS)
		take_tidings(&service->dispatcher, &order.tidings);
	else if (order.type == FRONT_ORDER_KEYS && fd >= 0)
		change_keys(&service->dispatcher, fd, order.keys);
	else if (order.type == FRONT_ORDER_PING)
		return answer_ping(service);
	return 0;
}

static int serve(struct service *service)
{
	struct pollfd watched[2] = {{.fd = service->dispatcher.setup->control, .events = POLLIN},
		{.fd = pool_descriptor(service->dispatcher.pool), .events = POLLIN}};
	bool draining;
	int r = report(service, FRONT_REPORT_READY);

	while (!r) {
		draining = atomic_load(&service->dispatcher.draining);
		if (draining && !atomic_load(&service->execute.busy))
			return 0;
		if (poll(watched, 2, draining ? 20 : -1) < 0 && errno != EINTR)
			return -errno;
		if (watched[1].revents) {
			pool_handle(service->dispatcher.pool);
			r = report_lost_lanes(service);
		}
		if (!r && watched[0].revents)
			r = handle_master(service);
	}
	return r;
}

/* How many threads serve the two sockets at the most. */
static size_t execute_threads(const struct front_setup *setup)
{
	return setup->cells + setup->config->queue + THREADS_RESERVE;
}

/* As many threads again may wait on connections that nginx keeps, and for readers of streams. */
static uint64_t memory_limit(const struct front_setup *setup)
{
	return holdings_limit_bytes(
		setup->config, 3 * execute_threads(setup) + 2 * (size_t)THREADS_CONTROL, setup->cells);
}

/*
 * What libfcgi has read lies in memory that it frees, and a key with it: with keys, memory is
 * overwritten when it is freed (mallopt(3), M_PERTURB).
 */
static int start_keys(struct dispatcher *dispatcher, const struct front_setup *setup,
	struct err *err)
{
	int r;

	if (setup->keys < 0)
		return 0;
	(void)mallopt(M_PERTURB, FREED_BYTE);
	dispatcher->keys = keys_new(dispatcher->hash_seed);
	r = dispatcher->keys ? take_keys(dispatcher->keys, setup->keys, setup->key_count) : -ENOMEM;
	close(setup->keys);
	return r < 0 ? err_set(err, -r, "take the keys") : 0;
}

/* Half of what requests may hold, beside it: neither takes the other's room. */
static void init_ends(struct service *service)
{
	const struct front_setup *setup = service->dispatcher.setup;

	service->dispatcher.ends = (struct stream_ends){.most = execute_threads(setup),
		.most_bytes = (setup->config->request_memory_mib << 20) / 2,
		.entered = replace_thread,
		.context = &service->execute};
	stream_ends_init(&service->dispatcher.ends);
}

static int start(struct service *service, const struct front_setup *setup, struct err *err)
{
	sigset_t all;
	size_t i;
	int r = fcgi_init();

	if (r < 0)
		return err_set(err, -r, "start libfcgi");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	if (getrandom(&service->dispatcher.hash_seed, sizeof(service->dispatcher.hash_seed), 0) < 0)
		return err_set(err, errno, "draw a hash seed");
	service->dispatcher.setup = setup;
	mcp_calls_init(&service->dispatcher.calls);
	library_list_init(&service->dispatcher.libraries);
	init_metrics(&service->dispatcher);
	init_ends(service);
	service->dispatcher.holdings.most_bytes = setup->config->request_memory_mib << 20;
	service->dispatcher.pool = pool_new(
		setup->cells, setup->config->queue, setup->sets, service->dispatcher.hash_seed);
	if (!service->dispatcher.pool)
		return err_set(err, ENOMEM, "make the pool");
	r = start_keys(&service->dispatcher, setup, err);
	if (r < 0)
		return r;
	service->execute = (struct thread_group){.dispatcher = &service->dispatcher,
		.listener = setup->execute_listener,
		.most = execute_threads(setup),
		.ends = &service->dispatcher.ends};
	service->control = (struct thread_group){.dispatcher = &service->dispatcher,
		.listener = setup->control_listener,
		.most = THREADS_CONTROL};
	for (i = 0; !r && i < THREADS_IDLE_LEAST; i++) {
		r = add_thread(&service->execute);
		if (!r)
			r = add_thread(&service->control);
	}
	return r < 0 ? err_set(err, -r, "start a thread") : 0;
}

int dispatcher_main(const struct front_setup *setup)
{
	static struct service service; /* its threads outlive this function */
	struct err err = {0};
	int r = front_confine(setup, memory_limit(setup), &err);

	if (!r)
		r = start(&service, setup, &err);
	if (r) {
		log_error("dispatcher", "%s", err.text);
		return 1;
	}
	r = serve(&service);
	if (r < 0 && r != -EPIPE)
		log_error("dispatcher", "%s", strerror(-r));
	return r == 0 || r == -EPIPE ? 0 : 1;
}
