#include "tests/unit/unit.h"

#include <errno.h>

#include "fcgi-app/turns.h"

enum {
	CAPACITY = 8
};

/* A turn with the client's letter, and the number it came with. */
struct place {
	struct turn turn;
	char who;
	unsigned number;
};

static struct turns *turns;

static int set_up(void **state)
{
	(void)state;
	turns = turns_new(CAPACITY, 99);
	return turns ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	turns_free(turns);
	return 0;
}

static int add(struct place *place, struct turn **dropped)
{
	const struct client client = client_of_key((uint64_t)place->who);

	return turns_add(turns, &place->turn, &client, dropped);
}

/* One place for each letter, in that order. */
static void add_all(struct place *places, const char *letters)
{
	struct turn *dropped;

	for (unsigned i = 0; letters[i]; i++) {
		places[i] = (struct place){.who = letters[i], .number = i};
		assert_int_equal(add(&places[i], &dropped), 0);
		assert_null(dropped);
	}
}

static bool suits_all(const struct turn *turn, const void *context)
{
	(void)turn;
	(void)context;
	return true;
}

static bool suits_letter(const struct turn *turn, const void *context)
{
	return ((const struct place *)turn)->who == *(const char *)context;
}

static bool suits_none(const struct turn *turn, const void *context)
{
	(void)turn;
	++*(size_t *)(uintptr_t)context;
	return false;
}

static void expect_order(const char *letters)
{
	const struct place *place;
	char got[64] = "";
	size_t length = 0;

	while ((place = (const struct place *)turns_next(turns, suits_all, NULL)))
		got[length++] = place->who;
	assert_string_equal(got, letters);
	assert_int_equal(turns_count(turns), 0);
}

static void test_one_client_is_served_in_order(void **state)
{
	struct place places[CAPACITY];

	(void)state;
	add_all(places, "aaaa");
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(((struct place *)turns_next(turns, suits_all, NULL))->number, i);
	assert_null(turns_next(turns, suits_all, NULL));
}

static void test_clients_take_turns(void **state)
{
	struct place places[CAPACITY];

	(void)state;
	add_all(places, "aaaabbc");
	expect_order("abcabaa");
	add_all(places, "abab");
	expect_order("abab");
}

/* Whoever comes while another one is being served waits for one place of that one's. */
static void test_newcomer_is_next(void **state)
{
	struct place places[CAPACITY], newcomer = {.who = 'b'};
	struct turn *dropped;

	(void)state;
	add_all(places, "aaaaaa");
	assert_non_null(turns_next(turns, suits_all, NULL));
	assert_int_equal(add(&newcomer, &dropped), 0);
	expect_order("abaaaa");
}

/* One who comes again and again is no newcomer each time: its turn comes as often as another's. */
static void test_coming_back_gains_nothing(void **state)
{
	struct place places[CAPACITY], again = {.who = 'b'};
	struct turn *dropped;
	size_t served = 0;

	(void)state;
	add_all(places, "aaaa");
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(add(&again, &dropped), 0);
		while (((struct place *)turns_next(turns, suits_all, NULL))->who != 'b')
			served++;
	}
	assert_int_equal(served, 4);
}

static void test_flood_fills_the_queue_for_itself(void **state)
{
	struct place places[CAPACITY], more = {.who = 'a'}, other[4];
	struct turn *dropped;

	(void)state;
	add_all(places, "aaaaaaaa");
	assert_int_equal(add(&more, &dropped), -EAGAIN);
	assert_null(dropped);
	for (unsigned i = 0; i < 4; i++) { /* the last ones go first */
		other[i] = (struct place){.who = 'b'};
		assert_int_equal(add(&other[i], &dropped), 0);
		assert_ptr_equal(dropped, &places[7 - i]);
		assert_null(dropped->taker);
	}
	more.who = 'b'; /* equal shares: nobody takes from anybody any more */
	assert_int_equal(add(&more, &dropped), -EAGAIN);
	more.who = 'a';
	assert_int_equal(add(&more, &dropped), -EAGAIN);
	more.who = 'c';
	assert_int_equal(add(&more, &dropped), 0);
	assert_non_null(dropped);
	assert_int_equal(turns_count(turns), CAPACITY);
}

