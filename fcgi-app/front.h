/*
 * A front is the process that holds the dispatcher's ends of the lanes: the dispatcher, or, for
 * `vivarium run`, the process with the one job.
 */
#ifndef VIVARIUM_FRONT_H
#define VIVARIUM_FRONT_H

#include "fcgi-app/config.h"
#include "fcgi-app/library_sets.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct front_setup {
	const struct config *config;
	const struct library_sets *sets;
	size_t cells;
	bool ranged;
	bool memory_cgroup, pids_cgroup; /* what control groups limit */
	int control; /* SOCK_SEQPACKET to the master; becomes the front's */
	int proc; /* procfs of the service's PID namespace; closed once the front is confined */
	int execute_listener, control_listener; /* of the dispatcher; -1 otherwise */
	const struct run_job *job; /* of `vivarium run`; NULL otherwise */
};

enum front_order_type {
	FRONT_ORDER_LANE = 1, /* with one descriptor: the lane of cell `cell` */
	FRONT_ORDER_DRAIN, /* take no more requests, finish the ones at hand, exit */
};

/* Master to front. */
struct front_order {
	uint32_t type; /* enum front_order_type */
	uint32_t cell;
};

/* Front to master: it takes requests. */
struct front_report {
	uint32_t is_ready;
};

/*
 * Confines the calling process for good: an empty root and no network, in user, mount, IPC, UTS
 * and network namespaces of its own, as the dispatcher's id, without any capability. The PID
 * namespace is the master's to make. Returns 0 or a negative errno.
 */
int front_confine(const struct front_setup *setup, struct err *err);

/* The dispatcher. Returns its exit code. */
int dispatcher_main(const struct front_setup *setup);

#endif
