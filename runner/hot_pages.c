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

struct learning {
	const struct mapping *mapping;
	struct hot_pages *pages;
	size_t written_bytes;
};

static int learn_page(uintptr_t page, uint64_t entry, void *context)
{
	struct learning *learning = context;
	struct hot_pages *pages = learning->pages;
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

	if (!(entry & PAGEMAP_PRESENT))
		return 0;
	if (entry & PAGEMAP_FILE)
		add_page(&pages->read, page, page_bytes, 0);
	else if ((entry & PAGEMAP_EXCLUSIVE) && (learning->mapping->protection & PROT_WRITE) &&
		 (learning->written_bytes += page_bytes) <= WRITTEN_MAX_BYTES)
		add_page(&pages->written, page, page_bytes, GAP_PAGES * page_bytes);
	return 0;
}

/* Visits all private mappings of the calling process. Returns 0 or a negative errno. */
static int visit_all(int proc, int (*visit)(uintptr_t, uint64_t, void *), struct learning *learning,
	struct err *err)
{
	SCOPE_FD pagemap = openat(proc, "self/pagemap", O_RDONLY | O_CLOEXEC);
	struct mappings mappings;
	size_t i;
	int r;

	if (pagemap < 0)
		return err_set(err, errno, "open /proc/self/pagemap");
	r = mappings_read(proc, &mappings, err);
	if (r < 0)
		return r;
	for (i = 0; i < mappings.count && !r; i++) {
		learning->mapping = &mappings.list[i];
		if (learning->mapping->is_private)
			r = mapping_visit_pages(pagemap, learning->mapping, visit, learning);
	}
	mappings_free(&mappings);
	return r < 0 ? err_set(err, -r, "read /proc/self/pagemap") : 0;
}

int hot_pages_learn(int proc, struct hot_pages *pages, struct err *err)
{
	struct learning learning = {.pages = pages};

	pages->written.count = pages->read.count = 0;
	return visit_all(proc, learn_page, &learning, err);
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
		if ((uintptr_t)ranges->range[i].start >= mapping->start &&
			(uintptr_t)ranges->range[i].start < mapping->end)
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

/* A page that was written since the image was taken is the template's own and stays. */
static int drop_page(uintptr_t page, uint64_t entry, void *context)
{
	(void)context;
	if ((entry & PAGEMAP_PRESENT) && (entry & PAGEMAP_FILE) &&
		madvise((void *)page, (size_t)sysconf(_SC_PAGESIZE), MADV_DONTNEED) < 0)
		return -errno;
	return 0;
}

static int unmap_written(int pagemap, const struct hot_ranges *ranges)
{
	struct mapping mapping;
	size_t i;
	int r = 0;

	for (i = 0; i < ranges->count && !r; i++) {
		mapping.start = (uintptr_t)ranges->range[i].start;
		mapping.end = mapping.start + ranges->range[i].bytes;
		r = mapping_visit_pages(pagemap, &mapping, drop_page, NULL);
	}
	return r;
}

int hot_pages_arrange(int proc, const struct hot_pages *pages, struct err *err)
{
	SCOPE_FD pagemap = openat(proc, "self/pagemap", O_RDONLY | O_CLOEXEC);
	struct mappings mappings;
	int r = mappings_read(proc, &mappings, err);

	if (r < 0)
		return r;
	r = pagemap < 0 ? -errno : own_pages(&mappings, &pages->read);
	mappings_free(&mappings);
	if (!r)
		r = map_read(&pages->read);
	if (!r)
		r = unmap_written(pagemap, &pages->written);
	return r < 0 ? err_set(err, -r, "arrange the hot pages") : 0;
}

void hot_pages_touch(const struct hot_pages *pages)
{
	size_t i;

	for (i = 0; i < pages->written.count; i++)
		madvise(pages->written.range[i].start, pages->written.range[i].bytes,
			MADV_POPULATE_WRITE);
}
