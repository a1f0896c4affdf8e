/*
 * The template trees: R of them, so that forks do not queue behind one process. Worker n has its
 * cells from tree n % R. A tree that dies is started again, and its cells go on meanwhile. One that
 * has forked much or lived long is replaced, one that was started quickly soon after: its successor
 * warms up beside it, takes over when all of its library sets are warm, and the cells move over one
 * after the other, each while it is idle (cell_renew.h). Addresses and hash seed are drawn when a tree
 * is started.
 */
#ifndef VIVARIUM_TEMPLATE_TREES_H
#define VIVARIUM_TEMPLATE_TREES_H

#include "fcgi-app/start.h"

#include <poll.h>

enum {
	TEMPLATE_TREES_MAX = 16,
	TEMPLATE_TREES_WATCHED = 2 * TEMPLATE_TREES_MAX, /* descriptors at the most */
};

struct template_tree {
	struct child child;
	int requests[WORKER_SETS_MAX]; /* sending ends, one a library set; owned */
	size_t reported; /* sets that said that they are warm, or missing */
	bool is_careful; /* it was not in a hurry, as the first ones are */
	uint64_t forks; /* cells forked */
	uint64_t warm_us; /* CLOCK_MONOTONIC: since when all sets are warm; 0: they are not */
};

struct template_place {
	struct template_tree tree; /* whom the workers ask */
	struct template_tree next; /* warms up to take its place */
	struct child former; /* has nothing to do but what it was asked before */
	uint64_t former_until_us;
};

struct template_trees {
	const struct start_base *base;
	struct child *workers; /* as many as the setup says */
	size_t count;
	struct template_place place[TEMPLATE_TREES_MAX];
	size_t warm[WORKER_SETS_MAX]; /* trees in which each set was warm at the first start */
};

/* Makes *trees as many trees as the setup says, none of which runs; both pointers outlive it. */
void template_trees_init(struct template_trees *trees, const struct start_base *base,
	struct child *workers);

/* Starts all. Returns 0 or a negative errno. */
int template_trees_start(struct template_trees *trees);

/* Kills all; they have to be reaped all the same. */
void template_trees_let_go(struct template_trees *trees);

/* For each library set, where a worker's template is asked; stay the trees'. */
const int *template_trees_requests(const struct template_trees *trees, size_t worker);

/* Fills *watched with what to poll for (TEMPLATE_TREES_WATCHED at the most). Returns how many. */
size_t template_trees_watch(const struct template_trees *trees, struct pollfd *watched);

/* Takes the reports of those whom poll has found readable. */
void template_trees_handle(struct template_trees *trees, const struct pollfd *watched);

/* Whether every library set of every tree is warm, or known to be missing. */
bool template_trees_are_warm(const struct template_trees *trees);

/*
 * A child of the master was reaped: if it was a tree, it is due to be started again, unless it was
 * to go. restarts: false before the service serves, when nothing is started again. Returns whether
 * it was a tree that the workers ask.
 */
bool template_trees_reap(struct template_trees *trees, pid_t pid, int status, bool restarts);

/* Starts again what is due, ends what hangs; may_replace: the time has come to replace as well. */
void template_trees_check_time(struct template_trees *trees, uint64_t now_us, bool may_replace);

/* The first moment at which check_time has something to do, or UINT64_MAX. */
uint64_t template_trees_next_time(const struct template_trees *trees, bool may_replace);

#endif
