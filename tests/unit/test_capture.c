#include "tests/unit/unit.h"

#include "sandbox/capture.h"

struct kept {
	struct buffer out;
	uint64_t dropped, at;
};

static void add(struct capture *capture, const char *data, size_t length, size_t chunk)
{
	for (size_t start = 0; start < length; start += chunk) {
		size_t now = length - start < chunk ? length - start : chunk;
		char *copy = unit_copy(data + start, now);

		assert_int_equal(capture_add(capture, copy, now), 0);
		free(copy);
	}
	assert_int_equal(capture->total, length);
}

static struct kept finish(struct capture *capture)
{
	struct kept kept = {.dropped = 99, .at = 99};

	assert_int_equal(capture_finish(capture, &kept.out, &kept.dropped, &kept.at), 0);
	capture_reset(capture);
	return kept;
}

static struct kept keep(const char *data, size_t length, size_t max_bytes, size_t chunk)
{
	struct capture capture = {.max_bytes = max_bytes};
	struct kept kept;

	add(&capture, data, length, chunk);
	kept = finish(&capture);
	buffer_free(&capture.head);
	return kept;
}

/* Fails unless out is head and tail, with the rest of length bytes dropped between them. */
static void expect(
	const char *data, size_t length, size_t max_bytes, const char *head, const char *tail)
{
	for (size_t chunk = 1; chunk <= length + 1; chunk++) {
		struct kept kept = keep(data, length, max_bytes, chunk);
		size_t head_bytes = strlen(head), tail_bytes = strlen(tail);

		assert_int_equal(kept.out.length, head_bytes + tail_bytes);
		assert_memory_equal(kept.out.data, head, head_bytes);
		assert_memory_equal(kept.out.data + head_bytes, tail, tail_bytes);
		assert_int_equal(kept.at, length > max_bytes ? head_bytes : 0);
		assert_int_equal(kept.dropped, length - head_bytes - tail_bytes);
		buffer_free(&kept.out);
	}
}

static void test_nothing(void **state)
{
	struct capture capture = {.max_bytes = 8};
	struct kept kept;

	(void)state;
	kept = finish(&capture);
	assert_int_equal(kept.out.length, 0);
	assert_int_equal(kept.dropped, 0);
	assert_int_equal(kept.at, 0);
	assert_int_equal(capture_add(&capture, "", 0), 0);
	kept = finish(&capture);
	assert_int_equal(kept.out.length, 0);
}

static void test_boundaries(void **state)
{
	(void)state;
	expect("a", 1, 8, "a", "");
	expect("abc", 3, 8, "abc", "");
	expect("abcd", 4, 8, "abcd", "");
	expect("abcde", 5, 8, "abcde", "");
	expect("abcdefg", 7, 8, "abcdefg", "");
	expect("abcdefgh", 8, 8, "abcdefgh", "");
	expect("abcdefghi", 9, 8, "abcd", "fghi");
	expect("abcdefghij", 10, 8, "abcd", "ghij");
	expect("abcdefghijkl", 12, 8, "abcd", "ijkl");
	expect("abcdefghijklm", 13, 8, "abcd", "jklm");
	expect("abcdefghijklmnopqrstuvwxyz", 26, 8, "abcd", "wxyz");
}

static void test_smallest_capture(void **state)
{
	(void)state;
	expect("ab", 2, 2, "ab", "");
	expect("abc", 3, 2, "a", "c");
	expect("abcdef", 6, 2, "a", "f");
	expect("abcdef", 6, 4, "ab", "ef");
}

/* Tails that hold nothing but continuation bytes, shorter than the three that are skipped. */
static void test_tail_of_continuations(void **state)
{
	(void)state;
	expect("a\x80\x80\x80\x80\x80", 6, 2, "a", "");
	expect("ab\x80\x80\x80\x80", 6, 4, "ab", "");
	expect("abc\x80\x80\x80\x80", 7, 6, "abc", "");
	expect("abcd\x80\x80\x80\x80\x80", 9, 8, "abcd", "\x80");
}

