/* The command line of `vivarium`, and the configuration that it names. */
#ifndef VIVARIUM_OPTIONS_H
#define VIVARIUM_OPTIONS_H

#include "fcgi-app/config.h"
#include "fcgi-app/run_request.h"

#include <stddef.h>

enum {
	KEY_SETTINGS_MAX = 16,
};

struct key_setting {
	const char *option; /* without its dashes */
	const char *name,
		*text; /* as in the file; an expiry may be "90d", "12h" or "30m" from now */
};

struct options {
	struct config config;
	const char *config_path;
	const char *sets[64]; /* --set, applied after the file */
	size_t set_count;
	int ready; /* --ready-fd; -1: none */
	struct run_options run;
	const char *key_file; /* NULL: the configuration's */
	struct key_setting key_settings[KEY_SETTINGS_MAX];
	size_t key_setting_count;
};

/* Which options a face of the command takes. */
enum options_face {
	OPTIONS_SERVE, /* and --check-config */
	OPTIONS_RUN,
	OPTIONS_CHECK,
	OPTIONS_KEY,
};

/*
 * Fills *options from the command line, whose words outlive it. optind (getopt_long(3)) is at the
 * first word that is no option then. Returns 0, or the exit status after having said what is wrong.
 */
int options_read(struct options *options, enum options_face face, int argc, char **argv);

/*
 * Loads the configuration of options that were read, but not where --key-file says all there is to
 * know. Returns as options_read does.
 */
int options_load(struct options *options, const char *program);

/* Both of them. */
int options_parse(struct options *options, enum options_face face, int argc, char **argv);

/* Says what is wrong with the command line or what it names. Returns the exit status for that. */
int options_complain(const char *program, const char *text);

#endif
