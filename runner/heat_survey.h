/*
 * A rehearsal of a template's start, which finds out what scripts touch and serves nobody.
 *
 * What can be seen is which pages a scout has written. So it takes two rehearsals: the first finds
 * the pages, and with them all allocations that lie there; the second spreads these over so many
 * pages that no more than two share one, and finds out which of them it were.
 */
#ifndef VIVARIUM_HEAT_SURVEY_H
#define VIVARIUM_HEAT_SURVEY_H

#include "runner/allocator.h"
#include "runner/heat.h"
#include "sandbox/err.h"

/*
 * This process is a rehearsal. known: what an earlier one has found, which is to be spread; NULL: it
 * is the first. found: where this one's findings go. Both stay the caller's, as long as it runs.
 */
void heat_survey_begin(const struct heat *known, struct heat *found);

/* Whether this process is one, and no start that is to serve. */
bool heat_survey_is_on(void);

/* A rehearsal's allocator, which takes from the one behind, a copy of it, what is too large for a name. */
struct allocator heat_survey_allocator(const struct allocator *behind);

/*
 * In a scout of the set, a fork that has just run a typical script: adds what is touched to the
 * findings. proc: a procfs. Returns 0 or a negative errno.
 */
int heat_survey_look(int proc, size_t set, struct err *err);

#endif
