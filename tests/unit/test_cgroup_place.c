#include "tests/unit/unit.h"

#include <errno.h>

#include "sandbox/cgroup_place.h"

#define MOUNT(root, point, type, options)                                                          \
	"30 23 0:26 " root " " point " rw,nosuid shared:9 - " type " cgroup rw," options "\n"

static const char unified[] = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
	MOUNT("/", "/sys/fs/cgroup", "cgroup2", "nsdelegate");
static const char legacy[] = MOUNT("/", "/sys/fs/cgroup/unified", "cgroup2", "nsdelegate")
	MOUNT("/", "/sys/fs/cgroup/systemd", "cgroup", "xattr,name=systemd")
	MOUNT("/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct")
	MOUNT("/", "/sys/fs/cgroup/memory", "cgroup", "memory")
	MOUNT("/", "/sys/fs/cgroup/pids", "cgroup", "pids");
static const char legacy_groups[] = "9:pids:/\n8:memory:/user.slice/a.scope\n7:cpu,cpuacct:/\n"
	"1:name=systemd:/user.slice/a.scope\n0::/user.slice/a.scope\n";

struct row {
	const char *what, *mounts, *groups, *controller;
	const char *path; /* NULL: not found */
	bool is_top;
};

static const struct row rows[] = {
	{"v2, our own root", unified, "0::/\n", NULL, "/sys/fs/cgroup", true},
	{"v2, a unit", unified, "0::/system.slice/v.service\n", NULL,
		"/sys/fs/cgroup/system.slice/v.service", false},
	{"v2, no line end", unified, "0::/a", NULL, "/sys/fs/cgroup/a", false},
	{"v2 that is not mounted", "", "0::/\n", NULL, NULL, false},
	{"v2 without a line", unified, "4:memory:/\n", NULL, NULL, false},
	{"a controller that is not mounted", unified, "4:memory:/\n", "memory", NULL, false},
	{"v1 memory", legacy, legacy_groups, "memory", "/sys/fs/cgroup/memory/user.slice/a.scope",
		false},
	{"v1 pids", legacy, legacy_groups, "pids", "/sys/fs/cgroup/pids", true},
	{"v1, one of two", legacy, legacy_groups, "cpuacct", "/sys/fs/cgroup/cpu,cpuacct", true},
	{"v1, part of a name", legacy, legacy_groups, "cpua", NULL, false},
	{"v1, a name", legacy, legacy_groups, "name=systemd",
		"/sys/fs/cgroup/systemd/user.slice/a.scope", false},
	{"both, v2", legacy, legacy_groups, NULL, "/sys/fs/cgroup/unified/user.slice/a.scope", false},
	{"a container that sees its own part", MOUNT("/docker/1", "/sys/fs/cgroup", "cgroup2", "x"),
		"0::/docker/1\n", NULL, "/sys/fs/cgroup", true},
	{"deeper in it", MOUNT("/docker/1", "/sys/fs/cgroup", "cgroup2", "x"), "0::/docker/1/a\n",
		NULL, "/sys/fs/cgroup/a", false},
	{"another one's part", MOUNT("/docker/1", "/sys/fs/cgroup", "cgroup2", "x"),
		"0::/docker/12\n", NULL, NULL, false},
	{"a namespace that we are outside of", unified, "0::/../a\n", NULL, NULL, false},
	{"a mount point with a blank", MOUNT("/", "/a\\040b", "cgroup2", "x"), "0::/\n", NULL, NULL,
		false},
	{"the second mount", MOUNT("/x", "/a", "cgroup2", "x") MOUNT("/", "/b", "cgroup2", "x"),
		"0::/c\n", NULL, "/b/c", false},
	{"garbage", "a b c - d\n - \n\n", ":\n::\n\n0:\n", NULL, NULL, false},
};

static void test_places(void **state)
{
	struct cgroup_place place;
	const struct row *row;
	int r;

	(void)state;
	for (row = rows; row < rows + sizeof(rows) / sizeof(rows[0]); row++) {
		r = cgroup_place_find(row->mounts, row->groups, row->controller, &place);
		if (r != (row->path ? 0 : -ENOENT))
			fail_msg("%s: %d", row->what, r);
		if (r)
			continue;
		if (strcmp(place.path, row->path) != 0 || place.is_top != row->is_top)
			fail_msg("%s: %s, top %d", row->what, place.path, place.is_top);
		assert_int_equal(place.unified, !row->controller);
		assert_true(place.top_bytes <= strlen(place.path));
		assert_int_equal(place.is_top, place.top_bytes == strlen(place.path));
	}
}

/* A path that would have to be cut is none: cut it would be another. */
static void test_long_paths(void **state)
{
	char groups[CGROUP_PATH_BYTES + 32] = "0::/";
	struct cgroup_place place;

	(void)state;
	memset(groups + 4, 'a', CGROUP_PATH_BYTES - 2);
	assert_int_equal(cgroup_place_find(unified, groups, NULL, &place), -ENOENT);
	groups[4 + CGROUP_PATH_BYTES - 10] = '\0';
	assert_int_equal(cgroup_place_find(unified, groups, NULL, &place), -ENOENT);
	groups[300] = '\0';
	assert_int_equal(cgroup_place_find(unified, groups, NULL, &place), 0);
}

static void test_unknown_controllers(void **state)
{
	struct cgroup_place place;
	struct err err = {0};

	(void)state;
	assert_int_equal(cgroup_place_choose("no-such-controller", &place, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no-such-controller"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_long_paths),
		cmocka_unit_test(test_unknown_controllers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
