/*
 * Where there are no mounts, a cell's scripts work in a directory of the cell's own in place of a
 * /tmp: made once, emptied after each execution. What is in it was made by hostile hands.
 */
#ifndef VIVARIUM_WORK_DIR_H
#define VIVARIUM_WORK_DIR_H

#include "sandbox/err.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Makes a directory with a name that nobody can guess below $TMPDIR or /tmp, which others may pass
 * but not read, and fills path with it. Returns 0 or a negative errno.
 */
int work_dir_begin(char *path, size_t size, struct err *err);

/* Makes base/name for its owner alone (id 0: the caller). Returns 0 or a negative errno. */
int work_dir_add(const char *base, const char *name, uint32_t id, struct err *err);

/*
 * Removes all that is in the directory, to any depth, and follows no link; gives the directory
 * itself its mode back. Nobody may be at work in it. Returns 0 or a negative errno.
 */
int work_dir_clear(int directory, struct err *err);

/* Removes base with all that is in it. */
void work_dir_end(const char *base);

#endif
