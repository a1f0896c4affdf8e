/* `vivarium check`: what this machine offers, and whether the jail holds on it. */
#ifndef VIVARIUM_CHECK_COMMAND_H
#define VIVARIUM_CHECK_COMMAND_H

#include "fcgi-app/front.h"
#include "sandbox/buffer.h"

#include <stdbool.h>

/* What the front of the check is given: the attacks' text (runner/attacks.py). */
struct check_job {
	struct buffer attacks;
	bool json;
};

/*
 * Tries all layers and prints a table of them to standard output, or the first half of a JSON
 * object. Returns whether the configuration could be served with what there is.
 */
bool check_command_layers(const struct config *config, bool json);

/*
 * The front of the check: runs the attacks one after the other in its one cell and prints how each
 * ended. Returns the exit code: 0 all were contained, 1 some were not, 125 it could not be tried.
 */
int check_command_front(const struct front_setup *setup);

/* The second half of the JSON object where no attack could be run. */
void check_command_close(const char *error);

#endif
