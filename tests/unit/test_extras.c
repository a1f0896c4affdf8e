#include "tests/unit/unit.h"

#include "sandbox/extras.h"
#include "sandbox/job.h"

static struct extras extras;
static enum frame_type kind = FRAME_FILE;

static int tear_down(void **state)
{
	(void)state;
	extras_reset(&extras, 0);
	kind = FRAME_FILE;
	return 0;
}

static void take(enum frame_type type, const void *payload, size_t length)
{
	char *copy = unit_copy(payload, length);
	const struct frame frame = {.type = type, .length = (uint32_t)length, .payload = copy};

	assert_int_equal(extras_take(&extras, kind, &frame), 0);
	free(copy);
}

/* What was kept, as "type:payload;" with long payloads as their length. */
static void expect(const char *expected)
{
	struct frame_reader reader = {.in = extras.frames};
	struct frame frame;
	char text[1024] = "";

	while (frame_reader_next(&reader, &frame))
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			frame.length <= 16 ? "%d:%.*s;" : "%d:(%d);", (int)frame.type,
			(int)frame.length, frame.payload);
	assert_int_equal(reader.start, extras.frames.length);
	assert_string_equal(text, expected);
}

static void test_files(void **state)
{
	(void)state;
	take(FRAME_FILE, TEXT("a"));
	take(FRAME_CONTENT, TEXT("one"));
	take(FRAME_CONTENT, TEXT("two"));
	take(FRAME_FILE, TEXT("b/c"));
	take(FRAME_FILE, TEXT("b/d"));
	take(FRAME_CONTENT, TEXT("x"));
	take(FRAME_WARNING, TEXT("w"));
	expect("24:a;25:onetwo;24:b/c;24:b/d;25:x;49:w;");
	assert_int_equal(extras.files, 3);
	assert_int_equal(extras.file_bytes, 7);
}

static void test_paths_and_order(void **state)
{
	(void)state;
	take(FRAME_FILE, TEXT("b"));
	take(FRAME_FILE, TEXT("b"));
	take(FRAME_CONTENT, TEXT("lost"));
	take(FRAME_FILE, TEXT("a"));
	take(FRAME_FILE, TEXT("../c"));
	take(FRAME_FILE, TEXT(""));
	take(FRAME_FILE, TEXT("c\0d"));
	take(FRAME_CONTENT, TEXT("lost"));
	take(FRAME_FILE, TEXT("ba"));
	take(FRAME_FILE, TEXT("\xff"));
	expect("24:b;24:ba;24:\xff;");
}

static void test_content_of_nothing(void **state)
{
	(void)state;
	take(FRAME_CONTENT, TEXT("x"));
	take(FRAME_WARNING, TEXT("w"));
	take(FRAME_CONTENT, TEXT("x"));
	take(FRAME_FILE, TEXT("a"));
	take(FRAME_CONTENT, TEXT(""));
	take(FRAME_WARNING, TEXT("w"));
	take(FRAME_CONTENT, TEXT("x"));
	take(FRAME_RESULT, TEXT("x"));
	expect("49:w;24:a;49:w;");
}

/* What two parts hold is put together: neither may have what only the other is for. */
static void test_other_kind(void **state)
{
	struct figure_header header = {.number = 1};

	(void)state;
	take(FRAME_FILE, TEXT("a"));
	take(FRAME_FIGURE, &header, sizeof(header));
	take(FRAME_CONTENT, TEXT("lost"));
	kind = FRAME_FIGURE;
	take(FRAME_FIGURE, &header, sizeof(header));
	take(FRAME_FILE, TEXT("b"));
	take(FRAME_CONTENT, TEXT("lost"));
	assert_int_equal(extras.files, 1);
	assert_int_equal(extras.figures, 1);
	assert_int_equal(extras.file_bytes + extras.figure_bytes, 0);
}

static void test_caps(void **state)
{
	char *large = calloc(1, FILES_MAX_BYTES + 1), path[16];
	struct figure_header header = {.number = 1};

	(void)state;
	for (int i = 0; i < FILES_MAX + 5; i++) {
		snprintf(path, sizeof(path), "%04d", i);
		take(FRAME_FILE, path, 4);
	}
	assert_int_equal(extras.files, FILES_MAX);
	extras_reset(&extras, 0);
	take(FRAME_FILE, large, FILE_PATH_MAX_BYTES); /* NUL */
	memset(large, 'a', FILES_MAX_BYTES);
	take(FRAME_FILE, large, FILE_PATH_MAX_BYTES + 1);
	take(FRAME_FILE, large, FILE_PATH_MAX_BYTES);
	take(FRAME_CONTENT, large, FILES_MAX_BYTES + 1);
	take(FRAME_CONTENT, large, FILES_MAX_BYTES - 1);
	take(FRAME_CONTENT, large, 2);
	take(FRAME_CONTENT, large, 1);
	take(FRAME_CONTENT, large, 1);
	assert_int_equal(extras.file_bytes, FILES_MAX_BYTES);
	kind = FRAME_FIGURE;
	for (int i = 0; i < FIGURES_MAX + 5; i++) {
		take(FRAME_FIGURE, &header, sizeof(header));
		take(FRAME_CONTENT, large, FIGURES_MAX_BYTES / 8);
	}
	take(FRAME_FIGURE, &header, sizeof(header) - 1);
	assert_int_equal(extras.figures, FIGURES_MAX);
	assert_int_equal(extras.figure_bytes, FIGURES_MAX_BYTES);
	for (int i = 0; i < WARNINGS_MAX + 5; i++)
		take(FRAME_WARNING, large, WARNING_MAX_BYTES);
	take(FRAME_WARNING, large, WARNING_MAX_BYTES + 1);
	assert_int_equal(extras.warnings, WARNINGS_MAX);
	free(large);
}

/* Single bytes do not cost a header each, and frames stay of a size that a reader takes. */
static void test_small_content_is_joined(void **state)
{
	struct frame_reader reader;
	struct frame frame;
	size_t count = 0, bytes = 0;

	(void)state;
	take(FRAME_FILE, TEXT("a"));
	for (int i = 0; i < 3 * CONTENT_MAX_BYTES; i++)
		take(FRAME_CONTENT, TEXT("x"));
	reader = (struct frame_reader){.in = extras.frames};
	while (frame_reader_next(&reader, &frame)) {
		count++;
		bytes += frame.type == FRAME_CONTENT ? frame.length : 0;
		assert_true(frame.length <= CONTENT_MAX_BYTES);
	}
	assert_int_equal(count, 1 + 3);
	assert_int_equal(bytes, 3 * CONTENT_MAX_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(test_files, tear_down),
		cmocka_unit_test_teardown(test_paths_and_order, tear_down),
		cmocka_unit_test_teardown(test_content_of_nothing, tear_down),
		cmocka_unit_test_teardown(test_other_kind, tear_down),
		cmocka_unit_test_teardown(test_caps, tear_down),
		cmocka_unit_test_teardown(test_small_content_is_joined, tear_down)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
