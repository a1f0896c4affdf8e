#include "tests/unit/web_server.h"

#include <errno.h>

#include "fcgi-app/stream_ends.h"

enum {
	ENDS = 6,
	MOST = 3,
	MOST_BYTES = 1000,
};

struct scene {
	struct web_server server[ENDS];
	struct stream_end end[ENDS];
	struct stream_ends ends;
	size_t entered;
};

static void count_entered(void *context)
{
	struct scene *scene = context;

	scene->entered++;
	/* it may look at what there is: the lock is free */
	assert_in_range(stream_ends_count(&scene->ends), 1, MOST + 1);
}

static int set_up(void **state)
{
	static struct scene scene;
	size_t i;

	scene = (struct scene){.ends = {.most = MOST,
				       .most_bytes = MOST_BYTES,
				       .entered = count_entered,
				       .context = &scene}};
	stream_ends_init(&scene.ends);
	for (i = 0; i < ENDS; i++) {
		web_server_open(&scene.server[i]);
		scene.end[i].fcgi = scene.server[i].fcgi;
	}
	*state = &scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;
	size_t i;

	assert_int_equal(stream_ends_count(&scene->ends), 0);
	assert_int_equal(scene->ends.bytes, 0);
	for (i = 0; i < ENDS; i++)
		web_server_close(&scene->server[i]);
	return 0;
}

static void enter(struct scene *scene, size_t i, size_t bytes)
{
	scene->end[i].bytes = bytes;
	scene->end[i].is_whole = false;
	stream_ends_enter(&scene->ends, &scene->end[i]);
}

static void enter_whole(struct scene *scene, size_t i)
{
	scene->end[i].bytes = 0;
	scene->end[i].is_whole = true;
	stream_ends_enter(&scene->ends, &scene->end[i]);
}

/* Whether the web server sees the end of that connection, behind all that was written. */
static bool is_cut(struct scene *scene, size_t i)
{
	char data[64];
	ssize_t n;

	do
		n = read(scene->server[i].connection, data, sizeof(data));
	while (n > 0);
	assert_true(n == 0 || errno == EAGAIN);
	return n == 0;
}

/* Which of all are cut, in the order of their numbers, as "014". */
static const char *cut(struct scene *scene)
{
	static char text[ENDS + 1];
	size_t i, length = 0;

	for (i = 0; i < ENDS; i++) {
		if (is_cut(scene, i))
			text[length++] = (char)('0' + i);
	}
	text[length] = '\0';
	return text;
}

static void leave(struct scene *scene, size_t i, bool was_cut)
{
	assert_int_equal(stream_ends_leave(&scene->ends, &scene->end[i]), was_cut);
}

static void test_room_for_all(void **state)
{
	struct scene *scene = *state;

	enter(scene, 0, 333);
	enter(scene, 1, 333);
	enter_whole(scene, 2);
	assert_int_equal(stream_ends_count(&scene->ends), 3);
	assert_int_equal(scene->entered, 3);
	leave(scene, 1, false); /* the middle, then the ends */
	leave(scene, 0, false);
	enter(scene, 1, MOST_BYTES);
	leave(scene, 2, false);
	leave(scene, 1, false);
	assert_string_equal(cut(scene), "");
}

static void test_one_too_many(void **state)
{
	struct scene *scene = *state;

	enter(scene, 0, 1);
	enter(scene, 1, 1);
	enter(scene, 2, 1);
	enter(scene, 3, 1);
	assert_string_equal(cut(scene), "0");
	assert_int_equal(stream_ends_count(&scene->ends), MOST);
	leave(scene, 1, false); /* not the one that has waited longest any more */
	enter(scene, 4, 1);
	enter(scene, 5, 1);
	assert_string_equal(cut(scene), "02");
	leave(scene, 0, true);
	leave(scene, 2, true);
	leave(scene, 3, false);
	leave(scene, 4, false);
	leave(scene, 5, false);
}

