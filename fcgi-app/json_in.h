/*
 * json-c, behind one file. Of what comes from outside it is only shown text that json_scan has
 * proven strict.
 */
#ifndef VIVARIUM_JSON_IN_H
#define VIVARIUM_JSON_IN_H

#include "sandbox/buffer.h"

#include <stdbool.h>

/* A value of a document that gives way to another one. */
struct json_in_change {
	const char *pointer; /* RFC 6901, without escapes, to a value that is there */
	const char *json; /* the new value */
};

enum {
	JSON_IN_ESCAPE_MAX_BYTES = 6, /* of JSON for one byte of a string: \u0041 */
};

/*
 * Appends the decoded UTF-8 of a JSON string (quotes included, length bytes) to *out.
 * Returns 0, -ENOMEM, -EMSGSIZE over the buffer's cap, -EINVAL when it is no string.
 */
int json_in_string(const char *json, size_t length, struct buffer *out);

/*
 * Appends a document of ours (length bytes) to *out, without its white space and with count values
 * changed. Returns 0, -ENOMEM, -EMSGSIZE over the buffer's cap, -EINVAL when document or value are
 * no JSON, -ENOENT when there is nothing at a pointer.
 */
int json_in_change(const char *json, size_t length, const struct json_in_change *changes,
	size_t count, struct buffer *out);

/*
 * Whether a JSON string (quotes included, length bytes) says text once it is decoded; false for
 * what is no string, and without memory.
 */
bool json_in_equals(const char *json, size_t length, const char *text);

#endif
