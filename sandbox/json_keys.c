/*
 * An open-addressing hash table over a stack of keys finds duplicates. Because keys leave in the
 * reverse order of their arrival, removing one is emptying its slot: nothing that is still in the
 * table can have probed past it.
 */
#include "sandbox/json_keys.h"

#include "sandbox/json_bytes.h"
#include "sandbox/json_scan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	FIRST_KEYS = 64,
	SLOTS_PER_KEY = 2, /* at most half of the table is in use */
};

/* Reads a key's bytes as they are after unescaping, eight at a time. */
struct key_reader {
	const unsigned char *next;
	const unsigned char *end;
	unsigned char pending[4]; /* what is left of a character that was escaped */
	unsigned pending_at;
	unsigned pending_count;
};

struct sip {
	uint64_t v0, v1, v2, v3;
};

static void put_utf8(struct key_reader *r, unsigned long code)
{
	unsigned count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};

	for (unsigned i = count - 1; i > 0; i--, code >>= 6)
		r->pending[i] = (unsigned char)(0x80 | (code & 0x3F));
	r->pending[0] = (unsigned char)(lead[count] | code);
	r->pending_at = 0;
	r->pending_count = count;
}

/* Unescapes one character at r->next. The scanner has found its escapes sound. */
static void read_escape(struct key_reader *r)
{
	static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
	const char *letter = memchr(letters, r->next[1], sizeof(letters) - 1);
	long unit;

	if (r->next[1] != 'u') {
		put_utf8(r, letter ? (unsigned char)meanings[letter - letters] : r->next[1]);
		r->next += 2;
		return;
	}
	unit = json_bytes_unicode_escape(r->next, r->end);
	r->next += 6;
	if (unit >= 0xD800 && unit <= 0xDBFF) {
		unit = 0x10000 + ((unit - 0xD800) << 10);
		unit += json_bytes_unicode_escape(r->next, r->end) - 0xDC00;
		r->next += 6;
	}
	put_utf8(r, (unsigned long)unit);
}

/* Returns how many bytes it put into *word: 8, or less at the end, the rest being 0. */
static unsigned read_word(struct key_reader *r, uint64_t *word)
{
	unsigned char bytes[8] = {0};
	unsigned count = 0;

	if (r->pending_at == r->pending_count && r->end - r->next >= 8) {
		*word = json_bytes_load(r->next);
		if (!json_bytes_have(*word, '\\')) {
			r->next += 8;
			return 8;
		}
	}
	while (count < 8) {
		if (r->pending_at < r->pending_count) {
			bytes[count++] = r->pending[r->pending_at++];
		} else if (r->next == r->end) {
			break;
		} else if (*r->next == '\\') {
			read_escape(r);
		} else {
			bytes[count++] = *r->next++;
		}
	}
	*word = json_bytes_load(bytes);
	return count;
}

static struct key_reader read_key(const struct json_keys *keys, const struct json_key *key)
{
	const unsigned char *first = keys->text + key->offset;

	return (struct key_reader){.next = first, .end = first + key->length};
}

