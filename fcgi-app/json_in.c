#include "fcgi-app/json_in.h"

#include <errno.h>
#include <json-c/json.h>
#include <limits.h>

int json_in_string(const char *json, size_t length, struct buffer *out)
{
	struct json_tokener *tokener;
	struct json_object *value = NULL;
	int r = -EINVAL;

	if (length > INT_MAX)
		return -EMSGSIZE;
	tokener = json_tokener_new();
	if (!tokener)
		return -ENOMEM;
	value = json_tokener_parse_ex(tokener, json, (int)length);
	if (value && json_object_get_type(value) == json_type_string)
		r = buffer_append(out, json_object_get_string(value),
			(size_t)json_object_get_string_len(value));
	json_object_put(value);
	json_tokener_free(tokener);
	return r;
}
