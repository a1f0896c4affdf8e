#include "fcgi-app/check_config.h"

#include "fcgi-app/catalogue.h"
#include "fcgi-app/key_file.h"
#include "fcgi-app/library_sets.h"
#include "fcgi-app/options.h"
#include "fcgi-app/request_rules.h"
#include "fcgi-app/text_file.h"
#include "sandbox/policy.h"

#include <errno.h>
#include <stdio.h>

enum {
	POLICY_MAX_BYTES = 1 << 20,
};

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

int check_config_main(int argc, char **argv)
{
	struct options options;
	struct request_rules rules;
	struct library_sets sets;
	struct err err = {0};
	int r = options_parse(&options, OPTIONS_SERVE, argc, argv);

	if (r)
		return r;
	request_rules_init(&rules, &options.config);
	if (library_sets_parse(options.config.library_sets, &sets, &err) < 0 ||
		request_rules_allow(&rules, options.config.client_fields, &err) < 0 ||
		check_policy(options.config.seccomp_policy, &err) < 0 ||
		check_keys(options.config.key_file, &err) < 0 ||
		check_catalogue(options.config.library_catalogue, &err) < 0)
		return options_complain(argv[0], err.text);
	config_print(&options.config, stdout);
	return 0;
}
