#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "fcgi-app/job_client.h"

/* A lane with its worker's end, and a client's connection with the client's. */
struct scene {
	int lane, worker, connection, client;
	struct frame_reader reader;
	struct job_client job;
	struct request request;
	struct answer_run run;
	struct job_live live;
	char heard[256]; /* live, in the order it came */
	unsigned waits, rooms; /* that live was told of */
};

static void open_pair(int *ours, int *theirs)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	*ours = pair[0];
	*theirs = pair[1];
}

static int set_up(void **state)
{
	static struct scene scene;

	scene = (struct scene){.reader = {.in = {.cap = 8 << 20}}};
	open_pair(&scene.lane, &scene.worker);
	open_pair(&scene.connection, &scene.client);
	assert_int_equal(buffer_append(&scene.request.script, TEXT("pass")), 0);
	*state = &scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;

	close(scene->lane);
	close(scene->worker);
	close(scene->connection);
	close(scene->client);
	frame_reader_free(&scene->reader);
	job_client_free(&scene->job);
	request_free(&scene->request);
	return 0;
}

/* What the worker sends. */
static void say(struct scene *scene, enum frame_type type, const void *payload, size_t length)
{
	struct frame_writer writer = {0};

	assert_int_equal(frame_append(&writer.out, type, payload, length), 0);
	assert_int_equal(frame_flush(&writer, scene->worker), 0);
	frame_writer_reset(&writer, 0);
}

static void answer(struct scene *scene, const char *json)
{
	const struct verdict verdict = {.kind = VERDICT_OK};

	say(scene, FRAME_STDOUT, TEXT("printed"));
	say(scene, FRAME_RESULT, json, strlen(json));
	say(scene, FRAME_VERDICT, &verdict, sizeof(verdict));
}

static int run_with(struct scene *scene, struct job_live *live)
{
	scene->run = (struct answer_run){.request = &scene->request, .request_id = "id"};
	return job_client_run(&scene->job, scene->lane, &scene->reader, scene->connection, live,
		&scene->request, &scene->run);
}

static int run(struct scene *scene)
{
	return run_with(scene, NULL);
}

/* Fails unless the worker got frames of these types and no others. */
static void expect_heard(struct scene *scene, const enum frame_type *types, size_t count)
{
	struct frame_reader heard = {.in = {.cap = 1 << 20}};
	struct frame frame;

	for (size_t i = 0; i < count; i++) {
		assert_int_equal(frame_reader_wait(&heard, scene->worker, &frame), 1);
		assert_int_equal(frame.type, types[i]);
	}
	assert_int_equal(heard.start, heard.in.length);
	frame_reader_free(&heard);
}

static void test_answer(void **state)
{
	static const enum frame_type heard[] = {FRAME_JOB, FRAME_SCRIPT, FRAME_GO};
	struct scene *scene = *state;

	answer(scene, "1");
	assert_int_equal(run(scene), 0);
	assert_memory_equal(scene->run.result.data, "1", 1);
	assert_int_equal(scene->run.output.length, 7);
	expect_heard(scene, heard, COUNT(heard));
}

/* The answer crossed the order to cancel: the next one on this lane gets its own. */
static void say_file(struct scene *scene, const char *path, const char *content)
{
	say(scene, FRAME_FILE, path, strlen(path));
	if (*content)
		say(scene, FRAME_CONTENT, content, strlen(content));
}

/* Fails unless the answer has these files, as "path:content;". */
static void expect_files(struct scene *scene, const char *globs, size_t length, const char *expected)
{
	char text[256] = "";

	scene->request.globs.length = 0;
	assert_int_equal(buffer_append(&scene->request.globs, globs, length), 0);
	say_file(scene, "", "nowhere");
	say_file(scene, "../a", "up");
	say_file(scene, ".git/config", "evil");
	say_file(scene, "a.csv", "first");
	say_file(scene, "a.csv", "second");
	say_file(scene, "Makefile", "evil");
	say_file(scene, "d/../e", "round");
	say_file(scene, "d/b.csv", "");
	say_file(scene, "z.csv", "last");
	answer(scene, "1");
	assert_int_equal(run(scene), 0);
	for (size_t i = 0; i < scene->run.file_count; i++) {
		const struct answer_file *file = &scene->run.files[i];

		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s:%.*s;",
			(int)file->path.length, file->path.data, (int)file->content.length,
			file->content.data ? file->content.data : "");
	}
	assert_string_equal(text, expected);
}

/* Whatever the worker lets through: plain paths that were asked for, in order, none twice. */
static void test_files_that_were_asked_for(void **state)
{
	expect_files(*state, "", 0, "");
	expect_files(*state, TEXT("result.csv\0"), "");
	expect_files(*state, TEXT("a.csv\0"), "a.csv:first;");
	expect_files(*state, TEXT("z*\0d/*\0"), "d/b.csv:;z.csv:last;");
	expect_files(*state, TEXT("**/*.csv\0"), "a.csv:first;d/b.csv:;z.csv:last;");
	expect_files(*state, TEXT("**\0*/.*/*\0"), "a.csv:first;d/b.csv:;z.csv:last;");
	expect_files(*state, TEXT("*/.*/*\0.*/*\0"), ".git/config:evil;");
}

