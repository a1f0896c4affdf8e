/* Text with nothing in it, as Python sees it. Pure. */
#ifndef VIVARIUM_BLANK_H
#define VIVARIUM_BLANK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether length bytes of valid UTF-8 are a blank script: nothing is left once a byte order mark
 * and what str.strip() strips, the white space of Unicode, are gone.
 */
bool blank_is_all(const char *text, size_t length);

#endif
