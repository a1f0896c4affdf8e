/*
 * Names of allocations, rehearsals that find out which of them scripts touch, and the start that
 * places these. Each lives in a process of its own, as in a template: names begin anew with it.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "runner/heat.h"
#include "runner/heat_survey.h"
#include "runner/placing.h"

enum {
	OBJECTS = 3000,
	BYTES = 64,
	TOUCHED = 500, /* the first that a script touches, */
	STEP = 250, /* and every so manieth after it */
	SET = 3,
	OPERATIONS = 20000,
	LIVE = 300,
};

/* cmocka's own asserts would go on in the parent's place. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void in_process(void (*run)(void *context), void *context)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		run(context);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void *share(size_t bytes)
{
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static void *base_malloc(void *context, size_t bytes)
{
	(void)context;
	return malloc(bytes);
}

static void *base_calloc(void *context, size_t count, size_t bytes)
{
	(void)context;
	if (count > SIZE_MAX / (bytes ? bytes : 1)) /* a sanitizer ends the process at that */
		return NULL;
	return calloc(count, bytes);
}

/* Python's never frees (PyMem_Realloc of the C API). */
static void *base_realloc(void *context, void *block, size_t bytes)
{
	(void)context;
	return realloc(block, bytes ? bytes : 1);
}

static void base_free(void *context, void *block)
{
	(void)context;
	free(block);
}

static const struct allocator base = {NULL, base_malloc, base_calloc, base_realloc, base_free};

/* --- names and the table -------------------------------------------------------------------- */

static void name_some(void *context)
{
	uint64_t *names = context;
	size_t i;

	for (i = 0; i < 100; i++) {
		if (i % 10 == 0)
			heat_begin_module(i % 20 ? "numpy" : "numpy.core");
		names[i] = heat_next_name(1 + i % 4);
	}
	CHECK(heat_has_names());
	heat_end_names();
	CHECK(!heat_has_names() && heat_next_name(1) == 0);
}

static void test_names_are_the_same_in_each_start(void **state)
{
	uint64_t *names = share(200 * sizeof(*names));
	size_t i, j;

	(void)state;
	in_process(name_some, names);
	in_process(name_some, names + 100);
	assert_memory_equal(names, names + 100, 100 * sizeof(*names));
	for (i = 0; i < 100; i++) {
		for (j = 0; j < i; j++)
			assert_true(names[i] != names[j]);
	}
}

static void test_the_lowest_set_has_it(void **state)
{
	struct heat *heat = heat_new();
	const uint64_t one = UINT64_C(0x8000000000000420), other = UINT64_C(0x8000000000000440);

	(void)state;
	assert_int_equal(heat_set_of(heat, one), -1);
	heat_add(heat, one, 4, 2);
	heat_add(heat, other, 10, 2);
	assert_int_equal(heat_bytes(heat, 2), 14 * HEAT_GRAIN_BYTES);
	heat_add(heat, one, 4, 5);
	assert_int_equal(heat_set_of(heat, one), 2);
	heat_add(heat, one, 4, 0);
	assert_int_equal(heat_set_of(heat, one), 0);
	assert_int_equal(heat_set_of(heat, other), 2);
	assert_int_equal(heat_bytes(heat, 0), 4 * HEAT_GRAIN_BYTES);
	assert_int_equal(heat_bytes(heat, 2), 10 * HEAT_GRAIN_BYTES);
	heat_free(heat);
	heat_free(NULL);
}

/* More names than it takes: it ends, and knows what it took. */
static void test_a_full_table(void **state)
{
	struct heat *heat = heat_new();
	uint64_t seed = 1, name = 0, first = unit_random(&seed) | UINT64_C(1) << 63;
	size_t i;

	(void)state;
	heat_add(heat, first, 1, 0);
	for (i = 0; i < 1 << 18; i++) {
		name = unit_random(&seed) | UINT64_C(1) << 63;
		heat_add(heat, name, 1, 1);
	}
	assert_int_equal(heat_set_of(heat, first), 0);
	assert_int_equal(heat_set_of(heat, name), -1);
	assert_true(heat_bytes(heat, 1) <= (HEAT_GRAIN_BYTES << 17));
	heat_free(heat);
}

/* --- a start, rehearsed twice ---------------------------------------------------------------- */

struct start {
	const struct heat *known;
	struct heat *found;
	uintptr_t *at; /* where each object lay */
};

static void allocate(const struct allocator *allocator, char **objects)
{
	size_t i;

	heat_begin_module("objects");
	for (i = 0; i < OBJECTS; i++) {
		objects[i] = allocator->malloc(allocator->context, BYTES);
		CHECK(objects[i]);
		memset(objects[i], (int)(i % 251), BYTES);
	}
}

