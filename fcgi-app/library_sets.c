#include "fcgi-app/library_sets.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	NAMES_MAX = 256, /* looked up for one script; more would only serve to cost time */
};

static int find(const struct library_sets *sets, const char *name, size_t *index)
{
	for (*index = 0; *index < sets->count; (*index)++) {
		if (strcmp(sets->set[*index].name, name) == 0)
			return 0;
	}
	return -ENOENT;
}

static int parse_one(struct library_sets *sets, const char *word, struct err *err)
{
	struct library_set *set = &sets->set[sets->count];
	int fields = sscanf(word, "%31[a-z0-9_-]:%31[a-z0-9_-]:%255[A-Za-z0-9_.,]", set->name,
		set->parent, set->modules);
	char text[sizeof(set->text)];
	size_t known, length = strlen(set->name) + (fields > 1 ? 1 + strlen(set->parent) : 0) +
			       (fields > 2 ? 1 + strlen(set->modules) : 0);

	if (fields < 1 || (fields == 1 && sets->count) || length != strlen(word))
		return err_set(err, EINVAL, "library set \"%.60s\" is not NAME:PARENT:MODULES", word);
	if (fields == 1)
		memcpy(set->parent, set->name, sizeof(set->parent));
	if (!sets->count && strcmp(set->parent, set->name) != 0)
		return err_set(err, EINVAL, "the first library set, %s, is the root and has no parent",
			set->name);
	if (find(sets, set->name, &known) == 0)
		return err_set(err, EINVAL, "library set %s is there twice", set->name);
	set->parent_index = sets->count;
	if (sets->count && find(sets, set->parent, &set->parent_index) < 0)
		return err_set(err, EINVAL, "library set %s: no earlier set is named %s", set->name,
			set->parent);
	snprintf(text, sizeof(text), "%s:%s:%s", set->name, set->parent, set->modules);
	memcpy(set->text, text, sizeof(text));
	sets->count++;
	return 0;
}

int library_sets_parse(const char *text, struct library_sets *sets, struct err *err)
{
	char word[512];
	size_t span;
	int r = 0;

	memset(sets, 0, sizeof(*sets));
	for (text += strspn(text, " \t"); !r && *text; text += strspn(text, " \t")) {
		span = strcspn(text, " \t");
		if (sets->count == WORKER_SETS_MAX)
			return err_set(err, EINVAL, "more than %d library sets", WORKER_SETS_MAX);
		snprintf(word, sizeof(word), "%.*s", (int)span, text);
		r = parse_one(sets, word, err);
		text += span;
	}
	if (!r && !sets->count)
		return err_set(err, EINVAL, "library_sets names no set");
	return r;
}

bool library_sets_covers(const struct library_sets *sets, size_t have, size_t wanted)
{
	while (have != wanted && sets->set[have].parent_index != have)
		have = sets->set[have].parent_index;
	return have == wanted;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* Whether the set or one below it has the module, by the first part of its dotted name. */
static bool has_module(const struct library_sets *sets, size_t index, const char *name,
	size_t length)
{
	const char *module;
	size_t span;

	for (;;) {
		module = sets->set[index].modules;
		while (*module) {
			span = strcspn(module, ",");
			if (strcspn(module, ".,") == length && strncmp(module, name, length) == 0)
				return true;
			module += span + (module[span] == ',');
		}
		if (sets->set[index].parent_index == index)
			return false;
		index = sets->set[index].parent_index;
	}
}

struct wish {
	const struct library_sets *sets;
	unsigned names; /* looked up */
	unsigned found[WORKER_SETS_MAX]; /* modules named by the script that each set has */
};

static void wish_for(struct wish *wish, const char *name, size_t length)
{
	size_t i;

	if (!length || wish->names == NAMES_MAX)
		return;
	wish->names++;
	for (i = 0; i < wish->sets->count; i++) {
		if (has_module(wish->sets, i, name, length))
			wish->found[i]++;
	}
}

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	return at;
}

/* One line: "import a.b as c, d" or "from a.b import c". */
static void look_at_line(struct wish *wish, const char *at, const char *end)
{
	const char *name;
	bool from;

	at = skip_blanks(at, end);
	from = end - at > 5 && strncmp(at, "from ", 5) == 0;
	if (!from && !(end - at > 7 && strncmp(at, "import ", 7) == 0))
		return;
	at += from ? 5 : 7;
	while (at < end) {
		at = skip_blanks(at, end);
		for (name = at; at < end && is_word(*at); at++)
			;
		wish_for(wish, name, (size_t)(at - name));
		at = from ? NULL : memchr(at, ',', (size_t)(end - at));
		if (!at)
			return;
		at++;
	}
}

static unsigned depth(const struct library_sets *sets, size_t index)
{
	unsigned steps = 0;

	for (; sets->set[index].parent_index != index; index = sets->set[index].parent_index)
		steps++;
	return steps;
}

size_t library_sets_choose(const struct library_sets *sets, const char *script, size_t length)
{
	struct wish wish = {.sets = sets};
	const char *end = script + length, *line_end;
	size_t best = 0, i;

	for (; script < end; script = line_end + 1) {
		line_end = memchr(script, '\n', (size_t)(end - script));
		if (!line_end)
			line_end = end;
		look_at_line(&wish, script, line_end);
	}
	for (i = 1; i < sets->count; i++) {
		if (sets->set[i].missing)
			continue;
		if (wish.found[i] > wish.found[best] ||
			(wish.found[i] == wish.found[best] && depth(sets, i) < depth(sets, best)))
			best = i;
	}
	return best;
}
