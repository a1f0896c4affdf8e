#include "tests/unit/unit.h"

#include <pthread.h>

#include "fcgi-app/metrics.h"

static struct metrics metrics;
static struct metrics_state state_of;
static struct buffer page;

static int set_up(void **state)
{
	static const char *const paths[] = {"/execute", "/health"};

	(void)state;
	memset(&metrics, 0, sizeof(metrics));
	metrics_init(&metrics, paths, COUNT(paths));
	state_of = (struct metrics_state){.idle = 3, .capacity = 1024};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	buffer_free(&page);
	return 0;
}

static const char *printed(void)
{
	buffer_reset(&page, 1 << 20);
	assert_int_equal(metrics_print(&metrics, &state_of, &page), 0);
	assert_int_equal(buffer_append(&page, "", 1), 0);
	return page.data;
}

static void assert_line(const char *line)
{
	char whole[256];

	snprintf(whole, sizeof(whole), "\n%s\n", line);
	unit_assert_contains(printed(), whole);
}

static void count(size_t route, unsigned kind, int status)
{
	struct record record = {.route = route, .kind = kind, .status = status};

	metrics_count(&metrics, &record);
}

static void test_bounds(void **state)
{
	static const uint64_t bounds[] = {10, 20};
	struct histogram histogram = {.bounds = bounds, .count = 2};
	static const uint64_t values[] = {0, 10, 11, 20, 21, UINT64_MAX / 2};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(values); i++)
		histogram_add(&histogram, values[i]);
	assert_int_equal(histogram.bucket[0], 2);
	assert_int_equal(histogram.bucket[1], 2);
	assert_int_equal(histogram.bucket[2], 2);
	assert_int_equal(histogram.sum, 62 + UINT64_MAX / 2);
}

static void test_requests(void **state)
{
	(void)state;
	assert_null(strstr(printed(), "requests_total{"));
	count(0, VERDICT_OK, 200);
	count(0, VERDICT_OK, 200);
	count(0, RECORD_CANCELLED, HTTP_CLIENT_GONE);
	count(1, RECORD_UNHEALTHY, 503);
	count(2, record_kind_of_refusal(REFUSAL_NOT_FOUND), 404);
	count(99, record_kind_of_refusal(REFUSAL_NOT_FOUND), 404);
	count(0, VERDICT_OK, 299);
	assert_line("vivarium_requests_total{route=\"/execute\",status=\"200\",kind=\"ok\"} 2");
	assert_line("vivarium_requests_total{route=\"/execute\",status=\"499\",kind=\"cancelled\"} 1");
	assert_line("vivarium_requests_total{route=\"/health\",status=\"503\",kind=\"unhealthy\"} 1");
	assert_line("vivarium_requests_total{route=\"other\",status=\"404\",kind=\"not_found\"} 2");
	assert_line("vivarium_requests_total{route=\"/execute\",status=\"0\",kind=\"ok\"} 1");
}

static void test_executions(void **state)
{
	struct record record = {.status = 400,
		.kind = VERDICT_EXCEPTION,
		.executes = true,
		.waited = true,
		.started = true,
		.ran = true,
		.total_us = 7000,
		.queue_us = 500,
		.verdict = {.wall_us = 6000, .memory_bytes = 5 << 20}};

	(void)state;
	metrics_count(&metrics, &record);
	record.ran = record.started = false; /* waited in vain */
	record.status = 503;
	record.kind = record_kind_of_refusal(REFUSAL_OVERLOADED);
	record.total_us = record.queue_us = 10000001;
	metrics_count(&metrics, &record);
	record.waited = false; /* no room in the queue */
	record.total_us = 20;
	metrics_count(&metrics, &record);
	assert_line("vivarium_executions_total{cause=\"exception\"} 1");
	assert_line("vivarium_executions_total{cause=\"ok\"} 0");
	assert_line("vivarium_executions_total{cause=\"cancelled\"} 0");
	assert_line("vivarium_request_duration_seconds_bucket{le=\"0.0005\"} 1");
	assert_line("vivarium_request_duration_seconds_bucket{le=\"0.005\"} 1");
	assert_line("vivarium_request_duration_seconds_bucket{le=\"0.01\"} 2");
	assert_line("vivarium_request_duration_seconds_bucket{le=\"10\"} 2");
	assert_line("vivarium_request_duration_seconds_bucket{le=\"30\"} 3");
	assert_line("vivarium_request_duration_seconds_bucket{le=\"+Inf\"} 3");
	assert_line("vivarium_request_duration_seconds_count 3");
	assert_line("vivarium_request_duration_seconds_sum 10.007021");
	assert_line("vivarium_queue_wait_seconds_bucket{le=\"0.0005\"} 1");
	assert_line("vivarium_queue_wait_seconds_count 2");
	assert_line("vivarium_execution_duration_seconds_count 1");
	assert_line("vivarium_execution_memory_bytes_bucket{le=\"4194304\"} 0");
	assert_line("vivarium_execution_memory_bytes_bucket{le=\"16777216\"} 1");
	assert_line("vivarium_execution_memory_bytes_sum 5242880");
}

static void test_state(void **state)
{
	(void)state;
	state_of = (struct metrics_state){.idle = 1,
		.busy = 2,
		.preparing = 3,
		.down = 4,
		.waiting = 5,
		.capacity = 6,
		.log_dropped = 7,
		.tidings = {.restarts = {1, 2, 3, 4}, .resident_bytes = {8192}, .log_dropped = 2}};
	assert_line("vivarium_workers{state=\"idle\"} 1");
	assert_line("vivarium_workers{state=\"down\"} 4");
	assert_line("vivarium_queue_waiting 5");
	assert_line("vivarium_restarts_total{role=\"dispatcher\"} 1");
	assert_line("vivarium_restarts_total{role=\"cell\"} 4");
	assert_line("vivarium_resident_memory_bytes{role=\"dispatcher\"} 8192");
	assert_null(strstr(printed(), "resident_memory_bytes{role=\"worker\"}"));
	assert_line("vivarium_log_lines_dropped_total 9");
}

enum {
	THREADS = 4,
	ROUNDS = 20000,
};

static void *count_much(void *argument)
{
	struct record record = {.status = 200, .executes = true, .total_us = 100};
	size_t i;

	(void)argument;
	for (i = 0; i < ROUNDS; i++)
		metrics_count(&metrics, &record);
	return NULL;
}

/* Nothing is lost among threads. */
static void test_threads(void **state)
{
	pthread_t thread[THREADS];
	size_t i;

	(void)state;
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, count_much, NULL), 0);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_line("vivarium_requests_total{route=\"/execute\",status=\"200\",kind=\"ok\"} 80000");
	assert_line("vivarium_request_duration_seconds_sum 8");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(test_bounds), TEST(test_requests),
		TEST(test_executions), TEST(test_state), TEST(test_threads)};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
