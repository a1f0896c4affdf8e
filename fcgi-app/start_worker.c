#include "fcgi-app/start.h"

#include "sandbox/worker.h"

#include <string.h>
#include <unistd.h>

struct worker_context {
	const struct start_base *base;
	size_t number;
	const int *requests;
};

/* Half the cells hold the bare interpreter, the others one library set each; traffic decides. */
static size_t first_set(const struct library_sets *sets, size_t cell)
{
	size_t turns = cell / 2, i = 0;

	if (cell % 2 == 0)
		return 0;
	for (;;) {
		/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a list of no set is refused */
		i = sets->count - 1 - turns % sets->count;
		if (!sets->set[i].missing)
			return i;
		turns++;
	}
}

static void fill_limits(const struct config *config, struct template_request *limits)
{
	*limits = (struct template_request){.tmp_mib = (uint32_t)config->tmp_mib,
		.tmp_inodes = (uint32_t)config->tmp_inodes,
		.processes = (uint32_t)config->max_processes,
		.open_files = (uint32_t)config->max_open_files,
		.file_mib = (uint32_t)config->max_file_mib,
		.stack_mib = (uint32_t)config->stack_mib};
}

static void run_worker(const void *context, int control)
{
	const struct worker_context *at = context;
	const struct master_setup *setup = at->base->setup;
	struct worker_setup worker = {.number = (uint32_t)at->number,
		.first_cell = (uint32_t)(at->number * setup->cells_per_worker),
		.cells = setup->cells_per_worker,
		.sets = setup->sets->count,
		.control = control,
		.proc = at->base->proc,
		.policy = setup->worker_policy,
		.arrangement = &setup->arrangement,
		.cgroup = &setup->cgroup,
		.max_executions = (uint32_t)setup->config->cell_executions,
		.max_age_s = (uint32_t)(setup->config->cell_age_ms / 1000)};
	int keep[WORKER_SETS_MAX + 3 + WORKER_CELLS_MAX * CGROUP_FILES] = {
		control, at->base->proc, setup->worker_policy};
	size_t kept, i;

	fill_limits(setup->config, &worker.limits);
	for (i = 0; i < worker.sets; i++) {
		worker.set_names[i] = setup->sets->set[i].name;
		worker.set_parents[i] = setup->sets->set[i].parent_index;
		worker.requests[i] = keep[3 + i] = at->requests[i];
	}
	for (i = 0; i < worker.cells; i++)
		worker.cell_sets[i] = first_set(setup->sets, worker.first_cell + i);
	kept = 3 + worker.sets;
	for (i = 0; i < worker.cells && setup->cgroup.leaf; i++) {
		memcpy(keep + kept, setup->cgroup.leaf[worker.first_cell + i].file,
			sizeof(setup->cgroup.leaf->file));
		kept += CGROUP_FILES;
	}
	child_confine_descriptors(false, keep, kept);
	_exit(worker_main(&worker));
}

int start_worker(
	const struct start_base *base, struct child *child, size_t number, const int *requests)
{
	const struct worker_context context = {
		.base = base, .number = number, .requests = requests};

	return child_start(child, -1, run_worker, &context);
}
