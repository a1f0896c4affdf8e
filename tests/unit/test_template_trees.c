#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fcgi-app/template_trees.h"
#include "sandbox/cell_message.h"
#include "sandbox/clock.h"
#include "sandbox/message.h"

enum { WORKERS = 3 };

/* Trees whose processes only wait: what they would report is reported for them. */
struct bench {
	struct config config;
	struct library_sets sets;
	struct master_setup setup;
	struct start_base base;
	struct child workers[WORKERS];
	int worker_ends[WORKERS];
	struct template_trees trees;
	int tree_ends[TEMPLATE_TREES_WATCHED];
};

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	int pair[2], i;

	*state = bench;
	bench->setup = (struct master_setup){.config = &bench->config,
		.sets = &bench->sets,
		.workers = WORKERS,
		.cells_per_worker = 2,
		.template_trees = 2,
		.quiet = true};
	bench->base.setup = &bench->setup;
	for (i = 0; i < WORKERS; i++) {
		child_init(&bench->workers[i]);
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) < 0)
			return -1;
		bench->workers[i].control = pair[0];
		bench->worker_ends[i] = pair[1];
	}
	for (i = 0; i < TEMPLATE_TREES_WATCHED; i++)
		bench->tree_ends[i] = -1;
	if (library_sets_parse("base numpy:base:numpy", &bench->sets, NULL) < 0)
		return -1;
	template_trees_init(&bench->trees, &bench->base, bench->workers);
	return 0;
}

static struct template_tree *tree_of(struct bench *bench, size_t slot)
{
	struct template_place *place = &bench->trees.place[slot / 2];

	return slot % 2 ? &place->next : &place->tree;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	size_t i, set;

