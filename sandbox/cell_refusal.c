#include "sandbox/cell_refusal.h"

#include "sandbox/cell_io.h"
#include "sandbox/clock.h"
#include "sandbox/refusal.h"

#include <sys/epoll.h>

enum {
	REFUSALS_MAX = 1000, /* of an execution, as fast as they come; then one a pause */
	PAUSE_US = 1000,
};

static bool script_runs(const struct cell *cell)
{
	return cell->state == CELL_RUNNING || cell->state == CELL_FINISHING ||
	       cell->state == CELL_TRACING;
}

/*
 * While a script runs, nothing of the one before is left, so the call is its own. Before, it is one
 * of an orphan that is about to be swept, or, in a cell that has run none, of our own code.
 */
static void note(struct cell *cell, int number)
{
	if (script_runs(cell) && !cell->run.has_refused) {
		cell->run.has_refused = true;
		cell->run.refused = number;
	} else if (!cell->served) {
		cell->was_refused = true;
		cell->refused = number;
	}
}

/*
 * One call a turn, so that a cell with many takes no time from its neighbours. Whoever makes more
 * than anybody has a use for waits for each: the worker's time is not charged to the script.
 */
int cell_refusal_take(struct cell *cell, uint32_t events)
{
	int number, r;

	if (!(events & EPOLLIN)) { /* nobody is under the filter any more */
		cell_source_close(cell, CELL_SOURCE_LISTENER);
		return 0;
	}
	r = refusal_answer(cell->source[CELL_SOURCE_LISTENER].fd, &number);
	if (r <= 0)
		return r;
	note(cell, number);
	if (++cell->run.refusals <= REFUSALS_MAX)
		return 0;
	cell->paused_until_us = clock_now_us() + PAUSE_US;
	return cell_source_pause(cell, CELL_SOURCE_LISTENER, true);
}

int cell_refusal_resume(struct cell *cell, uint64_t now_us)
{
	if (!cell->paused_until_us || now_us < cell->paused_until_us)
		return 0;
	cell->paused_until_us = 0;
	return cell_source_pause(cell, CELL_SOURCE_LISTENER, false);
}
