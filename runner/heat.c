#include "runner/heat.h"

#include <sys/mman.h>

enum {
	SLOTS = 1 << 18, /* of names; a page is there once it is used */
	NAMES_MAX = SLOTS / 2,
	COUNTERS = 1 << 14, /* two sites that share one count together, each time */
	SET_BITS = 5, /* the lower end of a slot: the set, and one */
};

struct heat {
	size_t count;
	size_t grains[HEAT_SETS_MAX];
	uint64_t slot[SLOTS];
};

static const uint64_t SET_MASK = (UINT64_C(1) << SET_BITS) - 1;

static uint64_t module;
static uint32_t counters[COUNTERS];
static bool has_ended;

/* The finalizer of MurmurHash3, which is in the public domain: every bit decides about every bit. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 33) * UINT64_C(0xff51afd7ed558ccd);
	x = (x ^ x >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

struct heat *heat_new(void)
{
	struct heat *heat = mmap(NULL, sizeof(*heat), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return heat == MAP_FAILED ? NULL : heat;
}

void heat_free(struct heat *heat)
{
	if (heat)
		munmap(heat, sizeof(*heat));
}

/* The slot that holds the name, or the free one where it belongs: half of them are free. */
static size_t find(const struct heat *heat, uint64_t name)
{
	size_t at = (name >> SET_BITS) % SLOTS;

	while (heat->slot[at] && (heat->slot[at] | SET_MASK) != (name | SET_MASK))
		at = (at + 1) % SLOTS;
	return at;
}

static size_t set_in(uint64_t slot)
{
	return (slot & SET_MASK) - 1;
}

void heat_add(struct heat *heat, uint64_t name, size_t grains, size_t set)
{
	uint64_t *slot = &heat->slot[find(heat, name)];

	if (*slot && set_in(*slot) <= set)
		return;
	if (*slot)
		heat->grains[set_in(*slot)] -= grains;
	else if (heat->count == NAMES_MAX)
		return;
	else
		heat->count++;
	heat->grains[set] += grains;
	*slot = (name & ~SET_MASK) | (set + 1);
}

int heat_set_of(const struct heat *heat, uint64_t name)
{
	uint64_t slot = heat->slot[find(heat, name)];

	return slot ? (int)set_in(slot) : -1;
}

size_t heat_bytes(const struct heat *heat, size_t set)
{
	return heat->grains[set] * HEAT_GRAIN_BYTES;
}

void heat_begin_module(const char *name)
{
	module = 0;
	for (; *name; name++)
		module = mix(module + (unsigned char)*name);
}

uint64_t heat_next_name(size_t grains)
{
	uint64_t site = mix(module + grains);

	if (has_ended)
		return 0;
	return mix(site + counters[site % COUNTERS]++) | UINT64_C(1) << 63;
}

void heat_end_names(void)
{
	has_ended = true;
}

bool heat_has_names(void)
{
	return !has_ended;
}