static uint64_t rotate(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static void sip_round(struct sip *h)
{
	h->v0 += h->v1;
	h->v2 += h->v3;
	h->v1 = rotate(h->v1, 13) ^ h->v0;
	h->v3 = rotate(h->v3, 16) ^ h->v2;
	h->v0 = rotate(h->v0, 32);
	h->v2 += h->v1;
	h->v0 += h->v3;
	h->v1 = rotate(h->v1, 17) ^ h->v2;
	h->v3 = rotate(h->v3, 21) ^ h->v0;
	h->v2 = rotate(h->v2, 32);
}

static void sip_absorb(struct sip *h, uint64_t word)
{
	h->v3 ^= word;
	sip_round(h);
	h->v0 ^= word;
}

/*
 * SipHash-1-3 (Aumasson and Bernstein, 2012) of the unescaped key. The depth goes in first, or
 * {"a":{"a":{"a": ... would put every key into one chain.
 */
static uint32_t hash_key(const struct json_keys *keys, const struct json_key *key, unsigned depth)
{
	uint64_t k0 = keys->seed, k1 = rotate(k0, 32) * UINT64_C(0x9E3779B97F4A7C15);
	struct sip h = {k0 ^ UINT64_C(0x736F6D6570736575), k1 ^ UINT64_C(0x646F72616E646F6D),
		k0 ^ UINT64_C(0x6C7967656E657261), k1 ^ UINT64_C(0x7465646279746573)};
	struct key_reader r = read_key(keys, key);
	uint64_t word, length = 0;
	unsigned count;

	sip_absorb(&h, depth);
	while ((count = read_word(&r, &word)) == 8) {
		sip_absorb(&h, word);
		length += 8;
	}
	sip_absorb(&h, word ^ (length + count) << 56);
	h.v2 ^= 0xFF;
	for (int i = 0; i < 3; i++)
		sip_round(&h);
	word = h.v0 ^ h.v1 ^ h.v2 ^ h.v3;
	return (uint32_t)(word ^ word >> 32);
}

static bool are_equal(
	const struct json_keys *keys, const struct json_key *one, const struct json_key *other)
{
	struct key_reader a = read_key(keys, one), b = read_key(keys, other);
	uint64_t word_a, word_b;
	unsigned count_a, count_b;

	if (one->hash != other->hash)
		return false;
	do {
		count_a = read_word(&a, &word_a);
		count_b = read_word(&b, &word_b);
	} while (count_a == 8 && count_b == 8 && word_a == word_b);
	return count_a == count_b && word_a == word_b;
}

/* Refills the slots in the order of arrival, which popping relies on. */
static void refill(struct json_keys *keys)
{
	memset(keys->slots, 0, (keys->slot_mask + 1) * sizeof(*keys->slots));
	for (size_t i = 0; i < keys->count; i++) {
		size_t probe = keys->key[i].hash;

		while (keys->slots[probe & keys->slot_mask])
			probe++;
		keys->slots[probe & keys->slot_mask] = (uint32_t)(i + 1);
	}
}

static int grow(struct json_keys *keys)
{
	size_t capacity = keys->capacity ? keys->capacity * 2 : FIRST_KEYS;
	struct json_key *more = json_scan_resize(keys->key, capacity * sizeof(*more));
	uint32_t *slots;

	if (!more)
		return -ENOMEM;
	keys->key = more;
	slots = json_scan_resize(keys->slots, capacity * SLOTS_PER_KEY * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	keys->slots = slots;
	keys->capacity = capacity;
	keys->slot_mask = capacity * SLOTS_PER_KEY - 1;
	refill(keys);
	return 0;
}

int json_keys_push(struct json_keys *keys, struct json_key key, unsigned depth, uint32_t first)
{
	uint32_t found;
	size_t probe;

	if (keys->count == keys->capacity && grow(keys) < 0)
		return -ENOMEM;
	key.hash = hash_key(keys, &key, depth);
	for (probe = key.hash; (found = keys->slots[probe & keys->slot_mask]); probe++)
		if (found > first && are_equal(keys, &keys->key[found - 1], &key))
			return -EEXIST;
	keys->key[keys->count++] = key;
	keys->slots[probe & keys->slot_mask] = (uint32_t)keys->count;
	return 0;
}

void json_keys_pop(struct json_keys *keys, size_t keep)
{
	for (; keys->count > keep; keys->count--) {
		size_t probe = keys->key[keys->count - 1].hash;

		while (keys->slots[probe & keys->slot_mask] != keys->count)
			probe++;
		keys->slots[probe & keys->slot_mask] = 0;
	}
}

void json_keys_free(struct json_keys *keys)
{
	free(keys->key);
	free(keys->slots);
}
