/* The command `vivarium`: which of its faces is asked for, and the configuration for it. */
#include "fcgi-app/catalogue.h"
#include "fcgi-app/check_command.h"
#include "fcgi-app/config.h"
#include "fcgi-app/exit_status.h"
#include "fcgi-app/key_command.h"
#include "fcgi-app/key_file.h"
#include "fcgi-app/launch.h"
#include "fcgi-app/log_output.h"
#include "fcgi-app/openapi.h"
#include "fcgi-app/output_files.h"
#include "fcgi-app/run_command.h"
#include "fcgi-app/run_request.h"
#include "fcgi-app/template_trees.h"
#include "fcgi-app/text_file.h"
#include "fcgi-app/version.h"
#include "sandbox/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	POLICY_MAX_BYTES = 1 << 20,
	ATTACKS_MAX_BYTES = 1 << 20,
};

static const char help[] =
	"Vivarium runs untrusted Python in jailed, pre-warmed processes.\n"
	"\n"
	"  vivarium serve [--config FILE] [--set KEY=VALUE]... [--ready-fd N]\n"
	"      serve FastCGI on execute.sock and control.sock in runtime_dir until SIGTERM\n"
	"      (finish what runs) or SIGINT (stop at once); a newline is written to descriptor N\n"
	"      once scripts can be run\n"
	"  vivarium run [--config FILE] [--set KEY=VALUE]... [--timeout SECONDS] [--memory MIB]\n"
	"               [--entry NAME | --no-entry] [--arg VALUE]... [--kwarg NAME=VALUE]...\n"
	"               [--argv WORD]... [--env NAME=VALUE]... [--stdin FILE]\n"
	"               [--file PATH[=FILE]]... [--output GLOB]... [--encode strict|rich]\n"
	"               [--output-dir DIR] [--json] [--stream] SCRIPT\n"
	"      run one script (\"-\": standard input) in the same jail; what main() returns goes to\n"
	"      standard output as JSON, what is printed to standard error: at the end, or with\n"
	"      --stream while the script runs. Files that match --output are written beneath DIR.\n"
	"      With --json the whole answer goes to standard output, figures and output files in it.\n"
	"      VALUE is JSON, or else a string. FILE is put into the working directory as PATH, or\n"
	"      becomes the script's standard input (\"-\": our own). Exit status: 0 a value, 1 the\n"
	"      script failed, 124 out of time, 125 Vivarium failed, 2 wrong usage\n"
	"  vivarium check [--config FILE] [--set KEY=VALUE]... [--json]\n"
	"      try every layer of isolation on this machine, say what is missing and its cure; then\n"
	"      attack the jail as it is configured. Exit status: 0 all is well, 1 something is\n"
	"      missing or an attack came through, 125 Vivarium failed, 2 wrong usage\n"
	"  vivarium key add NAME [--expires TIME|DAYSd|HOURSh|MINUTESm] [--rate N/s|N/m|N/h]\n"
	"               [--burst N] [--concurrent N] [--max-timeout SECONDS] [--max-memory MIB]\n"
	"  vivarium key list\n"
	"  vivarium key revoke NAME\n"
	"      edit the file of API keys, key_file of the configuration or --key-file FILE; a running\n"
	"      service sees to it within seconds. \"add\" prints the new key on standard output, this\n"
	"      once: the file has only a digest of it. Exit status: 0 done, 1 not, 2 wrong usage\n"
	"  vivarium --check-config [--config FILE] [--set KEY=VALUE]...\n"
	"      check the configuration and print what is in force\n"
	"  vivarium --version | --help\n";

struct options {
	struct config config;
	const char *config_path;
	const char *sets[64]; /* --set, applied after the file */
	size_t set_count;
	int ready;
	struct run_options run;
	const char *key_file; /* NULL: the configuration's */
	struct key_setting key_settings[KEY_SETTINGS_MAX];
	size_t key_setting_count;
};

static int complain(const char *program, const char *text)
{
	fprintf(stderr, "%s: %s\n", program, text);
	return EXIT_STATUS_USAGE;
}

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

/* What the key file calls the settings, and the command line. */
static const char *const key_settings[] = {
	"expires", "rate", "burst", "concurrent", "max_timeout", "max_memory"};

