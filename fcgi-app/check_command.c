#include "fcgi-app/check_command.h"

#include "fcgi-app/check_attacks.h"
#include "fcgi-app/check_layers.h"
#include "fcgi-app/exit_status.h"
#include "fcgi-app/launch.h"
#include "fcgi-app/options.h"
#include "fcgi-app/text_file.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum {
	ATTACKS_MAX_BYTES = 1 << 20,
};

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

int check_command_main(int argc, char **argv)
{
	struct options options;
	struct check_job job = {0};
	struct library_sets sets;
	struct err err = {0};
	struct master_setup setup;
	int r = options_parse(&options, OPTIONS_CHECK, argc, argv);

	if (r)
		return r;
	if (optind < argc)
		return options_complain(argv[0], "check takes no arguments; see vivarium --help");
	job.json = options.run.json;
	/* attackers keep to no list: the jail alone is put to the test */
	*options.config.import_denylist = *options.config.import_allowlist = '\0';
	r = library_sets_parse(options.config.library_sets, &sets, &err);
	if (!r)
		r = read_attacks(&options.config, &job.attacks, &err);
	if (r < 0)
		return options_complain(argv[0], err.text);
	sets.count = 1;
	if (!check_layers_print(&options.config, job.json)) {
		if (job.json)
			check_layers_close("what isolation asks for is not there");
		return 1;
	}
	setup = launch_setup_one_cell(&options.config, &sets, "check", check_attacks_front, &job);
	r = launch(&setup, &err);
	if (r < 0) {
		fprintf(stderr, "vivarium: %s\n", err.text);
		if (job.json)
			check_layers_close(err.text);
	}
	return r < 0 ? EXIT_STATUS_INTERNAL : r;
}
