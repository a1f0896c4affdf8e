/* From a command line to a master: what has to be done while the host's files are still in reach. */
#ifndef VIVARIUM_LAUNCH_H
#define VIVARIUM_LAUNCH_H

#include "fcgi-app/master.h"

/*
 * Opens what the master needs, enters the service's user, mount and PID namespace, and runs
 * master_main in it as process 1; then only passes signals on and waits. setup's arrangement,
 * program, policies, harness, venv and cgroup are filled in. Returns the exit code.
 */
int launch(struct master_setup *setup, struct err *err);

/*
 * A setup for launch: an instance for one command, of one cell, with `front` in the place of a
 * dispatcher. name: of the front, for the log; job: what its front_setup gives it. config, sets and
 * job stay the caller's and outlive it.
 */
struct master_setup launch_setup_one_cell(const struct config *config, struct library_sets *sets,
	const char *name, int (*front)(const struct front_setup *), const void *job);

/*
 * The two FastCGI sockets of the configuration, bound and listening, for owner and group only; an
 * earlier instance's leftovers are replaced, a live one's are not. Returns 0 or a negative errno.
 */
int launch_listen(const struct config *config, int *execute, int *control, struct err *err);

#endif
