#include "fcgi-app/json_in.h"

#include <errno.h>
#include <json-c/json.h>
#include <json-c/json_pointer.h>
#include <limits.h>
#include <string.h>

/* Parses length bytes into *value, the caller's to put. Returns 0 or a negative errno. */
static int parse(const char *json, size_t length, struct json_object **value)
{
	struct json_tokener *tokener;
	enum json_tokener_error error;

	if (length > INT_MAX)
		return -EMSGSIZE;
	tokener = json_tokener_new();
	if (!tokener)
		return -ENOMEM;
	*value = json_tokener_parse_ex(tokener, json, (int)length);
	error = json_tokener_get_error(tokener);
	json_tokener_free(tokener);
	return *value && error == json_tokener_success ? 0 : -EINVAL;
}

int json_in_string(const char *json, size_t length, struct buffer *out)
{
	struct json_object *value = NULL;
	int r = parse(json, length, &value);

	if (!r && json_object_get_type(value) != json_type_string)
		r = -EINVAL;
	if (!r)
		r = buffer_append(out, json_object_get_string(value),
			(size_t)json_object_get_string_len(value));
	json_object_put(value);
	return r;
}

static int change_one(struct json_object **document, const struct json_in_change *change)
{
	struct json_object *value = NULL;
	/* a number is only known to end where its text does: the NUL belongs to it */
	int r = parse(change->json, strlen(change->json) + 1, &value);

	if (!r && json_pointer_get(*document, change->pointer, NULL) < 0)
		r = -ENOENT;
	if (!r && json_pointer_set(document, change->pointer, value) < 0)
		r = -errno;
	if (r < 0)
		json_object_put(value);
	return r;
}

int json_in_change(const char *json, size_t length, const struct json_in_change *changes,
	size_t count, struct buffer *out)
{
	struct json_object *document = NULL;
	const char *text;
	size_t i;
	int r = parse(json, length, &document);

	for (i = 0; !r && i < count; i++)
		r = change_one(&document, &changes[i]);
	if (!r) {
		text = json_object_to_json_string_ext(
			document, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
		r = text ? buffer_append(out, text, strlen(text)) : -ENOMEM;
	}
	json_object_put(document);
	return r;
}

bool json_in_equals(const char *json, size_t length, const char *text)
{
	struct buffer decoded = {.cap = strlen(text) + 1};
	bool equal;

	if (length < 2 || *json != '"' || length - 2 > strlen(text) * JSON_IN_ESCAPE_MAX_BYTES)
		return false;
	if (!memchr(json, '\\', length))
		return length - 2 == strlen(text) && memcmp(json + 1, text, length - 2) == 0;
	equal = json_in_string(json, length, &decoded) == 0 && decoded.length == strlen(text) &&
		memcmp(decoded.data, text, decoded.length) == 0;
	buffer_free(&decoded);
	return equal;
}
