/* Scoped release: descriptors and memory let go at the end of the block that declares them. */
#ifndef VIVARIUM_SCOPE_H
#define VIVARIUM_SCOPE_H

#include <stdlib.h>
#include <unistd.h>

static inline void scope_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void scope_free(void *pointer)
{
	free(*(void **)pointer);
}

/* Hands the descriptor over to the caller: the variable holds -1 afterwards. */
static inline int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Closes *fd, if it is open, and marks it closed. */
static inline void fd_close(int *fd)
{
	scope_close(fd);
	*fd = -1;
}

#define SCOPE_FD __attribute__((cleanup(scope_close))) int
#define SCOPE_FREE __attribute__((cleanup(scope_free)))

#endif
