#include "runner/hot_pages.h"

#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Bits of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
static const uint64_t PAGE_PRESENT = UINT64_C(1) << 63;
static const uint64_t PAGE_OF_FILE = UINT64_C(1) << 61; /* or of shared memory */
static const uint64_t PAGE_EXCLUSIVE = UINT64_C(1) << 56; /* no other process maps it */

enum {
	GAP_PAGES = 1, /* pages between two ranges that are rather touched than counted */
	PAGEMAP_ENTRIES = 512, /* read at a time */
};

struct mapping {
	uintptr_t start, end;
	bool writable, private;
};

static bool parse_mapping(const char *line, struct mapping *mapping)
{
	unsigned long start, end;
	char permissions[8];

	if (sscanf(line, "%lx-%lx %7s", &start, &end, permissions) != 3)
		return false;
	*mapping = (struct mapping){.start = start,
		.end = end,
		.writable = permissions[1] == 'w',
		.private = permissions[3] == 'p'};
	return strstr(line, "[v") == NULL; /* [vvar], [vdso], [vsyscall] are the kernel's */
}

static int add_page(struct hot_pages *pages, char *page, size_t page_bytes, bool is_written)
{
	struct hot_range *last = pages->count ? &pages->range[pages->count - 1] : NULL;

	if (last && last->is_written == is_written &&
		page <= last->start + last->bytes + GAP_PAGES * page_bytes && page >= last->start) {
		last->bytes = (size_t)(page - last->start) + page_bytes;
		return 0;
	}
	if (pages->count == HOT_RANGES_MAX)
		return -ENOSPC;
	pages->range[pages->count++] =
		(struct hot_range){.start = page, .bytes = page_bytes, .is_written = is_written};
	return 0;
}

static int add_mapping(int pagemap, const struct mapping *mapping, struct hot_pages *pages)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), want, i;
	uint64_t entries[PAGEMAP_ENTRIES];
	uintptr_t at = mapping->start;
	ssize_t n;

	while (at < mapping->end) {
		want = (mapping->end - at) / page_bytes;
		if (want > PAGEMAP_ENTRIES)
			want = PAGEMAP_ENTRIES;
		n = pread(pagemap, entries, want * sizeof(*entries),
			(off_t)(at / page_bytes * sizeof(*entries)));
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		for (i = 0; i < (size_t)n / sizeof(*entries); i++, at += page_bytes) {
			if (!(entries[i] & PAGE_PRESENT))
				continue;
			if (!(entries[i] & PAGE_OF_FILE) && !(entries[i] & PAGE_EXCLUSIVE))
				continue;
			if (add_page(pages, (char *)at, page_bytes,
				    !(entries[i] & PAGE_OF_FILE) && mapping->writable) < 0)
				return -ENOSPC;
		}
	}
	return 0;
}

int hot_pages_learn(int proc, struct hot_pages *pages, struct err *err)
{
	SCOPE_FD pagemap = openat(proc, "self/pagemap", O_RDONLY | O_CLOEXEC);
	int maps = openat(proc, "self/maps", O_RDONLY | O_CLOEXEC);
	FILE *lines = maps < 0 ? NULL : fdopen(maps, "r");
	struct mapping mapping;
	char line[512];
	int r = 0;

	pages->count = 0;
	if (pagemap < 0 || !lines)
		return err_set(err, errno, "read /proc/self/pagemap and maps");
	while (!r && fgets(line, sizeof(line), lines)) {
		if (parse_mapping(line, &mapping) && mapping.private)
			r = add_mapping(pagemap, &mapping, pages);
	}
	fclose(lines);
	if (r == -ENOSPC)
		r = 0; /* the rest is touched when it is needed */
	return r < 0 ? err_set(err, -r, "read /proc/self/pagemap") : 0;
}

void hot_pages_touch(const struct hot_pages *pages)
{
	size_t i;

	for (i = 0; i < pages->count; i++)
		madvise(pages->range[i].start, pages->range[i].bytes,
			pages->range[i].is_written ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}
