/* `vivarium key`: adds, lists and revokes keys in the key file, whether or not a service runs. */
#ifndef VIVARIUM_KEY_COMMAND_H
#define VIVARIUM_KEY_COMMAND_H

#include "sandbox/err.h"

#include <stddef.h>

enum {
	KEY_SETTINGS_MAX = 16,
};

struct key_setting {
	const char *name,
		*text; /* as in the file; an expiry may be "90d", "12h" or "30m" from now */
};

/*
 * Adds a key of that name to the file, which is made where there is none, and prints the key, which
 * nobody can ever do again. Returns 0 or a negative errno.
 */
int key_command_add(const char *file, const char *name, const struct key_setting *settings,
	size_t count, struct err *err);

/* Prints what the file says of each key. Returns 0 or a negative errno. */
int key_command_list(const char *file, struct err *err);

/* Takes the key of that name out. Returns 0 or a negative errno. */
int key_command_revoke(const char *file, const char *name, struct err *err);

#endif
