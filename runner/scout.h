/* A scout: a fork of the template that runs a typical script once, to see which pages that takes. */
#ifndef VIVARIUM_SCOUT_H
#define VIVARIUM_SCOUT_H

#include "runner/hot_pages.h"

/*
 * Sends a scout out with length bytes of a typical script and waits for what it has learnt. proc:
 * descriptor of a procfs. Returns 0 and fills *hot, or a negative errno and an empty list.
 */
int scout_send(int proc, const char *typical, size_t length, struct hot_pages *hot);

#endif
