#include "sandbox/cell_renew.h"

#include "sandbox/cell.h"
#include "sandbox/clock.h"

enum {
	OVERSIZED_MAX = 8, /* jobs for a smaller set before the cell changes to that */
};

static void leave(struct cell *cell)
{
	if (!cell->leaving)
		cell->environment->turns->taken++;
	cell->leaving = true;
}

void cell_renew_done(struct cell *cell)
{
	if (cell->leaving)
		cell->environment->turns->taken--;
	cell->leaving = false;
}

/* Whether `lower` is the set or one of those it lies on. */
static bool lies_on(const struct cell_environment *environment, size_t set, size_t lower)
{
	while (set != lower && environment->set_parents[set] != set)
		set = environment->set_parents[set];
	return set == lower;
}

/*
 * The mix of library sets follows the traffic: a cell that had to import what its job wanted
 * changes over at once, one that keeps getting smaller jobs after a while.
 */
static bool changes_set(struct cell *cell)
{
	size_t wanted = cell->job.limits.wanted_set;

	if (wanted == cell->set) {
		cell->oversized = 0;
		return false;
	}
	if (lies_on(cell->environment, cell->set, wanted) && ++cell->oversized < OVERSIZED_MAX)
		return false;
	cell->oversized = 0;
	cell->set = wanted;
	return true;
}

static bool is_old(const struct cell *cell)
{
	uint64_t most_us = cell->environment->max_age_s * UINT64_C(1000000);

	return cell->template_replaced || clock_now_us() - cell->born_us >= most_us;
}

bool cell_renew_if_old(struct cell *cell)
{
	const struct cell_turns *turns = cell->environment->turns;

	if (cell->leaving || turns->taken >= turns->most || !is_old(cell))
		return false;
	leave(cell);
	return true;
}

void cell_renew_after_job(struct cell *cell)
{
	bool changes = changes_set(cell);

	if (changes || cell->served >= cell->environment->max_executions)
		leave(cell);
	else
		cell_renew_if_old(cell);
}
