#include "tests/unit/unit.h"

#include "fcgi-app/key_line.h"
#include "fcgi-app/keys.h"

static const uint64_t SECOND = 1000000;

static struct keys *keys; /* lives as long as its process, as the dispatcher's does */
static struct keys_now now;
static struct keys_guest guest;
static struct keys_refusal refusal;

static int set_up(void **state)
{
	(void)state;
	keys = keys_new(7);
	now = (struct keys_now){.monotonic_us = 1000 * SECOND, .unix_s = 1000000};
	return keys ? 0 : -1;
}

static int tear_down(void **state)
{
	const struct key_list none = {0};

	(void)state;
	keys_replace(keys, &none);
	free(keys);
	return 0;
}

/* The key with that number for a digest. */
static struct key make(uint8_t number)
{
	struct key key = {.digest = {number, 1, 2}};

	snprintf(key.name, sizeof(key.name), "key-%u", number);
	return key;
}

static void put(struct key *list, size_t count)
{
	const struct key_list all = {.keys = list, .count = count};

	assert_int_equal(keys_replace(keys, &all), 0);
}

static enum keys_verdict enter(uint8_t number)
{
	struct key key = make(number);

	return keys_enter(keys, key.digest, &now, &guest, &refusal);
}

/* Comes in and goes again. */
static enum keys_verdict visit(uint8_t number)
{
	enum keys_verdict verdict = enter(number);

	if (verdict == KEYS_ADMITTED)
		keys_leave(keys, &guest);
	return verdict;
}

static void test_known_and_unknown(void **state)
{
	struct key list[] = {make(1), make(2)};

	(void)state;
	assert_int_equal(visit(1), KEYS_UNKNOWN);
	list[1].max_timeout_ms = 2500;
	list[1].max_memory_mib = 64;
	put(list, 2);
	assert_int_equal(visit(1), KEYS_ADMITTED);
	assert_int_equal(visit(3), KEYS_UNKNOWN);
	assert_int_equal(enter(2), KEYS_ADMITTED);
	assert_string_equal(guest.name, "key-2");
	assert_int_equal(guest.max_timeout_ms, 2500);
	assert_int_equal(guest.max_memory_mib, 64);
	keys_leave(keys, &guest);
	keys_leave(keys, &guest); /* nothing more to leave */
	put(list, 1);
	assert_int_equal(visit(2), KEYS_UNKNOWN);
}

static void test_expiry(void **state)
{
	struct key key = make(1);

	(void)state;
	key.expires_s = now.unix_s + 10;
	put(&key, 1);
	assert_int_equal(visit(1), KEYS_ADMITTED);
	now.unix_s += 9;
	assert_int_equal(visit(1), KEYS_ADMITTED);
	now.unix_s += 1;
	assert_int_equal(visit(1), KEYS_EXPIRED);
	assert_string_equal(guest.name, "key-1");
	assert_int_equal(visit(2), KEYS_UNKNOWN);
	assert_string_equal(guest.name, "");
}