static const struct option key_options[] = {{"config", required_argument, NULL, OPTION_CONFIG},
	{"set", required_argument, NULL, OPTION_SET},
	{"key-file", required_argument, NULL, OPTION_KEY_FILE},
	{"expires", required_argument, NULL, OPTION_KEY_SETTING},
	{"rate", required_argument, NULL, OPTION_KEY_SETTING + 1},
	{"burst", required_argument, NULL, OPTION_KEY_SETTING + 2},
	{"concurrent", required_argument, NULL, OPTION_KEY_SETTING + 3},
	{"max-timeout", required_argument, NULL, OPTION_KEY_SETTING + 4},
	{"max-memory", required_argument, NULL, OPTION_KEY_SETTING + 5}, {NULL, 0, NULL, 0}};

static const struct option common_options[] = {{"config", required_argument, NULL, OPTION_CONFIG},
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
	options->key_settings[options->key_setting_count++] =
		(struct key_setting){.name = key_settings[index], .text = value};
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

/* The configuration: defaults, the file (conf/vivarium.conf beside the program's tree), --set. */
static int load_config(struct options *options, struct err *err)
{
	static const char *const places[] = {"/etc/vivarium/vivarium.conf"};
	char program[CONFIG_TEXT_BYTES] = "";
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	const char *path = options->config_path;
	size_t i;
	int r;

	program[n > 0 ? n : 0] = '\0';
	config_default(&options->config, program);
	if (!path && access(places[0], R_OK) == 0)
		path = places[0];
	if (!path)
		return err_set(err, ENOENT, "name a configuration with --config, for %s is not there",
			places[0]);
	r = config_load(&options->config, path, err);
	for (i = 0; !r && i < options->set_count; i++)
		r = config_set(&options->config, options->sets[i], err);
	return r < 0 ? r : config_check(&options->config, err);
}

static int parse_options(struct options *options, int argc, char **argv,
	const struct option *allowed)
{
	struct err err = {0};
	int code;

	while ((code = getopt_long(argc, argv, "", allowed, NULL)) != -1) {
		if (take_option(options, code, optarg) < 0)
			return complain(argv[0], "see vivarium --help");
	}
	if (!options->key_file && load_config(options, &err) < 0)
		return complain(argv[0], err.text);
	return 0;
}

static size_t worker_count(const struct config *config)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (config->workers)
		return config->workers;
	return processors < 2 ? 2 : processors > 64 ? 64 : (size_t)processors;
}

/* Forks of one tree share locks of the kernel; its memory is what another one costs. */
static size_t template_tree_count(const struct config *config, size_t workers)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	size_t count = config->template_trees ? config->template_trees
			: processors < 16     ? 1
					      : (size_t)processors / 8;

	count = count > TEMPLATE_TREES_MAX ? TEMPLATE_TREES_MAX : count;
	return count > workers ? workers : count; /* one without a worker would have no cells */
}

static int make_rules(const struct config *config, struct request_rules *rules, struct err *err)
{
	request_rules_init(rules, config);
	return request_rules_allow(rules, config->client_fields, err);
}

static int serve(int argc, char **argv)
{
	struct options options = {.ready = -1};
	struct request_rules rules;
	struct library_source libraries = {0};
	struct library_sets sets;
	struct buffer openapi = {0};
	struct err err = {0};
	struct master_setup setup = {.config = &options.config,
		.rules = &rules,
		.sets = &sets,
		.openapi = &openapi,
		.libraries = &libraries,
		.front_name = "dispatcher",
		.front = dispatcher_main,
		.feed = -1,
		.keys = {.reader = -1, .table = -1},
		.failure_code = 1};
	int r = parse_options(&options, argc, argv, common_options);

	if (r)
		return r;
	if (optind < argc)
		return complain(argv[0], "serve takes no arguments; see vivarium --help");
	setup.workers = worker_count(&options.config);
	setup.cells_per_worker = options.config.cells_per_worker;
	setup.template_trees = template_tree_count(&options.config, setup.workers);
	setup.ready = options.ready;
	if (options.ready >= 0 && fcntl(options.ready, F_SETFD, FD_CLOEXEC) < 0)
		return complain(argv[0], "--ready-fd is not an open descriptor");
	log_output_begin(&options.config);
	r = library_sets_parse(options.config.library_sets, &sets, &err);
	if (!r)
		r = make_rules(&options.config, &rules, &err);
	if (!r && *options.config.key_file)
		r = key_reader_start(options.config.key_file, &setup.keys, &err);
	if (!r)
		r = openapi_make(&rules, &openapi, &err);
	if (!r)
		r = library_source_load(&options.config, &libraries, &err);
	if (!r)
		r = launch_listen(&options.config, &setup.execute_listener,
			&setup.control_listener, &err);
	if (!r)
		r = launch(&setup, &err);
	buffer_free(&openapi);
	library_source_free(&libraries);
	if (r < 0) {
		log_error("launcher", "%s", err.text);
		return 1;
	}
	return r;
}

