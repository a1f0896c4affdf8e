#include "fcgi-app/config.h"

#include "fcgi-app/edge.h"
#include "fcgi-app/template_trees.h"
#include "sandbox/worker.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind {
	KIND_TEXT,
	KIND_MODULES, /* names of Python modules, separated by blanks */
	KIND_PATH, /* relative to the file it stands in */
	KIND_NUMBER, /* whole */
	KIND_SECONDS, /* up to three decimals; kept in milliseconds */
	KIND_WORD, /* one of the key's words; its index is kept */
	/* texts that nginx is given */
	KIND_EDGE_PATH, /* relative to the file it stands in */
	KIND_ORIGINS,
	KIND_NETWORKS,
	KIND_RATE,
};

/* Each list as its enum has them, and NULL. */
static const char *const isolation_words[] = {"full", "available", "platform", NULL};
static const char *const switch_words[] = {"off", "on", NULL};
static const char *const log_level_words[] = {"error", "warning", "info", "debug", NULL};
static const char *const log_format_words[] = {"auto", "json", "text", NULL};

static const struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	const char *fallback;
	uint64_t least, most; /* of numbers; seconds in milliseconds */
	const char *const *words; /* of KIND_WORD */
} keys[] = {
#define KEY(name, kind, fallback, least, most)                                                     \
	{#name, kind, offsetof(struct config, name), fallback, least, most, NULL}
#define KEY_AS(name, member, kind, fallback, least, most)                                          \
	{#name, kind, offsetof(struct config, member), fallback, least, most, NULL}
#define KEY_WORD(name, words, fallback)                                                            \
	{#name, KIND_WORD, offsetof(struct config, name), fallback, 0, 0, words}
	KEY(runtime_dir, KIND_PATH, "/run/vivarium", 0, 0),
	KEY(socket_group, KIND_TEXT, "", 0, 0),
	KEY(template_program, KIND_PATH, "", 0, 0),
	KEY(harness_dir, KIND_PATH, "../runner", 0, 0),
	KEY(seccomp_policy, KIND_PATH, "seccomp.policy", 0, 0),
	KEY(dispatcher_policy, KIND_PATH, "dispatcher.policy", 0, 0),
	KEY(worker_policy, KIND_PATH, "worker.policy", 0, 0),
	KEY(python_venv, KIND_PATH, "", 0, 0),
	KEY(library_catalogue, KIND_PATH, "libraries.json", 0, 0),
	KEY(library_sets, KIND_TEXT,
		"base numpy:base:numpy pandas:numpy:pandas scipy:numpy:scipy,scipy.stats,"
		"scipy.optimize,scipy.integrate,scipy.linalg matplotlib:numpy:matplotlib.pyplot",
		0, 0),
	KEY(key_file, KIND_PATH, "", 0, 0),
	KEY(client_fields, KIND_TEXT, "all", 0, 0),
	KEY(cgroup, KIND_TEXT, "auto", 0, 0),
	KEY_WORD(isolation, isolation_words, "full"),
	KEY_WORD(log_level, log_level_words, "info"),
	KEY_WORD(log_format, log_format_words, "auto"),
	KEY_WORD(log_requests, switch_words, "on"),
	KEY_WORD(log_scripts, switch_words, "off"),
	KEY(import_denylist, KIND_MODULES, "", 0, 0),
	KEY(import_allowlist, KIND_MODULES, "", 0, 0),
	KEY(workers, KIND_NUMBER, "0", 0, 64),
	KEY(cells_per_worker, KIND_NUMBER, "4", 1, WORKER_CELLS_MAX),
	KEY(queue, KIND_NUMBER, "1024", 0, 16384),
	KEY_AS(queue_timeout, queue_timeout_ms, KIND_SECONDS, "10", 1, 600000),
	KEY_AS(request_memory, request_memory_mib, KIND_NUMBER, "1024", 128, 1 << 20),
	KEY_AS(default_timeout, default_timeout_ms, KIND_SECONDS, "15", 10, 3600000),
	KEY_AS(max_timeout, max_timeout_ms, KIND_SECONDS, "300", 10, 3600000),
	KEY_AS(drain_timeout, drain_timeout_ms, KIND_SECONDS, "5", 0, 3600000),
	KEY_AS(default_memory, default_memory_mib, KIND_NUMBER, "512", 16, 1 << 20),
	KEY_AS(max_memory, max_memory_mib, KIND_NUMBER, "2048", 16, 1 << 20),
	KEY(max_processes, KIND_NUMBER, "128", 1, 4096),
	KEY(max_open_files, KIND_NUMBER, "256", 16, 900),
	KEY_AS(max_file, max_file_mib, KIND_NUMBER, "256", 1, 1 << 20),
	KEY_AS(stack, stack_mib, KIND_NUMBER, "8", 1, 1024),
	KEY_AS(tmp_size, tmp_mib, KIND_NUMBER, "256", 1, 1 << 20),
	KEY(tmp_inodes, KIND_NUMBER, "16384", 16, 1 << 20),
	KEY(cell_executions, KIND_NUMBER, "10000", 1, UINT32_MAX),
	KEY_AS(cell_age, cell_age_ms, KIND_SECONDS, "3600", 1000, UINT32_MAX),
	KEY(template_trees, KIND_NUMBER, "0", 0, TEMPLATE_TREES_MAX),
	KEY(template_max_forks, KIND_NUMBER, "10000", 0, UINT32_MAX),
	KEY_AS(template_max_age, template_max_age_ms, KIND_SECONDS, "86400", 0, UINT32_MAX),
	KEY_AS(template_quick_age, template_quick_age_ms, KIND_SECONDS, "20", 0, UINT32_MAX),
	KEY_AS(wedged_after, wedged_after_ms, KIND_SECONDS, "10", 500, 600000),
	KEY(tls_certificate, KIND_EDGE_PATH, "", 0, 0),
	KEY(tls_certificate_key, KIND_EDGE_PATH, "", 0, 0),
	KEY(tls_redirect_port, KIND_NUMBER, "0", 0, UINT16_MAX),
	KEY(tls_hsts, KIND_NUMBER, "0", 0, 63072000),
	KEY(cors_origins, KIND_ORIGINS, "", 0, 0),
	KEY(rate_limit, KIND_RATE, "", 0, 0),
	KEY(rate_limit_burst, KIND_NUMBER, "20", 0, 100000),
	KEY(connections_per_address, KIND_NUMBER, "0", 0, UINT16_MAX),
	KEY(trusted_proxies, KIND_NETWORKS, "", 0, 0),
	KEY(metrics_allow, KIND_NETWORKS, "127.0.0.0/8 ::1", 0, 0),
#undef KEY
#undef KEY_AS
#undef KEY_WORD
};

enum {
	KEYS = sizeof(keys) / sizeof(keys[0]),
};

static void *field(struct config *config, const struct key *key)
{
	return (char *)config + key->offset;
}

static int parse_number(const struct key *key, const char *text, uint64_t *value, struct err *err)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (errno || !isdigit((unsigned char)*text) || *end || *value < key->least ||
		*value > key->most)
		return err_set(err, EINVAL,
			"%s takes a whole number from %" PRIu64 " to %" PRIu64 ", not \"%.40s\"",
			key->name, key->least, key->most, text);
	return 0;
}

static int parse_seconds(const struct key *key, const char *text, uint64_t *value, struct err *err)
{
	char *end;
	double seconds;

	errno = 0;
	seconds = strtod(text, &end);
	if (errno || !isdigit((unsigned char)*text) || *end || strpbrk(text, "xX") ||
		seconds * 1000 < (double)key->least || seconds * 1000 > (double)key->most)
		return err_set(err, EINVAL, "%s takes seconds from %.10g to %.10g, not \"%.40s\"",
			key->name, (double)key->least / 1000, (double)key->most / 1000, text);
	*value = (uint64_t)llround(seconds * 1000);
	return 0;
}

/* The words of a list, as "full, available or platform". */
static void name_words(const char *const *words, char *text, size_t size)
{
	size_t used = 0, i;

	for (i = 0; words[i] && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s",
			i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
}

static int parse_word(const struct key *key, const char *text, uint64_t *value, struct err *err)
{
	char words[80];
	size_t i;

	for (i = 0; key->words[i]; i++) {
		if (strcmp(text, key->words[i]) == 0) {
			*value = i;
			return 0;
		}
	}
	name_words(key->words, words, sizeof(words));
	return err_set(err, EINVAL, "%s is %s, not \"%.40s\"", key->name, words, text);
}

static int parse_text(const struct key *key, const char *directory, const char *text, char *value,
	struct err *err)
{
	bool is_path = key->kind == KIND_PATH || key->kind == KIND_EDGE_PATH;
	bool relative = is_path && *text && *text != '/' && *directory;
	int n = snprintf(value, CONFIG_TEXT_BYTES, "%s%s%s", relative ? directory : "",
		relative ? "/" : "", text);

	if (n >= CONFIG_TEXT_BYTES)
		return err_set(err, EINVAL, "%s is longer than %d bytes", key->name,
			CONFIG_TEXT_BYTES - 1);
	return 0;
}

/* Length of a dotted name at the beginning of text; 0: there is none. */
static size_t span_module(const char *text)
{
	const char *at = text;

	while (isalpha((unsigned char)*at) || *at == '_') {
		while (isalnum((unsigned char)*at) || *at == '_')
			at++;
		if (*at != '.')
			return (size_t)(at - text);
		at++;
	}
	return 0;
}

static int parse_modules(const struct key *key, const char *text, char *value, struct err *err)
{
	const char *at;
	size_t span;

	for (at = text + strspn(text, " \t"); *at; at += strspn(at, " \t")) {
		span = span_module(at);
		if (!span || !strchr(" \t", at[span]))
			return err_set(err, EINVAL,
				"%s takes names of modules separated by blanks, not \"%.40s\"",
				key->name, at);
		at += span;
	}
	return parse_text(key, "", text, value, err);
}

/* What nginx is given is checked as it is printed, a path with its directory. */
static int parse_edge_text(const struct key *key, const char *directory, const char *text,
	char *value, struct err *err)
{
	int r = parse_text(key, directory, text, value, err);

	if (r)
		return r;
	if (key->kind == KIND_EDGE_PATH)
		return edge_check_path(key->name, value, err);
	if (key->kind == KIND_ORIGINS)
		return edge_check_origins(key->name, value, err);
	if (key->kind == KIND_NETWORKS)
		return edge_check_networks(key->name, value, err);
	return edge_check_rate(key->name, value, err);
}

static int set_value(struct config *config, const struct key *key, const char *directory,
	const char *text, struct err *err)
{
	switch (key->kind) {
	case KIND_NUMBER:
		return parse_number(key, text, field(config, key), err);
	case KIND_SECONDS:
		return parse_seconds(key, text, field(config, key), err);
	case KIND_WORD:
		return parse_word(key, text, field(config, key), err);
	case KIND_MODULES:
		return parse_modules(key, text, field(config, key), err);
	case KIND_TEXT:
	case KIND_PATH:
		return parse_text(key, directory, text, field(config, key), err);
	case KIND_EDGE_PATH:
	case KIND_ORIGINS:
	case KIND_NETWORKS:
	case KIND_RATE:
		return parse_edge_text(key, directory, text, field(config, key), err);
	}
	return -EINVAL;
}

static const struct key *find_key(const char *name)
{
	size_t i;

	for (i = 0; i < KEYS; i++) {
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	}
	return NULL;
}

/* The directory of a path, "." without one. */
static void directory_of(const char *path, char directory[CONFIG_TEXT_BYTES])
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		snprintf(directory, CONFIG_TEXT_BYTES, ".");
	else
		snprintf(directory, CONFIG_TEXT_BYTES, "%.*s", (int)(slash - path + (slash == path)),
			path);
}

void config_default(struct config *config, const char *program)
{
	char directory[CONFIG_TEXT_BYTES];
	size_t i;

	*config = (struct config){0};
	for (i = 0; i < KEYS; i++)
		set_value(config, &keys[i], "", keys[i].fallback, NULL);
	directory_of(program, directory);
	if (snprintf(config->template_program, CONFIG_TEXT_BYTES, "%s/vivarium-template", directory) >=
		CONFIG_TEXT_BYTES)
		*config->template_program = '\0'; /* a path cut short would be another path */
}

static char *strip(char *text)
{
	size_t length;

	text += strspn(text, " \t\r");
	length = strlen(text);
	while (length && strchr(" \t\r\n", text[length - 1]))
		text[--length] = '\0';
	return text;
}

struct reading {
	const char *path;
	char directory[CONFIG_TEXT_BYTES];
	unsigned line;
	bool seen[KEYS];
};

static int read_line(struct config *config, struct reading *reading, char *line, struct err *err)
{
	struct err inner = {0};
	const struct key *key;
	char *equals;

	line = strip(line);
	if (!*line || *line == '#')
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return err_set(err, EINVAL, "%s line %u: not \"key = value\"", reading->path,
			reading->line);
	*equals = '\0';
	key = find_key(strip(line));
	if (!key)
		return err_set(err, EINVAL, "%s line %u: unknown key \"%.40s\"", reading->path,
			reading->line, strip(line));
	if (reading->seen[key - keys])
		return err_set(err, EINVAL, "%s line %u: %s is there twice", reading->path,
			reading->line, key->name);
	reading->seen[key - keys] = true;
	if (set_value(config, key, reading->directory, strip(equals + 1), &inner) == 0)
		return 0;
	if (err) { /* inner says already what its code means */
		err->code = inner.code;
		snprintf(err->text, sizeof(err->text), "%.80s line %u: %.140s", reading->path,
			reading->line, inner.text);
	}
	return -inner.code;
}

/* Paths that nobody set are relative to the file as well: that is where its siblings are. */
static int anchor_defaults(struct config *config, const struct reading *reading, struct err *err)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < KEYS; i++) {
		if (keys[i].kind == KIND_PATH && !reading->seen[i] && *keys[i].fallback)
			r = set_value(config, &keys[i], reading->directory, keys[i].fallback, err);
	}
	return r;
}

