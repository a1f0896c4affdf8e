/* The warden of a cell: process 1 of its PID namespace, parent of its executions. */
#ifndef VIVARIUM_WARDEN_H
#define VIVARIUM_WARDEN_H

#include "runner/hot_pages.h"
#include "sandbox/arrangement.h"
#include "sandbox/cell_message.h"
#include "sandbox/seccomp.h"

#include <stddef.h>
#include <stdint.h>

/* What every warden of a template inherits. */
struct warden_setup {
	const struct arrangement *arrangement;
	const char *venv; /* where there are no mounts: the virtual environment; "": none */
	struct seccomp_program policy, closing;
	struct seccomp_program exposed; /* empty where nobody is */
	uint64_t data_bytes, address_bytes; /* of the warm interpreter: job limits come on top */
	uint64_t image_bytes; /* what the warm interpreter has written */
	struct hot_pages hot; /* what every execution touches while it waits */
};

/*
 * Called in a template: makes a cell's namespaces and forks its warden into them. fds: the
 * warden's end of the cell's control socket, and count - 1 files by which it joins the cell's
 * control groups; they stay the caller's. Whatever goes wrong is reported over the socket
 * (CELL_REPORT_FAILED), or seen there as end of file.
 */
void warden_spawn(const struct warden_setup *setup, const struct template_request *request,
	const int *fds, size_t count);

#endif
