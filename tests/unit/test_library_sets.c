#include "tests/unit/unit.h"

#include <errno.h>
#include <time.h>

#include "fcgi-app/library_sets.h"

static struct library_sets sets;

enum { /* the order of `tree` */
	BASE,
	NUMPY,
	PANDAS,
	SCIPY,
	PLOT,
	NET,
};

static const char tree[] = "base numpy:base:numpy pandas:numpy:pandas,pyarrow.lib "
			   "scipy:numpy:scipy,scipy.stats plot:pandas:matplotlib.pyplot "
			   "net:base:requests,_ssl";

static int parse_tree(void **state)
{
	(void)state;
	return library_sets_parse(tree, &sets, NULL);
}

static void expect_choice(const char *script, size_t expected)
{
	size_t length = strlen(script), chosen;
	char *copy = unit_copy(script, length);

	chosen = library_sets_choose(&sets, copy, length);
	free(copy);
	if (chosen != expected)
		fail_msg("%s, not %s, for: %s", sets.set[chosen].name, sets.set[expected].name,
			script);
}

static void test_parse(void **state)
{
	static const size_t parents[] = {BASE, BASE, NUMPY, NUMPY, PANDAS, BASE};

	(void)state;
	assert_int_equal(sets.count, COUNT(parents));
	for (size_t i = 0; i < COUNT(parents); i++) {
		assert_int_equal(sets.set[i].parent_index, parents[i]);
		assert_false(sets.set[i].missing);
	}
	assert_string_equal(sets.set[BASE].text, "base:base:");
	assert_string_equal(sets.set[PANDAS].text, "pandas:numpy:pandas,pyarrow.lib");
	assert_string_equal(sets.set[PANDAS].name, "pandas");
	assert_string_equal(sets.set[PANDAS].parent, "numpy");
	assert_string_equal(sets.set[PANDAS].modules, "pandas,pyarrow.lib");
	assert_int_equal(library_sets_parse("  \t only \t ", &sets, NULL), 0);
	assert_int_equal(sets.count, 1);
	assert_string_equal(sets.set[0].name, "only");
	assert_int_equal(library_sets_parse("a:a:json a-b_9:a:", &sets, NULL), -EINVAL);
	assert_int_equal(library_sets_parse("a:a:json a-b_9:a:_x.Y", &sets, NULL), 0);
	assert_string_equal(sets.set[0].modules, "json");
	assert_string_equal(sets.set[1].name, "a-b_9");
	assert_int_equal(library_sets_parse("a b:a", &sets, NULL), 0);
	assert_string_equal(sets.set[1].modules, "");
}

static void test_parse_errors(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "names no set"},
		{" \t ", "names no set"},
		{"Base", "\"Base\" is not NAME:PARENT:MODULES"},
		{":base:x", "is not NAME:PARENT:MODULES"},
		{"base other", "\"other\" is not NAME:PARENT:MODULES"},
		{"base/x", "is not NAME:PARENT:MODULES"},
		{"base:base:x:y", "is not NAME:PARENT:MODULES"},
		{"base:", "is not NAME:PARENT:MODULES"},
		{"base x:base:a;b", "\"x:base:a;b\" is not NAME:PARENT:MODULES"},
		{"base x::a", "is not NAME:PARENT:MODULES"},
		{"base x:base:a\nb", "is not NAME:PARENT:MODULES"},
		{"base:other:x", "is the root and has no parent"},
		{"base x:nobody:a", "set x: no earlier set is named nobody"},
		{"base x:y:a y:base:b", "set x: no earlier set is named y"},
		{"base x:x:a", "set x: no earlier set is named x"},
		{"base base:base:a", "set base is there twice"},
		{"base x:base:a x:base:b", "set x is there twice"},
		{"an-extremely-long-name-of-32-byte", "is not NAME:PARENT:MODULES"},
		{"base x:an-extremely-long-name-of-32-byte:a", "is not NAME:PARENT:MODULES"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct err err = {0};

		if (library_sets_parse(cases[i].text, &sets, &err) != -EINVAL)
			fail_msg("not refused: %s", cases[i].text);
		assert_int_equal(err.code, EINVAL);
		unit_assert_contains(err.text, cases[i].why);
		assert_int_equal(library_sets_parse(cases[i].text, &sets, NULL), -EINVAL);
	}
}

