/* A scout: a fork of the template that runs a typical script once, to see what that touches. */
#ifndef VIVARIUM_SCOUT_H
#define VIVARIUM_SCOUT_H

#include "runner/hot_pages.h"

#include <stdbool.h>

/*
 * Finds out which pages length bytes of a typical script touch. closely: with a second scout, which
 * leaves out the pages that are only near one that is read. proc: descriptor of a procfs. Returns 0
 * and fills *hot, or a negative errno and leaves it empty.
 */
int scout_hot_pages(
	int proc, const char *typical, size_t length, bool closely, struct hot_pages *hot);

/*
 * In a rehearsal: finds out which allocations the script touches, for scripts of the library set
 * (heat_survey.h). Returns 0 or a negative errno.
 */
int scout_heat(int proc, const char *typical, size_t length, size_t set);

#endif
