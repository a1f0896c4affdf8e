#include "tests/unit/unit.h"

#include <signal.h>

#include "sandbox/verdict.h"

static const struct job_limits limits = {.timeout_ms = 1500, .memory_mib = 64, .cpu_s = 4};

/* wait(2) statuses as Linux makes them. */
#define EXITED(code) ((code) << 8)
#define KILLED(signal) (signal)
#define DUMPED(signal) ((signal) | 0x80)

#define CLAIM(of_kind, of_line, code, name)                                                        \
	&(const struct failure)                                                                    \
	{                                                                                          \
		.header = {.kind = VERDICT_##of_kind,                                              \
			.line = of_line,                                                           \
			.exit_code = code,                                                         \
			.type_bytes = sizeof(name) - 1},                                           \
		.type = name                                                                       \
	}

struct row {
	const char *what;
	struct verdict_facts facts;
	struct verdict expected; /* kind, after_value, line, exit_code, signal, limit, used */
};

static void decide(const struct row *row)
{
	struct verdict_facts facts = row->facts;
	struct verdict verdict = {.kind = 77, .parked = 1, .fork_us = 5};
	const struct verdict *expected = &row->expected;

	facts.limits = &limits;
	verdict_decide(&facts, &verdict);
	if (verdict.kind != expected->kind)
		fail_msg("%s: %s, not %s", row->what, verdict_kind_word(verdict.kind),
			verdict_kind_word(expected->kind));
	if (verdict.after_value != expected->after_value)
		fail_msg("%s: then %s, not %s", row->what, verdict_kind_word(verdict.after_value),
			verdict_kind_word(expected->after_value));
	assert_int_equal(verdict.line, expected->line);
	assert_int_equal(verdict.exit_code, expected->exit_code);
	assert_int_equal(verdict.signal, expected->signal);
	assert_int_equal(verdict.limit, expected->limit);
	assert_int_equal(verdict.used, expected->used);
	assert_int_equal(verdict.wall_us, facts.wall_us);
	assert_int_equal(verdict.cpu_us, facts.cpu_us);
	assert_int_equal(verdict.memory_bytes, facts.memory_bytes);
	assert_int_equal(verdict.parked, 1);
	assert_int_equal(verdict.fork_us, 5);
}

static void decide_all(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		decide(&rows[i]);
}

static void test_values(void **state)
{
	const struct row rows[] = {
		{"a value", {.has_value = true, .wall_us = 12, .cpu_us = 7, .memory_bytes = 9},
			{.kind = VERDICT_OK}},
		{"a value, then an end of its own",
			{.has_value = true, .exited = true, .status = EXITED(3)},
			{.kind = VERDICT_OK, .after_value = VERDICT_EXIT, .exit_code = 3}},
		{"a value, then a death", {.has_value = true, .exited = true, .status = KILLED(9)},
			{.kind = VERDICT_OK, .after_value = VERDICT_SIGNAL, .signal = SIGKILL}},
		{"a value, then too much CPU time",
			{.has_value = true,
				.exited = true,
				.status = KILLED(SIGKILL),
				.cpu_us = 4000000},
			{.kind = VERDICT_OK,
				.after_value = VERDICT_CPU,
				.signal = SIGKILL,
				.limit = 4000,
				.used = 4000}},
		{"a value, then no end", {.has_value = true, .unfinished = true, .wall_us = 1200000},
			{.kind = VERDICT_OK, .after_value = VERDICT_TIME}},
		{"a value, then a claim", {.has_value = true, .claim = CLAIM(EXCEPTION, 3, 0, "E")},
			{.kind = VERDICT_OK}},
		{"a bad value", {.bad_value = true}, {.kind = VERDICT_NOT_JSON}},
		{"a bad value, then a death",
			{.bad_value = true, .exited = true, .status = EXITED(0)},
			{.kind = VERDICT_NOT_JSON}},
		{"too large", {.oversize_bytes = RESULT_MAX_BYTES + 1},
			{.kind = VERDICT_RESULT_TOO_LARGE,
				.limit = RESULT_MAX_BYTES,
				.used = RESULT_MAX_BYTES + 1}},
		{"too large, and more than 32 bits",
			{.oversize_bytes = UINT64_C(1) << 40, .timed_out = true},
			{.kind = VERDICT_RESULT_TOO_LARGE,
				.limit = RESULT_MAX_BYTES,
				.used = UINT64_C(1) << 40}},
	};

	(void)state;
	decide_all(rows, COUNT(rows));
}

