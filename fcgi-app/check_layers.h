/* The first half of `vivarium check`: what this machine offers. */
#ifndef VIVARIUM_CHECK_LAYERS_H
#define VIVARIUM_CHECK_LAYERS_H

#include "fcgi-app/config.h"

#include <stdbool.h>

/*
 * Tries all layers and prints a table of them to standard output, or the first half of a JSON
 * object. Returns whether the configuration could be served with what there is.
 */
bool check_layers_print(const struct config *config, bool json);

/* The second half of the JSON object where no attack could be run, for that reason. */
void check_layers_close(const char *error);

#endif
