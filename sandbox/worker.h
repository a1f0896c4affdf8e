/* The supervisor worker: one process, one epoll loop, a handful of cells. */
#ifndef VIVARIUM_WORKER_H
#define VIVARIUM_WORKER_H

#include "sandbox/arrangement.h"
#include "sandbox/cell_message.h"
#include "sandbox/cgroup.h"
#include "sandbox/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WORKER_SETS_MAX = 16,
	WORKER_CELLS_MAX = 64,
};

struct worker_setup {
	uint32_t number;
	uint32_t first_cell; /* number of its first cell */
	size_t cells; /* 1 to WORKER_CELLS_MAX */
	size_t sets; /* 1 to WORKER_SETS_MAX */
	const char *set_names[WORKER_SETS_MAX];
	size_t set_parents[WORKER_SETS_MAX]; /* index of the set each lies on; the first on itself */
	size_t cell_sets[WORKER_CELLS_MAX]; /* which library set each cell holds */
	int requests[WORKER_SETS_MAX]; /* sending ends to the templates; become the worker's */
	int control; /* SOCK_SEQPACKET to the master; becomes the worker's */
	int proc; /* procfs of the service's PID namespace; becomes the worker's */
	int policy; /* text of the worker's own system-call policy; becomes the worker's */
	const struct arrangement *arrangement;
	const struct cgroup *cgroup; /* of the service; its leaves are numbered like the cells */
	struct template_request limits; /* of every cell; cell and uid are ignored */
	uint32_t max_executions, max_age_s; /* a cell is replaced after either */
};

enum worker_order_type {
	WORKER_ORDER_LANE = 1, /* with one descriptor: the lane of cell `index` */
	WORKER_ORDER_TEMPLATE, /* with one descriptor: where set `index` is asked from now on */
	WORKER_ORDER_RENEW, /* all cells are to be built anew: their template was replaced */
	WORKER_ORDER_PING, /* answer with WORKER_REPORT_ALIVE */
};

/* Master to worker. */
struct worker_order {
	uint32_t type; /* enum worker_order_type */
	uint32_t index;
};

enum worker_report_type {
	WORKER_REPORT_CELL = 1, /* a cell came up, or went down and why */
	WORKER_REPORT_ALIVE, /* to a ping; the rest is 0 */
};

/* Worker to master. */
struct worker_report {
	uint32_t type; /* enum worker_report_type */
	uint32_t cell; /* number of the cell */
	uint32_t is_up;
	uint32_t layers; /* LAYER_BITs that its execution reported, once it is up */
	char text[200];
};

/*
 * Confines itself to an empty root without network, drops to its own identity and serves its
 * cells until the master's socket ends. Returns the exit code.
 */
int worker_main(const struct worker_setup *setup);

#endif