static int read_lines(struct config *config, struct reading *reading, FILE *file, struct err *err)
{
	char line[1024];
	size_t used;
	int c, r = 0;

	for (c = 0; !r && c != EOF;) {
		reading->line++;
		for (used = 0; used < sizeof(line) && (c = getc(file)) != EOF && c != '\n'; used++)
			line[used] = (char)c;
		if (ferror(file))
			return err_set(err, errno, "read %s", reading->path);
		if (used == sizeof(line) || memchr(line, '\0', used))
			return err_set(err, EINVAL, "%s line %u: too long, or with a NUL",
				reading->path, reading->line);
		line[used] = '\0';
		r = read_line(config, reading, line, err);
	}
	return r;
}

int config_load(struct config *config, const char *path, struct err *err)
{
	struct reading reading = {.path = path};
	FILE *file = fopen(path, "re");
	int r;

	if (!file)
		return err_set(err, errno, "open %s", path);
	directory_of(path, reading.directory);
	r = read_lines(config, &reading, file, err);
	fclose(file);
	return r < 0 ? r : anchor_defaults(config, &reading, err);
}

int config_set(struct config *config, const char *assignment, struct err *err)
{
	char name[64];
	const char *equals = strchr(assignment, '=');
	const struct key *key = NULL;

	if (equals && snprintf(name, sizeof(name), "%.*s", (int)(equals - assignment), assignment) <
			      (int)sizeof(name))
		key = find_key(name);
	if (!key)
		return err_set(err, EINVAL, "--set takes key=value with a known key, not \"%.60s\"",
			assignment);
	return set_value(config, key, "", equals + 1, err);
}