/* A list of modules of every length: whole, or refused; never cut. */
static void test_long_module_lists(void **state)
{
	char text[1200] = "base x:base:";
	size_t start = strlen(text);

	(void)state;
	for (size_t length = 1; length < 1000; length++) {
		memset(text + start, 'm', length);
		text[start + length] = '\0';
		if (length < sizeof(sets.set[1].modules)) {
			assert_int_equal(library_sets_parse(text, &sets, NULL), 0);
			assert_int_equal(strlen(sets.set[1].modules), length);
			assert_int_equal(strlen(sets.set[1].text), length + strlen("x:base:"));
		} else {
			assert_int_equal(library_sets_parse(text, &sets, NULL), -EINVAL);
		}
	}
}

static void test_sets_are_counted(void **state)
{
	char text[1024] = "s0";
	struct err err;
	size_t i;

	(void)state;
	for (i = 1; i < WORKER_SETS_MAX; i++)
		snprintf(text + strlen(text), 32, " s%zu:s%zu:m%zu", i, i - 1, i);
	assert_int_equal(library_sets_parse(text, &sets, &err), 0);
	assert_int_equal(sets.count, WORKER_SETS_MAX);
	assert_true(library_sets_covers(&sets, WORKER_SETS_MAX - 1, 0));
	expect_choice("import m15\n", 15);
	expect_choice("import m7, m3\n", 7);
	snprintf(text + strlen(text), 32, " one:s0:more");
	assert_int_equal(library_sets_parse(text, &sets, &err), -EINVAL);
	unit_assert_contains(err.text, "more than 16 library sets");
}

static void test_covers(void **state)
{
	static const char has[6][6] = {/* row has what column wants */
		{1, 0, 0, 0, 0, 0}, {1, 1, 0, 0, 0, 0}, {1, 1, 1, 0, 0, 0}, {1, 1, 0, 1, 0, 0},
		{1, 1, 1, 0, 1, 0}, {1, 0, 0, 0, 0, 1}};

	(void)state;
	for (size_t have = 0; have < 6; have++)
		for (size_t wanted = 0; wanted < 6; wanted++)
			assert_int_equal(
				library_sets_covers(&sets, have, wanted), has[have][wanted]);
}

static void test_choose(void **state)
{
	(void)state;
	expect_choice("", BASE);
	expect_choice("\n\n", BASE);
	expect_choice("print(1)", BASE);
	expect_choice("import os, sys\n", BASE);
	expect_choice("import numpy", NUMPY);
	expect_choice("import numpy as np\nimport os\n", NUMPY);
	expect_choice("import os as numpy_, numpy\n", NUMPY);
	expect_choice("from numpy import array", NUMPY);
	expect_choice("from numpy.linalg import inv\r\n", NUMPY);
	expect_choice("import numpy.linalg\n", NUMPY);
	expect_choice("import pandas as pd", PANDAS);
	expect_choice("import numpy, pandas", PANDAS);
	expect_choice("import pandas\nimport numpy\n", PANDAS);
	expect_choice("import scipy", SCIPY);
	expect_choice("from scipy.optimize import minimize", SCIPY);
	expect_choice("import pyarrow", PANDAS);
	expect_choice("def main():\n\timport pandas\n\treturn 1\n", PANDAS);
	expect_choice("    import   pandas", PANDAS);
	expect_choice("import matplotlib\n", PLOT);
	expect_choice("import pandas\nimport matplotlib.pyplot as plt\n", PLOT);
	expect_choice("import _ssl", NET);
	expect_choice("import requests", NET);
}