/* Only the set that the script asks for, and what it lies on, is made warm. */
static void keep_one_set(struct library_sets *sets, struct request *request)
{
	size_t chosen = library_sets_choose(sets, request->script.data, request->script.length);
	struct library_sets kept = {0};
	size_t i;

	for (i = 0; i < sets->count; i++) {
		if (library_sets_covers(sets, chosen, i))
			kept.set[kept.count++] = sets->set[i];
	}
	for (i = 1; i < kept.count; i++)
		kept.set[i].parent_index = i - 1;
	*sets = kept;
	request->limits.wanted_set = (uint32_t)(kept.count - 1);
}

/* An instance for one command: one cell, and the command in the place of a dispatcher. */
static struct master_setup one_cell(const struct config *config, struct library_sets *sets,
	const char *name, int (*front)(const struct front_setup *), const void *job)
{
	return (struct master_setup){.config = config,
		.sets = sets,
		.workers = 1,
		.cells_per_worker = 1,
		.template_trees = 1,
		.quiet = true,
		.execute_listener = -1,
		.control_listener = -1,
		.ready = -1,
		.feed = -1,
		.keys = {.reader = -1, .table = -1},
		.front_name = name,
		.front = front,
		.job = job,
		.failure_code = EXIT_STATUS_INTERNAL,
		.front_is_all = true};
}

static int run(int argc, char **argv)
{
	struct options options = {.ready = -1};
	struct run_job job = {0};
	struct output_files files = {.feed = -1};
	struct library_sets sets;
	struct err err = {0};
	struct master_setup setup = one_cell(&options.config, &sets, "run", run_command_front, &job);
	int r = parse_options(&options, argc, argv, run_options);

	if (r)
		return r;
	if (optind + 1 != argc)
		return complain(argv[0], "run takes one script; see vivarium --help");
	r = library_sets_parse(options.config.library_sets, &sets, &err);
	if (!r)
		r = run_request_make(&options.run, argv[optind], &options.config, &job.request,
			&err);
	if (!r && options.run.output_dir)
		r = output_files_start(&files, options.run.output_dir, &err);
	if (r < 0) {
		request_free(&job.request);
		return complain(argv[0], err.text);
	}
	setup.feed = job.feed = files.feed;
	job.whole_answer = options.run.json;
	job.is_live = options.run.stream;
	keep_one_set(&sets, &job.request);
	r = launch(&setup, &err);
	request_free(&job.request);
	if (r < 0)
		fprintf(stderr, "vivarium: %s\n", err.text);
	if (output_files_finish(&files) < 0)
		return EXIT_STATUS_INTERNAL;
	return r < 0 ? EXIT_STATUS_INTERNAL : r;
}

static int read_attacks(const struct config *config, struct buffer *attacks, struct err *err)
{
	char path[CONFIG_TEXT_BYTES + 16];
	int r;

	snprintf(path, sizeof(path), "%s/attacks.py", config->harness_dir);
	r = text_file_read(path, ATTACKS_MAX_BYTES, attacks, err);
	if (!r && buffer_append(attacks, "", 1) < 0) /* searched as a string, and sent without */
		r = err_set(err, ENOMEM, "read %s", path);
	attacks->length -= !r;
	return r;
}

static int check(int argc, char **argv)
{
	struct options options = {.ready = -1};
	struct check_job job = {0};
	struct library_sets sets;
	struct err err = {0};
	struct master_setup setup =
		one_cell(&options.config, &sets, "check", check_command_front, &job);
	int r = parse_options(&options, argc, argv, check_options);

	if (r)
		return r;
	if (optind < argc)
		return complain(argv[0], "check takes no arguments; see vivarium --help");
	job.json = options.run.json;
	/* attackers keep to no list: the jail alone is put to the test */
	*options.config.import_denylist = *options.config.import_allowlist = '\0';
	r = library_sets_parse(options.config.library_sets, &sets, &err);
	if (!r)
		r = read_attacks(&options.config, &job.attacks, &err);
	if (r < 0)
		return complain(argv[0], err.text);
	sets.count = 1;
	if (!check_command_layers(&options.config, job.json)) {
		if (job.json)
			check_command_close("what isolation asks for is not there");
		return 1;
	}
	r = launch(&setup, &err);
	if (r < 0) {
		fprintf(stderr, "vivarium: %s\n", err.text);
		if (job.json)
			check_command_close(err.text);
	}
	return r < 0 ? EXIT_STATUS_INTERNAL : r;
}

