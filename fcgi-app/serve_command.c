#include "fcgi-app/serve_command.h"

#include "fcgi-app/launch.h"
#include "fcgi-app/log_output.h"
#include "fcgi-app/openapi.h"
#include "fcgi-app/options.h"
#include "fcgi-app/template_trees.h"

#include <fcntl.h>
#include <unistd.h>

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

int serve_command_main(int argc, char **argv)
{
	struct options options;
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
	int r = options_parse(&options, OPTIONS_SERVE, argc, argv);

	if (r)
		return r;
	if (optind < argc)
		return options_complain(argv[0], "serve takes no arguments; see vivarium --help");
	setup.workers = worker_count(&options.config);
	setup.cells_per_worker = options.config.cells_per_worker;
	setup.template_trees = template_tree_count(&options.config, setup.workers);
	setup.ready = options.ready;
	if (options.ready >= 0 && fcntl(options.ready, F_SETFD, FD_CLOEXEC) < 0)
		return options_complain(argv[0], "--ready-fd is not an open descriptor");
	log_output_begin(&options.config);
	request_rules_init(&rules, &options.config);
	r = library_sets_parse(options.config.library_sets, &sets, &err);
	if (!r)
		r = request_rules_allow(&rules, options.config.client_fields, &err);
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
