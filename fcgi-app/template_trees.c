#include "fcgi-app/template_trees.h"

#include "sandbox/cell_message.h"
#include "sandbox/clock.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	WARM_MAX_US = 360 * 1000 * 1000, /* for a successor: two rehearsals, and all its sets warm */
	FORMER_MAX_US = 30 * 1000 * 1000, /* for one replaced, to serve what it was asked */
};

/* A successor that cannot start costs a warm-up each time, and the service does without. */
#define SUCCESSOR_RETRY_LAST_US (UINT64_C(300) * 1000 * 1000)

#define FOR_EACH_PLACE(trees, place)                                                               \
	for ((place) = (trees)->place; (place) < (trees)->place + (trees)->count; (place)++)

static const struct master_setup *setup_of(const struct template_trees *trees)
{
	return trees->base->setup;
}

static size_t number_of(const struct template_trees *trees, const struct template_place *place)
{
	return (size_t)(place - trees->place);
}

static void init_tree(struct template_tree *tree)
{
	size_t i;

	*tree = (struct template_tree){0};
	child_init(&tree->child);
	for (i = 0; i < WORKER_SETS_MAX; i++)
		tree->requests[i] = -1;
}

static void init_successor(struct template_tree *tree)
{
	init_tree(tree);
	tree->child.retry_last_us = SUCCESSOR_RETRY_LAST_US;
}

void template_trees_init(struct template_trees *trees, const struct start_base *base,
	struct child *workers)
{
	struct template_place *place;

	*trees = (struct template_trees){
		.base = base, .workers = workers, .count = base->setup->template_trees};
	FOR_EACH_PLACE(trees, place)
	{
		init_tree(&place->tree);
		init_successor(&place->next);
		child_init(&place->former);
	}
}

const int *template_trees_requests(const struct template_trees *trees, size_t worker)
{
	return trees->place[worker % trees->count].tree.requests;
}

/* --- starting ------------------------------------------------------------------------------ */

static void close_requests(struct template_tree *tree)
{
	size_t i;

	for (i = 0; i < WORKER_SETS_MAX; i++)
		fd_close(&tree->requests[i]);
}

