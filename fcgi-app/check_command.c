#include "fcgi-app/check_command.h"

#include "fcgi-app/json_out.h"
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

static void print_json(const struct config *config, const struct probe_row *rows,
	const char *groups, const struct err *err)
{
	struct buffer text = {0};
	struct json_out out = {.buffer = &text};

	json_out_begin(&out, '{');
	put_text(&out, "isolation", config_isolation_word(config));
	json_out_key(&out, "satisfied");
	json_out_bool(&out, !err->code);
	put_text(&out, "groups", groups);
	put_layers(&out, rows);
	if (!out.error)
		fwrite(text.data, 1, text.length, stdout); /* the other half follows */
	buffer_free(&text);
}

/* ------------------------------------------------------------------------------------------- */

bool check_command_layers(const struct config *config, bool json)
{
	struct probe_row rows[LAYER_COUNT];
	uint32_t found = probe_layers(rows), plan;
	struct err err = {0};
	char groups[1024], core[256];
	int r = layers_plan((enum isolation)config->isolation, found, &plan, &err);

	describe_groups(groups, sizeof(groups));
	describe_core(core, sizeof(core));
	if (json) {
		print_json(config, rows, groups, &err);
	} else {
		print_layers(rows);
		print_rest(config, groups, core, &err);
	}
	fflush(stdout);
	return r == 0;
}

void check_command_close(const char *error)
{
	struct buffer text = {0};
	struct json_out out = {.buffer = &text};

	json_out_text(&out, error);
	if (!out.error)
		printf(", \"attacks\": null, \"error\": %.*s}\n", (int)text.length, text.data);
	buffer_free(&text);
}
