/* The master: starts the other roles, starts them again when they die, and ends them. */
#ifndef VIVARIUM_MASTER_H
#define VIVARIUM_MASTER_H

#include "fcgi-app/front.h"
#include "fcgi-app/key_reader.h"
#include "sandbox/cgroup.h"

struct master_setup {
	const struct config *config;
	const struct request_rules *rules; /* of a dispatcher */
	struct library_sets *sets; /* those not installed get marked */
	size_t workers, cells_per_worker;
	size_t template_trees; /* 1 to TEMPLATE_TREES_MAX */
	struct arrangement arrangement;
	struct cgroup cgroup; /* of the service; its leaves are numbered like the cells */
	bool quiet; /* no start-up lines */
	int program; /* the template's program (O_PATH) */
	int policy, harness; /* file and directory, opened by whoever could read them */
	int dispatcher_policy, worker_policy; /* files, likewise */
	char venv[CONFIG_TEXT_BYTES]; /* python_venv, absolute; "": none */
	int execute_listener, control_listener; /* -1: none */
	struct key_source keys; /* the master's from then on */
	int ready; /* gets a newline when the service serves, then is closed; -1: none */
	const char *front_name;
	int (*front)(const struct front_setup *); /* what stands at the other end of the lanes */
	const struct buffer *openapi; /* for the dispatcher */
	const struct library_source *libraries; /* likewise */
	const void *job; /* for a front other than the dispatcher */
	int feed; /* a descriptor that such a front keeps; -1: none */
	int failure_code; /* exit code for a service that could not do its work */
	bool front_is_all; /* when the front ends, so does the service, with its exit code */
};

/*
 * Runs as process 1 of the service's PID namespace, in its user and mount namespace: when it
 * returns and exits, the kernel ends whatever is left of the service. SIGTERM drains, SIGINT ends
 * at once. Returns the exit code.
 */
int master_main(const struct master_setup *setup);

#endif
