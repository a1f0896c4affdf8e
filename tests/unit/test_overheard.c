#include "tests/unit/unit.h"

#include <fcntl.h>

#include "fcgi-app/overheard.h"
#include "sandbox/log.h"

static char heard[8192];

static void take(enum log_level level, const char *role, const char *text)
{
	size_t used = strlen(heard);

	assert_int_equal(level, LOG_LEVEL_WARNING);
	snprintf(heard + used, sizeof(heard) - used, "%s<%s>", role, text);
}

static void expect(struct overheard *overheard, const char *written, const char *expected)
{
	*heard = '\0';
	assert_int_equal(write(overheard->writer, written, strlen(written)), strlen(written));
	overheard_handle(overheard, "t");
	assert_string_equal(heard, expected);
}

static void test_lines(void **state)
{
	struct overheard overheard;

	(void)state;
	log_direct(LOG_LEVEL_INFO, take);
	assert_int_equal(overheard_open(&overheard, NULL), 0);
	expect(&overheard, "one\n", "t<one>");
	expect(&overheard, "two\nthree\n\n", "t<two>t<three>");
	expect(&overheard, "half", "");
	expect(&overheard, "", "");
	expect(&overheard, " and half\nnext", "t<half and half>");
	expect(&overheard, "\n%s%n\n", "t<next>t<%s%n>");
	close(overheard.reader);
	close(overheard.writer);
}

/* A line without an end comes in pieces, and takes no memory. */
static void test_long(void **state)
{
	struct overheard overheard;
	char text[2001];
	size_t i, letters = 0;

	(void)state;
	log_direct(LOG_LEVEL_INFO, take);
	assert_int_equal(overheard_open(&overheard, NULL), 0);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	*heard = '\0';
	assert_int_equal(write(overheard.writer, text, 2000), 2000);
	overheard_handle(&overheard, "t");
	assert_int_equal(write(overheard.writer, "\n", 1), 1);
	overheard_handle(&overheard, "t");
	for (i = 0; heard[i]; i++)
		letters += heard[i] == 'x';
	assert_int_equal(letters, 2000);
	close(overheard.reader);
	close(overheard.writer);
}

/* Nobody listens: whoever writes is not made to wait. */
static void test_full(void **state)
{
	struct overheard overheard;
	size_t i;

	(void)state;
	assert_int_equal(overheard_open(&overheard, NULL), 0);
	for (i = 0; write(overheard.writer, "0123456789", 10) == 10; i++)
		;
	assert_int_equal(errno, EAGAIN);
	assert_true(fcntl(overheard.writer, F_GETFD) & FD_CLOEXEC);
	close(overheard.reader);
	close(overheard.writer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_long),
		cmocka_unit_test(test_full)};

	return cmocka_run_group_tests_name("overheard", tests, NULL, NULL);
}
