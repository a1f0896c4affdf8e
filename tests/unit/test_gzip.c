#include "tests/unit/unit.h"

#include <zlib.h>

#include "fcgi-app/gzip.h"
#include "sandbox/buffer.h"

static void take(void *context, const char *data, size_t length)
{
	assert_int_equal(buffer_append(context, data, length), 0);
}

static struct buffer pack(const char *data, size_t length)
{
	struct buffer packed = {0};
	struct gzip *gzip = gzip_new();

	assert_non_null(gzip);
	gzip_pack(gzip, data, length, take, &packed);
	gzip_free(gzip);
	return packed;
}

/* As a client does it that takes gzip and nothing else, to the last byte. */
static void expect_unpacked(const struct buffer *packed, const char *data, size_t length)
{
	unsigned char *unpacked = malloc(length + 1);
	z_stream stream = {.next_in = (unsigned char *)packed->data,
		.avail_in = (uInt)packed->length,
		.next_out = unpacked,
		.avail_out = (uInt)length + 1};

	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.total_out, length);
	assert_int_equal(stream.avail_in, 0);
	assert_memory_equal(unpacked, data, length);
	inflateEnd(&stream);
	free(unpacked);
}

/* Around the size of a part, and far beyond it. */
static void test_sizes(void **state)
{
	static const size_t sizes[] = {0, 1, 4096, 65535, 65536, 65537, 131072, 3 << 20};
	char *data = malloc(3 << 20);
	struct buffer packed;

	(void)state;
	memset(data, 'x', 3 << 20);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		packed = pack(data, sizes[i]);
		expect_unpacked(&packed, data, sizes[i]);
		if (sizes[i] >= 4096)
			assert_true(packed.length < sizes[i] / 40);
		buffer_free(&packed);
	}
	free(data);
}

/* What cannot be made smaller fills part after part, and grows by next to nothing. */
static void test_chance(void **state)
{
	size_t length = 1000003;
	char *data = malloc(length);
	uint64_t seed = 42;
	struct buffer packed;

	(void)state;
	for (size_t i = 0; i < length; i++)
		data[i] = (char)unit_random(&seed);
	packed = pack(data, length);
	assert_true(packed.length < length + length / 100);
	expect_unpacked(&packed, data, length);
	buffer_free(&packed);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_chance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
