#include "fcgi-app/master_parts.h"

#include "sandbox/log.h"

#include <stdio.h>
#include <unistd.h>

/* --- reports ------------------------------------------------------------------------------- */

void master_reports_handle_templates(struct master *master, const struct pollfd *watched)
{
	template_trees_handle(&master->trees, watched);
	if (!master->workers_started && template_trees_are_warm(&master->trees))
		master_children_start(master);
}

static void begin_serving(struct master *master)
{
	char layers[160], text[192];

	if (master->serving || !master->front_ready || master->cells_up < master_cell_count(master))
		return;
	layers_print(master->layers, layers, sizeof(layers));
	snprintf(text, sizeof(text), "layers in force: %s", layers);
	start_tell(&master->base, text);
	start_tell(&master->base, "all cells stand: serving");
	master->serving = true;
	if (master->setup->ready >= 0 && write(master->setup->ready, "\n", 1) == 1)
		close(master->setup->ready);
}

static void tell_layers(struct master *master)
{
	const struct front_order order = {.type = FRONT_ORDER_LAYERS, .layers = master->layers};

	master_tell_front(master, &order, NULL);
}

/* What one cell lacks, the service lacks. */
static void note_layers(struct master *master, uint32_t layers)
{
	uint32_t before = master->layers;

	layers |= master->setup->arrangement.layers & LAYER_BIT(LAYER_PROCFS);
	master->layers = master->any_layers ? before & layers : layers;
	master->any_layers = true;
	if (master->layers != before)
		tell_layers(master);
}

void master_reports_handle_worker(struct master *master, size_t number)
{
	struct worker_report report;
	struct child *worker = &master->worker[number];

	if (!child_hear(worker, "a worker", &report, sizeof(report)))
		return;
	if (report.type == WORKER_REPORT_ALIVE)
		return;
	if (report.type != WORKER_REPORT_CELL || report.cell >= master_cell_count(master)) {
		child_put_down(worker, "a worker", "sent what is no report");
		return;
	}
	report.text[sizeof(report.text) - 1] = '\0';
	master->cells_up += (size_t)(report.is_up != 0) - (size_t)master->up[report.cell];
	master->up[report.cell] = report.is_up != 0;
	if (report.is_up) {
		log_debug("master", "cell %u stands", report.cell);
		note_layers(master, report.layers);
	}
	if (!report.is_up && !master->draining) {
		log_warning("master", "cell %u is down: %s", report.cell, report.text);
		tidings_count(&master->tidings, FRONT_ROLE_CELL);
	}
	if (!report.is_up && !master->serving) {
		log_error("master", "a cell cannot be built: the service does not start");
		master_end_in_failure(master);
	}
	begin_serving(master);
}

void master_reports_handle_front(struct master *master)
{
	struct front_report report;

	if (!child_hear(&master->front, master->setup->front_name, &report, sizeof(report)))
		return;
	if (report.type == FRONT_REPORT_READY) {
		master->front_ready = true;
		tell_layers(master);
		master->tidings.told_us = 0; /* not by this one */
	} else if (report.type == FRONT_REPORT_LANE_LOST) {
		master_children_replace_lane(master, report.cell, report.lane);
	}
	begin_serving(master);
}

/* For GET /metrics; a front that is not the dispatcher has none. */
void master_reports_pass_tidings(struct master *master, uint64_t now)
{
	struct front_order order = {.type = FRONT_ORDER_TIDINGS};

	if (!master->front_ready || master->setup->front_is_all ||
		!tidings_are_due(&master->tidings, now))
		return;
	tidings_look(&master->tidings, master->base.proc, &master->front, master->worker,
		master->setup->workers, &master->setup->cgroup, now);
	order.tidings = master->tidings.now;
	master_tell_front(master, &order, NULL);
}

/* --- keys ---------------------------------------------------------------------------------- */

void master_reports_handle_keys(struct master *master)
{
	struct key_source *keys = &master->base.keys;
	struct front_order order = {.type = FRONT_ORDER_KEYS};
	struct err err = {0};
	int r = key_source_hear(keys, &err);

	if (r < 0) {
		log_error("master", "%s: the keys stay as they were", err.text);
		return;
	}
	order.keys = keys->count;
	master_tell_front(master, &order, &keys->table);
	log_info("master", "the key file was read again: %u keys", keys->count);
}
