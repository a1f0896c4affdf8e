#include "tests/unit/web_server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "fcgi-app/event_stream.h"
#include "sandbox/clock.h"

enum {
	MOST_BYTES = 64 << 20,
};

struct scene {
	struct web_server server;
	struct event_stream stream;
	struct buffer came; /* the body of the answer: header lines and events */
	bool ended;
};

static int set_up(void **state)
{
	static struct scene scene;

	scene = (struct scene){.ended = false};
	web_server_open(&scene.server);
	*state = &scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;

	event_stream_reset(&scene->stream);
	web_server_close(&scene->server);
	buffer_free(&scene->came);
	return 0;
}

/* Takes what the web server got, out of its records. */
static void receive(struct scene *scene)
{
	static struct buffer raw;
	static char data[1 << 16];
	ssize_t n;

	while ((n = read(scene->server.connection, data, sizeof(data))) > 0)
		assert_int_equal(buffer_append(&raw, data, (size_t)n), 0);
	scene->ended = n == 0;
	while (raw.length >= 8) {
		const unsigned char *header = (const unsigned char *)raw.data;
		size_t content = (size_t)header[4] << 8 | header[5],
		       whole = 8 + content + header[6];

		if (raw.length < whole)
			break;
		if (header[1] == 6) /* FCGI_STDOUT */
			assert_int_equal(buffer_append(&scene->came, raw.data + 8, content), 0);
		buffer_consume(&raw, whole);
	}
	if (scene->ended)
		buffer_free(&raw);
}

/* What came since the last call, as a string. */
static const char *received(struct scene *scene)
{
	static char text[MOST_BYTES];
	const char *body;

	receive(scene);
	assert_in_range(scene->came.length, 0, sizeof(text) - 1);
	if (scene->came.length)
		memcpy(text, scene->came.data, scene->came.length);
	text[scene->came.length] = '\0';
	scene->came.length = 0;
	body = strstr(text, "\r\n\r\n");
	return body ? body + 4 : text;
}

static void open_stream(struct scene *scene)
{
	event_stream_open(&scene->stream, scene->server.fcgi, "id-1");
	assert_true(scene->stream.is_open);
	assert_string_equal(received(scene), "");
}

static void print(struct scene *scene, enum frame_type stream, const char *text, size_t length)
{
	struct job_live *live = &scene->stream.live;

	live->take(live->context, stream, text, length);
}

static void go_on(struct scene *scene)
{
	struct job_live *live = &scene->stream.live;

	live->go_on(live->context, true);
}

/* Goes on until nothing is left to send, with a reader that takes all. */
static void catch_up(struct scene *scene)
{
	while (scene->stream.live.wants_room) {
		go_on(scene);
		receive(scene);
	}
}

static void test_header(void **state)
{
	struct scene *scene = *state;

	event_stream_open(&scene->stream, scene->server.fcgi, "id-1");
	receive(scene);
	assert_int_equal(buffer_append(&scene->came, "", 1), 0);
	assert_string_equal(scene->came.data,
		"Status: 200 OK\r\nContent-Type: text/event-stream\r\nX-Request-Id: id-1\r\n"
		"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
		"X-Accel-Buffering: no\r\n\r\n");
}

static void test_output(void **state)
{
	struct scene *scene = *state;

	open_stream(scene);
	assert_false(scene->stream.live.wants_room);
	print(scene, FRAME_LIVE_STDOUT, TEXT("h\xC3\xA9\n"));
	assert_true(scene->stream.live.wants_room);
	go_on(scene);
	assert_false(scene->stream.live.wants_room);
	assert_string_equal(received(scene), "event: stdout\ndata: \"h\\u00e9\\n\"\n\n");
	print(scene, FRAME_LIVE_STDERR, TEXT("\xFF\""));
	go_on(scene);
	assert_string_equal(received(scene), "event: stderr\ndata: \"\\ufffd\\\"\"\n\n");
}

