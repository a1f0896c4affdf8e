/*
 * A front is the process that holds the dispatcher's ends of the lanes: the dispatcher, or, for
 * `vivarium run`, the process with the one job.
 */
#ifndef VIVARIUM_FRONT_H
#define VIVARIUM_FRONT_H

#include "fcgi-app/config.h"
#include "fcgi-app/libraries.h"
#include "fcgi-app/library_sets.h"
#include "fcgi-app/request_rules.h"
#include "sandbox/arrangement.h"
#include "sandbox/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct front_setup {
	const struct config *config;
	const struct library_sets *sets;
	const struct request_rules *rules; /* for requests; the dispatcher's */
	size_t cells;
	const struct arrangement *arrangement;
	bool memory_cgroup, pids_cgroup; /* what control groups limit */
	int control; /* SOCK_SEQPACKET to the master; becomes the front's */
	int proc; /* procfs of the service's PID namespace; closed once the front is confined */
	int policy; /* text of its system-call policy; closed likewise */
	int execute_listener, control_listener; /* of the dispatcher; -1 otherwise */
	const struct buffer *openapi; /* what GET /openapi.json answers; the dispatcher's */
	int keys; /* table of the API keys (key_list_seal), closed once it is read; -1: no key file */
	uint32_t key_count; /* in it */
	const struct library_source *libraries; /* of the dispatcher; NULL otherwise */
	const void *job; /* what a front other than the dispatcher is given; its own to know */
};

/* The roles whose processes the master counts. */
#define FRONT_ROLES(X)                                                                             \
	X(DISPATCHER, "dispatcher")                                                                \
	X(WORKER, "worker")                                                                        \
	X(TEMPLATE, "template")                                                                    \
	X(CELL, "cell")

#define FRONT_ROLE_ENUM(name, word) FRONT_ROLE_##name,
enum front_role { FRONT_ROLES(FRONT_ROLE_ENUM) FRONT_ROLE_COUNT };
#undef FRONT_ROLE_ENUM

/* What the master knows and GET /metrics tells. */
struct front_tidings {
	uint64_t restarts[FRONT_ROLE_COUNT]; /* of a cell: how often it went down */
	uint64_t resident_bytes[FRONT_ROLE_COUNT]; /* of all processes of a role; 0: not known */
	uint64_t log_dropped; /* by the master itself */
};

enum front_order_type {
	FRONT_ORDER_LANE = 1, /* with one descriptor: lane `lane` of cell `cell` */
	FRONT_ORDER_DRAIN, /* take no more requests, finish the ones at hand, exit */
	FRONT_ORDER_PING, /* answer with FRONT_REPORT_ALIVE */
	FRONT_ORDER_LAYERS, /* `layers` are in force in every cell */
	FRONT_ORDER_TIDINGS, /* `tidings`, which replace the last ones */
	FRONT_ORDER_KEYS, /* with one descriptor: a table of `keys` API keys is in force now */
};

/* Master to front. */
struct front_order {
	uint32_t type; /* enum front_order_type */
	uint32_t cell;
	uint32_t lane; /* tells the lanes of a cell apart */
	uint32_t layers; /* LAYER_BITs */
	struct front_tidings tidings;
	uint32_t keys;
};

enum front_report_type {
	FRONT_REPORT_READY = 1, /* it takes requests */
	FRONT_REPORT_ALIVE, /* to a ping */
	FRONT_REPORT_LANE_LOST, /* lane `lane` of cell `cell` broke: it needs another */
};

/* Front to master. */
struct front_report {
	uint32_t type; /* enum front_report_type */
	uint32_t cell, lane;
};

/*
 * Confines the calling process for good: an empty root and no network, in user, mount, IPC, UTS
 * and network namespaces of its own as far as the arrangement has them, as the dispatcher's id,
 * without any capability, with at most memory_bytes of private memory, under its own filter. The PID namespace is the master's to make.
 * Threads are to be started afterwards. Returns 0 or a negative errno.
 */
int front_confine(const struct front_setup *setup, uint64_t memory_bytes, struct err *err);

/*
 * For a front with one cell: says that it is ready and waits for the cell's lane, which becomes the
 * caller's. Returns 0, or -EPIPE when the master is gone.
 */
int front_wait_for_lane(const struct front_setup *setup, int *lane);

/* The dispatcher. Returns its exit code. */
int dispatcher_main(const struct front_setup *setup);

#endif
