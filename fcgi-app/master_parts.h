/* What the files of the master share: its state, its children, their reports. */
#ifndef VIVARIUM_MASTER_PARTS_H
#define VIVARIUM_MASTER_PARTS_H

#include "fcgi-app/master.h"
#include "fcgi-app/overheard.h"
#include "fcgi-app/start.h"
#include "fcgi-app/template_trees.h"
#include "fcgi-app/tidings.h"
#include "sandbox/worker.h"

enum {
	MASTER_WORKERS_MAX = 64,
};

struct master {
	const struct master_setup *setup;
	struct start_base base;
	int signals;
	struct template_trees trees;
	struct child front, worker[MASTER_WORKERS_MAX];
	bool up[MASTER_WORKERS_MAX * WORKER_CELLS_MAX];
	uint32_t lane[MASTER_WORKERS_MAX * WORKER_CELLS_MAX]; /* number of a cell's last one */
	uint32_t layers; /* LAYER_BITs in force in every cell that ever came up */
	size_t cells_up;
	bool any_layers, workers_started, front_ready, serving, draining;
	uint64_t drain_until_us;
	uint64_t checked_us; /* when pulses were felt last */
	struct tidings tidings;
	struct overheard overheard; /* from templates */
	int exit_code; /* -1: go on */
};

/* Of all workers together. */
size_t master_cell_count(const struct master *master);

/* The loop is left after this turn, with that exit code; the first one holds. */
void master_end(struct master *master, int code);

/* The same with the setup's failure_code. */
void master_end_in_failure(struct master *master);

/* Sends the front an order, with a descriptor unless fd is NULL; it stays the caller's. */
void master_tell_front(struct master *master, const struct front_order *order, const int *fd);

/* --- master_children.c: how they start, are joined by lanes, die, and are started again --- */

/* Starts all workers and the front, for the templates are warm; a failure ends the service. */
void master_children_start(struct master *master);

/* A lane between both living ends broke; one that has a successor is of no interest any more. */
void master_children_replace_lane(struct master *master, size_t cell, uint32_t lane);

/* Takes every child that has died, and notes when it is due again or that the service ends. */
void master_children_reap(struct master *master);

/* Starts again whoever is due. */
void master_children_restart_due(struct master *master);

/* Pings children that have been silent, and puts down those that have left a ping unanswered. */
void master_children_check_pulses(struct master *master);

/* --- master_reports.c: what the children say, and what follows for the others --- */

/*
 * Takes what those say whom poll(2) found readable: template trees (watched: as
 * template_trees_watch filled it in, and poll then), ...
 */
void master_reports_handle_templates(struct master *master, const struct pollfd *watched);

/* ... worker `number`, ... */
void master_reports_handle_worker(struct master *master, size_t number);

/* ... the front, ... */
void master_reports_handle_front(struct master *master);

/* ... and the key reader: the dispatcher gets the new keys. */
void master_reports_handle_keys(struct master *master);

/* Tells the dispatcher what GET /metrics says of others, where that is due (CLOCK_MONOTONIC). */
void master_reports_pass_tidings(struct master *master, uint64_t now);

#endif