static void test_choose_by_most(void **state)
{
	(void)state;
	expect_choice("import requests\nimport pandas, numpy\n", PANDAS);
	expect_choice("import requests, _ssl\nimport numpy\n", NET);
	expect_choice("import numpy, scipy, pandas, matplotlib", PLOT);
	expect_choice("import scipy\nimport requests\nimport numpy\n", SCIPY);
	expect_choice("import requests, numpy", NUMPY); /* of equals the first */
	assert_int_equal(library_sets_parse("a:a:json b:a:x c:b:y", &sets, NULL), 0);
	expect_choice("import json", 0);
	expect_choice("import json, x", 1);
}

static void test_what_is_no_import(void **state)
{
	static const char *const scripts[] = {"import", "import ", "from", "from ", "import\n",
		"from \n", "importpandas", "import_pandas", "import_ pandas", "# import pandas",
		"x = 'import pandas'", "print(pandas)", "import Pandas", "import pandas_",
		"import panda", "import pandasx", "from . import pandas", "from .pandas import x",
		"from os import pandas", "import os.pandas", "import \xC3\xA9, os", "import ,,,,,",
		"import pandas2", "import lib", "import pyplot"};

	(void)state;
	for (size_t i = 0; i < COUNT(scripts); i++)
		expect_choice(scripts[i], BASE);
	assert_int_equal(library_sets_choose(&sets, "import \0pandas\n\0", 16), BASE);
	assert_int_equal(library_sets_choose(&sets, "import pandas", 12), BASE);
}

static void test_missing_sets(void **state)
{
	(void)state;
	sets.set[PANDAS].missing = true;
	sets.set[PLOT].missing = true;
	expect_choice("import pandas", BASE);
	expect_choice("import pandas, numpy", NUMPY);
	expect_choice("import matplotlib", BASE);
	sets.set[NUMPY].missing = true;
	sets.set[SCIPY].missing = true;
	expect_choice("import numpy", BASE);
	expect_choice("import numpy, requests", NET);
	sets.set[NET].missing = true;
	expect_choice("import requests", BASE);
}

/*
 * The longest scripts, of nothing but names to look up: a quick look all the same, at the first
 * 256 of them. 20 s would be the time without that bound, under a sanitizer.
 */
static void test_time_is_bounded(void **state)
{
	size_t length = 1 << 20;
	char *script = malloc(length), many[1024] = "s0";
	clock_t start = clock();

	(void)state;
	assert_non_null(script);
	memset(script, 'q', length);
	memcpy(script, "import ", 7);
	for (size_t i = 8; i < length; i += 2)
		script[i] = ',';
	assert_int_equal(library_sets_choose(&sets, script, length), BASE);
	for (size_t i = 0; i + 16 <= length; i += 16)
		memcpy(script + i, "import pandas,q\n", 16);
	assert_int_equal(library_sets_choose(&sets, script, length), PANDAS);
	for (size_t i = 1; i < WORKER_SETS_MAX; i++)
		snprintf(many + strlen(many), 40, " s%zu:s%zu:a,b,c,d,e,f,g,h,%c", i, i - 1,
			(char)('a' + i));
	assert_int_equal(library_sets_parse(many, &sets, NULL), 0);
	memcpy(script, "import ", 7);
	for (size_t i = 7; i < length; i++)
		script[i] = i % 2 ? 'q' : ',';
	assert_int_equal(library_sets_choose(&sets, script, length), BASE);
	script[7 + 2 * 255] = 'p';
	assert_int_equal(library_sets_choose(&sets, script, length), WORKER_SETS_MAX - 1);
	assert_true(clock() - start < 2 * CLOCKS_PER_SEC);
	free(script);
}

#define TREE_TEST(name) cmocka_unit_test_setup(name, parse_tree)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TREE_TEST(test_parse),
		TREE_TEST(test_parse_errors),
		TREE_TEST(test_long_module_lists),
		TREE_TEST(test_sets_are_counted),
		TREE_TEST(test_covers),
		TREE_TEST(test_choose),
		TREE_TEST(test_choose_by_most),
		TREE_TEST(test_what_is_no_import),
		TREE_TEST(test_missing_sets),
		TREE_TEST(test_time_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
