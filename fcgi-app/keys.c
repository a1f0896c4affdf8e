/*
 * A key is found by its digest in a hash table with a secret seed, and then compared in constant
 * time: what a look takes says at most how many keys share a chain. An entry is shared by the table
 * and the requests that came in with it, and lives until the last of them has let go.
 */
#include "fcgi-app/keys.h"

#include "fcgi-app/client.h"
#include "fcgi-app/key_digest.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t SECOND_US = 1000000;

enum {
	BUCKETS = KEYS_MAX,
};

struct keys_entry {
	struct keys_entry *next; /* in its chain */
	struct key key;
	uint64_t number;
	uint32_t at_hand;
	bool listed; /* in the table */
	bool stays; /* while the table is replaced */
	/*
	 * The rate, as the time at which all that was used will have come back (GCRA): the same
	 * answers as a bucket of tokens, from one number.
	 */
	uint64_t full_us;
};

struct keys {
	pthread_mutex_t mutex;
	uint64_t seed, numbers;
	struct keys_entry *bucket[BUCKETS];
};

struct keys *keys_new(uint64_t seed)
{
	struct keys *keys = calloc(1, sizeof(*keys));

	if (!keys)
		return NULL;
	pthread_mutex_init(&keys->mutex, NULL);
	keys->seed = seed;
	return keys;
}

static struct keys_entry **bucket_of(struct keys *keys, const uint8_t digest[KEY_DIGEST_BYTES])
{
	struct client client = {.kind = CLIENT_KEY};

	memcpy(&client.id, digest, sizeof(client.id));
	return &keys->bucket[client_hash(&client, keys->seed) % BUCKETS];
}

/* To the end of the chain, wherever it is found. */
static struct keys_entry *find(struct keys *keys, const uint8_t digest[KEY_DIGEST_BYTES])
{
	struct keys_entry *entry, *found = NULL;

	for (entry = *bucket_of(keys, digest); entry; entry = entry->next) {
		if (key_digest_is_same(entry->key.digest, digest))
			found = entry;
	}
	return found;
}

/* --- replacing ----------------------------------------------------------------------------- */

static void free_if_unused(struct keys_entry *entry)
{
	if (!entry->listed && !entry->at_hand)
		free(entry);
}

/* One entry for each key that is not there yet. Returns them as a chain, or *r = -ENOMEM. */
static struct keys_entry *make_missing(struct keys *keys, const struct key_list *list, int *r)
{
	struct keys_entry *chain = NULL, *entry;
	size_t i;

	*r = 0;
	for (i = 0; i < list->count; i++) {
		if (find(keys, list->keys[i].digest))
			continue;
		entry = calloc(1, sizeof(*entry));
		if (!entry) {
			*r = -ENOMEM;
			return chain;
		}
		entry->key = list->keys[i];
		entry->number = keys->numbers++;
		entry->next = chain;
		chain = entry;
	}
	return chain;
}

static bool has_same_rate(const struct key *one, const struct key *other)
{
	return one->rate == other->rate && one->rate_period_s == other->rate_period_s &&
	       one->burst == other->burst;
}

static void update_kept(struct keys *keys, const struct key_list *list)
{
	struct keys_entry *entry;
	size_t i;

	for (i = 0; i < list->count; i++) {
		entry = find(keys, list->keys[i].digest);
		if (!entry)
			continue;
		entry->stays = true;
		if (!has_same_rate(&entry->key, &list->keys[i]))
			entry->full_us = 0; /* intervals of another length */
		entry->key = list->keys[i];
	}
}

static void drop_others(struct keys *keys)
{
	struct keys_entry **link, *entry;
	size_t i;

	for (i = 0; i < BUCKETS; i++) {
		for (link = &keys->bucket[i]; (entry = *link);) {
			if (entry->stays) {
				entry->stays = false;
				link = &entry->next;
				continue;
			}
			*link = entry->next;
			entry->listed = false;
			free_if_unused(entry);
		}
	}
}

