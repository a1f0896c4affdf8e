#include "tests/unit/unit.h"

#include "fcgi-app/client.h"

static void expect_same(const char *one, const char *other, bool expected)
{
	struct client first = client_of_address(one), second = client_of_address(other);

	if (client_is_same(&first, &second) != expected)
		fail_msg("%s and %s are %s client", one, other, expected ? "not one" : "one");
	if (expected)
		assert_int_equal(client_hash(&first, 5), client_hash(&second, 5));
}

static void test_addresses(void **state)
{
	(void)state;
	expect_same("192.0.2.1", "192.0.2.1", true);
	expect_same("192.0.2.1", "192.0.2.2", false);
	expect_same("192.0.2.1", "::ffff:192.0.2.1", true);
	expect_same("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true);
	expect_same("2001:db8::1", "2001:db8:0:1::1", false);
	expect_same("0.0.0.0", "::", false);
	expect_same("192.0.2.1", "::c000:201", false);
}

/* What is no address is one client, and nobody with an address is that one. */
static void test_no_address(void **state)
{
	(void)state;
	expect_same("", "unix:", true);
	expect_same("192.0.2.1 ", "192.0.2.1", false);
	expect_same("", "0.0.0.0", false);
	expect_same("", "::", false);
}

static void test_keys_are_no_addresses(void **state)
{
	struct client key = client_of_key(0xc0000201), other = client_of_key(1),
		      address = client_of_address("192.0.2.1");

	(void)state;
	assert_int_equal(key.id, address.id);
	assert_false(client_is_same(&key, &address));
	assert_false(client_is_same(&key, &other));
	assert_true(client_is_same(&key, &key));
}

/* Neighbouring addresses and other seeds go elsewhere: chains stay short. */
static void test_hash_scatters(void **state)
{
	enum {
		BUCKETS = 256,
		CLIENTS = 4096
	};
	size_t count[BUCKETS] = {0}, most = 0, moved = 0, i;

	(void)state;
	for (i = 0; i < CLIENTS; i++) {
		const struct client client = {.kind = CLIENT_IPV6, .id = i};
		size_t bucket = client_hash(&client, 1) % BUCKETS;

		moved += client_hash(&client, 2) % BUCKETS != bucket;
		if (++count[bucket] > most)
			most = count[bucket];
	}
	assert_true(most < 3 * CLIENTS / BUCKETS);
	assert_true(moved > CLIENTS * 9 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_no_address),
		cmocka_unit_test(test_keys_are_no_addresses),
		cmocka_unit_test(test_hash_scatters),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
