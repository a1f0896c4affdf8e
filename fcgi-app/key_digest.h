/* libnettle, behind one file: what is kept of a key, and how it is compared. */
#ifndef VIVARIUM_KEY_DIGEST_H
#define VIVARIUM_KEY_DIGEST_H

#include "fcgi-app/key.h"

#include <stdbool.h>
#include <stddef.h>

/* SHA-256 of the text; nothing of the text stays behind. */
void key_digest(const char *text, size_t length, uint8_t digest[KEY_DIGEST_BYTES]);

/* Takes the same time whether they are equal or not, and wherever they differ. */
bool key_digest_is_same(const uint8_t one[KEY_DIGEST_BYTES], const uint8_t other[KEY_DIGEST_BYTES]);

#endif
