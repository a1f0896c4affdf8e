#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "fcgi-app/pool.h"
#include "sandbox/clock.h"

enum { CELLS = 4 };

/* The pool, and the workers' ends of its lanes. */
struct bench {
	struct library_sets sets;
	struct pool *pool;
	int worker[CELLS];
	struct frame_reader reader[CELLS];
	int wake;
};

/* A pool lives as long as its process, and so has no end: kept for the leak checker. */
static struct pool *pools[16];
static size_t pools_made;

static void connect_cells(struct bench *bench, size_t cells)
{
	int pair[2];
	size_t i;

	bench->pool = pools[pools_made++] = pool_new(cells, 4, &bench->sets, 7);
	assert_non_null(bench->pool);
	for (i = 0; i < cells; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		bench->worker[i] = pair[0];
		bench->reader[i] = (struct frame_reader){.in = {.cap = 4096}};
		pool_set_lane(bench->pool, i, pair[1], 1);
	}
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	size_t i;

	*state = bench;
	for (i = 0; i < CELLS; i++)
		bench->worker[i] = -1;
	bench->wake = eventfd(0, EFD_NONBLOCK);
	return library_sets_parse("base numpy:base:numpy", &bench->sets, NULL);
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	size_t i;

	for (i = 0; i < CELLS; i++) {
		if (bench->worker[i] >= 0)
			close(bench->worker[i]);
		frame_reader_free(&bench->reader[i]);
	}
	close(bench->wake);
	free(bench);
	return 0;
}

static void send_frame(struct bench *bench, size_t cell, enum frame_type type, uint32_t set)
{
	struct frame_writer writer = {0};

	assert_int_equal(
		frame_append(&writer.out, type, &set, type == FRAME_READY ? sizeof(set) : 0), 0);
	assert_int_equal(frame_flush(&writer, bench->worker[cell]), 0);
	frame_writer_reset(&writer, 0);
}

static void say(struct bench *bench, size_t cell, enum frame_type type)
{
	send_frame(bench, cell, type, 0);
}

static void tell(struct bench *bench, size_t cell, enum frame_type type)
{
	say(bench, cell, type);
	pool_handle(bench->pool);
}

/* Whether the cell was told to change. */
static bool was_let_go(struct bench *bench, size_t cell)
{
	struct frame frame;
	uint32_t set = 99;

	if (frame_reader_fill(&bench->reader[cell], bench->worker[cell], NULL) <= 0)
		return false;
	assert_int_equal(frame_reader_next(&bench->reader[cell], &frame), 1);
	assert_int_equal(frame.type, FRAME_CHANGE);
	assert_int_equal(frame.length, sizeof(set));
	memcpy(&set, frame.payload, sizeof(set));
	assert_int_equal(set, 0);
	assert_int_equal(frame_reader_next(&bench->reader[cell], &frame), 0);
	return true;
}

static int acquire_set(struct bench *bench, size_t set, uint64_t patience_us, size_t *cell)
{
	const struct pool_wish wish = {.client_fd = -1,
		.wake = bench->wake,
		.wanted = set,
		.deadline_us = clock_now_us() + patience_us};

	return pool_acquire(bench->pool, &wish, cell);
}

static int acquire(struct bench *bench, uint64_t patience_us, size_t *cell)
{
	return acquire_set(bench, 0, patience_us, cell);
}

static void test_idle_cell_is_let_go(void **state)
{
	struct bench *bench = *state;
	size_t cell;

	connect_cells(bench, 2);
	tell(bench, 0, FRAME_READY);
	tell(bench, 1, FRAME_READY);
	tell(bench, 0, FRAME_LEAVING);
	assert_true(was_let_go(bench, 0));
	/* no job goes there until it stands again */
	assert_int_equal(acquire(bench, 1000, &cell), 0);
	assert_int_equal(cell, 1);
	assert_int_equal(acquire(bench, 1000, &cell), -ETIMEDOUT);
	tell(bench, 0, FRAME_READY);
	assert_int_equal(acquire(bench, 1000, &cell), 0);
	assert_int_equal(cell, 0);
}

