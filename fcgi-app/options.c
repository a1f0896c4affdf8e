#include "fcgi-app/options.h"

#include "fcgi-app/exit_status.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum option_code {
	OPTION_CONFIG = 256,
	OPTION_SET,
	OPTION_READY_FD,
	OPTION_TIMEOUT,
	OPTION_MEMORY,
	OPTION_ENTRY,
	OPTION_NO_ENTRY,
	OPTION_JSON,
	OPTION_ARG,
	OPTION_KWARG,
	OPTION_ARGV,
	OPTION_ENV,
	OPTION_STDIN,
	OPTION_FILE,
	OPTION_OUTPUT,
	OPTION_ENCODE,
	OPTION_STREAM,
	OPTION_OUTPUT_DIR,
	OPTION_KEY_FILE,
	OPTION_KEY_SETTING, /* and on: an index of key_settings */
};

/* What the key file calls the settings, in the order of key_options. */
static const char *const key_settings[] = {
	"expires", "rate", "burst", "concurrent", "max_timeout", "max_memory"};

static const struct option key_options[] = {
	{"expires", required_argument, NULL, OPTION_KEY_SETTING},
	{"rate", required_argument, NULL, OPTION_KEY_SETTING + 1},
	{"burst", required_argument, NULL, OPTION_KEY_SETTING + 2},
	{"concurrent", required_argument, NULL, OPTION_KEY_SETTING + 3},
	{"max-timeout", required_argument, NULL, OPTION_KEY_SETTING + 4},
	{"max-memory", required_argument, NULL, OPTION_KEY_SETTING + 5},
	{"config", required_argument, NULL, OPTION_CONFIG},
	{"set", required_argument, NULL, OPTION_SET},
	{"key-file", required_argument, NULL, OPTION_KEY_FILE}, {NULL, 0, NULL, 0}};

static const struct option serve_options[] = {{"config", required_argument, NULL, OPTION_CONFIG},
	{"set", required_argument, NULL, OPTION_SET},
	{"ready-fd", required_argument, NULL, OPTION_READY_FD}, {NULL, 0, NULL, 0}};

static const struct option check_options[] = {{"config", required_argument, NULL, OPTION_CONFIG},
	{"set", required_argument, NULL, OPTION_SET}, {"json", no_argument, NULL, OPTION_JSON},
	{NULL, 0, NULL, 0}};

static const struct option run_options[] = {{"config", required_argument, NULL, OPTION_CONFIG},
	{"set", required_argument, NULL, OPTION_SET},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"memory", required_argument, NULL, OPTION_MEMORY},
	{"entry", required_argument, NULL, OPTION_ENTRY},
	{"no-entry", no_argument, NULL, OPTION_NO_ENTRY},
	{"json", no_argument, NULL, OPTION_JSON},
	{"arg", required_argument, NULL, OPTION_ARG},
	{"kwarg", required_argument, NULL, OPTION_KWARG},
	{"argv", required_argument, NULL, OPTION_ARGV},
	{"env", required_argument, NULL, OPTION_ENV},
	{"stdin", required_argument, NULL, OPTION_STDIN},
	{"file", required_argument, NULL, OPTION_FILE},
	{"output", required_argument, NULL, OPTION_OUTPUT},
	{"encode", required_argument, NULL, OPTION_ENCODE},
	{"stream", no_argument, NULL, OPTION_STREAM},
	{"output-dir", required_argument, NULL, OPTION_OUTPUT_DIR}, {NULL, 0, NULL, 0}};

