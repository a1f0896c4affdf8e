/* The key file: its text, its keys, and the keys on their way between processes. */
#ifndef VIVARIUM_KEY_FILE_H
#define VIVARIUM_KEY_FILE_H

#include "fcgi-app/key.h"
#include "sandbox/buffer.h"
#include "sandbox/err.h"

#include <stddef.h>

enum {
	KEY_FILE_MAX_BYTES = 2 << 20,
};

struct key_list {
	struct key *keys; /* owned; NULL when there is none */
	size_t count;
};

void key_list_free(struct key_list *list);

/*
 * Reads the keys in length bytes of text, in their order; no name and no digest is there twice.
 * Returns 0 and *list, which is the caller's to free, or a negative errno with line and reason in
 * *err, and nothing of the text.
 */
int key_file_parse(const char *text, size_t length, struct key_list *list, struct err *err);

/*
 * Reads a key file into *text (may be NULL) and *list, both the caller's to free: a regular file
 * that only its owner can write. Returns 0, or a negative errno with path and reason in *err.
 */
int key_file_read(const char *path, struct buffer *text, struct key_list *list, struct err *err);

/*
 * A sealed memfd with the keys, which nobody can change any more. Returns it, the caller's, or a
 * negative errno.
 */
int key_list_seal(const struct key_list *list);

/*
 * Takes count keys out of such a memfd, which stays the caller's. Returns 0 and *list, the caller's
 * to free, or a negative errno.
 */
int key_list_unseal(int memfd, size_t count, struct key_list *list);

#endif