/* As many clients as places, each with one: there is nothing to take. */
static void test_full_of_clients(void **state)
{
	struct place places[CAPACITY], more = {.who = 'z'};
	struct turn *dropped;

	(void)state;
	add_all(places, "abcdefgh");
	assert_int_equal(add(&more, &dropped), -EAGAIN);
	expect_order("abcdefgh");
}

static void test_remove(void **state)
{
	struct place places[CAPACITY];

	(void)state;
	add_all(places, "aabbc");
	turns_remove(turns, &places[1].turn);
	turns_remove(turns, &places[4].turn);
	turns_remove(turns, &places[4].turn); /* it is out already */
	assert_int_equal(turns_count(turns), 3);
	expect_order("abb");
}

static void test_those_that_do_not_suit_keep_their_turn(void **state)
{
	struct place places[CAPACITY];

	(void)state;
	add_all(places, "aabbc");
	assert_int_equal(((struct place *)turns_next(turns, suits_letter, "b"))->number, 2);
	assert_null(turns_next(turns, suits_letter, "z"));
	expect_order("acba");
}

/* However many wait for something else, after so many looks the next one is taken. */
static void test_looks_are_bounded(void **state)
{
	static struct place places[4 * TURNS_LOOKS];
	struct turns *large = turns_new(COUNT(places), 1);
	struct turn *dropped;
	size_t looks = 0, i;

	(void)state;
	for (i = 0; i < COUNT(places); i++) {
		const struct client client = client_of_key(i % 7);

		places[i] = (struct place){.number = (unsigned)i};
		assert_int_equal(turns_add(large, &places[i].turn, &client, &dropped), 0);
	}
	assert_ptr_equal(turns_next(large, suits_none, &looks), &places[0].turn);
	assert_int_equal(looks, TURNS_LOOKS);
	turns_free(large);
}

static void test_no_queue_at_all(void **state)
{
	struct turns *none = turns_new(0, 1);
	struct place place = {.who = 'a'};
	const struct client client = {0};
	struct turn *dropped;

	(void)state;
	assert_int_equal(turns_add(none, &place.turn, &client, &dropped), -EAGAIN);
	assert_null(turns_next(none, suits_all, NULL));
	turns_free(none);
}

/* Any order of comings and goings: nobody is lost, and shares differ as little as they may. */
static void test_anything(void **state)
{
	struct place places[CAPACITY * 2] = {0};
	size_t waiting = 0, i;
	uint64_t seed = 3;
	struct turn *turn;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct place *place = &places[unit_random(&seed) % COUNT(places)];
		uint64_t what = unit_random(&seed) % 8;

		if (what < 5 && !place->turn.taker) {
			place->who = (char)('a' + unit_random(&seed) % 12);
			waiting += add(place, &turn) == 0 && !turn;
		} else if (what == 5 && place->turn.taker) {
			turns_remove(turns, &place->turn);
			waiting--;
		} else if (what > 5) {
			turn = turns_next(turns, suits_all, NULL);
			waiting -= turn != NULL;
			assert_true(!turn || !turn->taker);
		}
		assert_int_equal(turns_count(turns), waiting);
	}
	for (i = 0; turns_next(turns, suits_all, NULL); i++)
		;
	assert_int_equal(i, waiting);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(test_one_client_is_served_in_order),
		TEST(test_clients_take_turns), TEST(test_newcomer_is_next),
		TEST(test_coming_back_gains_nothing), TEST(test_flood_fills_the_queue_for_itself),
		TEST(test_full_of_clients), TEST(test_remove),
		TEST(test_those_that_do_not_suit_keep_their_turn), TEST(test_looks_are_bounded),
		TEST(test_no_queue_at_all), TEST(test_anything)};

	return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