static void test_time(void **state)
{
	const struct row rows[] = {
		{"out of time", {.timed_out = true, .wall_us = 1500999},
			{.kind = VERDICT_TIME, .limit = 1500, .used = 1500}},
		{"out of time, then a death",
			{.timed_out = true,
				.exited = true,
				.status = KILLED(SIGKILL),
				.wall_us = 1600000,
				.cpu_us = 9000000},
			{.kind = VERDICT_TIME, .limit = 1500, .used = 1600}},
		{"out of time, then a claim",
			{.timed_out = true,
				.claim = CLAIM(EXIT, 0, 1, "SystemExit"),
				.wall_us = 1500000},
			{.kind = VERDICT_TIME, .limit = 1500, .used = 1500}},
	};

	(void)state;
	decide_all(rows, COUNT(rows));
}

static void test_claims(void **state)
{
	const struct row rows[] = {
		{"exception", {.claim = CLAIM(EXCEPTION, 7, 0, "ValueError")},
			{.kind = VERDICT_EXCEPTION, .line = 7}},
		{"a line below zero", {.claim = CLAIM(EXCEPTION, -7, 0, "ValueError")},
			{.kind = VERDICT_EXCEPTION}},
		{"a line at the least", {.claim = CLAIM(SYNTAX, INT32_MIN, 0, "SyntaxError")},
			{.kind = VERDICT_SYNTAX}},
		{"exit", {.claim = CLAIM(EXIT, 2, 3, "SystemExit")},
			{.kind = VERDICT_EXIT, .line = 2, .exit_code = 3}},
		{"exit below zero", {.claim = CLAIM(EXIT, 0, -1, "SystemExit")},
			{.kind = VERDICT_EXIT, .exit_code = 255}},
		{"exit beyond a byte", {.claim = CLAIM(EXIT, 0, 0x12345, "SystemExit")},
			{.kind = VERDICT_EXIT, .exit_code = 0x45}},
		{"no main", {.claim = CLAIM(NO_MAIN, 0, 0, "AttributeError")},
			{.kind = VERDICT_NO_MAIN}},
		{"not JSON", {.claim = CLAIM(NOT_JSON, 0, 0, "TypeError")},
			{.kind = VERDICT_NOT_JSON}},
		{"blocked import", {.claim = CLAIM(BLOCKED_IMPORT, 3, 0, "os")},
			{.kind = VERDICT_BLOCKED_IMPORT, .line = 3}},
		{"a claim, then a death",
			{.claim = CLAIM(EXCEPTION, 1, 0, "E"),
				.exited = true,
				.status = KILLED(SIGSEGV)},
			{.kind = VERDICT_EXCEPTION, .line = 1}},
	};

	(void)state;
	decide_all(rows, COUNT(rows));
}