static int check_tls(const struct config *config, struct err *err)
{
	if (!*config->tls_certificate != !*config->tls_certificate_key)
		return err_set(err, EINVAL, "tls_certificate and tls_certificate_key go together");
	if (config->tls_redirect_port && !*config->tls_certificate)
		return err_set(err, EINVAL, "tls_redirect_port needs a tls_certificate");
	if (config->tls_hsts && !*config->tls_certificate)
		return err_set(err, EINVAL, "tls_hsts needs a tls_certificate");
	return 0;
}

int config_check(const struct config *config, struct err *err)
{
	if (config->default_timeout_ms > config->max_timeout_ms)
		return err_set(err, EINVAL, "default_timeout is above max_timeout");
	if (config->default_memory_mib > config->max_memory_mib)
		return err_set(err, EINVAL, "default_memory is above max_memory");
	if (strcmp(config->cgroup, "auto") != 0 && strcmp(config->cgroup, "required") != 0 &&
		strcmp(config->cgroup, "off") != 0)
		return err_set(err, EINVAL, "cgroup is auto, required or off, not \"%.40s\"",
			config->cgroup);
	return check_tls(config, err);
}

const char *config_isolation_word(const struct config *config)
{
	return isolation_words[config->isolation];
}

void config_print(const struct config *config, FILE *out)
{
	const struct key *key;
	const void *value;
	size_t i;

	for (i = 0; i < KEYS; i++) {
		key = &keys[i];
		value = (const char *)config + key->offset;
		if (key->kind == KIND_NUMBER)
			fprintf(out, "%s = %" PRIu64 "\n", key->name, *(const uint64_t *)value);
		else if (key->kind == KIND_WORD)
			fprintf(out, "%s = %s\n", key->name, key->words[*(const uint64_t *)value]);
		else if (key->kind == KIND_SECONDS)
			fprintf(out, "%s = %.10g\n", key->name,
				(double)*(const uint64_t *)value / 1000);
		else
			fprintf(out, "%s = %s\n", key->name, (const char *)value);
	}
}