static void test_rate(void **state)
{
	struct key key = make(1);

	(void)state;
	key_set(&key, "rate", "60/m", NULL);
	key_set(&key, "burst", "3", NULL);
	put(&key, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(visit(1), KEYS_ADMITTED);
	assert_int_equal(visit(1), KEYS_TOO_OFTEN);
	assert_int_equal(refusal.limit, 60);
	assert_int_equal(refusal.period_s, 60);
	assert_int_equal(refusal.retry_after_s, 1);
	now.monotonic_us += SECOND - 1;
	assert_int_equal(visit(1), KEYS_TOO_OFTEN);
	now.monotonic_us += 1;
	assert_int_equal(visit(1), KEYS_ADMITTED);
	assert_int_equal(visit(1), KEYS_TOO_OFTEN);
	now.monotonic_us += 3600 * SECOND; /* no more than the burst is ever saved */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(visit(1), KEYS_ADMITTED);
	assert_int_equal(visit(1), KEYS_TOO_OFTEN);
}

/* Without a burst of its own it is the rate; who waits as long as was said comes in. */
static void test_retry_after(void **state)
{
	static const char *const rates[] = {"1/h", "7/m", "3/s", "1000000/s", "1/s", "1000/h"};
	struct key key = make(1);
	unsigned admitted;

	(void)state;
	for (unsigned i = 0; i < COUNT(rates); i++) {
		key_set(&key, "rate", rates[i], NULL);
		put(&key, 1);
		for (admitted = 0; visit(1) == KEYS_ADMITTED; admitted++)
			;
		assert_int_equal(admitted, key.rate);
		assert_true(refusal.retry_after_s >= 1);
		assert_true(refusal.retry_after_s <= key.rate_period_s);
		now.monotonic_us += refusal.retry_after_s * SECOND;
		assert_int_equal(visit(1), KEYS_ADMITTED);
	}
}

static void test_concurrent(void **state)
{
	struct keys_guest first, second;
	struct key key = make(1);

	(void)state;
	key.concurrent = 2;
	key_set(&key, "rate", "3/h", NULL);
	put(&key, 1);
	assert_int_equal(enter(1), KEYS_ADMITTED);
	first = guest;
	assert_int_equal(enter(1), KEYS_ADMITTED);
	second = guest;
	assert_int_equal(enter(1), KEYS_TOO_MANY);
	assert_int_equal(refusal.limit, 2);
	assert_int_equal(refusal.period_s, 0);
	assert_int_equal(refusal.retry_after_s, 1);
	keys_leave(keys, &first);
	assert_int_equal(visit(1), KEYS_ADMITTED); /* being refused has used nothing of the rate */
	assert_int_equal(visit(1), KEYS_TOO_OFTEN);
	keys_leave(keys, &second);
}

/* A key that stays keeps what it has used; one with another rate begins anew. */
static void test_replace_keeps_what_was_used(void **state)
{
	struct key list[] = {make(1), make(2)};
	struct keys_guest inside;

	(void)state;
	key_set(&list[0], "rate", "1/h", NULL);
	list[0].concurrent = 2;
	put(list, 1);
	assert_int_equal(enter(1), KEYS_ADMITTED);
	inside = guest;
	snprintf(list[0].name, sizeof(list[0].name), "renamed");
	put(list, 2);
	assert_int_equal(visit(1), KEYS_TOO_OFTEN);
	key_set(&list[0], "rate", "2/h", NULL);
	list[0].concurrent = 1;
	put(list, 2);
	assert_int_equal(visit(1), KEYS_TOO_MANY);
	keys_leave(keys, &inside);
	assert_int_equal(enter(1), KEYS_ADMITTED);
	assert_string_equal(guest.name, "renamed");
	assert_int_equal(guest.number, inside.number);
	keys_leave(keys, &guest);
}

/* Its requests go on; the same key added again is another one. */
static void test_revoked_while_inside(void **state)
{
	struct key key = make(1);
	struct keys_guest inside, again;

	(void)state;
	key.concurrent = 1;
	put(&key, 1);
	assert_int_equal(enter(1), KEYS_ADMITTED);
	inside = guest;
	put(&key, 0);
	assert_int_equal(visit(1), KEYS_UNKNOWN);
	put(&key, 1);
	assert_int_equal(enter(1), KEYS_ADMITTED);
	again = guest;
	assert_int_not_equal(again.number, inside.number);
	keys_leave(keys, &inside);
	assert_int_equal(visit(1), KEYS_TOO_MANY);
	keys_leave(keys, &again);
}

static void test_as_many_as_there_may_be(void **state)
{
	struct key *list = calloc(KEYS_MAX, sizeof(*list));
	size_t found = 0;

	(void)state;
	for (uint32_t i = 0; i < KEYS_MAX; i++) {
		memcpy(list[i].digest, &i, sizeof(i));
		snprintf(list[i].name, sizeof(list[i].name), "%u", i);
	}
	put(list, KEYS_MAX);
	for (size_t i = 0; i < KEYS_MAX; i++) {
		assert_int_equal(
			keys_enter(keys, list[i].digest, &now, &guest, &refusal), KEYS_ADMITTED);
		found += strcmp(guest.name, list[i].name) == 0;
		keys_leave(keys, &guest);
	}
	assert_int_equal(found, KEYS_MAX);
	free(list);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(test_known_and_unknown), TEST(test_expiry),
		TEST(test_rate), TEST(test_retry_after), TEST(test_concurrent),
		TEST(test_replace_keeps_what_was_used), TEST(test_revoked_while_inside),
		TEST(test_as_many_as_there_may_be)};

	return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
