#include "runner/heat_survey.h"

#include "runner/mappings.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

enum {
	SLAB_BYTES = 64 << 10, /* blocks of one stride, one behind the other */
	SLAB_PAGES_MAX = SLAB_BYTES / 4096,
	SPREAD_BYTES = 2048, /* each block that is spread gets so much, or a multiple */
	STRIDES = HEAT_GRAINS_MAX + 2, /* in grains, with the head of the block */
};

/* The head of each block; its memory follows. */
struct block {
	union {
		uint64_t name; /* 0: none, or free */
		uint64_t large_bytes;
	};
	uint32_t grains; /* 0: a large one, which base has */
	uint32_t is_spread;
};

_Static_assert(sizeof(struct block) == HEAT_GRAIN_BYTES, "blocks are aligned as Python wants them");

/* Its memory then holds the next one of its size. */
struct free_block {
	struct block head;
	struct free_block *next;
};

struct slab {
	struct slab *previous;
	char *start;
	size_t stride, used;
};

static struct allocator base;
static const struct heat *known_heat;
static struct heat *found_heat;
static struct slab *slabs; /* all of them, the latest first */
static struct slab *current[STRIDES], *spread;
static struct free_block *freed[STRIDES];

void heat_survey_begin(const struct heat *known, struct heat *found)
{
	known_heat = known;
	found_heat = found;
}

bool heat_survey_is_on(void)
{
	return found_heat;
}

/* --- its allocator ------------------------------------------------------------------------- */

static struct slab *new_slab(size_t stride)
{
	struct slab *slab = malloc(sizeof(*slab));
	void *start = !slab ? MAP_FAILED
			    : mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (start == MAP_FAILED) {
		free(slab);
		return NULL;
	}
	*slab = (struct slab){.previous = slabs, .start = start, .stride = stride};
	return slabs = slab;
}

static struct block *cut(struct slab **from, size_t stride)
{
	struct slab *slab = *from;

	if (!slab || slab->stride != stride || slab->used + stride > SLAB_BYTES)
		slab = *from = new_slab(stride);
	if (!slab)
		return NULL;
	slab->used += stride;
	return (struct block *)(slab->start + slab->used - stride);
}

static struct block *take_freed(size_t stride)
{
	struct free_block *block = freed[stride];

	if (!block)
		return NULL;
	freed[stride] = block->next;
	return &block->head;
}

static void *new_block(size_t grains)
{
	size_t stride = grains + 1, bytes = stride * HEAT_GRAIN_BYTES;
	uint64_t name = heat_next_name(grains);
	bool is_spread = known_heat && heat_set_of(known_heat, name) >= 0;
	struct block *block = is_spread ? NULL : take_freed(stride);

	if (is_spread)
		block = cut(&spread, (bytes + SPREAD_BYTES - 1) / SPREAD_BYTES * SPREAD_BYTES);
	else if (!block)
		block = cut(&current[stride], bytes);
	if (!block)
		return NULL;
	*block = (struct block){.name = name, .grains = (uint32_t)grains, .is_spread = is_spread};
	return block + 1;
}

static void *new_large(struct block *block, size_t bytes)
{
	if (!block)
		return NULL;
	*block = (struct block){.large_bytes = bytes};
	return block + 1;
}

static void *survey_malloc(void *context, size_t bytes)
{
	size_t grains = heat_grains(bytes);

	if (grains <= HEAT_GRAINS_MAX)
		return new_block(grains);
	if (bytes > SIZE_MAX - sizeof(struct block))
		return NULL;
	return new_large(base.malloc(context, bytes + sizeof(struct block)), bytes);
}

static void *survey_calloc(void *context, size_t count, size_t bytes)
{
	void *block = bytes && count > SIZE_MAX / bytes ? NULL
							: survey_malloc(context, count * bytes);

	return block ? memset(block, 0, count * bytes) : NULL;
}

/* What was spread is not used again, its place would lose its meaning; nor what a scout frees. */
static void survey_free(void *context, void *memory)
{
	struct free_block *block;

	if (!memory)
		return;
	block = (struct free_block *)((struct block *)memory - 1);
	if (!block->head.grains) {
		base.free(context, block);
		return;
	}
	if (!heat_has_names())
		return;
	block->head.name = 0;
	if (block->head.is_spread)
		return;
	block->next = freed[block->head.grains + 1];
	freed[block->head.grains + 1] = block;
}

/* Always moves, as the name that the new size gets is the new block's. */
static void *survey_realloc(void *context, void *old, size_t bytes)
{
	const struct block *block;
	void *memory = survey_malloc(context, bytes);
	size_t old_bytes;

	if (!memory || !old)
		return memory;
	block = (struct block *)old - 1;
	old_bytes = block->grains ? block->grains * (size_t)HEAT_GRAIN_BYTES : block->large_bytes;
	memcpy(memory, old, old_bytes < bytes ? old_bytes : bytes);
	survey_free(context, old);
	return memory;
}

struct allocator heat_survey_allocator(const struct allocator *behind)
{
	base = *behind;
	return (struct allocator){.context = base.context,
		.malloc = survey_malloc,
		.calloc = survey_calloc,
		.realloc = survey_realloc,
		.free = survey_free};
}

/* --- its findings -------------------------------------------------------------------------- */

struct view {
	uintptr_t start;
	size_t page_bytes;
	bool is_written[SLAB_PAGES_MAX];
};

static int see_page(uintptr_t page, uint64_t entry, void *context)
{
	struct view *view = context;

	view->is_written[(page - view->start) / view->page_bytes] =
		(entry & PAGEMAP_PRESENT) && (entry & PAGEMAP_EXCLUSIVE) && !(entry & PAGEMAP_FILE);
	return 0;
}

static bool is_touched(const struct view *view, size_t at, size_t bytes)
{
	size_t page, last = (at + bytes - 1) / view->page_bytes;

	for (page = at / view->page_bytes; page <= last; page++) {
		if (view->is_written[page])
			return true;
	}
	return false;
}

/* In a second rehearsal what is not spread has been seen to be cold, whoever shares its page. */
static bool is_candidate(const struct block *block)
{
	return block->name && (!known_heat || block->is_spread);
}

static int look_at_slab(int pagemap, const struct slab *slab, size_t set)
{
	struct view view = {
		.start = (uintptr_t)slab->start, .page_bytes = (size_t)sysconf(_SC_PAGESIZE)};
	const struct mapping mapping = {.start = view.start, .end = view.start + SLAB_BYTES};
	const struct block *block;
	size_t at;
	int r = mapping_visit_pages(pagemap, &mapping, see_page, &view);

	for (at = 0; !r && at < slab->used; at += slab->stride) {
		block = (const struct block *)(slab->start + at);
		if (is_candidate(block) &&
			is_touched(&view, at, ((size_t)block->grains + 1) * HEAT_GRAIN_BYTES))
			heat_add(found_heat, block->name, block->grains, set);
	}
	return r;
}

int heat_survey_look(int proc, size_t set, struct err *err)
{
	SCOPE_FD pagemap = openat(proc, "self/pagemap", O_RDONLY | O_CLOEXEC);
	const struct slab *slab;
	int r = pagemap < 0 ? -errno : 0;

	for (slab = slabs; slab && !r; slab = slab->previous)
		r = look_at_slab(pagemap, slab, set);
	return r < 0 ? err_set(err, -r, "read /proc/self/pagemap") : 0;
}
