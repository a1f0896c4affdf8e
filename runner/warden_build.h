/* What the two halves of a warden share: building a cell (warden_build.c), serving (warden.c). */
#ifndef VIVARIUM_WARDEN_BUILD_H
#define VIVARIUM_WARDEN_BUILD_H

#include "runner/warden.h"
#include "sandbox/err.h"
#include "sandbox/tree.h"

#include <stdbool.h>
#include <sys/types.h>

/* Where a warden keeps its own descriptors; the rest below is its log. */
enum {
	WARDEN_FD_CONTROL = 3,
	WARDEN_FD_PROC = 4, /* builder only */
};

struct warden {
	const struct warden_setup *setup;
	const struct template_request *request;
	const int *groups; /* builder only: the files by which it joins the control groups */
	size_t group_count;
	struct tree_tmp tmp;
	int work; /* without mounts: the directory in place of /tmp */
	uint32_t execution_id; /* ids that executions take; 0: the warden's own */
	uint32_t layers; /* LAYER_BITs put in force so far */
	char work_path[ARRANGEMENT_PATH_BYTES + 16];
	int signals; /* signalfd of SIGCHLD */
	pid_t execution; /* 0: none */
	uint32_t execution_number;
};

/* Reports over the control socket at which step what went wrong (errno), and ends this process. */
_Noreturn void warden_fail(const char *step, int code);

/* Whether the cells of this service have a layer. */
bool warden_has_layer(const struct warden *warden, enum layer layer);

/*
 * Where executions have ids of their own, the warden may signal them and clear what they left only
 * in their name: by the effective id alone. The real and the saved one stay, bring it back, and
 * keep it out of their reach meanwhile (kill(2) looks at those two of its target).
 */
void warden_act_as_execution(const struct warden *warden, bool on);

/* The builder's steps: identity and namespaces, into which it then forks the warden. */
void warden_build_cell(struct warden *warden);

/* The warden's steps: what it makes inside of them before it serves. Both end where one fails. */
void warden_build_inside(struct warden *warden);

#endif
