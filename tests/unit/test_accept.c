#include "tests/unit/unit.h"

#include "fcgi-app/accept.h"

static void test_events(void **state)
{
	static const char *const wanted[] = {
		"text/event-stream",
		"Text/Event-Stream",
		"  text/event-stream  ",
		"text/event-stream;charset=utf-8",
		"text/event-stream; q=0.1",
		"text/event-stream;q=1.000",
		"text/event-stream, application/json",
		"text/event-stream,application/json;q=1",
		"application/json;q=0.9, text/event-stream",
		"application/json;q=0, text/event-stream;q=0.001",
		"application/json ; level=1 ; Q=0.5 , text/event-stream",
		"*/*, text/event-stream",
		"application/*, text/event-stream;q=0.2",
		"text/html, text/event-stream",
		",, ,text/event-stream",
		"x/y;a=\"application/json, \\\"b\", text/event-stream",
		"text/event-stream;q=nonsense",
		"text/event-stream;q=0.9, text/event-stream;q=0, application/json;q=0.5",
		"application/json-patch, text/event-stream",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(wanted); i++) {
		if (!accept_wants_events(wanted[i]))
			fail_msg("no events for %s", wanted[i]);
	}
}

static void test_json(void **state)
{
	static const char *const wanted[] = {
		"",
		" ",
		",",
		";",
		";q=1",
		"\"",
		"*/*",
		"text/*",
		"application/json",
		"application/json, text/event-stream",
		"application/json;q=0.5, text/event-stream;q=0.5",
		"text/event-stream;q=0.5, application/json",
		"text/event-stream;q=0.999, application/json;q=1.0",
		"text/event-stream;q=0",
		"text/event-stream;q=0.000",
		"text/event-stream-x",
		"xtext/event-stream",
		"text/event",
		"text/html;a=\"text/event-stream\"",
		"text/html;a=\"\\\", text/event-stream",
		"text/html;text/event-stream",
		"text / event-stream",
		"application/json;q=0.25, text/event-stream;q=0.2500, application/json",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(wanted); i++) {
		if (accept_wants_events(wanted[i]))
			fail_msg("events for %s", wanted[i]);
	}
}

/* Every byte after every prefix of a full header: it ends, and reads no byte too many. */
static void test_anything(void **state)
{
	static const char header[] = "application/json;q=0.5;x=\"a\\\"\", text/event-stream;q=0.25";
	uint64_t seed = 7;

	(void)state;
	for (size_t length = 0; length < sizeof(header); length++) {
		for (int i = 0; i < 64; i++) {
			char *text = unit_copy(header, length + 1);

			text[length] = '\0';
			if (length)
				text[unit_random(&seed) % length] =
					"\",;q=\\0. \t\xff"[unit_random(&seed) % 11];
			accept_wants_events(text);
			accept_takes_gzip(text);
			free(text);
		}
	}
}

static void test_gzip(void **state)
{
	static const char *const takers[] = {"gzip", "GZip", "x-gzip", "gzip, deflate, br, zstd",
		"br;q=1.0, gzip;q=0.001", "deflate ,gzip", "*", "br, *;q=0.5", "gzip;q=1, *;q=0",
		"identity, gzip ; q=0.5", "gzip;q=nonsense", "gzip;q=0, x-gzip", ",,gzip,"};
	static const char *const others[] = {"", "identity", "br", "gzip;q=0", "gzip;q=0.000",
		"gzip; q=0, *", "*;q=0", "identity, *;q=0.0", "gzipped", "x-gzip2", "deflate;gzip",
		"br;x=\"gzip\"", "\"gzip\"", "gzip;Q=0", ";gzip"};

	(void)state;
	for (size_t i = 0; i < COUNT(takers); i++) {
		if (!accept_takes_gzip(takers[i]))
			fail_msg("no gzip for %s", takers[i]);
	}
	for (size_t i = 0; i < COUNT(others); i++) {
		if (accept_takes_gzip(others[i]))
			fail_msg("gzip for %s", others[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_gzip),
		cmocka_unit_test(test_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
