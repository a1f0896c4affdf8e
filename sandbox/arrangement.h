/* How an instance is isolated: found out and decided once by the launcher, handed to every role. */
#ifndef VIVARIUM_ARRANGEMENT_H
#define VIVARIUM_ARRANGEMENT_H

#include "sandbox/err.h"
#include "sandbox/layers.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	ARRANGEMENT_PATH_BYTES = 96,
	ARRANGEMENT_TEXT_BYTES = ARRANGEMENT_PATH_BYTES + 48,
};

struct arrangement {
	uint32_t layers; /* LAYER_BITs that are to be put in force; each of them, or no start */
	bool ranged; /* ids to give away: the service was started as root */
	uint32_t id_base; /* what ids of identity.h are counted from; 0 in a user namespace */
	/* Without mounts: the directory with one for each cell, in place of their /tmp. */
	char work[ARRANGEMENT_PATH_BYTES];
};

/* The id that a role or cell has in the caller's user namespace; 0: the one there is. */
uint32_t arrangement_id(const struct arrangement *arrangement, uint32_t id);

/*
 * Makes those of the namespaces (CLONE_NEW* flags) that are to be, and moves the calling process
 * into them. Returns 0 or a negative errno.
 */
int arrangement_unshare(const struct arrangement *arrangement, int flags, struct err *err);

/* Which of the flags these are. */
int arrangement_flags(const struct arrangement *arrangement, int flags);

/*
 * Whether processes of the service, or files of its user, have the id that scripts have and no
 * namespace keeps the two apart: then these get a further filter. Without user namespaces a range
 * of ids does keep them apart.
 */
bool arrangement_is_exposed(const struct arrangement *arrangement);

/* The id of a cell's executions, where their warden has another one to be safe from them; else 0.
 */
uint32_t arrangement_execution_id(const struct arrangement *arrangement, uint32_t cell_id);

/* As one word of a command line, and back. Return 0 or -EINVAL. */
void arrangement_print(const struct arrangement *arrangement, char text[ARRANGEMENT_TEXT_BYTES]);
int arrangement_parse(const char *text, struct arrangement *arrangement);

/*
 * Takes all files out of the calling process's sight: an empty root, or Landlock rules that allow
 * nothing but reading below the directory `proc` (-1: nothing at all). Where the platform is the
 * sandbox and neither can be had, nothing. The mount namespace is to be the caller's own; with
 * Landlock no_new_privs has to be set. Returns 0 or a negative errno.
 */
int arrangement_hide_files(const struct arrangement *arrangement, int proc, struct err *err);

#endif
