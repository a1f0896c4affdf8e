#include "runner/mappings.h"

#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum {
	MAPPINGS_MAX = 1 << 16, /* more than the kernel's own default lets a process have */
	PAGEMAP_ENTRIES = 512, /* read at a time */
};

/* A line of maps; false for what the kernel maps by itself. */
static bool parse_line(const char *line, struct mapping *mapping)
{
	unsigned long start, end;
	char permissions[8];
	int path = 0;

	if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %n", &start, &end, permissions, &path) != 3 ||
		strncmp(line + path, "[v", 2) == 0)
		return false;
	*mapping = (struct mapping){.start = start,
		.end = end,
		.protection = (permissions[0] == 'r' ? PROT_READ : 0) |
			      (permissions[1] == 'w' ? PROT_WRITE : 0) |
			      (permissions[2] == 'x' ? PROT_EXEC : 0),
		.is_private = permissions[3] == 'p',
		.is_object = line[path] == '/' && strncmp(line + path, "/memfd:", 7) != 0,
		.is_stack = strncmp(line + path, "[stack]", 7) == 0};
	return true;
}

/* Shared memory, and no private one: whoever asks what a process has written does not find the list. */
static int make_list(struct mappings *mappings)
{
	void *list = mmap(NULL, MAPPINGS_MAX * sizeof(*mappings->list), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	*mappings = (struct mappings){.list = list == MAP_FAILED ? NULL : list};
	return mappings->list ? 0 : -errno;
}

static int add(struct mappings *mappings, const struct mapping *mapping)
{
	if (mappings->count == MAPPINGS_MAX)
		return -E2BIG;
	mappings->list[mappings->count++] = *mapping;
	return 0;
}

/*
 * Whether the flags are those of memory that a child is to find empty (MADV_WIPEONFORK, and "dp",
 * MAP_DROPPABLE): the C library keeps the state of getrandom(3) in such (glibc 2.41, Linux 6.11).
 * Copied, it would give all forks the same random numbers.
 */
static bool is_for_one_process(const char *flags)
{
	return strstr(flags, " wf") || strstr(flags, " dp");
}

int mappings_read(int proc, struct mappings *mappings, struct err *err)
{
	int fd = openat(proc, "self/smaps", O_RDONLY | O_CLOEXEC);
	FILE *maps = fd < 0 ? NULL : fdopen(fd, "r");
	struct mapping mapping;
	bool is_last = false; /* the mapping that the line is about is the last one in the list */
	char line[512];
	int r;

	if (!maps)
		return err_set(err, errno, "read /proc/self/smaps");
	r = make_list(mappings);
	while (!r && fgets(line, sizeof(line), maps)) {
		if (strncmp(line, "VmFlags:", 8) == 0) {
			mappings->count -= is_last && is_for_one_process(line);
			is_last = false;
		} else if (parse_line(line, &mapping)) {
			r = add(mappings, &mapping);
			is_last = !r;
		}
	}
	fclose(maps);
	if (r < 0) {
		mappings_free(mappings);
		return err_set(err, -r, "keep /proc/self/smaps");
	}
	return 0;
}

void mappings_free(struct mappings *mappings)
{
	if (mappings->list)
		munmap(mappings->list, MAPPINGS_MAX * sizeof(*mappings->list));
	*mappings = (struct mappings){0};
}

int mapping_visit_pages(int pagemap, const struct mapping *mapping,
	int (*visit)(uintptr_t page, uint64_t entry, void *context), void *context)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), want, i;
	uint64_t entries[PAGEMAP_ENTRIES];
	uintptr_t at = mapping->start;
	ssize_t n;
	int r = 0;

	while (at < mapping->end && !r) {
		want = (mapping->end - at) / page_bytes;
		if (want > PAGEMAP_ENTRIES)
			want = PAGEMAP_ENTRIES;
		n = pread(pagemap, entries, want * sizeof(*entries),
			(off_t)(at / page_bytes * sizeof(*entries)));
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		for (i = 0; i < (size_t)n / sizeof(*entries) && !r; i++, at += page_bytes)
			r = visit(at, entries[i], context);
	}
	return r;
}
