/* `vivarium run`: one script in the same jail, without HTTP. */
#ifndef VIVARIUM_RUN_COMMAND_H
#define VIVARIUM_RUN_COMMAND_H

#include "fcgi-app/front.h"
#include "fcgi-app/request.h"

struct run_job {
	struct request request;
	bool whole_answer; /* print the answer as HTTP would give it */
	bool is_live; /* print what the script prints while it runs */
	int feed; /* takes output files (output_files.h); -1: none */
};

/*
 * The front of `vivarium run`: waits for its one cell, runs the job, prints. The value goes to
 * standard output, what the script printed and errors to standard error; with whole_answer the
 * answer's JSON goes to standard output. output: the caller's standard output, kept open.
 * Returns the exit code: 0 a value, 1 the script failed, 124 out of time, 125 internal.
 */
int run_command_front(const struct front_setup *setup);

#endif
