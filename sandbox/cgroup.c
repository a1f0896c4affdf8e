#include "sandbox/cgroup.h"

#include "sandbox/cgroup_keeper.h"
#include "sandbox/cgroup_place.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum controller {
	MEMORY,
	PIDS,
	CPU, /* it shares, it does not limit */
	CONTROLLERS,
};

static const char *const names[CONTROLLERS] = {"memory", "pids", "cpu"};

enum {
	MOVES_MAX = 50, /* rounds of moving processes that fork meanwhile */
	SERVICE_WEIGHT = 800, /* cells have 100 each: who answers comes before who computes */
};

static const struct file {
	enum controller controller; /* CONTROLLERS: of every group of the hierarchy */
	const char *unified, *v1; /* NULL: has none */
	int flags;
	bool required; /* else an old kernel may lack it */
} files[CGROUP_FILES] = {
	[CGROUP_JOIN_FIRST] = {CONTROLLERS, "cgroup.procs", "cgroup.procs", O_WRONLY, true},
	[CGROUP_JOIN_SECOND] = {CONTROLLERS, "cgroup.procs", "cgroup.procs", O_WRONLY, true},
	[CGROUP_JOIN_THIRD] = {CONTROLLERS, "cgroup.procs", "cgroup.procs", O_WRONLY, true},
	[CGROUP_KILL] = {CONTROLLERS, "cgroup.kill", NULL, O_WRONLY, true},
	[CGROUP_MEMORY_MAX] = {MEMORY, "memory.max", "memory.limit_in_bytes", O_WRONLY, true},
	[CGROUP_SWAP] = {MEMORY, "memory.swap.max", "memory.swappiness", O_WRONLY, false},
	[CGROUP_OOM_GROUP] = {MEMORY, "memory.oom.group", NULL, O_WRONLY, true},
	[CGROUP_MEMORY_CURRENT] = {MEMORY, "memory.current", "memory.usage_in_bytes", O_RDONLY,
		true},
	[CGROUP_MEMORY_PEAK] = {MEMORY, "memory.peak", "memory.max_usage_in_bytes", O_RDWR, true},
	[CGROUP_MEMORY_EVENTS] = {MEMORY, "memory.events", "memory.oom_control", O_RDONLY, true},
	[CGROUP_PIDS_MAX] = {PIDS, "pids.max", "pids.max", O_WRONLY, true},
	[CGROUP_CPU_WEIGHT] = {CPU, "cpu.weight", "cpu.shares", O_WRONLY, true},
};

/* One hierarchy that is used: v2 for all controllers, or one of v1 for each. */
struct hierarchy {
	struct cgroup_place place;
	struct cgroup_kept kept; /* the group that is ours, and our subtree in it */
	bool has[CONTROLLERS];
};

struct plan {
	struct hierarchy hierarchy[CGROUP_HIERARCHIES_MAX];
	size_t count;
};

