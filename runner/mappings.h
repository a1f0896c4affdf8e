/* What a process has mapped, as /proc/self/smaps and /proc/self/pagemap tell (proc(5)). */
#ifndef VIVARIUM_MAPPINGS_H
#define VIVARIUM_MAPPINGS_H

#include "sandbox/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mapping {
	uintptr_t start, end;
	int protection; /* PROT_* of mmap(2) */
	bool is_private;
	bool is_object; /* a file of the tree: code or data of a program or library */
	bool is_stack;
};

struct mappings {
	size_t count;
	struct mapping *list; /* in the order of addresses; owned */
};

/*
 * Reads all mappings of the calling process but the kernel's own ([vdso] and its like) and those that
 * a fork leaves empty, which are nobody else's to copy. proc: a procfs. Returns 0, -E2BIG for more than
 * 65,536, or another negative errno; the list is the caller's, for mappings_free().
 */
int mappings_read(int proc, struct mappings *mappings, struct err *err);
void mappings_free(struct mappings *mappings);

/* Bits of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_FILE (UINT64_C(1) << 61) /* a page of a file, or of shared memory */
#define PAGEMAP_EXCLUSIVE (UINT64_C(1) << 56) /* no other process maps it */

/*
 * Calls visit() for each page of a mapping with its address and pagemap entry, in order, until one
 * returns other than 0. Uses the stack alone. pagemap: /proc/self/pagemap. Returns what visit()
 * did, or a negative errno.
 */
int mapping_visit_pages(int pagemap, const struct mapping *mapping,
	int (*visit)(uintptr_t page, uint64_t entry, void *context), void *context);

#endif
