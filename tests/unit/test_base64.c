#include "tests/unit/unit.h"

#include <errno.h>

#include "fcgi-app/base64.h"
#include "fcgi-app/json_out.h"

/* RFC 4648, section 10. */
static const struct {
	const char *data, *text;
} vectors[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
	{"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};

static void test_decode(void **state)
{
	char out[16];
	size_t length;

	(void)state;
	for (size_t i = 0; i < COUNT(vectors); i++) {
		assert_int_equal(
			base64_decode(vectors[i].text, strlen(vectors[i].text), out, &length), 0);
		assert_int_equal(length, strlen(vectors[i].data));
		assert_memory_equal(out, vectors[i].data, length);
	}
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"A", "AA", "AAA", "AAAAA", "A===", "====", "=AAA", "A=AA",
		"AA=A", "AA==AAAA", "AAA=AAAA", "AAAA====", "AB==", "AAB=", "A-AA", "A_AA", " AAA",
		"AAA\n", "AA\xC3\xA9"};
	char out[16];
	size_t length;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(base64_decode(bad[i], strlen(bad[i]), out, &length), -EINVAL);
	assert_int_equal(base64_decode(TEXT("AAA\0"), out, &length), -EINVAL);
}

/* Through json_out_base64, of all lengths around its own buffer; decoded in place. */
static void test_round_trip(void **state)
{
	struct buffer buffer = {0};
	char data[400];
	uint64_t seed = 7;
	size_t length;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)unit_random(&seed);
	for (size_t size = 0; size <= sizeof(data); size++) {
		struct json_out out = {.buffer = &buffer};
		char *copy = unit_copy(data, size);

		buffer_reset(&buffer, 1 << 20);
		json_out_base64(&out, "p:", copy, size);
		free(copy);
		assert_int_equal(out.error, 0);
		assert_memory_equal(buffer.data, "\"p:", 3);
		assert_int_equal(buffer.data[buffer.length - 1], '"');
		assert_int_equal(
			base64_decode(buffer.data + 3, buffer.length - 4, buffer.data, &length), 0);
		assert_int_equal(length, size);
		assert_memory_equal(buffer.data, data, size);
	}
	buffer_free(&buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_decode),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_round_trip)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
