#include "tests/unit/unit.h"

#include <errno.h>

#include "sandbox/buffer.h"

static void test_append_collects(void **state)
{
	struct buffer buffer = {0};
	char expected[5000];

	(void)state;
	for (size_t i = 0; i < sizeof(expected); i++) {
		expected[i] = (char)i;
		assert_int_equal(buffer_append(&buffer, &expected[i], 1), 0);
	}
	assert_int_equal(buffer.length, sizeof(expected));
	assert_true(buffer.capacity >= buffer.length);
	assert_memory_equal(buffer.data, expected, sizeof(expected));
	buffer_free(&buffer);
}

static void test_append_nothing(void **state)
{
	struct buffer buffer = {0};

	(void)state;
	assert_int_equal(buffer_append(&buffer, NULL, 0), 0);
	assert_null(buffer.data);
	assert_int_equal(buffer.length, 0);
	assert_int_equal(buffer_append(&buffer, "a", 1), 0);
	assert_int_equal(buffer_append(&buffer, NULL, 0), 0);
	assert_int_equal(buffer.length, 1);
	buffer_free(&buffer);
}

static void test_cap_is_exact(void **state)
{
	struct buffer buffer = {.cap = 10};

	(void)state;
	assert_int_equal(buffer_append(&buffer, "0123456789a", 11), -EMSGSIZE);
	assert_int_equal(buffer.length, 0);
	assert_int_equal(buffer_append(&buffer, "012345678", 9), 0);
	assert_int_equal(buffer_append(&buffer, "9a", 2), -EMSGSIZE);
	assert_int_equal(buffer.length, 9);
	assert_int_equal(buffer_append(&buffer, "9", 1), 0);
	assert_int_equal(buffer_append(&buffer, NULL, 0), 0);
	assert_int_equal(buffer_append(&buffer, "a", 1), -EMSGSIZE);
	assert_memory_equal(buffer.data, "0123456789", 10);
	buffer_free(&buffer);
}

/* Sizes near the end of size_t: none may wrap around, loop for ever or lose what is there. */
static void test_huge_lengths(void **state)
{
	static const size_t huge[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 2, SIZE_MAX / 2 + 1,
		SIZE_MAX / 2, SIZE_MAX - 1024};
	struct buffer buffer = {0};

	(void)state;
	assert_int_equal(buffer_append(&buffer, "abc", 3), 0);
	for (size_t i = 0; i < COUNT(huge); i++) {
		assert_true(buffer_reserve(&buffer, huge[i]) < 0);
		assert_int_equal(buffer.length, 3);
		assert_memory_equal(buffer.data, "abc", 3);
	}
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX - 2), -EMSGSIZE);
	buffer.cap = 100;
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX - 2), -EMSGSIZE);
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX / 2), -EMSGSIZE);
	buffer_free(&buffer);
}

static void test_reserve_uses_nothing(void **state)
{
	struct buffer buffer = {.cap = 4096};

	(void)state;
	assert_int_equal(buffer_reserve(&buffer, 4096), 0);
	assert_int_equal(buffer.length, 0);
	assert_true(buffer.capacity >= 4096);
	memset(buffer.data, 'x', 4096);
	assert_int_equal(buffer_reserve(&buffer, 1), 0);
	assert_int_equal(buffer_reserve(&buffer, 4097), -EMSGSIZE);
	buffer_free(&buffer);
}

static void test_consume(void **state)
{
	struct buffer buffer = {0};

	(void)state;
	assert_int_equal(buffer_append(&buffer, "0123456789", 10), 0);
	buffer_consume(&buffer, 0);
	assert_int_equal(buffer.length, 10);
	buffer_consume(&buffer, 3);
	assert_int_equal(buffer.length, 7);
	assert_memory_equal(buffer.data, "3456789", 7);
	buffer_consume(&buffer, 7);
	assert_int_equal(buffer.length, 0);
	buffer_consume(&buffer, 0);
	assert_int_equal(buffer_append(&buffer, "ab", 2), 0);
	assert_memory_equal(buffer.data, "ab", 2);
	buffer_free(&buffer);
}

static void test_reset_keeps_and_gives_back(void **state)
{
	struct buffer buffer = {0};

	(void)state;
	assert_int_equal(buffer_reserve(&buffer, 2048), 0);
	buffer_reset(&buffer, buffer.capacity);
	assert_non_null(buffer.data);
	assert_int_equal(buffer.length, 0);
	buffer_reset(&buffer, buffer.capacity - 1);
	assert_null(buffer.data);
	assert_int_equal(buffer.capacity, 0);
	buffer_reset(&buffer, 0);
	buffer_free(&buffer);
	assert_int_equal(buffer_append(&buffer, "again", 5), 0);
	assert_memory_equal(buffer.data, "again", 5);
	buffer_free(&buffer);
	assert_null(buffer.data);
}

/* Random operations against a flat array. */
static void test_random_against_model(void **state)
{
	struct buffer buffer = {.cap = 300};
	uint64_t seed = 42;
	char model[300], data[64];
	size_t used = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		size_t length = unit_random(&seed) % sizeof(data);

		memset(data, (int)(unit_random(&seed) & 0xff), sizeof(data));
		if (unit_random(&seed) % 3) {
			int r = buffer_append(&buffer, data, length);

			assert_int_equal(r, used + length > sizeof(model) ? -EMSGSIZE : 0);
			if (!r) {
				memcpy(model + used, data, length);
				used += length;
			}
		} else {
			length = length < used ? length : used;
			buffer_consume(&buffer, length);
			memmove(model, model + length, used - length);
			used -= length;
		}
		assert_int_equal(buffer.length, used);
		if (used)
			assert_memory_equal(buffer.data, model, used);
	}
	buffer_free(&buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_collects),
		cmocka_unit_test(test_append_nothing),
		cmocka_unit_test(test_cap_is_exact),
		cmocka_unit_test(test_huge_lengths),
		cmocka_unit_test(test_reserve_uses_nothing),
		cmocka_unit_test(test_consume),
		cmocka_unit_test(test_reset_keeps_and_gives_back),
		cmocka_unit_test(test_random_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
