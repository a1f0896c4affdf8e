/*
 * A line of the key file:
 *
 *	NAME sha256:HEX [created=TIME] [expires=TIME] [rate=N/s|m|h] [burst=N] [concurrent=N]
 *		[max_timeout=SECONDS] [max_memory=MIB]
 *
 * TIME is 2027-01-31T12:00:00Z or 2027-01-31, in UTC. What is wrong with a line is said without a
 * word of what stands in it: somebody may have put a key there.
 */
#ifndef VIVARIUM_KEY_LINE_H
#define VIVARIUM_KEY_LINE_H

#include "fcgi-app/key.h"
#include "sandbox/err.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	KEY_LINE_BYTES = 512, /* with a NUL */
	KEY_TIME_BYTES = 32,
};

/*
 * Reads a line without its line break. Returns 1 and *key, 0 for a blank line or a comment, or
 * -EINVAL with the reason in *err.
 */
int key_line_parse(const char *line, size_t length, struct key *key, struct err *err);

/* Writes the line of a key, with a NUL and no line break. */
void key_line_print(const struct key *key, char line[KEY_LINE_BYTES]);

/* 1 to 63 of A-Z, a-z, 0-9, ".", "_" and "-", a letter or digit first. */
bool key_name_is_valid(const char *name);

/* Sets what the line calls `name` from its text. Returns 0 or -EINVAL with the reason in *err. */
int key_set(struct key *key, const char *name, const char *text, struct err *err);

/* What a setting of that name may be, in words. Static, never NULL. */
const char *key_setting_takes(const char *name);

/* Writes what the line would have behind "NAME=", or "-" where there is nothing to say. */
void key_print(const struct key *key, const char *name, char text[KEY_TIME_BYTES]);

#endif
