#include "fcgi-app/start.h"

#include <unistd.h>

static void run_front(const void *context, int control)
{
	const struct start_base *base = context;
	const struct master_setup *setup = base->setup;
	const struct front_setup front = {.config = setup->config,
		.sets = setup->sets,
		.rules = setup->rules,
		.cells = setup->workers * setup->cells_per_worker,
		.arrangement = &setup->arrangement,
		.control = control,
		.proc = base->proc,
		.policy = setup->dispatcher_policy,
		.execute_listener = setup->execute_listener,
		.control_listener = setup->control_listener,
		.memory_cgroup = setup->cgroup.memory,
		.pids_cgroup = setup->cgroup.pids,
		.openapi = setup->openapi,
		.keys = base->keys.table,
		.key_count = base->keys.count,
		.libraries = setup->libraries,
		.job = setup->job};
	const int keep[] = {control, base->proc, setup->dispatcher_policy, setup->execute_listener,
		setup->control_listener, setup->feed, base->keys.table};

	child_confine_descriptors(setup->front_is_all, keep, sizeof(keep) / sizeof(keep[0]));
	_exit(setup->front(&front));
}

int start_front(const struct start_base *base, struct child *child)
{
	return child_start(child, base->own_pid_namespace, run_front, base);
}
