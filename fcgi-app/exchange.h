/* One request in the hands of one thread: what handlers work with, and how they answer. */
#ifndef VIVARIUM_EXCHANGE_H
#define VIVARIUM_EXCHANGE_H

#include "fcgi-app/admission.h"
#include "fcgi-app/answer.h"
#include "fcgi-app/event_stream.h"
#include "fcgi-app/fcgi.h"
#include "fcgi-app/front.h"
#include "fcgi-app/holdings.h"
#include "fcgi-app/job_client.h"
#include "fcgi-app/libraries.h"
#include "fcgi-app/mcp_calls.h"
#include "fcgi-app/metrics.h"
#include "fcgi-app/pool.h"
#include "fcgi-app/record.h"
#include "fcgi-app/stream_ends.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	EXCHANGE_KEEP_BYTES = 256 * 1024, /* memory that a buffer keeps between requests */
	EXCHANGE_PACKED_BYTES = 4096, /* answers as large are packed; gzip_min_length of nginx */
};

/* Shared by all threads. */
struct dispatcher {
	const struct front_setup *setup;
	struct pool *pool;
	struct keys *keys; /* NULL: anybody may come in */
	struct holdings holdings; /* of requests at hand */
	struct stream_ends ends; /* of streams whose readers are behind; not in holdings */
	struct library_list libraries;
	atomic_bool draining;
	atomic_size_t parked_hits, parked_misses; /* jobs that found a waiting execution, or did not */
	atomic_uint layers; /* LAYER_BITs in force, as the cells report them */
	struct metrics metrics;
	struct mcp_calls calls; /* of POST /mcp, that run */
	pthread_mutex_t tidings_mutex;
	struct front_tidings tidings; /* the master's last ones */
	uint64_t hash_seed; /* secret: keeps hostile keys from colliding */
};

/* How answers are written, where it is not as POST /execute writes them; for both see answer.h. */
struct exchange_form {
	int (*run)(void *context, const struct answer_run *run, struct buffer *body);
	int (*refusal)(void *context, enum refusal kind, const char *error,
		const struct request_refusal *refusal, const char *request_id, struct buffer *body);
	void *context;
};

/* What one thread works with, kept between requests. */
struct exchange {
	struct dispatcher *dispatcher;
	struct fcgi *fcgi;
	int wake; /* eventfd for the queue */
	struct buffer body, answer;
	struct request request;
	struct job_client client;
	struct event_stream stream; /* is open where the answer comes as events */
	size_t held_bytes; /* in the dispatcher's ledger */
	struct admission admission;
	const char *request_id;
	struct record record; /* what handlers come to know of the request */
	const struct exchange_form *form; /* of this request's answer; NULL: as of POST /execute */
};

/*
 * Has the ledger hold so many bytes for this exchange, in place of what it held before. Returns
 * false, and holds nothing, where they would be too many.
 */
bool exchange_hold(struct exchange *exchange, size_t bytes);

/* Lets go of what the last request brought, but for EXCHANGE_KEEP_BYTES of each buffer. */
void exchange_forget(struct exchange *exchange);

/*
 * Sends exchange->answer with the headers that every answer has. extra_headers: further lines, each
 * ended by CR LF, or "". Where a stream is open it becomes its last event, without any headers; the
 * request is then forgotten and out of the ledger, because its reader may be slow: what is left
 * counts in dispatcher->ends. A large answer of a status that nginx packs none of is packed here,
 * for clients that take gzip and while the ledger has room for what that takes.
 */
void exchange_respond(struct exchange *exchange, int status, const char *extra_headers);

/* The same, for an answer that is not JSON. */
void exchange_respond_as(struct exchange *exchange, int status, const char *content_type,
	const char *extra_headers);

/* Answers without a run; refusal may be NULL. */
void exchange_refuse(struct exchange *exchange, enum refusal kind, const char *error,
	const struct request_refusal *refusal, const char *extra_headers);

/* Answers that the service has failed: the log learns what, and which errno (positive) it was. */
void exchange_fail(struct exchange *exchange, const char *what, int code);

/*
 * For the routes that run scripts. The first reads the body, within the ledger, and calls handle with
 * it in exchange->body; or answers why not. The other admits exchange->request to the queue, runs it
 * on a cell and answers.
 */
void execute_with_body(struct exchange *exchange, void (*handle)(struct exchange *));
void execute_run(struct exchange *exchange);

/* Handlers of the routes. */
void execute_handle(struct exchange *exchange); /* POST /execute */
void mcp_handle(struct exchange *exchange); /* POST /mcp */
void pages_handle_root(struct exchange *exchange); /* GET / */
void pages_handle_health(struct exchange *exchange); /* GET /health */
void pages_handle_live(struct exchange *exchange); /* GET /live */
void pages_handle_openapi(struct exchange *exchange); /* GET /openapi.json */
void libraries_handle(struct exchange *exchange); /* GET /libraries */
void pages_handle_metrics(struct exchange *exchange); /* GET /metrics */

#endif
