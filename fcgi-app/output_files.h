/*
 * The output files of `vivarium run --output-dir`. The front, which has the answer, can open
 * nothing; so a process that is forked before the service takes its ids, and remains whoever typed
 * the command, writes them beneath the directory. It believes the front nothing but bytes: paths
 * are plain and match what was asked for, no link is followed, nothing that is there is written
 * over, and all stays within the caps of an answer.
 */
#ifndef VIVARIUM_OUTPUT_FILES_H
#define VIVARIUM_OUTPUT_FILES_H

#include "fcgi-app/answer.h"
#include "sandbox/buffer.h"
#include "sandbox/err.h"

#include <sys/types.h>

struct output_files {
	pid_t writer; /* 0: none */
	int feed; /* where the front sends them; owned; -1: none */
};

/*
 * Opens the directory, made if it is not there, and starts the writer, which has its copy of the
 * globs (request.h). Returns 0 or a negative errno with the reason in *err.
 */
int output_files_start(struct output_files *files, const char *directory,
	const struct buffer *globs, struct err *err);

/* In the front: hands over all files of an answer. Returns 0 or a negative errno. */
int output_files_send(int feed, const struct answer_run *run);

/*
 * Waits until all is written. Returns 0, or -EIO when some is not: the writer has said why, unless
 * the front was gone before it had sent all.
 */
int output_files_finish(struct output_files *files);

#endif
