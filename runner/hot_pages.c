#include "runner/hot_pages.h"

#include "runner/mappings.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>

enum {
	/* Each parked execution holds them. Scripts that write more take so long that it is no matter. */
	WRITTEN_MAX_BYTES = 6 << 20,
	GAP_PAGES = 1, /* unwritten pages between two ranges that are rather copied than skipped */
};

static void add_page(struct hot_ranges *ranges, uintptr_t page, size_t page_bytes, size_t gap_bytes)
{
	struct hot_range *last = ranges->count ? &ranges->range[ranges->count - 1] : NULL;
	char *start = (char *)page;

	if (last && start >= last->start && start <= last->start + last->bytes + gap_bytes) {
		last->bytes = (size_t)(start - last->start) + page_bytes;
		return;
	}
	if (ranges->count < HOT_RANGES_MAX)
		ranges->range[ranges->count++] = (struct hot_range){start, page_bytes};
}

/* A page of a mapping, with its entry in the pagemap. */
typedef int visit_page(
	const struct mapping *mapping, uintptr_t page, uint64_t entry, void *context);

struct visit {
	visit_page *page;
	void *context;
	const struct mapping *mapping;
};

static int visit_one(uintptr_t page, uint64_t entry, void *context)
{
	struct visit *visit = context;

	return visit->page(visit->mapping, page, entry, visit->context);
}

/*
 * Visits all pages of private mappings of the calling process, in the order of addresses. Returns 0 or
 * a negative errno.
 */
static int visit_all(int proc, visit_page *page, void *context, struct err *err)
{
	SCOPE_FD pagemap = openat(proc, "self/pagemap", O_RDONLY | O_CLOEXEC);
	struct visit visit = {.page = page, .context = context};
	struct mappings mappings;
	size_t i;
	int r;

	if (pagemap < 0)
		return err_set(err, errno, "open /proc/self/pagemap");
	r = mappings_read(proc, &mappings, err);
	if (r < 0)
		return r;
	for (i = 0; i < mappings.count && !r; i++) {
		visit.mapping = &mappings.list[i];
		if (visit.mapping->is_private)
			r = mapping_visit_pages(pagemap, visit.mapping, visit_one, &visit);
	}
	mappings_free(&mappings);
	return r < 0 ? err_set(err, -r, "visit the pages of the process") : 0;
}

struct learning {
	struct hot_pages *pages;
	size_t written_bytes;
};

static int learn_page(const struct mapping *mapping, uintptr_t page, uint64_t entry, void *context)
{
	struct learning *learning = context;
	struct hot_pages *pages = learning->pages;
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

	if (!(entry & PAGEMAP_PRESENT))
		return 0;
	if (entry & PAGEMAP_FILE)
		add_page(&pages->read, page, page_bytes, 0);
	else if ((entry & PAGEMAP_EXCLUSIVE) && (mapping->protection & PROT_WRITE) &&
		 (learning->written_bytes += page_bytes) <= WRITTEN_MAX_BYTES)
		add_page(&pages->written, page, page_bytes, GAP_PAGES * page_bytes);
	return 0;
}

int hot_pages_learn(int proc, struct hot_pages *pages, struct err *err)
{
	struct learning learning = {.pages = pages};

	pages->written.count = pages->read.count = 0;
	return visit_all(proc, learn_page, &learning, err);
}

/* What was written since the image was taken is the process's own, and stays. */
static int unmap_page(uintptr_t page, uint64_t entry)
{
	if ((entry & PAGEMAP_PRESENT) && (entry & PAGEMAP_FILE) &&
		madvise((void *)page, (size_t)sysconf(_SC_PAGESIZE), MADV_DONTNEED) < 0 &&
		errno != EINVAL) /* locked: it stays */
		return -errno;
	return 0;
}

struct others {
	const struct hot_range *range, *end; /* those that stay, from the page that is visited on */
};

static int unmap_other(const struct mapping *mapping, uintptr_t page, uint64_t entry, void *context)
{
	struct others *others = context;

	(void)mapping;
	while (others->range < others->end &&
		page >= (uintptr_t)others->range->start + others->range->bytes)
		others->range++;
	if (others->range < others->end && page >= (uintptr_t)others->range->start)
		return 0;
	return unmap_page(page, entry);
}

/*
 * Around a page that is read the kernel maps others, within the mapping (do_fault_around() in
 * mm/memory.c). So every second page becomes a mapping of its own, by a flag that means nothing here.
 */
static int isolate_pages(const struct hot_range *range)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t page = (uintptr_t)range->start, end = page + range->bytes;

	for (; page < end; page += page_bytes) {
		if (page / page_bytes % 2 == 0 && madvise((void *)page, page_bytes, MADV_DONTDUMP) < 0)
			return -errno;
	}
	return 0;
}

int hot_pages_look_closely(int proc, const struct hot_ranges *read, struct err *err)
{
	struct others none = {0};
	int r = visit_all(proc, unmap_other, &none, err);
	size_t i;

	for (i = 0; i < read->count && !r; i++) {
		r = isolate_pages(&read->range[i]);
		if (r < 0)
			err_set(err, -r, "isolate pages");
	}
	return r;
}

static int map_read(const struct hot_ranges *ranges)
{
	size_t i;

	for (i = 0; i < ranges->count; i++) {
		if (madvise(ranges->range[i].start, ranges->range[i].bytes, MADV_POPULATE_READ) < 0)
			return -errno;
	}
	return 0;
}

static bool holds(const struct mapping *mapping, const struct hot_ranges *ranges)
{
	size_t i;

	for (i = 0; i < ranges->count; i++) {
		if ((uintptr_t)ranges->range[i].start < mapping->end &&
			(uintptr_t)ranges->range[i].start + ranges->range[i].bytes > mapping->start)
			return true;
	}
	return false;
}

/* A page of its own for a mapping: its last one is written with what it holds. */
static int own_a_page(const struct mapping *mapping)
{
	volatile char *last = (char *)mapping->end - 1;
	void *start = (void *)mapping->start;
	size_t bytes = mapping->end - mapping->start;

	if (mprotect(start, bytes, mapping->protection | PROT_WRITE) < 0)
		return -errno;
	*last = *last;
	return mprotect(start, bytes, mapping->protection) < 0 ? -errno : 0;
}

static int own_pages(const struct mappings *mappings, const struct hot_ranges *ranges)
{
	size_t i;
	int r = 0;

	for (i = 0; i < mappings->count && !r; i++) {
		if (mappings->list[i].is_private && holds(&mappings->list[i], ranges))
			r = own_a_page(&mappings->list[i]);
	}
	return r;
}

int hot_pages_arrange(int proc, const struct hot_pages *pages, struct err *err)
{
	struct others others = {pages->read.range, pages->read.range + pages->read.count};
	struct mappings mappings;
	int r = mappings_read(proc, &mappings, err);

	if (r < 0)
		return r;
	r = own_pages(&mappings, &pages->read);
	mappings_free(&mappings);
	if (!r)
		r = map_read(&pages->read);
	if (r < 0)
		return err_set(err, -r, "arrange the hot pages");
	return visit_all(proc, unmap_other, &others, err);
}

void hot_pages_touch(const struct hot_pages *pages)
{
	size_t i;

	for (i = 0; i < pages->written.count; i++)
		madvise(pages->written.range[i].start, pages->written.range[i].bytes,
			MADV_POPULATE_WRITE);
}
