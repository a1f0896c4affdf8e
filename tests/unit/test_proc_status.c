#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sandbox/proc_status.h"

static int file_of(const char *text)
{
	int fd = memfd_create("status", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

static void test_fields(void **state)
{
	static const char text[] = "Name:\tpython RssAnon: 7\nPPid:\t42\nVmHWM:\t   31000 kB\n"
				   "RssAnon:\t   20000 kB\nRssShmem:\t  5 kB\nVmPTE:\t 128 kB\n"
				   "VmSwap:\t 3 kB\nThreads:\t9\n";
	struct proc_status status;
	int fd = file_of(text);

	(void)state;
	assert_int_equal(proc_status_read(fd, &status), 0);
	assert_int_equal(status.parent, 42);
	assert_int_equal(status.threads, 9);
	assert_int_equal(status.peak_kib, 31000);
	assert_int_equal(status.anon_kib, 20000);
	assert_int_equal(status.shmem_kib, 5);
	assert_int_equal(status.swap_kib, 3);
	assert_int_equal(status.tables_kib, 128);
	close(fd);
}

/* A process that has let go of its memory has no such lines. */
static void test_missing_fields(void **state)
{
	struct proc_status status;
	int fd = file_of("Name:\tpython\nPPid:\t42\n");

	(void)state;
	assert_int_equal(proc_status_read(fd, &status), 0);
	assert_int_equal(status.parent, 42);
	assert_int_equal(status.peak_kib, 0);
	close(fd);
}

static void test_ended(void **state)
{
	struct proc_status status;
	int fd = file_of("");

	(void)state;
	assert_int_equal(proc_status_read(fd, &status), -ESRCH);
	close(fd);
	assert_int_equal(proc_status_read(-1, &status), -EBADF);
}

static void test_oneself(void **state)
{
	struct proc_status status;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(proc_status_read(fd, &status), 0);
	assert_int_equal(status.parent, getppid());
	assert_int_equal(status.threads, 1);
	assert_true(status.anon_kib > 0 && status.tables_kib > 0 && status.peak_kib > 0);
	close(fd);
}

static struct proc_status status_of(const char *text)
{
	struct proc_status status;
	int fd = file_of(text);

	assert_int_equal(proc_status_read(fd, &status), 0);
	close(fd);
	return status;
}

static void test_standing(void **state)
{
	const struct proc_status running = status_of("Name:\tx\nState:\tR (running)\nThreads:\t1\n"),
				 stopped = status_of("Name:\tx\nState:\tT (stopped)\n"),
				 ended = status_of("Name:\tx\nState:\tZ (zombie)\n"),
				 stopping = status_of("Name:\tx\nState:\tR (running)\n"
						      "ShdPnd:\t0000000000040000\n"),
				 told = status_of("Name:\tx\nState:\tS (sleeping)\n"
						  "ShdPnd:\t0000000000020000\n");

	(void)state;
	assert_false(proc_status_is_standing(&running));
	assert_false(proc_status_is_standing(&told)); /* SIGCONT */
	assert_true(proc_status_is_standing(&stopped) && proc_status_is_stopped(&stopped));
	assert_true(proc_status_is_standing(&stopping) && !proc_status_is_stopped(&stopping));
	assert_true(proc_status_is_standing(&ended) && proc_status_is_dead(&ended));
	assert_false(proc_status_is_dead(&stopped));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_missing_fields),
		cmocka_unit_test(test_ended),
		cmocka_unit_test(test_oneself),
		cmocka_unit_test(test_standing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