static int write_at(int directory, const char *path, const char *text, struct err *err)
{
	SCOPE_FD fd = openat(directory, path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return err_set(err, errno, "write %s to %s of the control group", text, path);
	return 0;
}

/* --- where --------------------------------------------------------------------------------- */

static struct hierarchy *add_hierarchy(struct plan *plan, const struct cgroup_place *place)
{
	size_t i;

	for (i = 0; i < plan->count; i++) {
		if (strcmp(plan->hierarchy[i].place.path, place->path) == 0)
			return &plan->hierarchy[i];
	}
	plan->hierarchy[plan->count] = (struct hierarchy){.place = *place,
		.kept = {.parent = -1, .top = -1}};
	return &plan->hierarchy[plan->count++];
}

/* One more clause of what is said to people. */
static void add_clause(struct cgroup *cgroup, enum controller controller, const char *clause)
{
	size_t used = strlen(cgroup->text);

	snprintf(cgroup->text + used, sizeof(cgroup->text) - used, "%s%s: %s", used ? "; " : "",
		names[controller], clause);
}

static bool plan_controller(struct cgroup *cgroup, struct plan *plan, enum controller controller)
{
	struct cgroup_place place;
	struct err err = {0};

	if (cgroup_place_choose(names[controller], &place, &err) < 0) {
		add_clause(cgroup, controller, err.text);
		return false;
	}
	add_hierarchy(plan, &place)->has[controller] = true;
	add_clause(cgroup, controller, place.unified ? "control groups v2" : "control groups v1");
	return true;
}

/* --- the subtree --------------------------------------------------------------------------- */

/*
 * Takes the first free number. Whoever lives has locked its subtree; all else is of the dead.
 * The group that is ours is locked meanwhile, so that nobody removes what is not locked yet.
 */
static int make_top(struct cgroup_kept *kept, struct err *err)
{
	unsigned number;

	for (number = 0;; number++) {
		snprintf(kept->name, sizeof(kept->name), CGROUP_KEPT_PREFIX "%u", number);
		if (mkdirat(kept->parent, kept->name, 0755) == 0)
			break;
		if (errno != EEXIST)
			return err_set(err, errno, "make the control group %s", kept->name);
	}
	kept->top = openat(kept->parent, kept->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (kept->top < 0 || flock(kept->top, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, errno, "lock the control group %s", kept->name);
	return 0;
}

static int open_hierarchy(struct hierarchy *hierarchy, struct err *err)
{
	struct cgroup_kept *kept = &hierarchy->kept;
	int r;

	kept->parent = open(hierarchy->place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (kept->parent < 0 || flock(kept->parent, LOCK_EX) < 0)
		return err_set(err, errno, "lock %.140s", hierarchy->place.path);
	cgroup_keeper_remove_dead(kept->parent);
	r = make_top(kept, err);
	flock(kept->parent, LOCK_UN);
	return r;
}

/* v2 has processes in leaves only: what is in the group that is ours moves, ourselves included. */
static int move_processes_away(int parent, struct err *err)
{
	char pids[4096], *pid, *next;
	SCOPE_FD source = openat(parent, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	SCOPE_FD target = -1;
	int round;
	ssize_t n;

	if (mkdirat(parent, CGROUP_REST, 0755) < 0 && errno != EEXIST)
		return err_set(err, errno, "make the control group " CGROUP_REST);
	target = openat(parent, CGROUP_REST "/cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (source < 0 || target < 0)
		return err_set(err, errno, "open cgroup.procs");
	for (round = 0; round < MOVES_MAX; round++) {
		n = pread(source, pids, sizeof(pids) - 1, 0);
		if (n <= 0)
			return n < 0 ? err_set(err, errno, "read cgroup.procs") : 0;
		pids[n] = '\0';
		for (pid = strtok_r(pids, "\n", &next); pid; pid = strtok_r(NULL, "\n", &next)) {
			/* one that has ended meanwhile is not missed; the next round shows the rest */
			if (write(target, pid, strlen(pid)) < 0 && errno != ESRCH)
				return err_set(err, errno, "move process %s", pid);
		}
	}
	return err_set(err, EBUSY, "move processes that keep forking");
}

static int enable(int group, const bool *has, struct err *err)
{
	char line[16];
	int i, r = 0;

	for (i = 0; !r && i < CONTROLLERS; i++) {
		snprintf(line, sizeof(line), "+%s", names[i]);
		if (has[i])
			r = write_at(group, "cgroup.subtree_control", line, err);
	}
	return r;
}

/* In v2 the move of a warden needs a right to what service and cells have in common: ours alone. */
static int settle_service(const struct hierarchy *hierarchy, struct err *err)
{
	char weight[16];
	int top = hierarchy->kept.top, r;

	r = enable(hierarchy->kept.parent, hierarchy->has, err);
	if (r == -EBUSY) {
		r = move_processes_away(hierarchy->kept.parent, err);
		if (!r)
			r = enable(hierarchy->kept.parent, hierarchy->has, err);
	}
	if (!r)
		r = enable(top, hierarchy->has, err);
	if (!r && mkdirat(top, "service", 0755) < 0)
		r = err_set(err, errno, "make the control group of the service");
	snprintf(weight, sizeof(weight), "%d", SERVICE_WEIGHT);
	if (!r && hierarchy->has[CPU])
		r = write_at(top, "service/cpu.weight", weight, err);
	return r < 0 ? r : write_at(top, "service/cgroup.procs", "0", err);
}

/* --- leaves -------------------------------------------------------------------------------- */

static bool is_in(const struct hierarchy *hierarchy, const struct plan *plan, enum cgroup_file file)
{
	enum controller controller = files[file].controller;

	if (file == CGROUP_JOIN_FIRST || file == CGROUP_JOIN_SECOND || file == CGROUP_JOIN_THIRD)
		return hierarchy == &plan->hierarchy[file - CGROUP_JOIN_FIRST];
	return controller == CONTROLLERS || hierarchy->has[controller];
}

static int open_file(struct cgroup *cgroup, int directory, enum cgroup_file file, const char *name,
	int *ret_fd, struct err *err)
{
	*ret_fd = openat(directory, name, files[file].flags | O_CLOEXEC);
	if (*ret_fd < 0 && file == CGROUP_MEMORY_PEAK) /* read-only, for anybody but root */
		*ret_fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	if (*ret_fd < 0 && (files[file].required || errno != ENOENT))
		return err_set(err, errno, "open %s of a cell's control group", name);
	/* and root may open it for writing on any kernel: only a write tells */
	if (file == CGROUP_MEMORY_PEAK && write(*ret_fd, "0", 1) < 0)
		cgroup->resettable = false;
	return 0;
}

static int make_leaf(struct cgroup *cgroup, const struct plan *plan,
	const struct hierarchy *hierarchy, size_t cell, struct err *err)
{
	struct cgroup_leaf *leaf = &cgroup->leaf[cell];
	SCOPE_FD directory = -1;
	const char *name;
	int file, r = 0;
	char path[32];

	snprintf(path, sizeof(path), "cell-%zu", cell);
	if (mkdirat(hierarchy->kept.top, path, 0755) < 0)
		return err_set(err, errno, "make the control group %s", path);
	directory = openat(hierarchy->kept.top, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return err_set(err, errno, "open the control group %s", path);
	for (file = 0; !r && file < CGROUP_FILES; file++) {
		name = hierarchy->place.unified ? files[file].unified : files[file].v1;
		if (name && is_in(hierarchy, plan, (enum cgroup_file)file))
			r = open_file(cgroup, directory, (enum cgroup_file)file, name,
				&leaf->file[file], err);
	}
	return r;
}

static int make_leaves(struct cgroup *cgroup, const struct plan *plan, struct err *err)
{
	size_t cell, i;
	int file, r = 0;

	cgroup->leaf = malloc(cgroup->cells * sizeof(*cgroup->leaf));
	if (!cgroup->leaf)
		return err_set(err, ENOMEM, "make control groups");
	for (cell = 0; cell < cgroup->cells; cell++) {
		for (file = 0; file < CGROUP_FILES; file++)
			cgroup->leaf[cell].file[file] = -1;
	}
	for (cell = 0; !r && cell < cgroup->cells; cell++) {
		for (i = 0; !r && i < plan->count; i++)
			r = make_leaf(cgroup, plan, &plan->hierarchy[i], cell, err);
	}
	return r;
}

static void close_leaves(struct cgroup *cgroup)
{
	size_t cell;
	int file;

	for (cell = 0; cgroup->leaf && cell < cgroup->cells; cell++) {
		for (file = 0; file < CGROUP_FILES; file++)
			fd_close(&cgroup->leaf[cell].file[file]);
	}
	free(cgroup->leaf);
	cgroup->leaf = NULL;
}

/* --- all of it ----------------------------------------------------------------------------- */

static int make(struct cgroup *cgroup, struct plan *plan, struct err *err)
{
	struct cgroup_kept kept[CGROUP_HIERARCHIES_MAX];
	size_t i;
	int r = 0;

	for (i = 0; !r && i < plan->count; i++)
		r = open_hierarchy(&plan->hierarchy[i], err);
	for (i = 0; i < plan->count; i++)
		kept[i] = plan->hierarchy[i].kept;
	if (!r)
		r = cgroup_keeper_start(kept, plan->count, &cgroup->keeper, err);
	for (i = 0; !r && i < plan->count; i++) {
		if (plan->hierarchy[i].place.unified)
			r = settle_service(&plan->hierarchy[i], err);
	}
	return r < 0 ? r : make_leaves(cgroup, plan, err);
}

void cgroup_make(struct cgroup *cgroup, size_t cells)
{
	struct plan plan = {.count = 0};
	struct err err = {0};
	size_t i;

	*cgroup = (struct cgroup){.cells = cells, .resettable = true, .keeper = -1};
	cgroup->memory = plan_controller(cgroup, &plan, MEMORY);
	cgroup->unified = cgroup->memory && plan.hierarchy[0].place.unified;
	cgroup->pids = plan_controller(cgroup, &plan, PIDS);
	plan_controller(cgroup, &plan, CPU); /* no promise depends on it */
	if (!plan.count)
		return;
	if (make(cgroup, &plan, &err) < 0) {
		close_leaves(cgroup);
		cgroup->memory = cgroup->pids = cgroup->unified = false;
		snprintf(cgroup->text, sizeof(cgroup->text),
			"memory, pids and cpu: no control group (%s)", err.text);
	}
	for (i = 0; i < plan.count; i++)
		fd_close(&plan.hierarchy[i].kept.parent);
	/* the lock on the top stays with the keeper, which has a copy */
	for (i = 0; i < plan.count; i++)
		fd_close(&plan.hierarchy[i].kept.top);
}

void cgroup_make_none(struct cgroup *cgroup, const char *reason)
{
	*cgroup = (struct cgroup){.keeper = -1};
	snprintf(cgroup->text, sizeof(cgroup->text), "memory, pids and cpu: no control group (%s)",
		reason);
}