/* It stays for whoever comes next, and goes as soon as there is another. */
static void test_last_idle_cell_stays(void **state)
{
	struct bench *bench = *state;
	size_t cell;

	connect_cells(bench, 2);
	tell(bench, 0, FRAME_READY);
	tell(bench, 0, FRAME_LEAVING);
	assert_false(was_let_go(bench, 0));
	tell(bench, 1, FRAME_READY);
	assert_true(was_let_go(bench, 0));
	tell(bench, 1, FRAME_LEAVING);
	assert_false(was_let_go(bench, 1));
	assert_int_equal(acquire(bench, 1000, &cell), 0);
	assert_int_equal(cell, 1);
}

static void test_only_cell_is_let_go(void **state)
{
	struct bench *bench = *state;

	connect_cells(bench, 1);
	tell(bench, 0, FRAME_READY);
	tell(bench, 0, FRAME_LEAVING);
	assert_true(was_let_go(bench, 0));
}

static void test_all_but_one(void **state)
{
	struct bench *bench = *state;
	size_t gone = 0, i;

	connect_cells(bench, CELLS);
	for (i = 0; i < CELLS; i++)
		say(bench, i, FRAME_READY);
	for (i = 0; i < CELLS; i++)
		say(bench, i, FRAME_LEAVING);
	pool_handle(bench->pool);
	for (i = 0; i < CELLS; i++)
		gone += was_let_go(bench, i);
	assert_int_equal(gone, CELLS - 1);
}

/* A job that crossed the cell's wish is done; then nobody gets the cell before it stands. */
static void test_wish_that_crossed_a_job(void **state)
{
	struct bench *bench = *state;
	size_t cell;

	connect_cells(bench, 1);
	tell(bench, 0, FRAME_READY);
	assert_int_equal(acquire(bench, 1000, &cell), 0);
	tell(bench, 0, FRAME_LEAVING); /* its thread reads it */
	assert_false(was_let_go(bench, 0));
	pool_release(bench->pool, cell, POOL_LEAVING);
	pool_handle(bench->pool);
	assert_int_equal(acquire(bench, 1000, &cell), -ETIMEDOUT);
	assert_false(was_let_go(bench, 0)); /* it goes by itself: its job is over */
	tell(bench, 0, FRAME_READY);
	assert_int_equal(acquire(bench, 1000, &cell), 0);
}

struct asking {
	struct bench *bench;
	size_t set;
	int result;
	size_t cell;
};

static void *ask(void *argument)
{
	struct asking *asking = argument;

	asking->result = acquire_set(asking->bench, asking->set, 5000000, &asking->cell);
	return NULL;
}

static void await_queue(struct bench *bench, size_t waiting)
{
	struct pool_counts counts = {0};

	while (counts.waiting != waiting) {
		usleep(500);
		pool_count(bench->pool, &counts);
	}
}

/* A good cell is handed on with the answer; a leaving one when it is ready, to the same waiter. */
static void test_waiter(void **state)
{
	struct bench *bench = *state;
	struct asking asking = {.bench = bench};
	struct pool_counts counts;
	pthread_t thread;
	size_t cell, round;

	connect_cells(bench, 1);
	tell(bench, 0, FRAME_READY);
	assert_int_equal(acquire(bench, 1000, &cell), 0);
	for (round = 0; round < 2; round++) {
		assert_int_equal(pthread_create(&thread, NULL, ask, &asking), 0);
		await_queue(bench, 1);
		pool_release(bench->pool, 0, round ? POOL_LEAVING : POOL_GOOD);
		pool_count(bench->pool, &counts);
		assert_int_equal(counts.waiting, round);
		if (round)
			tell(bench, 0, FRAME_READY);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(asking.result, 0);
		assert_int_equal(asking.cell, 0);
	}
}

/* While somebody waits, here for a library set, nobody idle is taken away. */
static void test_nobody_leaves_while_somebody_waits(void **state)
{
	struct bench *bench = *state;
	struct asking asking = {.bench = bench, .set = 1};
	pthread_t thread;
	size_t cell;

	connect_cells(bench, 4);
	send_frame(bench, 0, FRAME_READY, 1);
	tell(bench, 1, FRAME_READY);
	tell(bench, 2, FRAME_READY);
	tell(bench, 3, FRAME_READY);
	assert_int_equal(acquire_set(bench, 1, 1000, &cell), 0);
	assert_int_equal(cell, 0);
	assert_int_equal(pthread_create(&thread, NULL, ask, &asking), 0);
	await_queue(bench, 1); /* 1 was made to hold the set, and 0 has it */
	tell(bench, 2, FRAME_LEAVING);
	assert_false(was_let_go(bench, 2));
	pool_release(bench->pool, 0, POOL_GOOD);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(asking.cell, 0);
	tell(bench, 3, FRAME_LEAVING);
	assert_true(was_let_go(bench, 2));
	assert_false(was_let_go(bench, 3));
}