/* Options that become fields of a request. */
static int take_run_option(struct run_options *run, int code, const char *value)
{
	switch (code) {
	case OPTION_TIMEOUT:
		run->timeout = value;
		return 0;
	case OPTION_MEMORY:
		run->memory = value;
		return 0;
	case OPTION_ENTRY:
		run->entry = value;
		return 0;
	case OPTION_NO_ENTRY:
		run->no_entry = true;
		return 0;
	case OPTION_JSON:
		run->json = true;
		return 0;
	case OPTION_STREAM:
		run->stream = true;
		return 0;
	case OPTION_ARG:
		return run_list_add(&run->args, value);
	case OPTION_KWARG:
		return run_list_add(&run->kwargs, value);
	case OPTION_ARGV:
		return run_list_add(&run->argv, value);
	case OPTION_ENV:
		return run_list_add(&run->env, value);
	case OPTION_STDIN:
		run->input = value;
		return 0;
	case OPTION_FILE:
		return run_list_add(&run->files, value);
	case OPTION_OUTPUT:
		return run_list_add(&run->outputs, value);
	case OPTION_OUTPUT_DIR:
		run->output_dir = value;
		return 0;
	case OPTION_ENCODE:
		run->encode = value;
		return 0;
	default:
		return -EINVAL; /* getopt has said why */
	}
}

static int take_key_setting(struct options *options, size_t index, const char *value)
{
	if (options->key_setting_count == KEY_SETTINGS_MAX)
		return -E2BIG;
	options->key_settings[options->key_setting_count++] = (struct key_setting){
		.option = key_options[index].name, .name = key_settings[index], .text = value};
	return 0;
}

static int take_option(struct options *options, int code, const char *value)
{
	if (code >= OPTION_KEY_SETTING)
		return take_key_setting(options, (size_t)(code - OPTION_KEY_SETTING), value);
	switch (code) {
	case OPTION_CONFIG:
		options->config_path = value;
		return 0;
	case OPTION_SET:
		if (options->set_count == sizeof(options->sets) / sizeof(options->sets[0]))
			return -E2BIG;
		options->sets[options->set_count++] = value;
		return 0;
	case OPTION_READY_FD:
		options->ready = atoi(value);
		return options->ready > 2 ? 0 : -EINVAL;
	case OPTION_KEY_FILE:
		options->key_file = value;
		return 0;
	default:
		return take_run_option(&options->run, code, value);
	}
}

/* The configuration: defaults, the file (--config, or the one in /etc), --set. */
static int load_config(struct options *options, struct err *err)
{
	static const char installed[] = "/etc/vivarium/vivarium.conf";
	char program[CONFIG_TEXT_BYTES] = "";
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	const char *path = options->config_path;
	size_t i;
	int r;

	program[n > 0 ? n : 0] = '\0';
	config_default(&options->config, program);
	if (!path && access(installed, R_OK) == 0)
		path = installed;
	if (!path)
		return err_set(err, ENOENT, "name a configuration with --config, for %s is not there",
			installed);
	r = config_load(&options->config, path, err);
	for (i = 0; !r && i < options->set_count; i++)
		r = config_set(&options->config, options->sets[i], err);
	return r < 0 ? r : config_check(&options->config, err);
}

int options_complain(const char *program, const char *text)
{
	fprintf(stderr, "%s: %s\n", program, text);
	return EXIT_STATUS_USAGE;
}

int options_read(struct options *options, enum options_face face, int argc, char **argv)
{
	static const struct option *const of_face[] = {[OPTIONS_SERVE] = serve_options,
		[OPTIONS_RUN] = run_options,
		[OPTIONS_CHECK] = check_options,
		[OPTIONS_KEY] = key_options};
	int code;

	*options = (struct options){.ready = -1};
	while ((code = getopt_long(argc, argv, "", of_face[face], NULL)) != -1) {
		if (take_option(options, code, optarg) < 0)
			return options_complain(argv[0], "see vivarium --help");
	}
	return 0;
}

int options_load(struct options *options, const char *program)
{
	struct err err = {0};

	if (!options->key_file && load_config(options, &err) < 0)
		return options_complain(program, err.text);
	return 0;
}

int options_parse(struct options *options, enum options_face face, int argc, char **argv)
{
	int r = options_read(options, face, argc, argv);

	return r ? r : options_load(options, argv[0]);
}
