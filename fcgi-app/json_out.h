/* Writes JSON as pure ASCII, as answers have to be (PowerShell 5.1 reads anything else wrongly). */
#ifndef VIVARIUM_JSON_OUT_H
#define VIVARIUM_JSON_OUT_H

#include "sandbox/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * A writer remembers its first failure (out of memory, or over the buffer's cap); the calls after
 * it do nothing, and one look at `error` in the end is enough.
 */
struct json_out {
	struct buffer *buffer;
	int error; /* 0 or a negative errno */
	bool comma; /* the next member or element needs one before it */
};

void json_out_begin(struct json_out *out, char bracket);
void json_out_end(struct json_out *out, char bracket);

/* The name of the next member; ASCII without anything to escape. */
void json_out_key(struct json_out *out, const char *key);
/* After a name that was written as a string: its value follows. */
void json_out_colon(struct json_out *out);

/*
 * A string of length bytes. Everything but printable ASCII is escaped; bytes that are not UTF-8
 * become U+FFFD, one for each maximal part of a sequence (Unicode 15, 3.9, table 3-8).
 */
void json_out_string(struct json_out *out, const char *text, size_t length);
void json_out_text(struct json_out *out, const char *text); /* NUL-terminated */

/* How many bytes of text, whole characters, a string has room for in most_bytes, without its quotes. */
size_t json_out_fitting(const char *text, size_t length, size_t most_bytes);

void json_out_integer(struct json_out *out, int64_t value);
/* null for a value that JSON has no number for, or that needs 64 characters or more. */
void json_out_decimal(struct json_out *out, double value, int decimals);
void json_out_bool(struct json_out *out, bool value);

/* Whether json_out_string would write length bytes of text as they are, without any U+FFFD. */
bool json_out_is_utf8(const char *text, size_t length);

/* How many bytes of length bytes of valid UTF-8 make whole characters of most bytes or fewer. */
int json_out_clip(const char *text, size_t length, size_t most);

/* A string: prefix (ASCII without anything to escape), and length bytes of data in base 64. */
void json_out_base64(struct json_out *out, const char *prefix, const char *data, size_t length);

/* A value that is JSON already. */
void json_out_raw(struct json_out *out, const char *json, size_t length);

#endif
