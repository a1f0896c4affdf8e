#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "sandbox/descriptors.h"

enum {
	OPEN_FROM = 3,
	OPEN_TO = 200,
};

/*
 * A child opens 3 to 199, keeps what it is told, and says in its exit status whether exactly that
 * is left. It leaves by _exit: cmocka's own descriptors are the parent's business.
 */
static int keep_in_child(const int *keep, size_t count)
{
	pid_t child = fork();
	int status;

	if (!child) {
		bool kept[OPEN_TO] = {true, true, true};
		bool right = true;

		for (int fd = OPEN_FROM; fd < OPEN_TO; fd++)
			right &= dup2(STDERR_FILENO, fd) == fd;
		for (size_t i = 0; i < count; i++)
			if (keep[i] >= 0 && keep[i] < OPEN_TO)
				kept[keep[i]] = true;
		descriptors_keep(keep, count);
		for (int fd = 0; fd < OPEN_TO; fd++)
			right &= (fcntl(fd, F_GETFD) >= 0) == kept[fd];
		_exit(right ? 0 : 1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void test_keeps_exactly(void **state)
{
	static const struct {
		int keep[6];
		size_t count;
	} cases[] = {
		{{0}, 0},
		{{3}, 1},
		{{199}, 1},
		{{100}, 1},
		{{3, 4, 5}, 3},
		{{5, 4, 3}, 3}, /* any order */
		{{9, 7, 9, 7, 9, 9}, 6}, /* any number of times */
		{{0, 1, 2}, 3}, /* those stay anyway */
		{{2, 3, 1, 199}, 4},
		{{-1, 50}, 2}, /* one that is not open */
		{{-1}, 1},
		{{199, 3, 198, 4, -1, 2}, 6},
		{{60, 1000000}, 2},
		{{60, 0x7fffffff}, 2},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (keep_in_child(cases[i].keep, cases[i].count))
			fail_msg("case %zu", i);
}

static void test_keeps_many(void **state)
{
	int keep[1024];

	(void)state;
	for (int i = 0; i < 1024; i++)
		keep[i] = 3 + i * 7 % 197; /* all of them, mixed, some twice */
	assert_int_equal(keep_in_child(keep, 1024), 0);
	assert_int_equal(keep_in_child(keep, 100), 0);
}

static void test_too_many_is_a_mistake(void **state)
{
	int keep[1025] = {0};
	int status = keep_in_child(keep, 1025);

	(void)state;
	assert_true(WIFSIGNALED(status));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeps_exactly),
		cmocka_unit_test(test_keeps_many),
		cmocka_unit_test(test_too_many_is_a_mistake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
