/*
 * Which pages a script is sure to touch, learnt once, touched in every execution while it waits.
 *
 * A forked page is copied when it is first written, one fault each; a scout finds out which ones a
 * typical script writes (and which pages of files it looks at), and an execution then has the
 * kernel populate them in a few calls before any request comes (madvise(2), MADV_POPULATE_*, Linux
 * 5.14). The list is ordinary memory of the template, which forks inherit.
 */
#ifndef VIVARIUM_HOT_PAGES_H
#define VIVARIUM_HOT_PAGES_H

#include "sandbox/err.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	HOT_RANGES_MAX = 1024,
};

struct hot_range {
	char *start;
	size_t bytes;
	bool is_written; /* else only read */
};

struct hot_pages {
	size_t count;
	struct hot_range range[HOT_RANGES_MAX];
};

/*
 * In a scout, a fork of the template that has just run a typical script: lists the pages that it
 * has of its own now, and the pages of files that it maps. proc: a procfs. Returns 0 or a negative
 * errno.
 */
int hot_pages_learn(int proc, struct hot_pages *pages, struct err *err);

/* In an execution: populates what the list says. A range that is not there any more is skipped. */
void hot_pages_touch(const struct hot_pages *pages);

#endif
