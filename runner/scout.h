/* A scout: a fork of the template that runs a typical script once, to see what that touches. */
#ifndef VIVARIUM_SCOUT_H
#define VIVARIUM_SCOUT_H

#include "sandbox/err.h"

#include <stddef.h>

/*
 * Sends a scout out with length bytes of a typical script. When that has run, look() is called there
 * with context, which has to be shared memory for the scout to leave something in it. Returns 0 when
 * that did, a negative errno if anything went wrong.
 */
int scout_send(const char *typical, size_t length, int (*look)(void *context, struct err *err),
	void *context);

#endif
