#include "fcgi-app/json_fault.h"

#include "fcgi-app/json_out.h"

#include <stdio.h>
#include <string.h>

static bool is_graphic(char byte)
{
	return byte > 0x20 && byte < 0x7f;
}

/* A word of a text that is no JSON: to a delimiter, a quote or what cannot be shown. */
static size_t word_length(const char *at, const char *end)
{
	const char *next = at + 1;

	while (next < end && is_graphic(*next) && !strchr(",:[]{}\"", *next))
		next++;
	return (size_t)(next - at);
}

/* Of a key with its quotes, which is sound. */
static size_t key_length(const char *at)
{
	const char *next = at + 1;

	while (*next != '"')
		next += *next == '\\' ? 2 : 1;
	return (size_t)(next - at) + 1;
}

static void quote(char *got, const char *at, size_t length)
{
	size_t most = JSON_FAULT_GOT_BYTES - sizeof("...");

	snprintf(got, JSON_FAULT_GOT_BYTES, "%.*s%s", json_out_clip(at, length, most), at,
		length > most ? "..." : "");
}

static void name_byte(char *got, unsigned char byte)
{
	if (byte < 0x80)
		snprintf(got, JSON_FAULT_GOT_BYTES, "U+%04X", byte);
	else
		snprintf(got, JSON_FAULT_GOT_BYTES, "byte 0x%02X", byte);
}

static void name_what_is_there(
	char *got, const char *at, const char *end, enum json_scan_error error)
{
	if (error == JSON_SCAN_DUPLICATE_KEY)
		quote(got, at, key_length(at));
	else if (error == JSON_SCAN_SURROGATE || error == JSON_SCAN_KEY_NUL)
		quote(got, at, strlen("\\u0000"));
	else if (at == end)
		snprintf(got, JSON_FAULT_GOT_BYTES, "the end of the body");
	else if (!is_graphic(*at))
		name_byte(got, (unsigned char)*at);
	else
		quote(got, at, word_length(at, end));
}

/* A key may have characters that do not belong into a line for people. */
static bool is_line(const char *text)
{
	while (*text == ' ' || is_graphic(*text))
		text++;
	return !*text;
}

void json_fault_describe(const char *text, size_t length, const struct json_scan_result *result,
	struct json_fault *fault)
{
	bool is_shown;

	name_what_is_there(fault->got, text + result->offset, text + length, result->error);
	is_shown = is_line(fault->got);
	snprintf(fault->text, sizeof(fault->text), "%s%s%s%s at line %zu, column %zu",
		json_scan_error_text(result->error), is_shown ? " (" : "",
		is_shown ? fault->got : "", is_shown ? ")" : "", result->line, result->column);
}
