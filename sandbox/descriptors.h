/* A process that is forked and not exec'd keeps every descriptor it does not close. */
#ifndef VIVARIUM_DESCRIPTORS_H
#define VIVARIUM_DESCRIPTORS_H

#include <stddef.h>

/* Closes every descriptor above 2 that is not among the count (256 at the most) to keep. */
void descriptors_keep(const int *keep, size_t count);

#endif