/* In a fork of it, as a scout is: writes what was there before. */
static void touch_and_look(char **objects)
{
	int proc = open("/proc", O_RDONLY | O_DIRECTORY), status;
	struct err err = {0};
	pid_t pid = fork();
	size_t i;

	if (!pid) {
		for (i = TOUCHED; i < OBJECTS; i += STEP)
			*(volatile char *)objects[i] = *(volatile char *)objects[i];
		_exit(heat_survey_look(proc, SET, &err) < 0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void rehearse(void *context)
{
	const struct start *start = context;
	struct allocator allocator;
	char *objects[OBJECTS];

	CHECK(!heat_survey_is_on());
	heat_survey_begin(start->known, start->found);
	CHECK(heat_survey_is_on());
	allocator = heat_survey_allocator(&base);
	allocate(&allocator, objects);
	touch_and_look(objects);
}

static void start_placed(void *context)
{
	const struct start *start = context;
	struct allocator allocator;
	char *objects[OBJECTS];
	size_t i, j;

	CHECK(placing_begin(start->known) == 0);
	allocator = placing_allocator(&base);
	allocate(&allocator, objects);
	for (i = 0; i < OBJECTS; i++) {
		start->at[i] = (uintptr_t)objects[i];
		for (j = 0; j < BYTES; j++)
			CHECK(objects[i][j] == (char)(i % 251));
	}
}

static bool is_touched(size_t object)
{
	return object >= TOUCHED && (object - TOUCHED) % STEP == 0;
}

static void test_what_is_touched_lies_together(void **state)
{
	struct start first = {.found = heat_new()};
	struct start second = {.known = first.found, .found = heat_new()};
	struct start placed = {.known = second.found, .at = share(OBJECTS * sizeof(uintptr_t))};
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), touched = 0, i;
	uintptr_t low = UINTPTR_MAX, high = 0;

	(void)state;
	in_process(rehearse, &first);
	in_process(rehearse, &second);
	for (i = 0; i < OBJECTS; i++)
		touched += is_touched(i);
	/* the first sees whole pages, the second hardly more than what was touched */
	assert_true(heat_bytes(first.found, SET) >= touched * page_bytes / 2);
	assert_in_range(heat_bytes(second.found, SET), touched * BYTES, 2 * touched * BYTES);
	in_process(start_placed, &placed);
	for (i = TOUCHED; i < OBJECTS; i += STEP) {
		low = placed.at[i] < low ? placed.at[i] : low;
		high = placed.at[i] > high ? placed.at[i] : high;
	}
	assert_true(high - low < 2 * touched * BYTES);
	heat_free(first.found);
	heat_free(second.found);
}

static void test_nothing_to_place(void **state)
{
	struct heat *nothing = heat_new();

	(void)state;
	assert_int_equal(placing_begin(nothing), -ENODATA);
	heat_free(nothing);
}

/* --- whatever Python does with them ---------------------------------------------------------- */

struct live {
	unsigned char *memory;
	size_t bytes;
	unsigned char mark;
};

static void check_content(const struct live *live)
{
	size_t i;

	for (i = 0; i < live->bytes; i++)
		CHECK(live->memory[i] == live->mark);
}

static void replace(const struct allocator *allocator, struct live *live, uint64_t random)
{
	size_t bytes = (random >> 8) % ((random >> 40) % 8 ? 600 : 9000), kept, i;
	bool grows = random & 1, zeroed = random & 2;

	check_content(live);
	if (grows) {
		kept = live->bytes < bytes ? live->bytes : bytes;
		live->memory = allocator->realloc(allocator->context, live->memory, bytes);
		CHECK(live->memory);
		for (i = 0; i < kept; i++)
			CHECK(live->memory[i] == live->mark);
	} else {
		allocator->free(allocator->context, live->memory);
		live->memory = zeroed ? allocator->calloc(allocator->context, 1, bytes)
				      : allocator->malloc(allocator->context, bytes);
		CHECK(live->memory);
		for (i = 0; zeroed && i < bytes; i++)
			CHECK(live->memory[i] == 0);
	}
	CHECK((uintptr_t)live->memory % HEAT_GRAIN_BYTES == 0);
	live->bytes = bytes;
	live->mark = (unsigned char)(random >> 16);
	memset(live->memory, live->mark, bytes);
}

static void operate(const struct allocator *allocator, struct live *live, uint64_t seed)
{
	uint64_t random;
	size_t i;

	for (i = 0; i < OPERATIONS; i++) {
		random = unit_random(&seed);
		replace(allocator, &live[(random >> 24) % LIVE], random);
	}
	CHECK(!allocator->calloc(allocator->context, SIZE_MAX / 2, 4));
}

static void operate_in_rehearsal(void *context)
{
	const struct start *start = context;
	struct live live[LIVE] = {0};
	struct allocator allocator;
	int proc = open("/proc", O_RDONLY | O_DIRECTORY);
	struct err err = {0};

	heat_survey_begin(start->known, start->found);
	allocator = heat_survey_allocator(&base);
	operate(&allocator, live, 7);
	CHECK(heat_survey_look(proc, SET, &err) == 0); /* all that is alive is written */
}

/* Whoever wrapped the allocator early may bring it back (tracemalloc), when the table is gone. */
static void operate_placed(void *context)
{
	const struct start *start = context;
	struct live live[LIVE] = {0};
	struct allocator allocator, early;
	size_t i;

	CHECK(placing_begin(start->known) == 0);
	allocator = placing_allocator(&base);
	early = allocator;
	operate(&allocator, live, 7);
	heat_end_names();
	heat_free(start->found);
	operate(&early, live, 9);
	allocator = placing_allocator(&base);
	CHECK(allocator.malloc == base_malloc && allocator.calloc == base_calloc);
	operate(&allocator, live, 8);
	for (i = 0; i < LIVE; i++)
		allocator.free(allocator.context, live[i].memory);
}

static void test_any_operations(void **state)
{
	struct start first = {.found = heat_new()};
	struct start second = {.known = first.found, .found = heat_new()};

	(void)state;
	in_process(operate_in_rehearsal, &first);
	in_process(operate_in_rehearsal, &second);
	assert_true(heat_bytes(second.found, SET) > 0);
	second.known = second.found;
	in_process(operate_placed, &second);
	heat_free(first.found);
	heat_free(second.found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_the_same_in_each_start),
		cmocka_unit_test(test_the_lowest_set_has_it),
		cmocka_unit_test(test_a_full_table),
		cmocka_unit_test(test_what_is_touched_lies_together),
		cmocka_unit_test(test_nothing_to_place),
		cmocka_unit_test(test_any_operations),
	};

	return cmocka_run_group_tests_name("placing", tests, NULL, NULL);
}
