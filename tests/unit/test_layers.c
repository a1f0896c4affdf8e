#include "tests/unit/unit.h"

#include <errno.h>
#include <sched.h>

#include "sandbox/arrangement.h"
#include "sandbox/identity.h"

static const uint32_t all = LAYER_BIT(LAYER_COUNT) - 1;

static uint32_t without(enum layer layer)
{
	return all & ~LAYER_BIT(layer);
}

static uint32_t expect_plan(enum isolation isolation, uint32_t found)
{
	struct err err = {0};
	uint32_t plan = 0xdeadbeef;

	assert_int_equal(layers_plan(isolation, found, &plan, &err), 0);
	assert_int_equal(err.code, 0);
	return plan;
}

static void expect_refusal(enum isolation isolation, uint32_t found, const char *name)
{
	struct err err = {0};
	uint32_t plan = 0xdeadbeef;

	assert_int_equal(layers_plan(isolation, found, &plan, &err), -ENOTSUP);
	assert_int_equal(plan, 0xdeadbeef);
	assert_non_null(strstr(err.text, name));
}

/* Every one of them is asked for; those that full does not name are not. */
static void test_full(void **state)
{
	int layer;

	(void)state;
	assert_int_equal(expect_plan(ISOLATION_FULL, all), without(LAYER_LANDLOCK));
	for (layer = 0; layer < LAYER_COUNT; layer++) {
		if (layer == LAYER_OWN_UID || layer == LAYER_LANDLOCK)
			expect_plan(ISOLATION_FULL, without((enum layer)layer));
		else
			expect_refusal(ISOLATION_FULL, without((enum layer)layer),
				layer_name((enum layer)layer));
	}
}

static void test_least(void **state)
{
	static const enum layer least[] = {
		LAYER_SECCOMP, LAYER_CAPABILITIES, LAYER_NO_NEW_PRIVS, LAYER_RLIMITS};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(least) / sizeof(least[0]); i++) {
		expect_refusal(ISOLATION_AVAILABLE, without(least[i]), layer_name(least[i]));
		assert_false(
			LAYER_HAS(expect_plan(ISOLATION_PLATFORM, without(least[i])), least[i]));
	}
	expect_refusal(
		ISOLATION_AVAILABLE, without(LAYER_MOUNT) & without(LAYER_LANDLOCK), "landlock");
	assert_int_equal(expect_plan(ISOLATION_PLATFORM, 0), 0);
}

/* Landlock comes where mounts are missing, and what rests on a missing layer goes with it. */
static void test_what_rests_on_what(void **state)
{
	uint32_t plan = expect_plan(ISOLATION_AVAILABLE, without(LAYER_MOUNT));

	(void)state;
	assert_true(LAYER_HAS(plan, LAYER_LANDLOCK));
	assert_false(LAYER_HAS(plan, LAYER_PROCFS));
	assert_true(LAYER_HAS(plan, LAYER_PID));
	plan = expect_plan(ISOLATION_AVAILABLE, without(LAYER_USER));
	assert_int_equal(plan, LAYER_BIT(LAYER_SECCOMP) | LAYER_BIT(LAYER_CAPABILITIES) |
				       LAYER_BIT(LAYER_NO_NEW_PRIVS) | LAYER_BIT(LAYER_RLIMITS) |
				       LAYER_BIT(LAYER_OWN_UID) | LAYER_BIT(LAYER_LANDLOCK));
	plan = expect_plan(ISOLATION_AVAILABLE, without(LAYER_PID));
	assert_true(LAYER_HAS(plan, LAYER_MOUNT));
	assert_false(LAYER_HAS(plan, LAYER_LANDLOCK));
}

static void test_print(void **state)
{
	char text[200], cut[8];

	(void)state;
	layers_print(0, text, sizeof(text));
	assert_string_equal(text, "none");
	layers_print(LAYER_BIT(LAYER_USER) | LAYER_BIT(LAYER_LANDLOCK), text, sizeof(text));
	assert_string_equal(text, "user landlock");
	layers_print(all, cut, sizeof(cut));
	assert_string_equal(cut, "user pi");
	assert_string_equal(layer_name(LAYER_COUNT), "?");
}

