#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "fcgi-app/child.h"
#include "sandbox/clock.h"

enum { EXITED_1 = 1 << 8 };

static void echo(const void *context, int control)
{
	const char *text = context;

	if (write(control, text, strlen(text)) < 0)
		_exit(2);
	pause();
}

static void test_start_and_kill(void **state)
{
	struct child child;
	char text[16] = "";
	int status;

	(void)state;
	child_init(&child);
	assert_int_equal(child.control, -1);
	child_kill(&child); /* nobody */
	assert_int_equal(child_start(&child, -1, echo, "here"), 0);
	assert_true(child.pid > 0);
	assert_int_equal(read(child.control, text, sizeof(text) - 1), 4);
	assert_string_equal(text, "here");
	child_kill(&child);
	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	child_note_death(&child, "child", status, true);
	assert_int_equal(child.pid, 0);
	assert_int_equal(child.control, -1);
}

static uint64_t wait_after_death(struct child *child)
{
	uint64_t before = clock_now_us();

	child_note_death(child, "child", EXITED_1, true);
	assert_false(child_is_due(child, before));
	assert_true(child_is_due(child, child->retry_us));
	return (child->retry_us - before) / 1000;
}

static void test_back_off(void **state)
{
	static const uint64_t waits_ms[] = {50, 100, 200, 400, 800, 1600, 3200, 5000, 5000};
	struct child child;
	uint64_t waited;

	(void)state;
	child_init(&child);
	assert_false(child_is_due(&child, UINT64_MAX));
	for (size_t i = 0; i < COUNT(waits_ms); i++) {
		child.started_us = clock_now_us();
		waited = wait_after_death(&child);
		assert_in_range(waited, waits_ms[i], waits_ms[i] + 40);
	}
	/* one that has lived for long begins anew */
	child.started_us = clock_now_us() - 11000000;
	assert_in_range(wait_after_death(&child), 50, 90);
}

static void test_longest_wait(void **state)
{
	struct child child;
	uint64_t waited = 0;

	(void)state;
	child_init(&child);
	child.retry_last_us = 300000000;
	for (int i = 0; i < 40; i++) {
		child.started_us = clock_now_us();
		waited = wait_after_death(&child);
	}
	assert_in_range(waited, 300000, 300040);
}

static void test_attempt(void **state)
{
	struct child child;

	(void)state;
	child_init(&child);
	child_note_attempt(&child, 0, "child");
	assert_int_equal(child.retry_us, 0);
	child_note_attempt(&child, -EAGAIN, "child");
	assert_in_range(child.retry_us, clock_now_us() + 4900000, clock_now_us() + 5000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_start_and_kill),
		cmocka_unit_test(test_back_off), cmocka_unit_test(test_longest_wait),
		cmocka_unit_test(test_attempt)};

	return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
