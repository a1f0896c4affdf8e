/* A process that is forked and not exec'd keeps every descriptor it does not close. */
#ifndef VIVARIUM_DESCRIPTORS_H
#define VIVARIUM_DESCRIPTORS_H

#include <stddef.h>

/* Closes every descriptor above 2 that is not among the count (1024 at the most, -1 is none) to keep. */
void descriptors_keep(const int *keep, size_t count);

#endif