/* A head of four bytes ends in every part of a character. */
static void test_cut_in_the_head(void **state)
{
	(void)state;
	expect("abc\xC3\xA9......", 11, 8, "abc", "....");
	expect("ab\xC3\xA9.......", 11, 8, "ab\xC3\xA9", "....");
	expect("abc\xE2\x82\xAC.....", 11, 8, "abc", "....");
	expect("ab\xE2\x82\xAC......", 11, 8, "ab", "....");
	expect("a\xE2\x82\xAC.......", 11, 8, "a\xE2\x82\xAC", "....");
	expect("abc\xF0\x9F\x90\x8D....", 11, 8, "abc", "....");
	expect("ab\xF0\x9F\x90\x8D.....", 11, 8, "ab", "....");
	expect("a\xF0\x9F\x90\x8D......", 11, 8, "a", "....");
	expect("\xF0\x9F\x90\x8D.......", 11, 8, "\xF0\x9F\x90\x8D", "....");
}

/* A tail of four bytes begins in every part of a character. */
static void test_cut_in_the_tail(void **state)
{
	(void)state;
	expect("abcd......\xC3\xA9zz", 14, 8, "abcd", "\xC3\xA9zz");
	expect("abcd......\xC3\xA9zzz", 15, 8, "abcd", "zzz");
	expect("abcd......\xE2\x82\xACz", 14, 8, "abcd", "\xE2\x82\xACz");
	expect("abcd......\xE2\x82\xACzz", 15, 8, "abcd", "zz");
	expect("abcd......\xE2\x82\xACzzz", 16, 8, "abcd", "zzz");
	expect("abcd......\xF0\x9F\x90\x8D", 14, 8, "abcd", "\xF0\x9F\x90\x8D");
	expect("abcd......\xF0\x9F\x90\x8Dz", 15, 8, "abcd", "z");
	expect("abcd......\xF0\x9F\x90\x8Dzz", 16, 8, "abcd", "zz");
	expect("abcd......\xF0\x9F\x90\x8Dzzz", 17, 8, "abcd", "zzz");
}

/* Both cuts in one character: it goes whole. */
static void test_cut_in_one_character(void **state)
{
	(void)state;
	expect("abc\xF0\x9F\x90\x8D"
	       "fg",
		9, 8, "abc", "fg");
	expect("abc\xE2\x82\xAC"
	       "efg",
		9, 8, "abc", "efg");
}

static void test_garbage_is_kept(void **state)
{
	(void)state;
	expect("\x80\x80\x80\x80.......", 11, 8, "\x80\x80\x80\x80", "....");
	expect("abcd....\x80\x80\x80\x80", 12, 8, "abcd", "\x80");
	expect("\xFF\xFE\xFF\xFE"
	       "abcde",
		9, 10,
		"\xFF\xFE\xFF\xFE"
		"abcde",
		"");
}

/* Passes on what there is, in pieces of most bytes. */
static void pass_on(struct capture *capture, struct buffer *passed, size_t most, bool is_end)
{
	const char *text;
	size_t length;

	while ((length = capture_next(capture, most, is_end, &text))) {
		assert_in_range(length, 1, most);
		assert_int_equal(buffer_append(passed, text, length), 0);
		capture->passed += length;
	}
}

/* Fails unless what is passed on after each chunk are whole characters, and all in the end. */
static void expect_passed(const char *data, size_t length, size_t chunk, size_t most)
{
	struct capture capture = {.max_bytes = 64};
	struct buffer passed = {0};

	for (size_t start = 0; start < length; start += chunk) {
		size_t now = length - start < chunk ? length - start : chunk;

		assert_int_equal(capture_add(&capture, data + start, now), 0);
		pass_on(&capture, &passed, most, false);
		assert_true(start + now - passed.length < 4);
		/* the next byte, if there is one, begins a character */
		if (passed.length < length)
			assert_true(((unsigned char)data[passed.length] & 0xC0) != 0x80);
	}
	pass_on(&capture, &passed, most, true);
	assert_int_equal(passed.length, length);
	assert_memory_equal(passed.data, data, length);
	buffer_free(&passed);
	capture_reset(&capture);
	assert_int_equal(capture.passed, 0);
	buffer_free(&capture.head);
}

