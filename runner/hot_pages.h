/*
 * Which pages a script is sure to touch, learnt once, touched in every execution while it waits.
 *
 * A scout, a fork of the template that runs a typical script, finds out which pages such a script
 * writes and which it reads. What follows from that, for executions forked later:
 *
 * - Written pages are populated before any request comes, many in a call (madvise(2),
 *   MADV_POPULATE_WRITE, Linux 5.14). They are not mapped in the template, because a page that is
 *   not there yet is filled in more cheaply than one that has to be taken away from its readers.
 * - Pages that are only read, code included, are mapped in the template, and a fork copies that.
 *   It does so only for mappings with a page of their own (vma_needs_copy() in mm/memory.c), so
 *   each mapping gets one.
 *
 * All of it is ordinary memory of the template, which forks inherit.
 */
#ifndef VIVARIUM_HOT_PAGES_H
#define VIVARIUM_HOT_PAGES_H

#include "sandbox/err.h"

#include <stddef.h>

enum {
	HOT_RANGES_MAX = 4096, /* of each kind */
};

struct hot_range {
	char *start;
	size_t bytes;
};

struct hot_ranges {
	size_t count;
	struct hot_range range[HOT_RANGES_MAX];
};

struct hot_pages {
	struct hot_ranges written, read;
};

/*
 * In a scout, a fork of the template that has just run a typical script: lists the pages that it
 * has touched. What is too much is left out. proc: a procfs. Returns 0 or a negative
 * errno.
 */
int hot_pages_learn(int proc, struct hot_pages *pages, struct err *err);

/*
 * In a scout that has run nothing yet: of the pages that an earlier one has found to be read, those
 * are mapped from here on that are read themselves, and not because a page near by was. proc: a procfs.
 * Returns 0 or a negative errno.
 */
int hot_pages_look_closely(int proc, const struct hot_ranges *read, struct err *err);

/*
 * In the template: maps what is read, and unmaps every other page that it has not itself written to.
 * proc: a procfs. Returns 0 or a negative errno.
 */
int hot_pages_arrange(int proc, const struct hot_pages *pages, struct err *err);

/* In an execution, before all else: populates what it is going to write. */
void hot_pages_touch(const struct hot_pages *pages);

#endif
