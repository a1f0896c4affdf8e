/* The files of a leaf are what the kernel makes of them; here they are files. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sandbox/cell_group.h"

static struct cgroup_leaf leaf;
static struct cgroup cgroup;

static void put(enum cgroup_file file, const char *text)
{
	assert_int_equal(ftruncate(leaf.file[file], 0), 0);
	assert_int_equal(lseek(leaf.file[file], 0, SEEK_SET), 0);
	assert_int_equal(write(leaf.file[file], text, strlen(text)), strlen(text));
	/* what is written to a control file does not append */
	assert_int_equal(lseek(leaf.file[file], 0, SEEK_SET), 0);
}

/* What was written since the file was last put. */
static const char *got(enum cgroup_file file)
{
	static char text[64];
	ssize_t n = pread(leaf.file[file], text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void events(int limit, int deaths)
{
	char text[128];

	snprintf(text, sizeof(text), "low 0\nhigh 0\nmax 9\noom %d\noom_kill %d\noom_group_kill 7\n",
		limit, deaths);
	put(CGROUP_MEMORY_EVENTS, text);
}

static int open_leaf(void **state)
{
	static struct cell_group group;
	int i;

	for (i = 0; i < CGROUP_FILES; i++)
		leaf.file[i] = memfd_create("leaf", MFD_CLOEXEC);
	cgroup = (struct cgroup){.memory = true, .pids = true, .unified = true, .resettable = true};
	group = (struct cell_group){.cgroup = &cgroup, .leaf = &leaf};
	*state = &group;
	put(CGROUP_MEMORY_CURRENT, "10485760\n");
	events(2, 1);
	return 0;
}

static int close_leaf(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < CGROUP_FILES; i++)
		close(leaf.file[i]);
	return 0;
}

static void test_renew(void **state)
{
	struct cell_group *group = *state;

	group->limit_bytes = 77;
	assert_int_equal(cell_group_renew(group, 128), 0);
	assert_string_equal(got(CGROUP_KILL), "1");
	assert_string_equal(got(CGROUP_MEMORY_MAX), "max");
	assert_string_equal(got(CGROUP_SWAP), "0");
	assert_string_equal(got(CGROUP_OOM_GROUP), "1");
	assert_string_equal(got(CGROUP_PIDS_MAX), "136");
	assert_string_equal(got(CGROUP_CPU_WEIGHT), "100");
	assert_int_equal(group->limit_bytes, 0);
}

static void test_renew_v1(void **state)
{
	struct cell_group *group = *state;

	cgroup.unified = false;
	close(leaf.file[CGROUP_KILL]);
	leaf.file[CGROUP_KILL] = -1;
	assert_int_equal(cell_group_renew(group, 1), 0);
	assert_string_equal(got(CGROUP_MEMORY_MAX), "-1");
}

static void test_limit(void **state)
{
	struct cell_group *group = *state;
	const struct job_limits limits = {.memory_mib = 64};

	cell_group_note_parked(group);
	assert_int_equal(group->base_bytes, 10 << 20);
	assert_int_equal(cell_group_limit_job(group, &limits, 5 << 20), 0);
	assert_string_equal(got(CGROUP_MEMORY_MAX), "83886080"); /* 80 MiB: always up to the next */
	put(CGROUP_MEMORY_MAX, "");
	assert_int_equal(cell_group_limit_job(group, &limits, (5 << 20) + 4096), 0);
	assert_string_equal(got(CGROUP_MEMORY_MAX), ""); /* the same: not written again */
	assert_int_equal(cell_group_limit_job(group, &limits, 6 << 20), 0);
	assert_string_equal(got(CGROUP_MEMORY_MAX), "84934656");
}

static void test_limit_that_cannot_be_written(void **state)
{
	struct cell_group *group = *state;
	const struct job_limits limits = {.memory_mib = 64};

	close(leaf.file[CGROUP_MEMORY_MAX]);
	leaf.file[CGROUP_MEMORY_MAX] = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_int_equal(cell_group_limit_job(group, &limits, 0), -ENOSPC);
	assert_int_equal(group->limit_bytes, 0); /* it is tried again next time */
}

static void test_strike(void **state)
{
	struct cell_group *group = *state;
	const struct job_limits limits = {.memory_mib = 64};
	uint64_t used = 5;

	cell_group_note_parked(group);
	assert_false(cell_group_was_struck(group, &used));
	assert_int_equal(cell_group_limit_job(group, &limits, 0), 0);
	assert_false(cell_group_was_struck(group, &used));
	events(3, 1); /* at the limit, and nobody died */
	assert_false(cell_group_was_struck(group, &used));
	events(2, 2); /* the machine had no memory left: not for this limit */
	assert_false(cell_group_was_struck(group, &used));
	assert_int_equal(used, 5);
	events(3, 2);
	assert_true(cell_group_was_struck(group, &used));
	assert_int_equal(used, 65 << 20);
}

static void test_strike_v1(void **state)
{
	struct cell_group *group = *state;
	const struct job_limits limits = {.memory_mib = 64};
	uint64_t used;

	cgroup.unified = false;
	put(CGROUP_MEMORY_EVENTS, "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
	cell_group_note_parked(group);
	assert_int_equal(cell_group_limit_job(group, &limits, 0), 0);
	assert_false(cell_group_was_struck(group, &used));
	put(CGROUP_MEMORY_EVENTS, "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
	assert_true(cell_group_was_struck(group, &used));
}

static void test_peak(void **state)
{
	struct cell_group *group = *state;

	put(CGROUP_MEMORY_PEAK, "99999999\n");
	cell_group_note_parked(group);
	assert_string_equal(got(CGROUP_MEMORY_PEAK), "09999999\n"); /* a write resets it */
	put(CGROUP_MEMORY_PEAK, "12582912\n");
	assert_int_equal(cell_group_peak_bytes(group), 2 << 20);
	put(CGROUP_MEMORY_PEAK, "1\n");
	assert_int_equal(cell_group_peak_bytes(group), 0);
}

/* Linux before 6.12: the peak of all jobs; it tells about this one only if it rises. */
static void test_peak_that_stays(void **state)
{
	struct cell_group *group = *state;

	cgroup.resettable = false;
	put(CGROUP_MEMORY_PEAK, "31457280\n");
	cell_group_note_parked(group);
	assert_int_equal(cell_group_peak_bytes(group), 0);
	put(CGROUP_MEMORY_PEAK, "41943040\n");
	assert_int_equal(cell_group_peak_bytes(group), 30 << 20);
}

static void test_joins(void **state)
{
	struct cell_group *group = *state;
	int fds[CGROUP_HIERARCHIES_MAX];

	assert_int_equal(cell_group_joins(group, fds), 3);
	assert_int_equal(fds[0], leaf.file[CGROUP_JOIN_FIRST]);
	assert_int_equal(fds[1], leaf.file[CGROUP_JOIN_SECOND]);
	assert_int_equal(fds[2], leaf.file[CGROUP_JOIN_THIRD]);
	close(leaf.file[CGROUP_JOIN_SECOND]);
	leaf.file[CGROUP_JOIN_SECOND] = -1;
	assert_int_equal(cell_group_joins(group, fds), 2);
	assert_int_equal(fds[1], leaf.file[CGROUP_JOIN_THIRD]);
}

static void test_without_a_leaf(void **state)
{
	struct cell_group group = {.cgroup = &cgroup};
	const struct job_limits limits = {.memory_mib = 64};
	uint64_t used;
	int fds[CGROUP_HIERARCHIES_MAX];

	(void)state;
	assert_int_equal(cell_group_renew(&group, 1), 0);
	assert_int_equal(cell_group_joins(&group, fds), 0);
	cell_group_note_parked(&group);
	assert_int_equal(cell_group_limit_job(&group, &limits, 0), 0);
	assert_int_equal(cell_group_peak_bytes(&group), 0);
	assert_false(cell_group_was_struck(&group, &used));
	assert_false(cell_group_limits_memory(&group));
}

#define WITH_LEAF(test) cmocka_unit_test_setup_teardown(test, open_leaf, close_leaf)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_LEAF(test_renew),
		WITH_LEAF(test_renew_v1),
		WITH_LEAF(test_limit),
		WITH_LEAF(test_limit_that_cannot_be_written),
		WITH_LEAF(test_strike),
		WITH_LEAF(test_strike_v1),
		WITH_LEAF(test_peak),
		WITH_LEAF(test_peak_that_stays),
		WITH_LEAF(test_joins),
		WITH_LEAF(test_without_a_leaf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
