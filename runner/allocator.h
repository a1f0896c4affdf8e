/* An allocator as Python wants one: PyMemAllocatorEx of the C API, without its header. */
#ifndef VIVARIUM_ALLOCATOR_H
#define VIVARIUM_ALLOCATOR_H

#include <stddef.h>

struct allocator {
	void *context; /* the first argument of each */
	void *(*malloc)(void *context, size_t bytes);
	void *(*calloc)(void *context, size_t count, size_t bytes);
	void *(*realloc)(void *context, void *block, size_t bytes);
	void (*free)(void *context, void *block);
};

#endif