static void test_passed_on_whole(void **state)
{
	static const char text[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x90\x8D\xC3\xA9z";

	(void)state;
	for (size_t chunk = 1; chunk < sizeof(text); chunk++) {
		for (size_t most = 4; most <= sizeof(text); most++) {
			for (size_t length = 1; length < sizeof(text); length++)
				expect_passed(text, length, chunk, most);
		}
	}
}

static void test_half_a_character_waits(void **state)
{
	struct capture capture = {.max_bytes = 64};
	const char *text;

	(void)state;
	assert_int_equal(capture_next(&capture, 64, true, &text), 0);
	assert_int_equal(capture_add(&capture, "a\xE2\x82", 3), 0);
	assert_int_equal(capture_next(&capture, 64, false, &text), 1);
	assert_int_equal(capture_next(&capture, 64, true, &text), 3);
	capture.passed = 1;
	assert_int_equal(capture_next(&capture, 64, false, &text), 0);
	assert_int_equal(capture_add(&capture, "\xAC", 1), 0);
	assert_int_equal(capture_next(&capture, 64, false, &text), 3);
	assert_memory_equal(text, "\xE2\x82\xAC", 3);
	capture_reset(&capture);
	buffer_free(&capture.head);
}

/* Once some is left out there is nothing to pass on any more. */
static void test_room_and_its_end(void **state)
{
	struct capture capture = {.max_bytes = 8};
	const char *text;

	(void)state;
	assert_int_equal(capture_room(&capture), 8);
	assert_int_equal(capture_add(&capture, "abcde", 5), 0);
	assert_int_equal(capture_room(&capture), 3);
	assert_int_equal(capture_add(&capture, "fgh", 3), 0);
	assert_int_equal(capture_room(&capture), 0);
	assert_int_equal(capture_next(&capture, 64, false, &text), 8);
	assert_int_equal(capture_add(&capture, "i", 1), 0);
	assert_int_equal(capture_room(&capture), 0);
	assert_int_equal(capture_next(&capture, 64, true, &text), 0);
	capture_reset(&capture);
	assert_int_equal(capture_room(&capture), 8);
	buffer_free(&capture.head);
}

/* The same, another way: all of it is kept first, and cut afterwards. */
static struct kept naive(const char *data, size_t length, size_t max_bytes)
{
	struct kept kept = {0};
	size_t head = max_bytes / 2, tail = length - max_bytes / 2;
	static const unsigned char least[] = {0, 0xC0, 0xE0, 0xF0};

	if (length <= max_bytes) {
		assert_int_equal(buffer_append(&kept.out, data, length), 0);
		return kept;
	}
	/* a first byte that wants more than the cut leaves it */
	for (size_t back = 1; back <= 3 && back <= head; back++) {
		unsigned char byte = (unsigned char)data[head - back];

		if (byte >= 0x80 && byte < 0xC0)
			continue;
		if (byte >= least[back])
			head -= byte >= 0xC0 ? back : 0;
		break;
	}
	for (size_t i = 0; i < 3 && tail < length && ((unsigned char)data[tail] & 0xC0) == 0x80;
		i++)
		tail++;
	kept.at = head;
	kept.dropped = tail - head;
	assert_int_equal(buffer_append(&kept.out, data, head), 0);
	assert_int_equal(buffer_append(&kept.out, data + tail, length - tail), 0);
	return kept;
}

static void expect_naive(const char *data, size_t length, size_t max_bytes, size_t chunk)
{
	struct kept kept = keep(data, length, max_bytes, chunk);
	struct kept model = naive(data, length, max_bytes);

	assert_int_equal(kept.dropped, model.dropped);
	assert_int_equal(kept.at, model.at);
	assert_int_equal(kept.out.length, model.out.length);
	assert_int_equal(kept.dropped + kept.out.length, length);
	if (length)
		assert_memory_equal(kept.out.data, model.out.data, model.out.length);
	buffer_free(&kept.out);
	buffer_free(&model.out);
}

static void test_random_bytes_against_model(void **state)
{
	static const unsigned char bytes[] = {'a', 'b', '\n', 0, 0x80, 0xBF, 0xC0, 0xC3, 0xA9, 0xE0,
		0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x90, 0x8D, 0xFF};
	uint64_t seed = 1;
	char data[200];

	(void)state;
	for (int i = 0; i < 30000; i++) {
		size_t length = unit_random(&seed) % sizeof(data);

		for (size_t j = 0; j < length; j++)
			data[j] = (char)bytes[unit_random(&seed) % sizeof(bytes)];
		expect_naive(
			data, length, 2 + unit_random(&seed) % 40 * 2, 1 + unit_random(&seed) % 64);
	}
}

static size_t whole_characters(const char *data, size_t length)
{
	size_t i = 0, wants;

	while (i < length) {
		unsigned char byte = (unsigned char)data[i];

		assert_false(byte >= 0x80 && byte < 0xC0);
		wants = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
		assert_true(i + wants <= length);
		i += wants;
	}
	return i;
}

/* Of text, both parts are whole characters, and no cut takes more than it must. */
static void test_random_text(void **state)
{
	static const char *const characters[] = {
		"a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x90\x8D"};
	uint64_t seed = 2;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		size_t max_bytes = 8 + unit_random(&seed) % 30 * 2, length = 0;
		char data[300];
		struct kept kept;

		for (size_t j = unit_random(&seed) % 60; j; j--) {
			const char *one = characters[unit_random(&seed) % 4];

			memcpy(data + length, one, strlen(one));
			length += strlen(one);
		}
		kept = keep(data, length, max_bytes, 1 + unit_random(&seed) % 50);
		whole_characters(kept.out.data, kept.at);
		if (length)
			whole_characters(kept.out.data + kept.at, kept.out.length - kept.at);
		assert_true(kept.out.length + 6 >= (length < max_bytes ? length : max_bytes));
		assert_int_equal(kept.dropped + kept.out.length, length);
		buffer_free(&kept.out);
	}
}

