#include "sandbox/json_walk.h"

#include <string.h>

static bool is_space(char byte)
{
	return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static const char *skip_space(const char *at, const char *end)
{
	while (at < end && is_space(*at))
		at++;
	return at;
}

/* Whether the quote at at is one of the string's characters: an odd number of backslashes. */
static bool is_escaped(const char *at, const char *start)
{
	const char *before = at;

	while (before > start && before[-1] == '\\')
		before--;
	return (at - before) % 2;
}

/* From the opening quote to behind the closing one. */
static const char *skip_string(const char *at, const char *end)
{
	const char *start = at + 1, *quote = at;

	do
		quote = memchr(quote + 1, '"', (size_t)(end - quote - 1));
	while (quote && is_escaped(quote, start));
	return quote ? quote + 1 : end;
}

static const char *skip_container(const char *at, const char *end)
{
	size_t depth = 0;

	do {
		if (*at == '"') {
			at = skip_string(at, end);
			continue;
		}
		depth += *at == '{' || *at == '[';
		depth -= *at == '}' || *at == ']';
		at++;
	} while (depth && at < end);
	return at;
}

static const char *skip_value(const char *at, const char *end)
{
	if (*at == '"')
		return skip_string(at, end);
	if (*at == '{' || *at == '[')
		return skip_container(at, end);
	while (at < end && *at != ',' && *at != '}' && *at != ']' && !is_space(*at))
		at++;
	return at;
}

void json_walk(const char *text, size_t length, json_walk_fn each, void *context)
{
	const char *at = skip_space(text, text + length), *end = text + length, *start;
	struct json_walk_item item = {0};
	bool object;

	if (at == end || (*at != '{' && *at != '['))
		return;
	object = *at == '{';
	for (at = skip_space(at + 1, end); at < end && *at != '}' && *at != ']'; item.index++) {
		if (object) {
			start = at;
			at = skip_string(at, end);
			item.key = start;
			item.key_length = (size_t)(at - start);
			at = skip_space(skip_space(at, end) + 1, end); /* the colon */
		}
		start = at;
		at = skip_value(at, end);
		item.value = start;
		item.value_length = (size_t)(at - start);
		item.type = json_scan_type_of(*start);
		if (!each(context, &item))
			return;
		at = skip_space(at, end);
		if (*at == ',')
			at = skip_space(at + 1, end);
	}
}

bool json_walk_has_nul(const char *string, size_t length)
{
	const char *at = string, *end = string + length;

	while ((at = memchr(at, '\\', (size_t)(end - at)))) {
		if (end - at >= 6 && memcmp(at, "\\u0000", 6) == 0)
			return true;
		at += 2;
	}
	return false;
}