/* What waits together goes together, and the streams stay in their order. */
static void test_backlog(void **state)
{
	struct scene *scene = *state;

	open_stream(scene);
	print(scene, FRAME_LIVE_STDOUT, TEXT("a"));
	print(scene, FRAME_LIVE_STDOUT, TEXT("b"));
	print(scene, FRAME_LIVE_STDERR, TEXT("c"));
	print(scene, FRAME_LIVE_STDOUT, TEXT("d"));
	print(scene, FRAME_LIVE_STDOUT, TEXT("e"));
	catch_up(scene);
	assert_string_equal(received(scene), "event: stdout\ndata: \"ab\"\n\n"
					     "event: stderr\ndata: \"c\"\n\n"
					     "event: stdout\ndata: \"de\"\n\n");
	print(scene, FRAME_LIVE_STDOUT, TEXT("f"));
	catch_up(scene);
	assert_string_equal(received(scene), "event: stdout\ndata: \"f\"\n\n");
}

static void test_heartbeat(void **state)
{
	struct scene *scene = *state;
	struct job_live *live = &scene->stream.live;

	open_stream(scene);
	live->go_on(live->context, true);
	assert_string_equal(received(scene), "");
	live->wake_us = 1;
	live->go_on(live->context, false);
	assert_true(live->wants_room && live->wake_us > 1);
	go_on(scene);
	assert_string_equal(received(scene), ": heartbeat\n\n");
	live->wake_us = 1;
	print(scene, FRAME_LIVE_STDOUT, TEXT("a"));
	go_on(scene);
	catch_up(scene);
	assert_string_equal(received(scene), ": heartbeat\n\nevent: stdout\ndata: \"a\"\n\n");
}

/* A large event goes in parts; a comment does not get into one. */
static void test_large_event(void **state)
{
	static char text[LIVE_MAX_BYTES];
	struct scene *scene = *state;
	const char *came;

	open_stream(scene);
	memset(text, 1, sizeof(text));
	print(scene, FRAME_LIVE_STDOUT, text, sizeof(text));
	go_on(scene);
	scene->stream.live.wake_us = 1;
	catch_up(scene);
	came = received(scene);
	assert_memory_equal(came, "event: stdout\ndata: \"\\u0001", 27);
	assert_int_equal(strlen(came), 21 + 6 * sizeof(text) + 3 + 13);
	assert_string_equal(came + 21 + 6 * sizeof(text), "\"\n\n: heartbeat\n\n");
}

/* Small pieces of both streams in turn, which nobody reads: a beginning is kept. */
static void test_too_much(void **state)
{
	struct buffer body = {0};
	struct scene *scene = *state;
	const char *came;
	int i;

	open_stream(scene);
	for (i = 0; i < 1 << 20; i++)
		print(scene, i & 1 ? FRAME_LIVE_STDERR : FRAME_LIVE_STDOUT, TEXT("x"));
	assert_true(scene->stream.is_cut);
	assert_in_range(scene->stream.backlog.length, 3 << 20, 4 << 20);
	catch_up(scene);
	print(scene, FRAME_LIVE_STDOUT, TEXT("y"));
	assert_false(scene->stream.live.wants_room);
	assert_int_equal(buffer_append(&body, TEXT("{\"a\": 1}")), 0);
	assert_int_equal(event_stream_close(&scene->stream, 200, &body), 0);
	came = received(scene);
	assert_null(strchr(came, 'y'));
	assert_string_equal(
		came + strlen(came) - 45, "event: result\ndata: {\"a\": 1, \"status\": 200}\n\n");
	buffer_free(&body);
}

/* A reader that takes some now and then gets all of much more than is ever kept. */
static void test_steady_reader(void **state)
{
	struct scene *scene = *state;
	size_t total = 0;
	int i;

	open_stream(scene);
	for (i = 0; i < 1 << 20; i++) {
		print(scene, i & 1 ? FRAME_LIVE_STDERR : FRAME_LIVE_STDOUT, TEXT("x"));
		if (i % 1000 == 0) {
			catch_up(scene);
			total += strlen(received(scene));
		}
	}
	assert_false(scene->stream.is_cut);
	catch_up(scene);
	total += strlen(received(scene));
	assert_int_equal(total, (size_t)i * 25);
}

