/* Landlock: which files a process may still open, where it cannot have a root of its own. */
#ifndef VIVARIUM_LANDLOCK_H
#define VIVARIUM_LANDLOCK_H

#include "sandbox/err.h"

#include <stdbool.h>
#include <stddef.h>

struct landlock_rule {
	const char *path; /* a directory with all below it, or a file; NULL: take fd */
	int fd;
	bool writable; /* else reading, and mapping to execute */
	bool optional; /* may be missing */
};

/*
 * From now on the calling process and its descendants open only what the rules name; what is open
 * stays open. scoped: where the kernel can see to that (Linux 6.12), they signal nobody outside,
 * either. Needs no_new_privs. Looking at a path, changing its mode, owner and times are not among
 * the rights that Landlock knows. Returns 0 or a negative errno; then the process must not go on.
 */
int landlock_confine(const struct landlock_rule *rules, size_t count, bool scoped, struct err *err);

#endif
