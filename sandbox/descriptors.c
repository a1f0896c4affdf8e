#include "sandbox/descriptors.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	KEEP_MAX = 1024,
};

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* What stayed open here would be handed on: there is no going on with it. */
static void close_all(unsigned first, unsigned last)
{
	if (close_range(first, last, 0) < 0)
		abort();
}

void descriptors_keep(const int *keep, size_t count)
{
	int sorted[KEEP_MAX];
	unsigned next = 3;
	size_t i;

	if (count > KEEP_MAX)
		abort(); /* a caller's mistake, and not one to go on with */
	if (count)
		memcpy(sorted, keep, count * sizeof(*keep));
	qsort(sorted, count, sizeof(*sorted), compare);
	for (i = 0; i < count; i++) {
		if (sorted[i] < (int)next)
			continue;
		if (sorted[i] > (int)next)
			close_all(next, (unsigned)sorted[i] - 1);
		next = (unsigned)sorted[i] + 1;
	}
	close_all(next, ~0u);
}
