/*
 * A strict JSON scanner: decides whether a text is exactly one JSON value as RFC 8259 defines it,
 * encoded as RFC 3629 defines UTF-8, and refuses what RFC 8259 leaves open and parsers disagree on.
 *
 * Beyond the grammar it refuses: two equal keys in one object (compared after unescaping), escapes
 * of lone surrogates, U+0000 inside a key, and whatever is over the caller's limits. A text that
 * passes has the same structure and strings for every conforming reader, so it may be handed on
 * as it stands; how precisely a number is read is up to the reader.
 *
 * Pure: no globals, no input or output, no recursion. Time is linear in the length of the text
 * (expected, over the secret hash seed). Memory is at most 48 bytes for each key of the objects
 * that are open at one time and 24 for each level of depth (64 of either come at once); all of it
 * is released before the call returns.
 */
#ifndef VIVARIUM_JSON_SCAN_H
#define VIVARIUM_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Limits are taken literally: max_bytes 0 refuses every text, max_depth 0 every object and array.
 * An options struct that somebody forgot to fill in therefore refuses, it does not admit.
 */
struct json_scan_options {
	size_t max_bytes; /* of the whole text, a byte order mark included; never over 4 GiB - 1 */
	unsigned max_depth; /* of objects and arrays; the outermost one is 1 */
	unsigned max_number_digits; /* before the point or exponent of one number; 0: no limit */
	bool skip_bom; /* skip one UTF-8 byte order mark at the very start */
	bool ascii_only; /* refuse every byte >= 0x80, except in a mark that is skipped */
	uint64_t hash_seed; /* secret and random: keeps hostile keys from colliding */
};

/* What was wrong, and which byte json_scan_result.offset names. */
enum json_scan_error {
	JSON_SCAN_OK = 0,
	JSON_SCAN_EMPTY, /* nothing but whitespace; the end of the text */
	JSON_SCAN_TOO_LARGE, /* longer than max_bytes; the first byte too many */
	JSON_SCAN_SYNTAX, /* the byte that does not fit, or the end of the text */
	JSON_SCAN_CONTROL, /* raw byte below 0x20 inside a string; that byte */
	JSON_SCAN_UTF8, /* not UTF-8 inside a string; the first byte of the sequence */
	JSON_SCAN_SURROGATE, /* escape of half a surrogate pair; its backslash */
	JSON_SCAN_KEY_NUL, /* \u0000 inside a key; its backslash */
	JSON_SCAN_DUPLICATE_KEY, /* the opening quote of the second one */
	JSON_SCAN_DEPTH, /* the bracket that goes too deep */
	JSON_SCAN_TRAILING, /* text after the value; its first byte */
	JSON_SCAN_NUMBER, /* over max_number_digits; the first byte of the number */
	JSON_SCAN_NOT_ASCII, /* under ascii_only; that byte */
	JSON_SCAN_MEMORY, /* an allocation failed; the byte reached */
};

enum json_scan_type {
	JSON_SCAN_NOTHING = 0, /* of a text that was refused */
	JSON_SCAN_OBJECT,
	JSON_SCAN_ARRAY,
	JSON_SCAN_STRING,
	JSON_SCAN_NUMERIC,
	JSON_SCAN_TRUE,
	JSON_SCAN_FALSE,
	JSON_SCAN_NULL,
};

/* The type of a valid value, by its first character. */
enum json_scan_type json_scan_type_of(char first);

struct json_scan_result {
	enum json_scan_error error;
	enum json_scan_type type; /* of the outermost value */
	size_t offset; /* in bytes from the start of the text; 0 on success */
	size_t line; /* 1-based, lines end at a line feed; 0 on success */
	size_t column; /* 1-based, in bytes, a skipped mark not counted; 0 on success */
	size_t body_offset; /* 3 after a skipped byte order mark, else 0 */
	/*
	 * Of a refused text: the name of the outermost object's member in which the error is, or which
	 * is there twice, as it stands between its quotes; it points into the text. NULL: in none.
	 */
	const char *member;
	size_t member_bytes;
};

/*
 * One member of the outermost object. key is what stands between the quotes, still escaped; value
 * is the exact span of the value, without whitespace around it. Both point into the scanned text,
 * are not terminated, and live as long as the text does.
 */
typedef void json_scan_member_fn(void *context, const char *key, size_t key_bytes,
	const char *value, size_t value_bytes, enum json_scan_type type);

/*
 * Scans text[0..length), which needs no terminator and may be NULL if length is 0. The text stays
 * the caller's and is not changed. options and result are required.
 *
 * If the whole text is valid and its outermost value is an object, member (unless NULL) is called
 * once for each of its members, in order, with context. It is never called for a refused text.
 *
 * Returns 0; -EINVAL if the text is refused; -ENOMEM if an allocation failed. *result is written in
 * every case.
 */
int json_scan(const char *text, size_t length, const struct json_scan_options *options,
	json_scan_member_fn member, void *context, struct json_scan_result *result);

/* Short lower-case English for an error message, such as "duplicate key". Static, never NULL. */
const char *json_scan_error_text(enum json_scan_error error);

/*
 * The one place where the scanner and its keys allocate: realloc(). It is a weak symbol so that a
 * test can put its own in place and let any allocation fail; nothing else should call it.
 */
void *json_scan_resize(void *old, size_t bytes);

#endif
