/* The second half of `vivarium check`: attacks on the jail, in the jail. */
#ifndef VIVARIUM_CHECK_ATTACKS_H
#define VIVARIUM_CHECK_ATTACKS_H

#include "fcgi-app/front.h"
#include "sandbox/buffer.h"

#include <stdbool.h>

/* What the front of the check is given: the attacks' text (runner/attacks.py). */
struct check_job {
	struct buffer attacks;
	bool json;
};

/*
 * The front of the check: runs the attacks one after the other in its one cell and prints how each
 * ended. Returns the exit status: 0 all were contained, 1 some were not, EXIT_STATUS_INTERNAL they
 * could not be tried.
 */
int check_attacks_front(const struct front_setup *setup);

#endif
