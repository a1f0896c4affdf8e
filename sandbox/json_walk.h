/*
 * Walks what is in one object or array of a JSON text that json_scan has found strict. Pure; it
 * trusts the text and checks nothing: on any other text the behaviour is undefined.
 */
#ifndef VIVARIUM_JSON_WALK_H
#define VIVARIUM_JSON_WALK_H

#include "sandbox/json_scan.h"

/* One member or element. Everything points into the text; nothing is terminated. */
struct json_walk_item {
	const char *key; /* with its quotes, escaped; NULL in an array */
	size_t key_length;
	const char *value; /* without whitespace around it */
	size_t value_length;
	enum json_scan_type type;
	size_t index; /* from 0 */
};

/* Returns whether the walk goes on. */
typedef bool json_walk_fn(void *context, const struct json_walk_item *item);

/*
 * Calls each for every member or element of text[0..length), in order; for none when it is neither
 * an object nor an array. Linear in the length of the text.
 */
void json_walk(const char *text, size_t length, json_walk_fn each, void *context);

/* Whether a string (with its quotes) has U+0000 in it once it is unescaped. */
bool json_walk_has_nul(const char *string, size_t length);

#endif
