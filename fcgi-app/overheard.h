/*
 * What the templates' program and the libraries in it write to standard error: it knows nothing of
 * the log, so its lines are taken here and logged like any other.
 */
#ifndef VIVARIUM_OVERHEARD_H
#define VIVARIUM_OVERHEARD_H

#include "sandbox/err.h"

#include <stddef.h>

struct overheard {
	int reader, writer; /* of one pipe, which does not wait at either end; owned; -1: none */
	size_t used;
	char line[512]; /* what there is of one that has no end yet */
};

/* Returns 0 or a negative errno. Whoever is to be heard gets the writer as standard error. */
int overheard_open(struct overheard *overheard, struct err *err);

/* Logs, for `role`, the lines that have come; longer ones in pieces. */
void overheard_handle(struct overheard *overheard, const char *role);

#endif
