#include "runner/image.h"

#include "runner/mappings.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

enum {
	GAP_BYTES = 256 << 10, /* unwritten memory between two runs that goes along: mappings cost time */
};

/*
 * Each byte lies in the file at its own address. So neighbours merge into one mapping, and a block
 * that malloc grows by mremap(2) grows into a hole of the file and not over its end.
 */
static const off_t IMAGE_BYTES = (off_t)1 << 47;

struct taking {
	int pagemap, image;
	const struct mapping *mapping;
	uintptr_t start, end; /* the run that is being found; none: both 0 */
	uint64_t bytes; /* taken so far */
};

/*
 * From the copy to the mapping nothing may write to the run: no library function with a state of
 * its own is called in between.
 */
static int take_run(struct taking *taking)
{
	uintptr_t at = taking->start;
	void *place = (void *)taking->start;
	ssize_t n;

	while (at < taking->end) {
		n = pwrite(taking->image, (void *)at, taking->end - at, (off_t)at);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (size_t)n;
	}
	if (mmap(place, taking->end - taking->start, taking->mapping->protection,
		    MAP_PRIVATE | MAP_FIXED, taking->image, (off_t)taking->start) != place)
		return -errno;
	taking->bytes += taking->end - taking->start;
	return 0;
}

/* Page by page: a run ends where too much follows that was never written. */
static int find_run(uintptr_t page, uint64_t entry, void *context)
{
	struct taking *taking = context;
	bool is_written =
		(entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) && !(entry & PAGEMAP_FILE);
	int r = 0;

	if (!is_written)
		return 0;
	if (taking->end && page - taking->end > GAP_BYTES) {
		r = take_run(taking);
		taking->end = 0;
	}
	if (!taking->end)
		taking->start = page;
	taking->end = page + (uintptr_t)sysconf(_SC_PAGESIZE);
	return r;
}

/* Data of a program or library goes as a whole, or one of its mappings would become many. */
static int take_mapping(struct taking *taking)
{
	const struct mapping *mapping = taking->mapping;
	int r;

	taking->start = taking->end = 0;
	r = mapping_visit_pages(taking->pagemap, mapping, find_run, taking);
	if (r < 0 || !taking->end)
		return r;
	if (mapping->is_object) {
		taking->start = mapping->start;
		taking->end = mapping->end;
	}
	return take_run(taking);
}

static bool is_takeable(const struct mapping *mapping)
{
	return mapping->is_private && (mapping->protection & PROT_READ) &&
	       !(mapping->protection & PROT_EXEC) && !mapping->is_stack;
}

static int take_all(struct taking *taking, const struct mappings *mappings)
{
	size_t i;
	int r = 0;

	for (i = 0; i < mappings->count && !r; i++) {
		taking->mapping = &mappings->list[i];
		if (is_takeable(taking->mapping))
			r = take_mapping(taking);
	}
	return r;
}

int image_take(int proc, uint64_t *bytes, struct err *err)
{
	SCOPE_FD image = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	SCOPE_FD pagemap = openat(proc, "self/pagemap", O_RDONLY | O_CLOEXEC);
	struct taking taking = {.pagemap = pagemap, .image = image};
	struct mappings mappings;
	int r;

	if (image < 0 || ftruncate(image, IMAGE_BYTES) < 0)
		return err_set(err, errno, "make an image of the memory");
	if (pagemap < 0)
		return err_set(err, errno, "read /proc/self/pagemap");
	r = mappings_read(proc, &mappings, err);
	if (r < 0)
		return r;
	r = take_all(&taking, &mappings);
	mappings_free(&mappings);
	*bytes += taking.bytes;
	if (!r && fcntl(image, F_ADD_SEALS,
			  F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		r = -errno;
	return r < 0 ? err_set(err, -r, "move the memory into its image") : 0;
}
