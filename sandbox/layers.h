/*
 * The layers of isolation as bits: what a machine offers, what an instance is to have, what its
 * processes report that they have done. Pure.
 */
#ifndef VIVARIUM_LAYERS_H
#define VIVARIUM_LAYERS_H

#include "sandbox/err.h"

#include <stddef.h>
#include <stdint.h>

/* Name as /health has it; 1: one of those that `isolation = full` requires. */
#define LAYERS(X)                                                                                  \
	X(USER, "user", 1) /* namespaces, each cell its own */                                     \
	X(PID, "pid", 1)                                                                           \
	X(MOUNT, "mount", 1) /* with a tree and a /tmp of the cell's own */                        \
	X(NETWORK, "network", 1)                                                                   \
	X(IPC, "ipc", 1)                                                                           \
	X(UTS, "uts", 1)                                                                           \
	X(CGROUP, "cgroup", 1)                                                                     \
	X(SECCOMP, "seccomp", 1)                                                                   \
	X(CAPABILITIES, "capabilities", 1) /* all sets empty */                                    \
	X(NO_NEW_PRIVS, "no_new_privs", 1)                                                         \
	X(RLIMITS, "rlimits", 1)                                                                   \
	X(PROCFS, "procfs", 1) /* the service's own, with a PID namespace around it */             \
	X(OWN_UID, "own_uid", 0) /* on the host, for each cell; needs a start as root */           \
	X(LANDLOCK, "landlock", 0) /* in place of the mount namespace */

enum layer {
#define LAYER_ENUM(name, text, required) LAYER_##name,
	LAYERS(LAYER_ENUM)
#undef LAYER_ENUM
	LAYER_COUNT,
};

#define LAYER_BIT(layer) (UINT32_C(1) << (layer))
#define LAYER_HAS(set, layer) (((set) & LAYER_BIT(layer)) != 0)

enum isolation {
	ISOLATION_FULL, /* every layer, or no start */
	ISOLATION_AVAILABLE, /* every layer that can be had, and never less than layers_least */
	ISOLATION_PLATFORM, /* whatever can be had: the platform is the sandbox */
};

const char *layer_name(enum layer layer);

/*
 * What an instance is to have, of what was found on this machine. Layers that rest on another one
 * which is missing are left out, and Landlock where it is not needed.
 * Returns 0 and *plan, or -ENOTSUP with the names of what is missing.
 */
int layers_plan(enum isolation isolation, uint32_t found, uint32_t *plan, struct err *err);

/* Of the layers that `full` has, those that are not in the set. */
uint32_t layers_missing(uint32_t set);

/* The names in the set, separated by blanks; "none" for an empty one. Cut at size. */
void layers_print(uint32_t set, char *text, size_t size);

#endif
