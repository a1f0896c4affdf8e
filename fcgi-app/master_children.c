#include "fcgi-app/master_parts.h"

#include "sandbox/clock.h"
#include "sandbox/log.h"
#include "sandbox/message.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- lanes --------------------------------------------------------------------------------- */

/* A worker or front that is just dying fails to take its end; its successor gets another. */
static void connect_cell(struct master *master, size_t cell)
{
	size_t per_worker = master->setup->cells_per_worker;
	struct worker_order to_worker = {
		.type = WORKER_ORDER_LANE, .index = (uint32_t)(cell % per_worker)};
	struct front_order to_front = {.type = FRONT_ORDER_LANE, .cell = (uint32_t)cell};
	struct child *worker = &master->worker[cell / per_worker];
	int pair[2];

	if (worker->control < 0 || master->front.control < 0 || message_pair(SOCK_STREAM, pair) < 0)
		return;
	to_front.lane = ++master->lane[cell];
	child_tell(worker, "a worker", &to_worker, sizeof(to_worker), &pair[0]);
	master_tell_front(master, &to_front, &pair[1]);
	close(pair[0]);
	close(pair[1]);
}

static void connect_cells(struct master *master, size_t first, size_t count)
{
	size_t i;

	for (i = first; i < first + count; i++)
		connect_cell(master, i);
}

void master_children_replace_lane(struct master *master, size_t cell, uint32_t lane)
{
	if (master->draining || cell >= master_cell_count(master) || lane != master->lane[cell])
		return;
	log_info("master", "cell %zu lost its lane: it gets another", cell);
	connect_cell(master, cell);
}

/* --- starting ------------------------------------------------------------------------------ */

static int start_worker_with_lanes(struct master *master, size_t number)
{
	size_t per_worker = master->setup->cells_per_worker;
	int r = start_worker(&master->base, &master->worker[number], number,
		template_trees_requests(&master->trees, number));

	if (!r)
		connect_cells(master, number * per_worker, per_worker);
	return r;
}

static int start_front_with_lanes(struct master *master)
{
	int r = start_front(&master->base, &master->front);

	if (!r)
		connect_cells(master, 0, master_cell_count(master));
	return r;
}

void master_children_start(struct master *master)
{
	char text[96];
	int r = 0;
	size_t i;

	master->workers_started = true;
	for (i = 0; !r && i < master->setup->workers; i++)
		r = start_worker_with_lanes(master, i);
	if (!r)
		r = start_front_with_lanes(master);
	if (r < 0) {
		log_error("master", "start workers and %s: %s", master->setup->front_name,
			strerror(-r));
		master_end_in_failure(master);
		return;
	}
	snprintf(text, sizeof(text), "%zu workers with %zu cells each started",
		master->setup->workers, master->setup->cells_per_worker);
	start_tell(&master->base, text);
	start_tell(&master->base, master->setup->cgroup.text);
}

/* --- children that die --------------------------------------------------------------------- */

static void note_death(struct master *master, enum front_role role, struct child *child,
	const char *name, int status)
{
	child_note_death(child, name, status, master->serving);
	tidings_count(&master->tidings, role);
	if (!master->serving)
		master_end_in_failure(master);
}

static void note_front_death(struct master *master, int status)
{
	if (master->draining || master->setup->front_is_all) {
		master->front.pid = 0;
		master_end(master,
			WIFEXITED(status) ? WEXITSTATUS(status) : master->setup->failure_code);
		return;
	}
	note_death(master, FRONT_ROLE_DISPATCHER, &master->front, master->setup->front_name,
		status);
}

void master_children_reap(struct master *master)
{
	char name[32];
	int status;
	pid_t pid;
	size_t i;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (template_trees_reap(&master->trees, pid, status, master->serving)) {
			tidings_count(&master->tidings, FRONT_ROLE_TEMPLATE);
			if (!master->serving)
				master_end_in_failure(master);
		}
		if (pid == master->front.pid)
			note_front_death(master, status);
		for (i = 0; i < master->setup->workers; i++) {
			if (pid != master->worker[i].pid)
				continue;
			snprintf(name, sizeof(name), "worker %zu", i);
			note_death(master, FRONT_ROLE_WORKER, &master->worker[i], name, status);
		}
		/* anybody else: wardens, whose builder has gone, and their like */
	}
}

void master_children_restart_due(struct master *master)
{
	uint64_t now = clock_now_us();
	size_t i;

	if (child_is_due(&master->front, now))
		child_note_attempt(&master->front, start_front_with_lanes(master),
			master->setup->front_name);
	for (i = 0; i < master->setup->workers; i++) {
		if (child_is_due(&master->worker[i], now))
			child_note_attempt(&master->worker[i],
				start_worker_with_lanes(master, i), "a worker");
	}
}

/* --- children that are wedged -------------------------------------------------------------- */

static void forgive(struct master *master)
{
	size_t i;

	master->front.asked_us = 0;
	for (i = 0; i < master->setup->workers; i++)
		master->worker[i].asked_us = 0;
}

void master_children_check_pulses(struct master *master)
{
	const struct front_order to_front = {.type = FRONT_ORDER_PING};
	const struct worker_order to_worker = {.type = WORKER_ORDER_PING};
	uint64_t now = clock_now_us(), since_us = now - master->checked_us;
	char name[32];
	size_t i;

	master->checked_us = now;
	if (!master->serving)
		return;
	if (since_us > master->setup->config->wedged_after_ms * UINT64_C(1000) / 2) {
		forgive(master); /* we were stopped ourselves, and they perhaps with us */
		return;
	}
	if (!master->setup->front_is_all)
		child_check_pulse(&master->front, master->setup->front_name, &to_front,
			sizeof(to_front));
	for (i = 0; i < master->setup->workers; i++) {
		snprintf(name, sizeof(name), "worker %zu", i);
		child_check_pulse(&master->worker[i], name, &to_worker, sizeof(to_worker));
	}
}