	for (i = 0; i < 4; i++) {
		child_kill(&tree_of(bench, i)->child);
		close(tree_of(bench, i)->child.control);
		close(bench->tree_ends[i]);
		for (set = 0; set < 2; set++)
			close(tree_of(bench, i)->requests[set]);
	}
	for (i = 0; i < 2; i++) {
		child_kill(&bench->trees.place[i].former);
		close(bench->trees.place[i].former.control);
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	for (i = 0; i < WORKERS; i++) {
		close(bench->workers[i].control);
		close(bench->worker_ends[i]);
	}
	free(bench);
	return 0;
}

static void wait_for_ever(const void *context, int control)
{
	(void)context;
	(void)control;
	for (;;)
		pause();
}

/* Slots: 0 and 2 are the trees, 1 and 3 their successors. */
static void start(struct bench *bench, size_t slot)
{
	struct template_tree *tree = tree_of(bench, slot);
	int pair[2], set;

	assert_int_equal(child_start(&tree->child, -1, wait_for_ever, NULL), 0);
	close(tree->child.control);
	assert_int_equal(message_pair(SOCK_SEQPACKET, pair), 0);
	tree->child.control = pair[0];
	bench->tree_ends[slot] = pair[1];
	for (set = 0; set < 2; set++)
		tree->requests[set] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void report(struct bench *bench, size_t slot, struct template_report report)
{
	struct pollfd watched[TEMPLATE_TREES_WATCHED];
	size_t count = template_trees_watch(&bench->trees, watched);

	assert_int_equal(message_send(bench->tree_ends[slot], &report, sizeof(report), NULL, 0), 0);
	assert_int_equal(poll(watched, count, 1000), 1);
	assert_int_equal(watched[slot].revents, POLLIN);
	template_trees_handle(&bench->trees, watched);
}

static void report_warm(struct bench *bench, size_t slot)
{
	report(bench, slot, (struct template_report){.type = TEMPLATE_REPORT_SET, .set = 0});
	report(bench, slot, (struct template_report){.type = TEMPLATE_REPORT_SET, .set = 1});
}

static void report_forks(struct bench *bench, size_t slot, int count)
{
	while (count--)
		report(bench, slot, (struct template_report){.type = TEMPLATE_REPORT_FORKED});
}

/* How many of each order a worker has got since the last look. */
static void expect_orders(struct bench *bench, size_t worker, unsigned templates, unsigned renewals)
{
	unsigned seen[WORKER_ORDER_RENEW + 1] = {0};
	struct worker_order order;
	size_t count;
	int fd;

	for (;;) {
		fd = -1;
		count = 1;
		if (message_receive(
			    bench->worker_ends[worker], &order, sizeof(order), &fd, &count) != 1)
			break;
		assert_in_range(order.type, 1, WORKER_ORDER_RENEW);
		assert_int_equal(count, order.type == WORKER_ORDER_TEMPLATE);
		assert_true(order.type != WORKER_ORDER_TEMPLATE || !seen[WORKER_ORDER_RENEW]);
		seen[order.type]++;
		if (fd >= 0)
			close(fd);
	}
	assert_int_equal(seen[WORKER_ORDER_TEMPLATE], templates);
	assert_int_equal(seen[WORKER_ORDER_RENEW], renewals);
}

static uint64_t next_time(struct bench *bench)
{
	return template_trees_next_time(&bench->trees, true);
}

static int reap(struct child *child)
{
	int status;

	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	return status;
}

static void test_warm_when_all_have_reported(void **state)
{
	struct bench *bench = *state;

	start(bench, 0);
	start(bench, 2);
	assert_false(template_trees_are_warm(&bench->trees));
	report_warm(bench, 0);
	assert_false(template_trees_are_warm(&bench->trees));
	report(bench, 2, (struct template_report){.type = TEMPLATE_REPORT_SET, .set = 0});
	report(bench, 2,
		(struct template_report){.type = TEMPLATE_REPORT_SET, .set = 1, .missing = 1});
	assert_true(template_trees_are_warm(&bench->trees));
	assert_true(bench->sets.set[1].missing);
	assert_int_equal(next_time(bench), UINT64_MAX); /* nothing is ever replaced: both keys 0 */
}

static void test_workers_are_spread(void **state)
{
	struct bench *bench = *state;
	const struct template_trees *trees = &bench->trees;

	assert_ptr_equal(template_trees_requests(trees, 0), trees->place[0].tree.requests);
	assert_ptr_equal(template_trees_requests(trees, 1), trees->place[1].tree.requests);
	assert_ptr_equal(template_trees_requests(trees, 2), trees->place[0].tree.requests);
}

static void test_age(void **state)
{
	struct bench *bench = *state;

	bench->config.template_max_age_ms = 60000;
	start(bench, 0);
	start(bench, 2);
	assert_int_equal(next_time(bench), UINT64_MAX);
	report_warm(bench, 0);
	assert_int_equal(next_time(bench), bench->trees.place[0].tree.warm_us + 60000000);
	assert_int_equal(template_trees_next_time(&bench->trees, false), UINT64_MAX);
	start(bench, 1); /* on its way already: only that it may hang is left to watch */
	assert_int_equal(
		next_time(bench), bench->trees.place[0].next.child.started_us + 360000000);
}

/* The sooner of two ages counts for a tree that was in a hurry, and 0 is none. */
static void test_quick_age(void **state)
{
	static const struct {
		uint64_t max_age_ms, quick_age_ms, quick_due_ms, careful_due_ms; /* due 0: never */
	} rows[] = {{60000, 20000, 20000, 60000}, {60000, 90000, 60000, 60000}, {60000, 0, 60000, 60000},
		{0, 20000, 20000, 0}, {0, 0, 0, 0}};
	struct bench *bench = *state;
	struct template_tree *tree = &bench->trees.place[0].tree;
	uint64_t due_ms;
	size_t i;

	start(bench, 0);
	report_warm(bench, 0);
	for (i = 0; i < 2 * COUNT(rows); i++) {
		bench->config.template_max_age_ms = rows[i / 2].max_age_ms;
		bench->config.template_quick_age_ms = rows[i / 2].quick_age_ms;
		tree->is_careful = i % 2;
		due_ms = i % 2 ? rows[i / 2].careful_due_ms : rows[i / 2].quick_due_ms;
		assert_int_equal(next_time(bench),
			due_ms ? tree->warm_us + due_ms * 1000 : UINT64_MAX);
	}
}

/* Each cell of the tree's workers, 0 and 2, was forked once: that is no wear. */
static void test_forks(void **state)
{
	struct bench *bench = *state;

	bench->config.template_max_forks = 5;
	start(bench, 0);
	start(bench, 2);
	report_warm(bench, 0);
	report_warm(bench, 2);
	report_forks(bench, 0, 4 + 4);
	assert_int_equal(next_time(bench), UINT64_MAX);
	report_forks(bench, 2, 2 + 4); /* worker 1 has two cells */
	assert_int_equal(next_time(bench), UINT64_MAX);
	report_forks(bench, 2, 1);
	assert_true(next_time(bench) <= clock_now_us());
	report_forks(bench, 0, 1);
	bench->trees.place[1].next.child.retry_us = UINT64_MAX; /* a failed attempt is waited out */
	bench->trees.place[0].next.child.retry_us = 1 + clock_now_us() + 1000000;
	assert_int_equal(next_time(bench), bench->trees.place[0].next.child.retry_us);
}

static void test_take_over(void **state)
{
	struct bench *bench = *state;
	struct template_place *place = &bench->trees.place[0];
	pid_t former, next;
	int status;

	start(bench, 0);
	start(bench, 1);
	former = place->tree.child.pid;
	next = place->next.child.pid;
	report_warm(bench, 0);
	report_forks(bench, 0, 7);
	report(bench, 1, (struct template_report){.type = TEMPLATE_REPORT_SET, .set = 0});
	assert_int_equal(place->tree.child.pid, former);
	expect_orders(bench, 0, 0, 0);
	report(bench, 1, (struct template_report){.type = TEMPLATE_REPORT_SET, .set = 1});
	assert_int_equal(place->tree.child.pid, next);
	assert_int_equal(place->tree.forks, 0);
	assert_int_equal(place->next.child.pid, 0);
	assert_int_equal(place->next.child.control, -1);
	assert_int_equal(place->next.requests[0], -1);
	assert_int_equal(place->former.pid, former);
	expect_orders(bench, 0, 2, 1);
	expect_orders(bench, 1, 0, 0); /* of the other tree */
	expect_orders(bench, 2, 2, 1);
	/* one that does not go is ended */
	template_trees_check_time(&bench->trees, clock_now_us(), false);
	assert_int_equal(waitpid(former, &status, WNOHANG), 0);
	template_trees_check_time(&bench->trees, place->former_until_us, false);
	status = reap(&place->former);
	assert_false(template_trees_reap(&bench->trees, former, status, true));
	assert_int_equal(place->former.pid, 0);
	assert_int_equal(place->former.retry_us, 0);
}

static void test_successor_without_a_set(void **state)
{
	struct bench *bench = *state;
	struct template_place *place = &bench->trees.place[0];
	pid_t pid, next;
	int status;

	start(bench, 0);
	report_warm(bench, 0);
	start(bench, 1);
	pid = place->tree.child.pid;
	next = place->next.child.pid;
	report(bench, 1,
		(struct template_report){.type = TEMPLATE_REPORT_SET, .set = 1, .missing = 1});
	status = reap(&place->next.child);
	assert_true(WIFSIGNALED(status));
	assert_false(template_trees_reap(&bench->trees, next, status, true));
	assert_int_equal(place->tree.child.pid, pid);
	assert_false(bench->sets.set[1].missing);
	assert_int_equal(place->next.requests[0], -1);
	assert_in_range(place->next.child.retry_us, clock_now_us(), clock_now_us() + 60000);
	expect_orders(bench, 0, 0, 0);
}

/* What is missing anyway may stay missing. */
static void test_successor_without_a_missing_set(void **state)
{
	struct bench *bench = *state;
	pid_t next;

	bench->sets.set[1].missing = true;
	start(bench, 0);
	start(bench, 1);
	next = bench->trees.place[0].next.child.pid;
	report(bench, 1, (struct template_report){.type = TEMPLATE_REPORT_SET, .set = 0});
	report(bench, 1,
		(struct template_report){.type = TEMPLATE_REPORT_SET, .set = 1, .missing = 1});
	assert_int_equal(bench->trees.place[0].tree.child.pid, next);
}

static void test_successor_that_hangs(void **state)
{
	struct bench *bench = *state;
	struct child *next = &bench->trees.place[0].next.child;
	int status;
	pid_t pid;

	start(bench, 0);
	start(bench, 1);
	pid = next->pid;
	template_trees_check_time(&bench->trees, next->started_us + 359000000, true);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	template_trees_check_time(&bench->trees, next->started_us + 360000000, true);
	status = reap(next);
	assert_true(WIFSIGNALED(status));
	/* its long life does not make the back-off begin anew */
	next->failures = 3;
	next->started_us -= 360000000;
	template_trees_reap(&bench->trees, pid, status, true);
	assert_in_range(next->retry_us, clock_now_us() + 300000, clock_now_us() + 400000);
}

static void test_death(void **state)
{
	struct bench *bench = *state;
	struct child *child = &bench->trees.place[1].tree.child;
	pid_t pid;
	int status;

	start(bench, 2);
	report_warm(bench, 2);
	pid = child->pid;
	child_kill(child);
	status = reap(child);
	assert_false(template_trees_reap(&bench->trees, getpid(), status, true));
	assert_true(template_trees_reap(&bench->trees, pid, status, true));
	assert_int_equal(next_time(bench), child->retry_us);
	assert_int_equal(bench->trees.place[1].tree.warm_us, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(test_warm_when_all_have_reported),
		TEST(test_workers_are_spread), TEST(test_age), TEST(test_quick_age), TEST(test_forks),
		TEST(test_take_over), TEST(test_successor_without_a_set),
		TEST(test_successor_without_a_missing_set), TEST(test_successor_that_hangs),
		TEST(test_death)};

	return cmocka_run_group_tests_name("template_trees", tests, NULL, NULL);
}
