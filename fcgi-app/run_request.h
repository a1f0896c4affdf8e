/* The options of `vivarium run` as a request: with the same fields and limits as over HTTP. */
#ifndef VIVARIUM_RUN_REQUEST_H
#define VIVARIUM_RUN_REQUEST_H

#include "fcgi-app/config.h"
#include "fcgi-app/request.h"
#include "sandbox/err.h"

#include <stdbool.h>

enum {
	RUN_LIST_MAX = 256, /* times that one option may be given */
};

/* An option that may be given again and again. */
struct run_list {
	const char *item[RUN_LIST_MAX];
	size_t count;
};

/* As they stand on the command line; NULL: not given. */
struct run_options {
	const char *timeout, *memory, *entry, *encode;
	const char *output_dir; /* where output files are written */
	const char *input; /* the file that becomes standard input; "-": our own */
	bool no_entry, json, stream;
	struct run_list args, kwargs, argv, env, files, outputs;
};

/* Appends to a list. Returns 0 or -E2BIG. */
int run_list_add(struct run_list *list, const char *item);

/*
 * Reads the script at path ("-": standard input) and the files that options name, and makes the
 * request of them. Returns 0, or a negative errno with the reason, in words for who typed it, in
 * *err.
 */
int run_request_make(const struct run_options *options, const char *path,
	const struct config *config, struct request *request, struct err *err);

#endif