static void test_too_much_memory(void **state)
{
	struct scene *scene = *state;

	enter(scene, 0, 400);
	enter(scene, 1, 500);
	enter(scene, 2, 100);
	assert_string_equal(cut(scene), "");
	enter(scene, 3, 401); /* takes the room of two */
	assert_string_equal(cut(scene), "01");
	enter(scene, 4, 5 * MOST_BYTES); /* more than there is: that of all */
	assert_string_equal(cut(scene), "0123");
	enter_whole(scene, 5); /* needs none */
	assert_string_equal(cut(scene), "0123");
	leave(scene, 4, false);
	leave(scene, 5, false);
	leave(scene, 0, true);
	leave(scene, 1, true);
	leave(scene, 2, true);
	leave(scene, 3, true);
}

/* However long others have waited: what they have to say is not said yet. */
static void test_whole_ones_go_first(void **state)
{
	struct scene *scene = *state;

	enter(scene, 0, 1);
	enter_whole(scene, 1);
	enter_whole(scene, 2);
	enter(scene, 3, 1);
	assert_string_equal(cut(scene), "1");
	enter_whole(scene, 4);
	assert_string_equal(cut(scene), "12");
	enter(scene, 5, MOST_BYTES - 2); /* room enough, but one too many */
	assert_string_equal(cut(scene), "124");
	leave(scene, 1, true);
	leave(scene, 2, true);
	leave(scene, 4, true);
	enter(scene, 1, 1); /* a place of its own, once more */
	leave(scene, 0, true);
	leave(scene, 1, false);
	leave(scene, 3, false);
	leave(scene, 5, false);
}

/* Memory is not what whole ones keep: it is no reason to cut them. */
static void test_whole_ones_give_no_memory(void **state)
{
	struct scene *scene = *state;

	enter_whole(scene, 0);
	enter(scene, 1, MOST_BYTES);
	enter(scene, 2, 1);
	assert_string_equal(cut(scene), "1");
	leave(scene, 0, false);
	leave(scene, 1, true);
	leave(scene, 2, false);
}

static void test_a_whole_one_cuts_no_other(void **state)
{
	struct scene *scene = *state;

	enter(scene, 0, 1);
	enter(scene, 1, 1);
	enter(scene, 2, 1);
	enter_whole(scene, 3);
	assert_string_equal(cut(scene), "");
	assert_int_equal(stream_ends_count(&scene->ends), MOST + 1);
	enter_whole(scene, 4); /* but it does take the place of another such one */
	assert_string_equal(cut(scene), "3");
	enter(scene, 5, 1);
	assert_string_equal(cut(scene), "034");
	assert_int_equal(stream_ends_count(&scene->ends), MOST);
	leave(scene, 0, true);
	leave(scene, 3, true);
	leave(scene, 4, true);
	leave(scene, 1, false);
	leave(scene, 2, false);
	leave(scene, 5, false);
}

/* What nginx has not read yet is in the socket, and stays there. */
static void test_a_cut_loses_nothing_that_was_written(void **state)
{
	struct scene *scene = *state;
	static char written[32 * 1024], came[sizeof(written) + 64];
	size_t length = 0;
	ssize_t n;

	memset(written, 'x', sizeof(written));
	fcgi_write(scene->server[0].fcgi, written, sizeof(written));
	fcgi_flush(scene->server[0].fcgi);
	enter_whole(scene, 0);
	enter(scene, 1, 1);
	enter(scene, 2, 1);
	enter(scene, 3, 1);
	assert_false(fcgi_wait_kept(scene->server[0].fcgi)); /* it is over at once */
	leave(scene, 0, true);
	while ((n = read(scene->server[0].connection, came + length, sizeof(came) - length)) > 0)
		length += (size_t)n;
	assert_int_equal(n, 0);
	assert_in_range(length, sizeof(written) + 8, sizeof(came) - 1); /* in records of FastCGI */
	leave(scene, 1, false);
	leave(scene, 2, false);
	leave(scene, 3, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_room_for_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_too_many, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_much_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_whole_ones_go_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_whole_ones_give_no_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_whole_one_cuts_no_other, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_a_cut_loses_nothing_that_was_written, set_up, tear_down),
	};

	if (fcgi_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
