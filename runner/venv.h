/* The operator's virtual environment (python_venv): packages beside those of the system. */
#ifndef VIVARIUM_VENV_H
#define VIVARIUM_VENV_H

#include "sandbox/err.h"

#include <stdbool.h>

/*
 * Whether path is a virtual environment that the linked interpreter can use: made for its version,
 * with packages that the caller can read. *has_system: whether it was made to see the system's
 * packages, too. Returns 0 or a negative errno.
 */
int venv_check(const char *path, bool *has_system, struct err *err);

#endif
