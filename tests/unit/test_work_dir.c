#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "sandbox/work_dir.h"

static char base[128];

static int begin(void **state)
{
	(void)state;
	return work_dir_begin(base, sizeof(base), NULL) || work_dir_add(base, "0", 0, NULL);
}

static int end(void **state)
{
	struct stat status;

	(void)state;
	work_dir_end(base);
	return stat(base, &status) == 0;
}

static int open_cell(void)
{
	char path[sizeof(base) + 2];
	int fd;

	snprintf(path, sizeof(path), "%s/0", base);
	fd = open(path, O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	return fd;
}

static void expect_cleared(int cell)
{
	struct err err = {0};
	int again;
	DIR *directory;
	struct dirent *entry;

	if (work_dir_clear(cell, &err))
		fail_msg("%s", err.text);
	again = openat(cell, ".", O_RDONLY | O_DIRECTORY);
	directory = fdopendir(again);
	assert_non_null(directory);
	while ((entry = readdir(directory)))
		assert_true(
			entry->d_name[0] == '.' && (!entry->d_name[1] || entry->d_name[1] == '.'));
	closedir(directory);
	close(cell);
}

static void make_file(int directory, const char *name)
{
	int fd = openat(directory, name, O_WRONLY | O_CREAT, 0000);

	assert_true(fd >= 0);
	close(fd);
}

/* Others may pass the base, but neither list it nor enter a cell's. */
static void test_modes(void **state)
{
	struct stat status;
	int cell = open_cell();

	(void)state;
	assert_int_equal(stat(base, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0711);
	assert_int_equal(fstat(cell, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0700);
	assert_true(work_dir_add(base, "0", 0, NULL) < 0);
	expect_cleared(cell);
}

static void test_files_and_links(void **state)
{
	int cell = open_cell();

	(void)state;
	make_file(cell, "file");
	make_file(cell, ".0"); /* as directories are called that were moved up */
	assert_int_equal(symlinkat("/etc", cell, "link"), 0);
	assert_int_equal(symlinkat("nowhere", cell, "broken"), 0);
	assert_int_equal(mkfifoat(cell, "fifo", 0), 0);
	expect_cleared(cell);
	assert_int_equal(access("/etc/passwd", R_OK), 0);
}

/* A directory behind a link is somebody else's. */
static void test_links_are_not_followed(void **state)
{
	char other[128], path[160];
	struct stat status;
	int cell = open_cell();

	(void)state;
	assert_int_equal(work_dir_begin(other, sizeof(other), NULL), 0);
	snprintf(path, sizeof(path), "%s/kept", other);
	assert_int_equal(mkdir(path, 0711), 0);
	assert_int_equal(mkdirat(cell, "directory", 0700), 0);
	assert_int_equal(symlinkat(path, cell, "directory/link"), 0);
	expect_cleared(cell);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0711);
	work_dir_end(other);
}

/* Deeper than there are descriptors, and than a path is long. */
static void test_depth(void **state)
{
	int cell = open_cell(), at = dup(cell), next, i;

	(void)state;
	for (i = 0; i < 3000; i++) {
		assert_int_equal(mkdirat(at, "deeper", 0700), 0);
		if (i % 100 == 0)
			make_file(at, "file");
		next = openat(at, "deeper", O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	expect_cleared(cell);
}

static void test_width(void **state)
{
	int cell = open_cell(), i;
	char name[32];

	(void)state;
	for (i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "%s%d", i % 2 ? "." : "", i);
		if (i % 3)
			make_file(cell, name);
		else
			assert_int_equal(mkdirat(cell, name, 0000), 0);
	}
	expect_cleared(cell);
}

/* Modes that a script left, also on the directory itself. */
static void test_rights(void **state)
{
	struct stat status;
	int cell = open_cell();

	(void)state;
	assert_int_equal(mkdirat(cell, "a", 0700), 0);
	assert_int_equal(mkdirat(cell, "a/b", 0700), 0);
	make_file(cell, "a/b/c");
	assert_int_equal(fchmodat(cell, "a/b", 0000, 0), 0);
	assert_int_equal(fchmodat(cell, "a", 0000, 0), 0);
	assert_int_equal(fchmod(cell, 0000), 0);
	expect_cleared(cell);
	cell = open_cell();
	assert_int_equal(fstat(cell, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0700);
	close(cell);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_modes, begin, end),
		cmocka_unit_test_setup_teardown(test_files_and_links, begin, end),
		cmocka_unit_test_setup_teardown(test_links_are_not_followed, begin, end),
		cmocka_unit_test_setup_teardown(test_depth, begin, end),
		cmocka_unit_test_setup_teardown(test_width, begin, end),
		cmocka_unit_test_setup_teardown(test_rights, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