static int make_requests(const struct template_trees *trees, struct template_tree *tree,
	int *receivers)
{
	int pair[2], r = 0;
	size_t i;

	close_requests(tree);
	for (i = 0; !r && i < setup_of(trees)->sets->count; i++) {
		r = message_pair(SOCK_SEQPACKET, pair);
		if (r < 0)
			break;
		receivers[i] = pair[1];
		tree->requests[i] = pair[0];
		/* a worker that cannot ask now asks later, and never waits here */
		if (fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
			r = -errno;
	}
	return r;
}

static int start_tree(const struct template_trees *trees, struct template_tree *tree, bool careful)
{
	int receivers[WORKER_SETS_MAX], r;
	size_t i;

	for (i = 0; i < WORKER_SETS_MAX; i++)
		receivers[i] = -1;
	tree->reported = 0;
	tree->forks = tree->warm_us = 0;
	tree->is_careful = careful;
	r = make_requests(trees, tree, receivers);
	if (!r)
		r = start_template(trees->base, &tree->child, receivers, careful);
	for (i = 0; i < WORKER_SETS_MAX; i++)
		fd_close(&receivers[i]);
	return r;
}

/* The tree's workers learn where to ask; renew: and that their cells are to move over. */
static void announce(const struct template_trees *trees, const struct template_place *place,
	bool renew)
{
	struct worker_order order = {.type = WORKER_ORDER_TEMPLATE};
	const struct worker_order renewal = {.type = WORKER_ORDER_RENEW};
	size_t i, set;

	for (i = number_of(trees, place); i < setup_of(trees)->workers; i += trees->count) {
		if (trees->workers[i].control < 0)
			continue;
		for (set = 0; set < setup_of(trees)->sets->count; set++) {
			order.index = (uint32_t)set;
			child_tell(&trees->workers[i], "a worker", &order, sizeof(order),
				&place->tree.requests[set]);
		}
		if (renew)
			child_tell(&trees->workers[i], "a worker", &renewal, sizeof(renewal), NULL);
	}
}

/* What is asked while it warms up waits in the sockets. */
static int start_place(const struct template_trees *trees, struct template_place *place)
{
	int r = start_tree(trees, &place->tree, false);

	if (!r)
		announce(trees, place, false);
	return r;
}

int template_trees_start(struct template_trees *trees)
{
	struct template_place *place;
	int r = 0;

	FOR_EACH_PLACE(trees, place)
	{
		if (!r)
			r = start_place(trees, place);
	}
	return r;
}

void template_trees_let_go(struct template_trees *trees)
{
	struct template_place *place;

	FOR_EACH_PLACE(trees, place)
	{
		child_let_go(&place->tree.child);
		child_let_go(&place->next.child);
		child_let_go(&place->former);
	}
}

/* --- replacing ----------------------------------------------------------------------------- */

/* Cells of the workers that have theirs from this tree. */
static size_t cells_of(const struct template_trees *trees, const struct template_place *place)
{
	size_t workers = setup_of(trees)->workers, number = number_of(trees, place);

	return (workers + trees->count - 1 - number) / trees->count *
	       setup_of(trees)->cells_per_worker;
}

/* When the place is to get a successor; UINT64_MAX: not yet known. */
static uint64_t replacement_time(const struct template_trees *trees,
	const struct template_place *place)
{
	const struct config *config = setup_of(trees)->config;
	const struct template_tree *tree = &place->tree;
	uint64_t due = UINT64_MAX, age_ms = config->template_max_age_ms;

	if (!tree->warm_us || !tree->child.pid || place->next.child.pid)
		return UINT64_MAX;
	if (!tree->is_careful && config->template_quick_age_ms &&
		(!age_ms || config->template_quick_age_ms < age_ms))
		age_ms = config->template_quick_age_ms;
	if (age_ms)
		due = tree->warm_us + age_ms * 1000;
	/* the forks that its cells began with, or moved over with, are not wear */
	if (config->template_max_forks &&
		tree->forks >= config->template_max_forks + cells_of(trees, place))
		due = tree->warm_us;
	return due < place->next.child.retry_us ? place->next.child.retry_us : due;
}

/* One at a time: twice the memory, and the time of a warm-up, for one tree only. */
static bool is_replacing(const struct template_trees *trees)
{
	const struct template_place *place;

	FOR_EACH_PLACE(trees, place)
	{
		if (place->next.child.pid)
			return true;
	}
	return false;
}

static void replace_due(struct template_trees *trees, uint64_t now)
{
	struct template_place *place;

	FOR_EACH_PLACE(trees, place)
	{
		if (is_replacing(trees))
			return;
		if (replacement_time(trees, place) <= now)
			child_note_attempt(&place->next.child,
				start_tree(trees, &place->next, true), "the next template");
	}
}

/* It goes by itself once all workers have closed their ends. */
static void retire(struct template_place *place)
{
	fd_close(&place->former.control); /* of an even earlier one: time is up */
	place->former = place->tree.child;
	place->former_until_us = clock_now_us() + FORMER_MAX_US;
	close_requests(&place->tree);
}

static void take_over(struct template_trees *trees, struct template_place *place)
{
	uint64_t now = clock_now_us();

	if (!setup_of(trees)->quiet)
		log_info("master",
			"template tree %zu is replaced after %llu forks and %llu s; the next one "
			"was warm after %llu ms",
			number_of(trees, place), (unsigned long long)place->tree.forks,
			(unsigned long long)(now - place->tree.warm_us) / 1000000,
			(unsigned long long)(now - place->next.child.started_us) / 1000);
	retire(place);
	place->tree = place->next;
	place->tree.child.failures = 0;
	place->tree.child.retry_last_us = place->former.retry_last_us;
	init_successor(&place->next);
	announce(trees, place, true);
}

/* --- reports ------------------------------------------------------------------------------- */

static void tell_warm(struct template_trees *trees, size_t set)
{
	char text[320];

	if (++trees->warm[set] != trees->count)
		return;
	snprintf(text, sizeof(text), "library set %s is warm", setup_of(trees)->sets->set[set].name);
	start_tell(trees->base, text);
}

static void take_set(struct template_trees *trees, struct template_place *place,
	struct template_tree *tree, const struct template_report *report)
{
	struct library_set *set = &setup_of(trees)->sets->set[report->set];

	if (tree == &place->next) {
		if (report->missing && !set->missing) {
			log_warning("master", "the next template lacks library set %s: %s", set->name,
				report->text);
			child_kill(&tree->child);
			return;
		}
	} else if (report->missing && !set->missing) {
		log_warning("master", "library set %s is left out: %s", set->name, report->text);
		set->missing = true;
	} else if (!report->missing && trees->warm[report->set] < trees->count) {
		tell_warm(trees, report->set);
	}
	if (++tree->reported < setup_of(trees)->sets->count)
		return;
	tree->warm_us = clock_now_us();
	if (tree == &place->next)
		take_over(trees, place);
}

static void handle_report(struct template_trees *trees, struct template_place *place,
	struct template_tree *tree)
{
	struct template_report report;
	size_t none = 0;

	if (message_receive(tree->child.control, &report, sizeof(report), NULL, &none) != 1 ||
		report.set >= setup_of(trees)->sets->count) {
		fd_close(&tree->child.control); /* its death comes next */
		return;
	}
	report.text[sizeof(report.text) - 1] = '\0';
	if (report.type == TEMPLATE_REPORT_SET)
		take_set(trees, place, tree, &report);
	else if (report.type == TEMPLATE_REPORT_FORKED)
		tree->forks++;
}

size_t template_trees_watch(const struct template_trees *trees, struct pollfd *watched)
{
	const struct template_place *place;
	size_t count = 0;

	FOR_EACH_PLACE(trees, place)
	{
		watched[count++] = (struct pollfd){
			.fd = place->tree.child.control, .events = POLLIN};
		watched[count++] = (struct pollfd){
			.fd = place->next.child.control, .events = POLLIN};
	}
	return count;
}

/* The successor last: when it takes over, what was polled for is another's. */
void template_trees_handle(struct template_trees *trees, const struct pollfd *watched)
{
	struct template_place *place;

	FOR_EACH_PLACE(trees, place)
	{
		if (watched[0].revents)
			handle_report(trees, place, &place->tree);
		if (watched[1].revents)
			handle_report(trees, place, &place->next);
		watched += 2;
	}
}

bool template_trees_are_warm(const struct template_trees *trees)
{
	const struct template_place *place;

	FOR_EACH_PLACE(trees, place)
	{
		if (!place->tree.warm_us)
			return false;
	}
	return true;
}

/* --- deaths and time ----------------------------------------------------------------------- */

static void note_death(const struct template_trees *trees, struct template_place *place, int status,
	bool restarts)
{
	char name[32] = "template";

	if (trees->count > 1)
		snprintf(name, sizeof(name), "template %zu", number_of(trees, place));
	place->tree.warm_us = 0;
	child_note_death(&place->tree.child, name, status, restarts);
}

/* It never served, however long it took: each failure counts for the back-off. */
static void note_successor_death(struct template_tree *next, int status)
{
	close_requests(next);
	next->child.started_us = clock_now_us();
	child_note_death(&next->child, "the next template", status, true);
}

bool template_trees_reap(struct template_trees *trees, pid_t pid, int status, bool restarts)
{
	struct template_place *place;

	FOR_EACH_PLACE(trees, place)
	{
		if (pid == place->tree.child.pid) {
			note_death(trees, place, status, restarts);
			return true;
		}
		if (pid == place->next.child.pid) {
			note_successor_death(&place->next, status);
		} else if (pid == place->former.pid) {
			fd_close(&place->former.control);
			child_init(&place->former);
		}
	}
	return false;
}

static bool hangs(const struct template_place *place, uint64_t now)
{
	return place->next.child.pid && now >= place->next.child.started_us + WARM_MAX_US;
}

void template_trees_check_time(struct template_trees *trees, uint64_t now_us, bool may_replace)
{
	struct template_place *place;

	FOR_EACH_PLACE(trees, place)
	{
		if (child_is_due(&place->tree.child, now_us))
			child_note_attempt(
				&place->tree.child, start_place(trees, place), "the template");
		if (hangs(place, now_us))
			child_kill(&place->next.child);
		if (place->former.pid && now_us >= place->former_until_us)
			child_kill(&place->former);
	}
	if (may_replace)
		replace_due(trees, now_us);
}

static void consider(uint64_t *first, uint64_t time)
{
	if (time < *first)
		*first = time;
}

uint64_t template_trees_next_time(const struct template_trees *trees, bool may_replace)
{
	const struct template_place *place;
	uint64_t first = UINT64_MAX;

	FOR_EACH_PLACE(trees, place)
	{
		if (place->tree.child.retry_us)
			consider(&first, place->tree.child.retry_us);
		if (place->next.child.pid)
			consider(&first, place->next.child.started_us + WARM_MAX_US);
		if (place->former.pid)
			consider(&first, place->former_until_us);
		if (may_replace && !is_replacing(trees))
			consider(&first, replacement_time(trees, place));
	}
	return first;
}
