/*
 * Which allocations of a warm interpreter scripts are going to touch, by names that hold from one
 * start of a template to the next.
 *
 * The name of an allocation: the module that was being imported, the size, and how many of that
 * size came before in that module. Imports run the same way each time, so the names do, however
 * addresses and hash seed are drawn; where they do not, something lies where it would have lain
 * otherwise, and nothing else comes of it.
 *
 * A table of such names, each with the library set whose scripts touch it, is shared among forks:
 * rehearsals of a start fill it (heat_survey.h), and the start itself goes by it (placing.h).
 */
#ifndef VIVARIUM_HEAT_H
#define VIVARIUM_HEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HEAT_GRAIN_BYTES = 16, /* sizes are counted in these; Python aligns to them */
	HEAT_GRAINS_MAX = 255, /* larger blocks have pages of their own, and no name */
	HEAT_SETS_MAX = 16,
};

struct heat;

/* An empty table in shared memory. NULL with errno set on failure; the caller's to free. */
struct heat *heat_new(void);
void heat_free(struct heat *heat); /* NULL is welcome */

/*
 * An allocation of so many grains is touched by scripts of the set, and belongs to the lowest one
 * of those it is added for. A table that is full takes no more.
 */
void heat_add(struct heat *heat, uint64_t name, size_t grains, size_t set);

/* The set that it belongs to; -1: scripts do not touch it, or it has no name (0). */
int heat_set_of(const struct heat *heat, uint64_t name);

/* All allocations of one set together. */
size_t heat_bytes(const struct heat *heat, size_t set);

/* Bytes in grains, at least one. */
static inline size_t heat_grains(size_t bytes)
{
	return bytes ? bytes / HEAT_GRAIN_BYTES + !!(bytes % HEAT_GRAIN_BYTES) : 1;
}

/* --- names, of this process ----------------------------------------------------------------- */

/* From here on the module of that name is being imported. */
void heat_begin_module(const char *name);

/* The name of the next allocation of that many grains; 0: it has none. */
uint64_t heat_next_name(size_t grains);

/* Nothing that follows has a name. */
void heat_end_names(void);
bool heat_has_names(void);

#endif