static void test_cancelled_while_the_answer_came(void **state)
{
	static const enum frame_type heard[] = {
		FRAME_JOB, FRAME_SCRIPT, FRAME_GO, FRAME_CANCEL, FRAME_JOB, FRAME_SCRIPT, FRAME_GO};
	const uint32_t set = 0;
	struct scene *scene = *state;

	shutdown(scene->client, SHUT_RDWR);
	answer(scene, "\"of the one who went\"");
	say(scene, FRAME_READY, &set, sizeof(set));
	say(scene, FRAME_CANCELLED, NULL, 0);
	say(scene, FRAME_READY, &set, sizeof(set));
	answer(scene, "2");
	assert_int_equal(run(scene), -ECANCELED);
	close(scene->connection);
	scene->connection = -1;
	assert_int_equal(run(scene), 0);
	assert_int_equal(scene->run.result.length, 1);
	assert_memory_equal(scene->run.result.data, "2", 1);
	expect_heard(scene, heard, COUNT(heard));
}

static void test_cancelled_cell_that_leaves(void **state)
{
	struct scene *scene = *state;

	shutdown(scene->client, SHUT_RDWR);
	say(scene, FRAME_LEAVING, NULL, 0);
	answer(scene, "1");
	say(scene, FRAME_CANCELLED, NULL, 0);
	assert_int_equal(run(scene), -ECANCELED);
	assert_true(scene->job.cell_leaves);
}

/* Without the acknowledgement nobody may use the lane again. */
static void test_cancelled_and_the_worker_gone(void **state)
{
	struct scene *scene = *state;

	shutdown(scene->client, SHUT_RDWR);
	answer(scene, "1");
	shutdown(scene->worker, SHUT_WR);
	assert_int_equal(run(scene), -EPIPE);
}

/* --- live ---------------------------------------------------------------------------------- */

static void take(void *context, enum frame_type stream, const char *text, size_t length)
{
	struct scene *scene = context;

	snprintf(scene->heard + strlen(scene->heard), sizeof(scene->heard) - strlen(scene->heard),
		"%s:%.*s;", stream == FRAME_LIVE_STDOUT ? "out" : "err", (int)length, text);
}

/* The answer comes once live was told three times that it may go on. */
static void go_on(void *context, bool has_room)
{
	struct scene *scene = context;

	scene->rooms += has_room;
	if (++scene->waits == 3)
		answer(scene, "1");
}

static void test_live(void **state)
{
	struct scene *scene = *state;
	struct frame_reader heard = {.in = {.cap = 1 << 20}};
	struct job_limits limits;
	struct frame frame;

	scene->live = (struct job_live){.context = scene, .take = take};
	say(scene, FRAME_LIVE_STDOUT, TEXT("a"));
	say(scene, FRAME_LIVE_STDERR, TEXT("b"));
	say(scene, FRAME_LIVE_STDOUT, TEXT("c"));
	answer(scene, "1");
	assert_int_equal(run_with(scene, &scene->live), 0);
	assert_string_equal(scene->heard, "out:a;err:b;out:c;");
	assert_int_equal(scene->run.output.length, 7);
	assert_int_equal(frame_reader_wait(&heard, scene->worker, &frame), 1);
	assert_int_equal(frame.type, FRAME_JOB);
	memcpy(&limits, frame.payload, sizeof(limits));
	assert_int_equal(limits.flags, JOB_LIVE);
	assert_int_equal(scene->request.limits.flags, 0);
	frame_reader_free(&heard);
}

static void test_live_wants_room(void **state)
{
	struct scene *scene = *state;

	scene->live = (struct job_live){
		.context = scene, .take = take, .go_on = go_on, .wants_room = true};
	assert_int_equal(run_with(scene, &scene->live), 0);
	assert_int_equal(scene->waits, 4); /* and with the answer */
	assert_int_equal(scene->rooms, 4);
}

static void test_live_wakes(void **state)
{
	struct scene *scene = *state;

	scene->live =
		(struct job_live){.context = scene, .take = take, .go_on = go_on, .wake_us = 1};
	assert_int_equal(run_with(scene, &scene->live), 0);
	assert_int_equal(scene->waits, 4); /* and with the answer */
	assert_int_equal(scene->rooms, 0);
}

/* Room in the connection of a client that has gone is no room. */
static void test_live_and_the_client_gone(void **state)
{
	struct scene *scene = *state;

	scene->live = (struct job_live){
		.context = scene, .take = take, .go_on = go_on, .wants_room = true};
	shutdown(scene->client, SHUT_RDWR);
	say(scene, FRAME_LIVE_STDOUT, TEXT("a"));
	say(scene, FRAME_CANCELLED, NULL, 0);
	assert_int_equal(run_with(scene, &scene->live), -ECANCELED);
	assert_string_equal(scene->heard, "");
	assert_int_equal(scene->rooms, 0);
}

static void test_live_that_nobody_asked_for(void **state)
{
	struct scene *scene = *state;

	say(scene, FRAME_LIVE_STDOUT, TEXT("a"));
	answer(scene, "1");
	assert_int_equal(run(scene), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_files_that_were_asked_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_cancelled_while_the_answer_came, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cancelled_cell_that_leaves, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_cancelled_and_the_worker_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_live, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_live_wants_room, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_live_wakes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_live_and_the_client_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_live_that_nobody_asked_for, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