static void test_huge_stream(void **state)
{
	struct capture capture = {.max_bytes = 1 << 20};
	size_t chunk = 3 << 20, i;
	char *data = malloc(chunk);
	struct kept kept;

	(void)state;
	assert_non_null(data);
	for (i = 0; i < chunk; i++)
		data[i] = (char)('a' + i % 23);
	for (i = 0; i < 100; i++)
		assert_int_equal(capture_add(&capture, data, chunk - i), 0);
	assert_int_equal(capture.total, 100 * chunk - 4950);
	kept = finish(&capture);
	assert_int_equal(kept.out.length, 1 << 20);
	assert_int_equal(kept.at, 1 << 19);
	assert_int_equal(kept.dropped, 100 * chunk - 4950 - (1 << 20));
	assert_memory_equal(kept.out.data, data, 1 << 19);
	assert_memory_equal(kept.out.data + (1 << 19), data + chunk - 99 - (1 << 19), 1 << 19);
	buffer_free(&kept.out);
	buffer_free(&capture.head);
	free(data);
}

/* Nothing of one stream is in the next, and memory does not stay. */
static void test_reset_starts_clean(void **state)
{
	struct capture capture = {.max_bytes = 1 << 20};
	char *secret = malloc(2 << 20);
	struct kept kept;

	(void)state;
	assert_non_null(secret);
	memset(secret, 's', 2 << 20);
	add(&capture, secret, 2 << 20, 4096);
	assert_non_null(capture.tail);
	capture_reset(&capture);
	assert_null(capture.tail);
	assert_int_equal(capture.total, 0);
	assert_true(capture.head.capacity <= 64 << 10);
	add(&capture, "new", 3, 3);
	kept = finish(&capture);
	assert_int_equal(kept.out.length, 3);
	assert_memory_equal(kept.out.data, "new", 3);
	assert_int_equal(kept.dropped, 0);
	buffer_free(&kept.out);
	buffer_free(&capture.head);
	free(secret);
}

static void test_finish_appends(void **state)
{
	struct capture capture = {.max_bytes = 4};
	struct buffer out = {0}, full = {.cap = 3};
	uint64_t dropped, at;

	(void)state;
	assert_int_equal(buffer_append(&out, "before ", 7), 0);
	add(&capture, "abcdef", 6, 6);
	assert_int_equal(capture_finish(&capture, &out, &dropped, &at), 0);
	assert_int_equal(out.length, 11);
	assert_memory_equal(out.data, "before abef", 11);
	assert_int_equal(at, 2);
	assert_true(capture_finish(&capture, &full, &dropped, &at) < 0);
	capture_reset(&capture);
	buffer_free(&capture.head);
	buffer_free(&out);
	buffer_free(&full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_boundaries),
		cmocka_unit_test(test_smallest_capture),
		cmocka_unit_test(test_tail_of_continuations),
		cmocka_unit_test(test_cut_in_the_head),
		cmocka_unit_test(test_cut_in_the_tail),
		cmocka_unit_test(test_cut_in_one_character),
		cmocka_unit_test(test_garbage_is_kept),
		cmocka_unit_test(test_passed_on_whole),
		cmocka_unit_test(test_half_a_character_waits),
		cmocka_unit_test(test_room_and_its_end),
		cmocka_unit_test(test_random_bytes_against_model),
		cmocka_unit_test(test_random_text),
		cmocka_unit_test(test_huge_stream),
		cmocka_unit_test(test_reset_starts_clean),
		cmocka_unit_test(test_finish_appends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
