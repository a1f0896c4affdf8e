#include "tests/unit/unit.h"

#include "sandbox/cell_state.h"

/* Calls a function for every pair of state and event. */
static void walk(void (*check)(enum cell_state, enum cell_event, struct cell_transition))
{
	for (int state = 0; state < CELL_STATE_COUNT; state++)
		for (int event = 0; event < CELL_EVENT_COUNT; event++)
			check((enum cell_state)state, (enum cell_event)event,
				cell_transition((enum cell_state)state, (enum cell_event)event));
}

#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_msg("%s on %s: not %s", cell_state_name(state),                       \
				cell_event_name(event), #condition);                               \
	} while (0)

/* A script of the client's runs, or may. */
static bool is_busy(enum cell_state state)
{
	return state == CELL_RUNNING || state == CELL_FINISHING || state == CELL_TRACING;
}

static bool ends_execution(enum cell_action action)
{
	return action == CELL_ACTION_CONCLUDE || action == CELL_ACTION_DISCARD ||
	       action == CELL_ACTION_FAIL;
}

static void check_enums(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	EXPECT((unsigned)transition.next < CELL_STATE_COUNT);
	EXPECT((unsigned)transition.action < CELL_ACTION_COUNT);
}

static void test_every_pair_is_of_the_enums(void **state)
{
	(void)state;
	walk(check_enums);
}

/* A pair that nobody wrote is all zeros, "go DOWN and do nothing": only DOWN may say that. */
static void check_written(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	EXPECT(state == CELL_DOWN || transition.next != CELL_DOWN ||
		transition.action != CELL_ACTION_NONE);
}

static void test_every_pair_is_written(void **state)
{
	(void)state;
	walk(check_written);
}

/* Each action leads to the one state that it is meant for. */
static void check_action(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	switch (transition.action) {
	case CELL_ACTION_NONE:
		EXPECT(transition.next == state);
		break;
	case CELL_ACTION_START:
		EXPECT(transition.next == CELL_STARTING);
		break;
	case CELL_ACTION_FORK:
	case CELL_ACTION_CONCLUDE:
	case CELL_ACTION_DISCARD:
		EXPECT(transition.next == CELL_FORKING);
		break;
	case CELL_ACTION_OFFER:
		EXPECT(transition.next == CELL_PARKED);
		break;
	case CELL_ACTION_RUN:
		EXPECT(transition.next == CELL_RUNNING);
		break;
	case CELL_ACTION_FINISH:
		EXPECT(transition.next == CELL_FINISHING);
		break;
	case CELL_ACTION_TRACE:
		EXPECT(transition.next == CELL_TRACING);
		break;
	case CELL_ACTION_FAIL:
		EXPECT(transition.next == CELL_DOWN);
		break;
	case CELL_ACTION_COUNT:
	default:
		EXPECT(!"a known action");
	}
}

static void test_actions_and_states_agree(void **state)
{
	(void)state;
	walk(check_action);
}

/* A job runs in a parked execution, waits while one comes, and anywhere else is out of step. */
static void check_job(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	EXPECT((transition.action == CELL_ACTION_RUN) ==
		(state == CELL_PARKED && event == CELL_EVENT_JOB));
	if (event == CELL_EVENT_JOB && (state == CELL_STARTING || state == CELL_FORKING))
		EXPECT(transition.action == CELL_ACTION_NONE);
	else if (event == CELL_EVENT_JOB && state != CELL_PARKED)
		EXPECT(transition.action == CELL_ACTION_FAIL);
	EXPECT((transition.action == CELL_ACTION_OFFER) ==
		(state == CELL_FORKING && event == CELL_EVENT_IS_PARKED));
}

static void test_jobs_run_only_where_parked(void **state)
{
	(void)state;
	walk(check_job);
}

/* What ran a client's script is ended before anything else happens in the cell. */
static void check_no_survivor(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	if (is_busy(state) && !is_busy(transition.next))
		EXPECT(ends_execution(transition.action));
	if (is_busy(state) && event == CELL_EVENT_ABANDONED)
		EXPECT(transition.action == CELL_ACTION_DISCARD);
	if (!is_busy(state) && is_busy(transition.next))
		EXPECT(state == CELL_PARKED && event == CELL_EVENT_JOB);
}

static void test_no_execution_survives_its_job(void **state)
{
	(void)state;
	walk(check_no_survivor);
}

/* Nobody is answered who did not ask, and nobody is answered twice. */
static void check_answers(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	if (transition.action == CELL_ACTION_CONCLUDE || transition.action == CELL_ACTION_DISCARD)
		EXPECT(is_busy(state));
	if (transition.action == CELL_ACTION_DISCARD)
		EXPECT(event == CELL_EVENT_ABANDONED);
}

static void test_answers_only_to_who_asked(void **state)
{
	(void)state;
	walk(check_answers);
}

static void check_lost(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	if (event != CELL_EVENT_LOST)
		return;
	EXPECT(transition.next == CELL_DOWN);
	EXPECT(transition.action == (state == CELL_DOWN ? CELL_ACTION_NONE : CELL_ACTION_FAIL));
}

static void test_lost_leads_down(void **state)
{
	(void)state;
	walk(check_lost);
}