static void test_end(void **state)
{
	struct buffer body = {0};
	struct scene *scene = *state;

	open_stream(scene);
	print(scene, FRAME_LIVE_STDOUT, TEXT("last"));
	assert_int_equal(buffer_append(&body, TEXT("{\"a\":\r\n\n[1,\n2]}")), 0);
	assert_int_equal(event_stream_close(&scene->stream, 408, &body), 0);
	assert_string_equal(received(scene),
		"event: stdout\ndata: \"last\"\n\n"
		"event: error\ndata: {\"a\":   [1, 2], \"status\": 408}\n\n");
	buffer_free(&body);
}

/* There was no memory for the answer. */
static void test_end_without_a_body(void **state)
{
	struct buffer body = {0};
	struct scene *scene = *state;

	open_stream(scene);
	assert_int_equal(event_stream_close(&scene->stream, 500, &body), 0);
	assert_string_equal(received(scene), "event: error\ndata: {\"status\": 500}\n\n");
}

static void test_reader_that_went(void **state)
{
	struct buffer body = {0};
	struct scene *scene = *state;

	open_stream(scene);
	print(scene, FRAME_LIVE_STDOUT, TEXT("a"));
	shutdown(scene->server.connection, SHUT_RDWR);
	assert_int_equal(buffer_append(&body, TEXT("{}")), 0);
	assert_int_equal(event_stream_close(&scene->stream, 200, &body), -ECANCELED);
	buffer_free(&body);
}

/* Some of the answer is taken and then no more: the time for that is over, though not that for all. */
static void test_reader_that_stops(void **state)
{
	static char value[1 << 20];
	struct buffer body = {0};
	struct scene *scene = *state;
	uint64_t begun_us;

	open_stream(scene);
	assert_int_equal(scene->stream.stall_us, 20 * 1000 * 1000);
	scene->stream.stall_us = 200 * 1000;
	memset(value, 'x', sizeof(value));
	assert_int_equal(buffer_append(&body, value, sizeof(value)), 0);
	begun_us = clock_now_us();
	assert_int_equal(event_stream_close(&scene->stream, 200, &body), -ETIMEDOUT);
	assert_in_range(clock_now_us() - begun_us, 200 * 1000, 5 * 1000 * 1000);
	receive(scene);
	assert_true(scene->ended);
	assert_in_range(scene->came.length, 1, sizeof(value) - 1);
	buffer_free(&body);
}

/* Takes a little at a time, always before it would be cut, and longer than that altogether. */
static void *read_slowly(void *argument)
{
	struct scene *scene = argument;
	static char data[64 * 1024];
	const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	size_t *total = calloc(1, sizeof(*total));
	struct pollfd watched = {.fd = scene->server.connection, .events = POLLIN};
	ssize_t n;

	while (total && poll(&watched, 1, 3000) > 0 &&
		(n = read(scene->server.connection, data, sizeof(data))) > 0) {
		*total += (size_t)n;
		nanosleep(&pause, NULL);
	}
	return total;
}

static void test_reader_that_goes_on(void **state)
{
	static char value[1 << 20];
	struct buffer body = {0};
	struct scene *scene = *state;
	pthread_t reader;
	void *total;

	open_stream(scene);
	scene->stream.stall_us = 400 * 1000;
	memset(value, 'x', sizeof(value));
	assert_int_equal(buffer_append(&body, value, sizeof(value)), 0);
	assert_int_equal(pthread_create(&reader, NULL, read_slowly, scene), 0);
	assert_int_equal(event_stream_close(&scene->stream, 200, &body), 0);
	shutdown(fcgi_connection(scene->server.fcgi), SHUT_WR);
	assert_int_equal(pthread_join(reader, &total), 0);
	assert_non_null(total);
	assert_in_range(*(size_t *)total, sizeof(value), 2 * sizeof(value));
	free(total);
	buffer_free(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_header, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_output, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_backlog, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_heartbeat, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_large_event, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_much, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_steady_reader, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end_without_a_body, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reader_that_went, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reader_that_stops, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reader_that_goes_on, set_up, tear_down),
	};

	if (fcgi_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
