#include "tests/unit/unit.h"

#include "sandbox/cell.h"
#include "sandbox/clock.h"

enum { BASE, NUMPY, PANDAS, SCIPY, SETS };

static const size_t parents[SETS] = {BASE, BASE, NUMPY, NUMPY};

static struct cell_turns turns;
static struct cell_environment environment;

static int begin(void **state)
{
	(void)state;
	turns = (struct cell_turns){.most = 1};
	environment = (struct cell_environment){.set_parents = parents,
		.sets = SETS,
		.max_executions = 10,
		.max_age_s = 3600,
		.turns = &turns};
	return 0;
}

static struct cell young(size_t set)
{
	return (struct cell){.environment = &environment,
		.set = set,
		.born_us = clock_now_us(),
		.job = {.limits = {.wanted_set = (uint32_t)set}}};
}

static void test_young_cell_stays(void **state)
{
	struct cell cell = young(NUMPY);

	(void)state;
	cell.served = 9;
	cell_renew_after_job(&cell);
	assert_false(cell.leaving);
	assert_false(cell_renew_if_old(&cell));
	assert_int_equal(turns.taken, 0);
}

/* A limit is a limit, whoever else is on the way. */
static void test_executions(void **state)
{
	struct cell cell = young(BASE);

	(void)state;
	turns.taken = turns.most;
	cell.served = 10;
	cell_renew_after_job(&cell);
	assert_true(cell.leaving);
	assert_int_equal(turns.taken, turns.most + 1);
	cell_renew_done(&cell);
	assert_false(cell.leaving);
	assert_int_equal(turns.taken, turns.most);
	cell_renew_done(&cell);
	assert_int_equal(turns.taken, turns.most);
}

static void test_old_cells_take_turns(void **state)
{
	struct cell cells[3] = {young(BASE), young(BASE), young(BASE)};

	(void)state;
	cells[0].template_replaced = cells[1].template_replaced = true;
	environment.max_age_s = 5;
	cells[2].born_us -= 6000000;
	assert_true(cell_renew_if_old(&cells[0]));
	assert_false(cell_renew_if_old(&cells[0])); /* on its way already */
	cell_renew_after_job(&cells[0]);
	assert_int_equal(turns.taken, 1);
	cell_renew_after_job(&cells[1]);
	assert_false(cells[1].leaving);
	assert_false(cell_renew_if_old(&cells[2]));
	cells[0].template_replaced = false;
	cell_renew_done(&cells[0]);
	cell_renew_after_job(&cells[2]);
	assert_true(cells[2].leaving);
	assert_false(cell_renew_if_old(&cells[1]));
	turns.most = 2;
	assert_true(cell_renew_if_old(&cells[1]));
	assert_int_equal(turns.taken, 2);
}

static void test_wanted_set(void **state)
{
	struct cell cell = young(NUMPY);
	int i;

	(void)state;
	cell.job.limits.wanted_set = PANDAS; /* it had to import it */
	cell_renew_after_job(&cell);
	assert_true(cell.leaving);
	assert_int_equal(cell.set, PANDAS);
	cell_renew_done(&cell);
	cell.job.limits.wanted_set = BASE; /* it had too much: only after a while */
	for (i = 0; i < 7; i++) {
		cell_renew_after_job(&cell);
		assert_false(cell.leaving);
	}
	cell_renew_after_job(&cell);
	assert_true(cell.leaving);
	assert_int_equal(cell.set, BASE);
}

static void test_small_jobs_in_a_row(void **state)
{
	struct cell cell = young(SCIPY);
	int i;

	(void)state;
	for (i = 0; i < 40; i++) {
		cell.job.limits.wanted_set = i % 8 == 7 ? SCIPY : NUMPY;
		cell_renew_after_job(&cell);
		assert_false(cell.leaving);
	}
	assert_int_equal(cell.set, SCIPY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_young_cell_stays, begin),
		cmocka_unit_test_setup(test_executions, begin),
		cmocka_unit_test_setup(test_old_cells_take_turns, begin),
		cmocka_unit_test_setup(test_wanted_set, begin),
		cmocka_unit_test_setup(test_small_jobs_in_a_row, begin)};

	return cmocka_run_group_tests_name("cell_renew", tests, NULL, NULL);
}
