/* The API key of a request: where it stands, and what counts as one. */
#ifndef VIVARIUM_CREDENTIALS_H
#define VIVARIUM_CREDENTIALS_H

#include <stddef.h>

enum credentials_kind {
	CREDENTIALS_NONE,
	CREDENTIALS_KEY,
	CREDENTIALS_MALFORMED, /* no key can look like that */
	CREDENTIALS_SEVERAL, /* and they are not the same */
};

enum {
	CREDENTIALS_KEY_MAX_BYTES = 256,
};

/*
 * Finds the key in the values of the headers Authorization, of which only the scheme "Bearer"
 * counts, and X-Api-Key; "" where there is none. *key points into one of them.
 */
enum credentials_kind credentials_find(
	const char *authorization, const char *api_key, const char **key, size_t *length);

#endif
