#include "runner/placing.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct heat *heat;
static struct allocator base;
static char *place; /* NULL: there is none */
static size_t place_bytes;
static uint8_t *grains_at; /* of the block that begins at each grain of the place */
static char *next[HEAT_SETS_MAX], *end[HEAT_SETS_MAX]; /* where the next block of a set goes */

static void *map(size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static size_t round_to_pages(size_t bytes)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

	return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

/* Pages of a set are its own: what is touched by its scripts alone is not copied for others. */
int placing_begin(const struct heat *by)
{
	size_t set;
	char *at;

	heat = by;
	for (set = 0; set < HEAT_SETS_MAX; set++)
		place_bytes += round_to_pages(heat_bytes(heat, set));
	if (!place_bytes)
		return -ENODATA;
	at = map(place_bytes + place_bytes / HEAT_GRAIN_BYTES);
	if (at == MAP_FAILED)
		return -ENOMEM;
	grains_at = (uint8_t *)at + place_bytes;
	place = at;
	for (set = 0; set < HEAT_SETS_MAX; set++) {
		next[set] = at;
		at += round_to_pages(heat_bytes(heat, set));
		end[set] = at;
	}
	return 0;
}

static bool is_placed(const void *block)
{
	return (uintptr_t)block - (uintptr_t)place < place_bytes;
}

static uint8_t *grains_of(const void *block)
{
	return &grains_at[((uintptr_t)block - (uintptr_t)place) / HEAT_GRAIN_BYTES];
}

/* A place for the next allocation of that size; NULL: it lies where others do. */
static void *find_place(size_t bytes)
{
	size_t grains = heat_grains(bytes);
	char *block;
	int set;

	/* whoever wrapped this allocator while there were names may bring it back (tracemalloc) */
	if (grains > HEAT_GRAINS_MAX || !heat_has_names())
		return NULL;
	set = heat_set_of(heat, heat_next_name(grains));
	if (set < 0 || (size_t)(end[set] - next[set]) < grains * HEAT_GRAIN_BYTES)
		return NULL;
	block = next[set];
	next[set] += grains * HEAT_GRAIN_BYTES;
	*grains_of(block) = (uint8_t)grains;
	return block;
}

static void *placing_malloc(void *context, size_t bytes)
{
	void *block = find_place(bytes);

	return block ? block : base.malloc(context, bytes);
}

/* Memory of the place is fresh, and given once. */
static void *placing_calloc(void *context, size_t count, size_t bytes)
{
	void *block = bytes && count > SIZE_MAX / bytes ? NULL : find_place(count * bytes);

	return block ? block : base.calloc(context, count, bytes);
}

static void placing_free(void *context, void *block)
{
	if (!is_placed(block))
		base.free(context, block);
}

static void *move_away(void *context, void *old, size_t bytes)
{
	size_t old_bytes = *grains_of(old) * (size_t)HEAT_GRAIN_BYTES;
	void *block;

	if (bytes <= old_bytes)
		return old;
	block = base.malloc(context, bytes);
	return block ? memcpy(block, old, old_bytes) : NULL;
}

static void *settled_realloc(void *context, void *old, size_t bytes)
{
	return is_placed(old) ? move_away(context, old, bytes) : base.realloc(context, old, bytes);
}

/* The size of the old block is base's secret: it grows there first, and then comes over. */
static void *placing_realloc(void *context, void *old, size_t bytes)
{
	void *placed = find_place(bytes), *block = settled_realloc(context, old, bytes);

	if (!placed || !block)
		return block;
	memcpy(placed, block, bytes);
	placing_free(context, block);
	return placed;
}

struct allocator placing_allocator(const struct allocator *behind)
{
	struct allocator front = *behind;

	base = *behind;
	if (!place)
		return front;
	front.free = placing_free;
	front.realloc = settled_realloc;
	if (heat_has_names()) {
		front.malloc = placing_malloc;
		front.calloc = placing_calloc;
		front.realloc = placing_realloc;
	}
	return front;
}