static void list_new(struct keys *keys, struct keys_entry *chain)
{
	struct keys_entry *entry, **bucket;

	while ((entry = chain)) {
		chain = entry->next;
		bucket = bucket_of(keys, entry->key.digest);
		entry->next = *bucket;
		entry->listed = true;
		*bucket = entry;
	}
}

static void free_chain(struct keys_entry *chain)
{
	struct keys_entry *entry;

	while ((entry = chain)) {
		chain = entry->next;
		free(entry);
	}
}

int keys_replace(struct keys *keys, const struct key_list *list)
{
	struct keys_entry *added;
	int r;

	pthread_mutex_lock(&keys->mutex);
	added = make_missing(keys, list, &r);
	if (!r) {
		update_kept(keys, list);
		drop_others(keys);
		list_new(keys, added);
	} else {
		free_chain(added);
	}
	pthread_mutex_unlock(&keys->mutex);
	return r;
}

/* --- requests ------------------------------------------------------------------------------ */

static uint32_t whole_seconds(uint64_t us)
{
	uint64_t seconds = (us + SECOND_US - 1) / SECOND_US;

	return seconds ? (uint32_t)seconds : 1;
}

/*
 * Each request uses one interval, and the intervals come back as time goes by; up to a burst of
 * them may be used ahead.
 */
static bool is_in_rate(struct keys_entry *entry, uint64_t now_us, struct keys_refusal *refusal)
{
	const struct key *key = &entry->key;
	uint64_t interval_us, ahead_us, from_us;

	if (!key->rate)
		return true;
	interval_us = key->rate_period_s * SECOND_US / key->rate;
	ahead_us = (key->burst ? key->burst : key->rate) * interval_us;
	from_us = (entry->full_us > now_us ? entry->full_us : now_us) + interval_us;
	if (from_us <= now_us + ahead_us) {
		entry->full_us = from_us;
		return true;
	}
	*refusal = (struct keys_refusal){.limit = key->rate,
		.period_s = key->rate_period_s,
		.retry_after_s = whole_seconds(from_us - now_us - ahead_us)};
	return false;
}

static enum keys_verdict judge(
	struct keys_entry *entry, const struct keys_now *now, struct keys_refusal *refusal)
{
	const struct key *key;

	if (!entry)
		return KEYS_UNKNOWN;
	key = &entry->key;
	if (key->expires_s && now->unix_s >= key->expires_s)
		return KEYS_EXPIRED;
	if (key->concurrent && entry->at_hand >= key->concurrent) {
		*refusal = (struct keys_refusal){.limit = key->concurrent, .retry_after_s = 1};
		return KEYS_TOO_MANY;
	}
	return is_in_rate(entry, now->monotonic_us, refusal) ? KEYS_ADMITTED : KEYS_TOO_OFTEN;
}

enum keys_verdict keys_enter(struct keys *keys, const uint8_t digest[KEY_DIGEST_BYTES],
	const struct keys_now *now, struct keys_guest *guest, struct keys_refusal *refusal)
{
	struct keys_entry *entry;
	enum keys_verdict verdict;

	*guest = (struct keys_guest){0};
	pthread_mutex_lock(&keys->mutex);
	entry = find(keys, digest);
	verdict = judge(entry, now, refusal);
	if (entry)
		memcpy(guest->name, entry->key.name, sizeof(guest->name));
	if (verdict == KEYS_ADMITTED) {
		entry->at_hand++;
		guest->entry = entry;
		guest->number = entry->number;
		guest->max_timeout_ms = entry->key.max_timeout_ms;
		guest->max_memory_mib = entry->key.max_memory_mib;
	}
	pthread_mutex_unlock(&keys->mutex);
	return verdict;
}

void keys_leave(struct keys *keys, struct keys_guest *guest)
{
	struct keys_entry *entry = guest->entry;

	guest->entry = NULL;
	if (!entry)
		return;
	pthread_mutex_lock(&keys->mutex);
	entry->at_hand--;
	free_if_unused(entry);
	pthread_mutex_unlock(&keys->mutex);
}
