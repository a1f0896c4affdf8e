/*
 * The keys of all objects that are open while a JSON text is scanned, outermost first: a key is
 * pushed when it is read, and the keys of an object are popped when it closes, so those of the
 * innermost object are always the top of the stack.
 */
#ifndef VIVARIUM_JSON_KEYS_H
#define VIVARIUM_JSON_KEYS_H

#include <stddef.h>
#include <stdint.h>

/* Offsets are 32 bits wide: a text full of short keys should not cost more memory than it must. */
struct json_key {
	uint32_t hash; /* filled in by json_keys_push */
	uint32_t offset; /* of the byte after the opening quote */
	uint32_t length; /* in bytes, escaped, without the quotes */
};

struct json_keys {
	const unsigned char *text; /* the caller's, as the offsets count */
	uint64_t seed; /* secret and random: keeps hostile keys from colliding */
	struct json_key *key; /* owned, like slots */
	size_t count;
	size_t capacity;
	uint32_t *slots; /* 1 + an index into key; 0: free */
	size_t slot_mask;
};

/*
 * Pushes a key, whose escapes are sound, of the object at that depth, whose keys begin at `first`.
 * Returns 0; -EEXIST when the object has an equal one (compared after unescaping); -ENOMEM.
 */
int json_keys_push(struct json_keys *keys, struct json_key key, unsigned depth, uint32_t first);

/* Pops keys until only `keep` are left. */
void json_keys_pop(struct json_keys *keys, size_t keep);

void json_keys_free(struct json_keys *keys);

#endif