static void test_arrangement_is_one_word(void **state)
{
	struct arrangement arrangement = {.layers = 0x1234,
				   .ranged = true,
				   .id_base = 16384,
				   .work = "/tmp/vivarium-a:b"},
			   back;
	static const char *const bad[] = {"", "ranged", "ranged:1", "ranged:1:2",
		"single:x:2:", "other:1:2:", "ranged 1 2 /tmp"};
	char text[ARRANGEMENT_TEXT_BYTES], path[2 * ARRANGEMENT_PATH_BYTES];
	size_t i;

	(void)state;
	arrangement_print(&arrangement, text);
	assert_int_equal(arrangement_parse(text, &back), 0);
	assert_int_equal(back.layers, 0x1234);
	assert_true(back.ranged);
	assert_int_equal(back.id_base, 16384);
	assert_string_equal(back.work, "/tmp/vivarium-a:b");
	arrangement.work[0] = '\0';
	arrangement.ranged = false;
	arrangement_print(&arrangement, text);
	assert_int_equal(arrangement_parse(text, &back), 0);
	assert_false(back.ranged);
	assert_string_equal(back.work, "");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(arrangement_parse(bad[i], &back), -EINVAL);
	memset(path, 'x', sizeof(path));
	memcpy(path, "single:1:2:", 11);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(arrangement_parse(path, &back), -EINVAL);
}

/* Who needs the further filter: scripts that share an id with what no namespace hides. */
static void test_exposed(void **state)
{
	const uint32_t user = LAYER_BIT(LAYER_USER), pid = LAYER_BIT(LAYER_PID),
		       mounts = LAYER_BIT(LAYER_MOUNT);
	static const struct {
		bool ranged, user, pid, mount, exposed, own_id;
	} rows[] = {
		{true, true, true, true, false, false},
		{false, true, true, true, false, false},
		{true, false, false, false, false, true},
		{false, false, false, false, true, false},
		{true, true, true, false, false, false},
		{false, true, true, false, true, false},
		{true, true, false, true, true, false},
		{false, true, false, true, true, false},
	};
	struct arrangement arrangement;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		arrangement = (struct arrangement){.ranged = rows[i].ranged,
			.id_base = 1000000,
			.layers = (rows[i].user ? user : 0) | (rows[i].pid ? pid : 0) |
				  (rows[i].mount ? mounts : 0)};
		assert_int_equal(arrangement_is_exposed(&arrangement), rows[i].exposed);
		assert_int_equal(
			arrangement_execution_id(&arrangement, 1000000 + IDENTITY_CELL_FIRST + 7),
			rows[i].own_id ? 1000000 + IDENTITY_EXECUTION_FIRST + 7 : 0);
		assert_int_equal(arrangement_id(&arrangement, IDENTITY_DISPATCHER),
			rows[i].ranged ? 1000000 + IDENTITY_DISPATCHER : 0);
	}
}

static void test_flags(void **state)
{
	struct arrangement arrangement = {.layers = LAYER_BIT(LAYER_USER) | LAYER_BIT(LAYER_IPC)};

	(void)state;
	assert_int_equal(
		arrangement_flags(&arrangement, CLONE_NEWUSER | CLONE_NEWNET), CLONE_NEWUSER);
	assert_int_equal(arrangement_flags(&arrangement, CLONE_NEWIPC), CLONE_NEWIPC);
	arrangement.layers = 0;
	assert_int_equal(arrangement_flags(&arrangement, CLONE_NEWIPC | CLONE_NEWNS), 0);
	assert_int_equal(arrangement_unshare(&arrangement, CLONE_NEWIPC | CLONE_NEWNS, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_what_rests_on_what),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_arrangement_is_one_word),
		cmocka_unit_test(test_exposed),
		cmocka_unit_test(test_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
