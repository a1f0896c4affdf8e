#include "fcgi-app/catalogue.h"

#include "sandbox/json_scan.h"
#include "sandbox/json_walk.h"

#include <stdio.h>
#include <string.h>

enum {
	CATALOGUE_MAX_DEPTH = 5,
	PLACE_BYTES = 64,
	MEMBERS_MAX = 4,
};

struct checking {
	const char *name; /* of the file */
	char category[PLACE_BYTES], library[PLACE_BYTES]; /* keys with their quotes; "": none */
	struct err *err;
	int error;
};

struct member {
	const char *name;
	enum json_scan_type type;
	bool optional;
	/* the value of one that is not just a string; NULL: any */
	void (*check)(struct checking *checking, const struct json_walk_item *value);
};

/* The members that one object may have, and which of them it has had. */
struct shape {
	struct checking *checking;
	const struct member *members;
	size_t count;
	bool seen[MEMBERS_MAX];
};

static void complain(struct checking *checking, const char *what, const char *of)
{
	checking->error = -EINVAL;
	if (!checking->err)
		return;
	checking->err->code = EINVAL;
	snprintf(checking->err->text, sizeof(checking->err->text), "%.80s: %s%s%s%s%s%s",
		checking->name, checking->category, *checking->category ? ": " : "",
		checking->library, *checking->library ? ": " : "", what, of);
}

static void copy_key(char place[PLACE_BYTES], const struct json_walk_item *item)
{
	snprintf(place, PLACE_BYTES, "%.*s", (int)item->key_length, item->key);
}

static bool is_key(const struct json_walk_item *item, const char *name)
{
	size_t length = strlen(name);

	return item->key_length == length + 2 && memcmp(item->key + 1, name, length) == 0;
}

static bool take_member(void *context, const struct json_walk_item *item)
{
	struct shape *shape = context;
	char key[PLACE_BYTES];
	size_t i;

	for (i = 0; i < shape->count && !is_key(item, shape->members[i].name); i++)
		;
	if (i == shape->count) {
		copy_key(key, item);
		complain(shape->checking, "unknown member ", key);
	} else if (item->type != shape->members[i].type) {
		complain(shape->checking, "of the wrong type: ", shape->members[i].name);
	} else {
		shape->seen[i] = true;
		if (shape->members[i].check)
			shape->members[i].check(shape->checking, item);
	}
	return !shape->checking->error;
}

static void check_object(struct checking *checking, const struct json_walk_item *object,
	const struct member *members, size_t count)
{
	struct shape shape = {.checking = checking, .members = members, .count = count};
	size_t i;

	json_walk(object->value, object->value_length, take_member, &shape);
	for (i = 0; !checking->error && i < count; i++) {
		if (!shape.seen[i] && !members[i].optional)
			complain(checking, "lacks ", members[i].name);
	}
}

static bool take_name(void *context, const struct json_walk_item *item)
{
	struct checking *checking = context;

	if (item->type != JSON_SCAN_STRING)
		complain(checking, "not a string among its ", "distributions");
	return !checking->error;
}

static void check_names(struct checking *checking, const struct json_walk_item *names)
{
	json_walk(names->value, names->value_length, take_name, checking);
}

static bool take_library(void *context, const struct json_walk_item *item)
{
	static const struct member members[] = {
		{"import", JSON_SCAN_STRING, false, NULL},
		{"example", JSON_SCAN_STRING, false, NULL},
		{"description", JSON_SCAN_STRING, false, NULL},
		{"distributions", JSON_SCAN_ARRAY, true, check_names},
	};
	struct checking *checking = context;

	copy_key(checking->library, item);
	if (item->type != JSON_SCAN_OBJECT)
		complain(checking, "not an object", "");
	else
		check_object(checking, item, members, sizeof(members) / sizeof(members[0]));
	*checking->library = checking->error ? *checking->library : '\0';
	return !checking->error;
}

static void check_libraries(struct checking *checking, const struct json_walk_item *libraries)
{
	json_walk(libraries->value, libraries->value_length, take_library, checking);
}

static bool take_category(void *context, const struct json_walk_item *item)
{
	static const struct member members[] = {
		{"title", JSON_SCAN_STRING, false, NULL},
		{"libraries", JSON_SCAN_OBJECT, false, check_libraries},
	};
	struct checking *checking = context;

	copy_key(checking->category, item);
	if (item->type != JSON_SCAN_OBJECT)
		complain(checking, "not an object", "");
	else
		check_object(checking, item, members, sizeof(members) / sizeof(members[0]));
	return !checking->error;
}

int catalogue_check(const char *text, size_t length, const char *name, struct err *err)
{
	const struct json_scan_options options = {
		.max_bytes = CATALOGUE_MAX_BYTES, .max_depth = CATALOGUE_MAX_DEPTH};
	struct checking checking = {.name = name, .err = err};
	struct json_scan_result result;
	int r = json_scan(text, length, &options, NULL, NULL, &result);

	if (r < 0)
		return err_set(err, -r, "%.80s: %s at line %zu, column %zu", name,
			json_scan_error_text(result.error), result.line, result.column);
	if (result.type != JSON_SCAN_OBJECT)
		complain(&checking, "not an object of categories", "");
	else
		json_walk(text, length, take_category, &checking);
	return checking.error;
}