struct flooding {
	struct bench *bench;
	struct client client;
	int wake, result;
	size_t cell;
	pthread_t thread;
};

static void *flood(void *argument)
{
	struct flooding *flooding = argument;
	const struct pool_wish wish = {.client = flooding->client,
		.client_fd = -1,
		.wake = flooding->wake,
		.deadline_us = clock_now_us() + 5000000};

	flooding->result = pool_acquire(flooding->bench->pool, &wish, &flooding->cell);
	return NULL;
}

static void join_queue(struct bench *bench, struct flooding *flooding, uint64_t client)
{
	*flooding = (struct flooding){
		.bench = bench, .client = client_of_key(client), .wake = eventfd(0, EFD_NONBLOCK)};
	assert_int_equal(pthread_create(&flooding->thread, NULL, flood, flooding), 0);
}

static int result_of(struct flooding *flooding)
{
	assert_int_equal(pthread_join(flooding->thread, NULL), 0);
	close(flooding->wake);
	return flooding->result;
}

/* The queue is full of one client: its last one gives way to another client, who is the next. */
static void test_flood_gives_way(void **state)
{
	struct bench *bench = *state;
	struct flooding flooding[4], other;
	size_t cell, i;

	connect_cells(bench, 1);
	tell(bench, 0, FRAME_READY);
	assert_int_equal(acquire(bench, 1000, &cell), 0);
	for (i = 0; i < COUNT(flooding); i++) {
		join_queue(bench, &flooding[i], 1);
		await_queue(bench, i + 1);
	}
	join_queue(bench, &other, 1);
	assert_int_equal(result_of(&other), -EAGAIN);
	join_queue(bench, &other, 2);
	assert_int_equal(result_of(&flooding[3]), -EAGAIN);
	pool_release(bench->pool, 0, POOL_GOOD);
	assert_int_equal(result_of(&flooding[0]), 0);
	pool_release(bench->pool, 0, POOL_GOOD);
	assert_int_equal(result_of(&other), 0);
	for (i = 1; i < 3; i++) {
		pool_release(bench->pool, 0, POOL_GOOD);
		assert_int_equal(result_of(&flooding[i]), 0);
	}
}

/* A lane that breaks is told once, with its number, and the next one makes the cell whole. */
static void test_lost_lane(void **state)
{
	struct bench *bench = *state;
	uint32_t number = 0;
	size_t cell = 99;
	int pair[2];

	connect_cells(bench, 2);
	tell(bench, 1, FRAME_READY);
	assert_false(pool_take_lost(bench->pool, &cell, &number));
	assert_int_equal(acquire_set(bench, 0, 0, &cell), 0);
	assert_int_equal(cell, 1);
	pool_release(bench->pool, 1, POOL_BROKEN);
	assert_true(pool_take_lost(bench->pool, &cell, &number));
	assert_int_equal(cell, 1);
	assert_int_equal(number, 1);
	assert_false(pool_take_lost(bench->pool, &cell, &number));
	close(bench->worker[0]);
	pool_handle(bench->pool);
	assert_true(pool_take_lost(bench->pool, &cell, &number));
	assert_int_equal(cell, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	bench->worker[0] = pair[0];
	pool_set_lane(bench->pool, 0, pair[1], 2);
	tell(bench, 0, FRAME_READY);
	assert_int_equal(acquire_set(bench, 0, 0, &cell), 0);
	assert_int_equal(cell, 0);
	pool_release(bench->pool, 0, POOL_BROKEN);
	assert_true(pool_take_lost(bench->pool, &cell, &number));
	assert_int_equal(number, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(test_idle_cell_is_let_go),
		TEST(test_last_idle_cell_stays), TEST(test_only_cell_is_let_go),
		TEST(test_all_but_one), TEST(test_wish_that_crossed_a_job), TEST(test_waiter),
		TEST(test_flood_gives_way), TEST(test_nobody_leaves_while_somebody_waits),
		TEST(test_lost_lane)};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
