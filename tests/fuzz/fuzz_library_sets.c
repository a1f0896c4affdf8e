/* The first line of the input is a list of library sets, the rest a script that chooses one. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fcgi-app/library_sets.h"

static const char tree[] =
	"base numpy:base:numpy pandas:numpy:pandas scipy:numpy:scipy,scipy.stats "
	"net:base:ssl";

static void check_sets(const struct library_sets *sets)
{
	char text[sizeof(sets->set[0].text)];

	CHECK(sets->count >= 1 && sets->count <= WORKER_SETS_MAX);
	for (size_t i = 0; i < sets->count; i++) {
		const struct library_set *set = &sets->set[i];

		CHECK(i ? set->parent_index < i : set->parent_index == 0);
		CHECK(strcmp(sets->set[set->parent_index].name, set->parent) == 0);
		snprintf(text, sizeof(text), "%s:%s:%s", set->name, set->parent, set->modules);
		CHECK(strcmp(text, set->text) == 0);
		CHECK(library_sets_covers(sets, i, i) && library_sets_covers(sets, i, 0));
		CHECK(!i || !library_sets_covers(sets, 0, i));
	}
}

static void check_choice(struct library_sets *sets, const char *script, size_t length)
{
	size_t chosen = library_sets_choose(sets, script, length), instead;

	CHECK(chosen < sets->count);
	if (!chosen)
		return;
	sets->set[chosen].missing = true;
	instead = library_sets_choose(sets, script, length);
	CHECK(instead < sets->count && instead != chosen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct library_sets sets;
	const char *text = (const char *)data, *feed = size ? memchr(text, '\n', size) : NULL;
	size_t span = feed ? (size_t)(feed - text) : 0;
	char *list = malloc(span + 1);
	int r;

	CHECK(list);
	if (span)
		memcpy(list, text, span);
	list[span] = '\0';
	r = library_sets_parse(list, &sets, NULL);
	free(list);
	CHECK(r == 0 || r == -EINVAL);
	if (r)
		CHECK(library_sets_parse(tree, &sets, NULL) == 0);
	check_sets(&sets);
	check_choice(&sets, text + span, size - span);
	return 0;
}
