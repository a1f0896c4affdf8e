#include "fcgi-app/check_layers.h"

#include "fcgi-app/json_out.h"
#include "sandbox/cgroup_place.h"
#include "sandbox/probe.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

enum {
	GROUPS_MAX = 64,
};

#define CONTROLLER_CURE \
	"start it in a group of its own: deploy/run.sh asks systemd for one (Delegate=yes); in a " \
	"container, let it write to /sys/fs/cgroup"

/* What control groups limit, and what is left over without them. */
static const struct controller {
	const char *name, *limits, *otherwise;
} controllers[] = {
	{"memory", "memory of a script as a whole",
		"workers look at scripts every 30 ms: what is taken within that time is not limited, "
		"nor are buffers of sockets and pipes"},
	{"pids", "processes of a cell as a whole",
		"the limit of the execution's own namespace (RLIMIT_NPROC) stands alone"},
	{"cpu", "an equal share of the processors for each cell",
		"a script that makes many sessions takes the share of as many, and others wait"},
};

enum {
	CONTROLLER_COUNT = sizeof(controllers) / sizeof(controllers[0]),
};

/* What was found of a controller, for a service that is started from where we are. */
struct controller_found {
	bool found;
	struct cgroup_place place; /* where found */
	struct err err; /* else why not, unless it is switched off */
	const char *said, *cure;
};

/* --- what is said beside the layers -------------------------------------------------------- */

/* Groups that an ordinary user cannot drop stay with every process of the service. */
static void describe_groups(char *text, size_t size)
{
	gid_t groups[GROUPS_MAX];
	int count = geteuid() ? getgroups(GROUPS_MAX, groups) : 0, i;
	const struct group *entry;
	size_t used = 0;

	*text = '\0';
	for (i = 0; i < count && used < size; i++) {
		entry = getgrgid(groups[i]);
		used += (size_t)snprintf(text + used, size - used, "%s%s(%u)", used ? " " : "",
			entry ? entry->gr_name : "", (unsigned)groups[i]);
	}
}

static void describe_core(char *text, size_t size)
{
	SCOPE_FD fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
}

static void find_controllers(const struct config *config, struct controller_found *found)
{
	struct controller_found *one;
	size_t i;

	for (i = 0; i < CONTROLLER_COUNT; i++) {
		one = &found[i];
		*one = (struct controller_found){.said = "cgroup = off", .cure = "cgroup = auto"};
		if (strcmp(config->cgroup, "off") == 0)
			continue;
		one->found = !cgroup_place_choose(controllers[i].name, &one->place, &one->err);
		one->said = one->err.text;
		one->cure = CONTROLLER_CURE;
	}
}

/* --- as a table ---------------------------------------------------------------------------- */

static void print_layers(const struct probe_row *rows)
{
	size_t i;

	printf("%-13s %-8s %s\n", "LAYER", "HERE", "WHAT IT IS, AND NEEDS");
	for (i = 0; i < LAYER_COUNT; i++) {
		printf("%-13s %-8s %s (%s)\n", layer_name((enum layer)i),
			rows[i].found ? "yes" : "MISSING", rows[i].title, rows[i].needs);
		if (!rows[i].found)
			printf("%-13s %-8s found: %s\n%-13s %-8s cure: %s\n", "", "",
				rows[i].err.text, "", "", rows[i].cure);
	}
}

static const char *version(const struct controller_found *found)
{
	return found->place.unified ? "v2" : "v1";
}

static void print_controllers(const struct controller_found *found)
{
	size_t i;

	printf("\n%-13s %-8s %s\n", "CONTROL GROUP", "HERE", "WHAT IT LIMITS");
	for (i = 0; i < CONTROLLER_COUNT; i++) {
		printf("%-13s %-8s %s\n", controllers[i].name,
			found[i].found ? version(&found[i]) : "no", controllers[i].limits);
		if (!found[i].found)
			printf("%-13s %-8s found: %s\n%-13s %-8s left: %s\n%-13s %-8s cure: %s\n",
				"", "", found[i].said, "", "", controllers[i].otherwise, "", "",
				found[i].cure);
	}
	printf("\n");
}