/* Returns 0 or a negative errno; -ENOTSUP where the words make no sense. */
static int edit_keys(const struct options *options, const char *file, int argc, char **argv,
	struct err *err)
{
	const char *verb = optind < argc ? argv[optind] : "";
	int names = argc - optind - 1;

	if (strcmp(verb, "add") == 0 && names == 1)
		return key_command_add(file, argv[optind + 1], options->key_settings,
			options->key_setting_count, err);
	if (options->key_setting_count)
		return -ENOTSUP;
	if (strcmp(verb, "list") == 0 && names == 0)
		return key_command_list(file, err);
	if (strcmp(verb, "revoke") == 0 && names == 1)
		return key_command_revoke(file, argv[optind + 1], err);
	return -ENOTSUP;
}

static int key(int argc, char **argv)
{
	struct options options = {.ready = -1};
	struct err err = {0};
	const char *file;
	int r = parse_options(&options, argc, argv, key_options);

	if (r)
		return r;
	file = options.key_file ? options.key_file : options.config.key_file;
	if (!*file)
		return complain(argv[0], "the configuration names no key_file: give one by --key-file");
	r = edit_keys(&options, file, argc, argv, &err);
	if (r == -ENOTSUP)
		return complain(argv[0], "key add NAME, key list or key revoke NAME; see vivarium --help");
	if (r < 0)
		fprintf(stderr, "vivarium: %s\n", err.text);
	return r < 0;
}

/*
 * Reads the policy as a template will, up to what only libseccomp knows, and tells its size. One
 * that is not there does not make the configuration wrong; whoever starts with it is told.
 */
static int check_policy(const char *path, struct err *err)
{
	static struct policy policy;
	struct buffer text = {0};
	size_t allowed, conditional;
	int r = text_file_read(path, POLICY_MAX_BYTES, &text, err);

	if (r == -ENOENT)
		return 0;
	if (!r)
		r = policy_parse(text.data ? text.data : "", text.length, &policy, err);
	buffer_free(&text);
	if (r < 0)
		return r;
	allowed = policy_count_allowed(&policy, &conditional);
	fprintf(stderr, "%s: scripts may make %zu system calls, %zu of them with certain arguments only\n",
		path, allowed, conditional);
	return 0;
}

/* Whoever may not read it can still look at the rest. */
static int check_keys(const char *path, struct err *err)
{
	struct key_list list;
	int r = *path ? key_file_read(path, NULL, &list, err) : -EACCES;

	if (!r)
		key_list_free(&list);
	return r == -EACCES ? 0 : r;
}

/* A catalogue that is not there is for whoever starts with it to be told, as with the policy. */
static int check_catalogue(const char *path, struct err *err)
{
	struct buffer text = {0};
	int r = text_file_read(path, CATALOGUE_MAX_BYTES, &text, err);

	if (r == -ENOENT)
		return 0;
	if (!r)
		r = catalogue_check(text.data, text.length, path, err);
	buffer_free(&text);
	return r;
}

static int check_config(int argc, char **argv)
{
	struct options options = {.ready = -1};
	struct request_rules rules;
	struct library_sets sets;
	struct err err = {0};
	int r = parse_options(&options, argc, argv, common_options);

	if (r)
		return r;
	if (library_sets_parse(options.config.library_sets, &sets, &err) < 0 ||
		make_rules(&options.config, &rules, &err) < 0 ||
		check_policy(options.config.seccomp_policy, &err) < 0 ||
		check_keys(options.config.key_file, &err) < 0 ||
		check_catalogue(options.config.library_catalogue, &err) < 0)
		return complain(argv[0], err.text);
	config_print(&options.config, stdout);
	return 0;
}

static int show_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("vivarium %s\n", VIVARIUM_VERSION);
	return 0;
}

static int show_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs(help, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int, char **);
	} commands[] = {{"serve", serve}, {"run", run}, {"check", check}, {"key", key}, {"--check-config", check_config},
		{"--version", show_version}, {"--help", show_help}};
	size_t i;

	for (i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			argv[1] = argv[0];
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	fputs(help, stderr);
	return EXIT_STATUS_USAGE;
}
