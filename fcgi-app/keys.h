/*
 * The keys that are in force, and what their holders have used of their limits. It has digests, and
 * no key. Thread-safe.
 */
#ifndef VIVARIUM_KEYS_H
#define VIVARIUM_KEYS_H

#include "fcgi-app/key_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keys;
struct keys_entry;

/* Without any key; seed: secret. NULL without memory. */
struct keys *keys_new(uint64_t seed);

/*
 * Puts the keys of the list in the place of those there are. A key that stays keeps what it has
 * used. Returns 0, or -ENOMEM and everything stays as it was.
 */
int keys_replace(struct keys *keys, const struct key_list *list);

/* Moments as keys are judged by: CLOCK_MONOTONIC for limits, Unix time for expiry. */
struct keys_now {
	uint64_t monotonic_us;
	int64_t unix_s;
};

/* A request that was let in, until keys_leave. */
struct keys_guest {
	struct keys_entry *entry; /* NULL: nobody was let in */
	uint64_t number; /* of the key, in this process: never given to another */
	char name[KEY_NAME_BYTES]; /* for logs, also where it was not let in; "": no such key */
	uint32_t max_timeout_ms, max_memory_mib; /* 0: the configuration's */
};

enum keys_verdict {
	KEYS_ADMITTED,
	KEYS_UNKNOWN,
	KEYS_EXPIRED,
	KEYS_TOO_MANY, /* at hand */
	KEYS_TOO_OFTEN,
};

/* What the limit is that a request met, and when it may come again. */
struct keys_refusal {
	uint32_t limit;
	uint32_t period_s; /* of a rate; else 0 */
	uint32_t retry_after_s; /* at least 1 */
};

/* Lets a request with a key of that digest in; what it may is in *guest, or why not in *refusal. */
enum keys_verdict keys_enter(struct keys *keys, const uint8_t digest[KEY_DIGEST_BYTES],
	const struct keys_now *now, struct keys_guest *guest, struct keys_refusal *refusal);

/* The request is over. */
void keys_leave(struct keys *keys, struct keys_guest *guest);

#endif