/* What a script can bring about by itself: never the end of its cell. */
static void check_script_cannot_fail_cell(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	bool by_script = event == CELL_EVENT_IS_PARKED || event == CELL_EVENT_VALUE ||
			 event == CELL_EVENT_CLAIM || event == CELL_EVENT_FINISHED ||
			 event == CELL_EVENT_EXITED;

	if (is_busy(state) && by_script)
		EXPECT(transition.action != CELL_ACTION_FAIL);
	if (is_busy(state) && event == CELL_EVENT_IS_PARKED)
		EXPECT(transition.action == CELL_ACTION_NONE);
}

static void test_a_script_cannot_fail_its_cell(void **state)
{
	(void)state;
	walk(check_script_cannot_fail_cell);
}

/* Every state with a time of its own moves when that is over, and a running one is bounded. */
static void check_deadline(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	if (event != CELL_EVENT_DEADLINE)
		return;
	EXPECT(transition.next != state);
	if (state == CELL_RUNNING)
		EXPECT(transition.next == CELL_TRACING);
	else if (is_busy(state))
		EXPECT(transition.action == CELL_ACTION_CONCLUDE);
}

static void test_deadlines_move(void **state)
{
	enum cell_state now = CELL_RUNNING;
	int steps = 0;

	walk(check_deadline);
	for (; is_busy(now) && steps < 10; steps++)
		now = cell_transition(now, CELL_EVENT_DEADLINE).next;
	assert_int_equal(steps, 2);
	(void)state;
}

/* The first value counts: a claim or another value after it changes nothing. */
static void test_first_word_counts(void **state)
{
	static const enum cell_event late[] = {CELL_EVENT_VALUE, CELL_EVENT_CLAIM};
	static const enum cell_state after[] = {CELL_FINISHING, CELL_TRACING};

	(void)state;
	for (size_t i = 0; i < COUNT(after); i++)
		for (size_t j = 0; j < COUNT(late); j++) {
			struct cell_transition transition = cell_transition(after[i], late[j]);

			assert_int_equal(transition.next, after[i]);
			assert_int_equal(transition.action, CELL_ACTION_NONE);
		}
}

/* A worn cell is replaced while it holds no script of a client's, never under one. */
static void check_worn(
	enum cell_state state, enum cell_event event, struct cell_transition transition)
{
	if (event != CELL_EVENT_WORN)
		return;
	if (state == CELL_FORKING || state == CELL_PARKED)
		EXPECT(transition.action == CELL_ACTION_START);
	else
		EXPECT(transition.action == CELL_ACTION_NONE);
}

static void test_worn_cells_are_replaced(void **state)
{
	(void)state;
	walk(check_worn);
}

static void test_one_whole_life(void **state)
{
	static const struct {
		enum cell_event event;
		enum cell_state next;
	} life[] = {
		{CELL_EVENT_RETRY, CELL_STARTING},
		{CELL_EVENT_HELLO, CELL_FORKING},
		{CELL_EVENT_IS_PARKED, CELL_PARKED},
		{CELL_EVENT_JOB, CELL_RUNNING},
		{CELL_EVENT_VALUE, CELL_FINISHING},
		{CELL_EVENT_FINISHED, CELL_FORKING},
		{CELL_EVENT_IS_PARKED, CELL_PARKED},
		{CELL_EVENT_JOB, CELL_RUNNING},
		{CELL_EVENT_DEADLINE, CELL_TRACING},
		{CELL_EVENT_EXITED, CELL_FORKING},
		{CELL_EVENT_WORN, CELL_STARTING},
		{CELL_EVENT_LOST, CELL_DOWN},
	};
	enum cell_state now = CELL_DOWN;

	(void)state;
	for (size_t i = 0; i < COUNT(life); i++) {
		now = cell_transition(now, life[i].event).next;
		assert_int_equal(now, life[i].next);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(cell_state_name(CELL_DOWN), "DOWN");
	assert_string_equal(cell_state_name(CELL_TRACING), "TRACING");
	assert_string_equal(cell_event_name(CELL_EVENT_RETRY), "RETRY");
	assert_string_equal(cell_event_name(CELL_EVENT_LOST), "LOST");
	for (int i = 0; i < CELL_STATE_COUNT; i++)
		assert_true(strlen(cell_state_name((enum cell_state)i)) > 0);
	for (int i = 0; i < CELL_EVENT_COUNT; i++)
		assert_true(strlen(cell_event_name((enum cell_event)i)) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_pair_is_of_the_enums),
		cmocka_unit_test(test_every_pair_is_written),
		cmocka_unit_test(test_actions_and_states_agree),
		cmocka_unit_test(test_jobs_run_only_where_parked),
		cmocka_unit_test(test_no_execution_survives_its_job),
		cmocka_unit_test(test_answers_only_to_who_asked),
		cmocka_unit_test(test_lost_leads_down),
		cmocka_unit_test(test_a_script_cannot_fail_its_cell),
		cmocka_unit_test(test_deadlines_move),
		cmocka_unit_test(test_first_word_counts),
		cmocka_unit_test(test_worn_cells_are_replaced),
		cmocka_unit_test(test_one_whole_life),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
