/*
 * Where allocations lie: those that scripts touch together, by what rehearsals have found.
 *
 * A use of an object counts a reference up and down, which copies its page in every execution. The
 * objects that scripts touch are few and lie scattered among those they do not: placed side by side
 * they take a third of the pages.
 *
 * What is placed is never freed, and moves away from its place when it grows.
 */
#ifndef VIVARIUM_PLACING_H
#define VIVARIUM_PLACING_H

#include "runner/allocator.h"
#include "runner/heat.h"

/*
 * Reserves the place that the table asks for, once in a process. The table has to stay as long as
 * there are names. Returns 0, -ENODATA when it is empty, -ENOMEM.
 */
int placing_begin(const struct heat *by);

/*
 * An allocator in front of the one behind, which is copied and keeps all that is not placed. While
 * names last it places; after heat_end_names() ask again: what it returns then leaves malloc and
 * calloc to the one behind. Without placing_begin() it is that one.
 */
struct allocator placing_allocator(const struct allocator *behind);

#endif