static void test_memory(void **state)
{
	const struct row rows[] = {
		{"a refused allocation",
			{.claim = CLAIM(MEMORY, 4, 0, "MemoryError"), .memory_bytes = 66000000},
			{.kind = VERDICT_MEMORY, .line = 4, .limit = 64 << 20, .used = 66000000}},
		{"a memory error that the script raised",
			{.claim = CLAIM(EXCEPTION, 4, 0, "MemoryError"), .memory_bytes = 66000000},
			{.kind = VERDICT_EXCEPTION, .line = 4}},
		{"struck", {.struck_bytes = 70000000, .memory_bytes = 70000000},
			{.kind = VERDICT_MEMORY, .limit = 64 << 20, .used = 70000000}},
		{"struck, and dead of it",
			{.struck_bytes = 70000000, .exited = true, .status = KILLED(SIGKILL)},
			{.kind = VERDICT_MEMORY, .limit = 64 << 20, .used = 70000000}},
		{"struck after a claim that was not taken",
			{.struck_bytes = 70000000, .claim = CLAIM(EXIT, 0, 3, "SystemExit")},
			{.kind = VERDICT_MEMORY, .limit = 64 << 20, .used = 70000000}},
		{"struck after the value",
			{.struck_bytes = 70000000, .has_value = true, .unfinished = true},
			{.kind = VERDICT_OK,
				.after_value = VERDICT_MEMORY,
				.limit = 64 << 20,
				.used = 70000000}},
		{"a memory error while encoding", {.claim = CLAIM(NOT_JSON, 0, 0, "MemoryError")},
			{.kind = VERDICT_NOT_JSON}},
	};

	(void)state;
	decide_all(rows, COUNT(rows));
}

static void test_exits(void **state)
{
	const struct row rows[] = {
		{"os._exit(0)", {.exited = true, .status = EXITED(0)}, {.kind = VERDICT_EXIT}},
		{"os._exit(255)", {.exited = true, .status = EXITED(255)},
			{.kind = VERDICT_EXIT, .exit_code = 255}},
		{"fault", {.exited = true, .status = DUMPED(SIGSEGV)},
			{.kind = VERDICT_SIGNAL, .signal = SIGSEGV}},
		{"abort", {.exited = true, .status = KILLED(SIGABRT)},
			{.kind = VERDICT_SIGNAL, .signal = SIGABRT}},
		{"a real-time signal", {.exited = true, .status = KILLED(34)},
			{.kind = VERDICT_SIGNAL, .signal = 34}},
		{"killed early", {.exited = true, .status = KILLED(SIGKILL), .cpu_us = 3979999},
			{.kind = VERDICT_SIGNAL, .signal = SIGKILL}},
		{"killed at the CPU limit, less a tick",
			{.exited = true, .status = KILLED(SIGKILL), .cpu_us = 3980000},
			{.kind = VERDICT_CPU, .signal = SIGKILL, .limit = 4000, .used = 3980}},
		{"killed above the CPU limit",
			{.exited = true, .status = KILLED(SIGKILL), .cpu_us = 4100999},
			{.kind = VERDICT_CPU, .signal = SIGKILL, .limit = 4000, .used = 4100}},
		{"another signal above the CPU limit",
			{.exited = true, .status = KILLED(SIGTERM), .cpu_us = 5000000},
			{.kind = VERDICT_SIGNAL, .signal = SIGTERM}},
		{"nothing known", {.exited = false}, {.kind = VERDICT_INTERNAL}},
	};

	(void)state;
	decide_all(rows, COUNT(rows));
}

/* The largest limits a job can have stay themselves in the units of the answer. */
static void test_large_limits(void **state)
{
	const struct job_limits large = {
		.timeout_ms = UINT32_MAX, .memory_mib = UINT32_MAX, .cpu_s = UINT32_MAX};
	struct verdict_facts facts = {.limits = &large, .exited = true, .status = KILLED(SIGKILL)};
	struct verdict verdict = {0};

	(void)state;
	facts.cpu_us = UINT32_MAX * UINT64_C(1000000);
	verdict_decide(&facts, &verdict);
	assert_int_equal(verdict.kind, VERDICT_CPU);
	assert_int_equal(verdict.limit, UINT32_MAX * UINT64_C(1000));
	facts.claim = CLAIM(MEMORY, 0, 0, "MemoryError");
	verdict_decide(&facts, &verdict);
	assert_int_equal(verdict.kind, VERDICT_MEMORY);
	assert_int_equal(verdict.limit, (uint64_t)UINT32_MAX << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_exits),
		cmocka_unit_test(test_large_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