static void print_rest(
	const struct config *config, const char *groups, const char *core, const struct err *err)
{
	struct utsname name;

	if (uname(&name) == 0)
		printf("%-13s %s %s\n", "kernel", name.sysname, name.release);
	if (*groups)
		printf("%-13s %s: started as an ordinary user, all processes keep these\n",
			"groups", groups);
	if (*core == '|')
		printf("%-13s \"%s\" runs on the host for a crash; executions are not dumpable, so "
		       "not for theirs\n",
			"core_pattern", core);
	if (err->code)
		printf("%-13s %s\n", "isolation", err->text);
	else
		printf("%-13s %s: what it asks for is there\n", "isolation",
			config_isolation_word(config));
}

/* --- as JSON ------------------------------------------------------------------------------- */

static void put_text(struct json_out *out, const char *key, const char *text)
{
	json_out_key(out, key);
	json_out_text(out, text);
}

static void put_layers(struct json_out *out, const struct probe_row *rows)
{
	size_t i;

	json_out_key(out, "layers");
	json_out_begin(out, '[');
	for (i = 0; i < LAYER_COUNT; i++) {
		json_out_begin(out, '{');
		put_text(out, "layer", layer_name((enum layer)i));
		json_out_key(out, "found");
		json_out_bool(out, rows[i].found);
		put_text(out, "needs", rows[i].needs);
		if (!rows[i].found) {
			put_text(out, "said", rows[i].err.text);
			put_text(out, "cure", rows[i].cure);
		}
		json_out_end(out, '}');
	}
	json_out_end(out, ']');
}

static void put_controllers(struct json_out *out, const struct controller_found *found)
{
	size_t i;

	json_out_key(out, "controllers");
	json_out_begin(out, '[');
	for (i = 0; i < CONTROLLER_COUNT; i++) {
		json_out_begin(out, '{');
		put_text(out, "controller", controllers[i].name);
		json_out_key(out, "found");
		json_out_bool(out, found[i].found);
		if (found[i].found) {
			put_text(out, "version", version(&found[i]));
		} else {
			put_text(out, "said", found[i].said);
			put_text(out, "left", controllers[i].otherwise);
			put_text(out, "cure", found[i].cure);
		}
		json_out_end(out, '}');
	}
	json_out_end(out, ']');
}

static void print_json(const struct config *config, const struct probe_row *rows,
	const struct controller_found *found, const char *groups, const struct err *err)
{
	struct buffer text = {0};
	struct json_out out = {.buffer = &text};

	json_out_begin(&out, '{');
	put_text(&out, "isolation", config_isolation_word(config));
	json_out_key(&out, "satisfied");
	json_out_bool(&out, !err->code);
	put_text(&out, "groups", groups);
	put_layers(&out, rows);
	put_controllers(&out, found);
	if (!out.error)
		fwrite(text.data, 1, text.length, stdout); /* the other half follows */
	buffer_free(&text);
}

/* ------------------------------------------------------------------------------------------- */

bool check_layers_print(const struct config *config, bool json)
{
	struct controller_found controllers_found[CONTROLLER_COUNT];
	struct probe_row rows[LAYER_COUNT];
	uint32_t found = probe_layers(rows), plan;
	struct err err = {0};
	char groups[1024], core[256];
	int r = layers_plan((enum isolation)config->isolation, found, &plan, &err);

	find_controllers(config, controllers_found);
	describe_groups(groups, sizeof(groups));
	describe_core(core, sizeof(core));
	if (json) {
		print_json(config, rows, controllers_found, groups, &err);
	} else {
		print_layers(rows);
		print_controllers(controllers_found);
		print_rest(config, groups, core, &err);
	}
	fflush(stdout);
	return r == 0;
}

void check_layers_close(const char *error)
{
	struct buffer text = {0};
	struct json_out out = {.buffer = &text};

	json_out_text(&out, error);
	if (!out.error)
		printf(", \"attacks\": null, \"error\": %.*s}\n", (int)text.length, text.data);
	buffer_free(&text);
}
