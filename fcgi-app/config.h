/* The configuration: "key = value" lines, one table, an immutable struct that children inherit. */
#ifndef VIVARIUM_CONFIG_H
#define VIVARIUM_CONFIG_H

#include "sandbox/err.h"
#include "sandbox/layers.h"

#include <stdint.h>
#include <stdio.h>

enum {
	CONFIG_TEXT_BYTES = 512,
};

/* In the order of the configuration's words. */
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

struct config {
	char runtime_dir[CONFIG_TEXT_BYTES];
	char socket_group[CONFIG_TEXT_BYTES];
	char template_program[CONFIG_TEXT_BYTES];
	char harness_dir[CONFIG_TEXT_BYTES];
	char seccomp_policy[CONFIG_TEXT_BYTES];
	char dispatcher_policy[CONFIG_TEXT_BYTES];
	char worker_policy[CONFIG_TEXT_BYTES];
	char library_sets[CONFIG_TEXT_BYTES];
	char key_file[CONFIG_TEXT_BYTES]; /* "": no keys */
	char client_fields[CONFIG_TEXT_BYTES]; /* "all", or names of fields */
	char library_catalogue[CONFIG_TEXT_BYTES];
	char python_venv[CONFIG_TEXT_BYTES]; /* "": none */
	char cgroup[CONFIG_TEXT_BYTES]; /* "auto", "required" or "off" */
	char import_denylist[CONFIG_TEXT_BYTES]; /* names of modules separated by blanks */
	char import_allowlist[CONFIG_TEXT_BYTES];
	uint64_t isolation; /* enum isolation */
	uint64_t log_level; /* enum log_level */
	uint64_t log_format; /* enum log_format */
	uint64_t log_requests, log_scripts; /* 0 or 1 */
	uint64_t workers; /* 0: as many as there are processors, at least 2 */
	uint64_t cells_per_worker;
	uint64_t queue; /* requests that may wait */
	uint64_t queue_timeout_ms, default_timeout_ms, max_timeout_ms, drain_timeout_ms;
	uint64_t default_memory_mib, max_memory_mib;
	uint64_t max_processes, max_open_files, max_file_mib, stack_mib;
	uint64_t tmp_mib, tmp_inodes;
	uint64_t request_memory_mib;
	uint64_t cell_executions, cell_age_ms;
	uint64_t template_trees; /* 0: one for each 8 processors */
	uint64_t template_max_forks, template_max_age_ms, template_quick_age_ms; /* 0: never */
	uint64_t wedged_after_ms;
	/* nginx's, which deploy/run.sh reads from what config_print says; checked by edge.h */
	char tls_certificate[CONFIG_TEXT_BYTES], tls_certificate_key[CONFIG_TEXT_BYTES];
	uint64_t tls_redirect_port, tls_hsts; /* 0: none; HSTS in seconds */
	char cors_origins[CONFIG_TEXT_BYTES];
	char rate_limit[CONFIG_TEXT_BYTES]; /* per address, "" for none */
	uint64_t rate_limit_burst, connections_per_address;
	char trusted_proxies[CONFIG_TEXT_BYTES];
	char metrics_allow[CONFIG_TEXT_BYTES];
};

/*
 * Fills *config with the defaults. program: path of the running executable, beside which the
 * template's program is looked for.
 */
void config_default(struct config *config, const char *program);

/*
 * Reads the file at path over what is there; relative paths in it are relative to its directory.
 * Returns 0, or a negative errno with file and line in *err.
 */
int config_load(struct config *config, const char *path, struct err *err);

/* One "key=value" from the command line. Returns 0 or a negative errno. */
int config_set(struct config *config, const char *assignment, struct err *err);

/* What no single value shows: contradictions between them. Returns 0 or -EINVAL. */
int config_check(const struct config *config, struct err *err);

/* "full", "available" or "platform". */
const char *config_isolation_word(const struct config *config);

/* Prints every key with its value, as a file that could be loaded. */
void config_print(const struct config *config, FILE *out);

#endif
