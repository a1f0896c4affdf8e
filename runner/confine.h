/* How a template is confined before it reads a line of a library. */
#ifndef VIVARIUM_CONFINE_H
#define VIVARIUM_CONFINE_H

#include "runner/warden.h"
#include "sandbox/err.h"

/*
 * Compiles the filters of executions into *warden, whose arrangement is set, from the policy at
 * TEMPLATE_FD_POLICY; then enters the tree, or the Landlock rules in its place, and takes on the
 * template's own identity, with the privileges that wardens need. venv: the virtual environment as
 * the host names it; "": none. Returns 0 or a negative errno; then the process must not go on.
 */
int confine_template(struct warden_setup *warden, const char *venv, struct err *err);

#endif
