#include "fcgi-app/json_out.h"

#include "fcgi-app/base64.h"
#include "sandbox/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void put(struct json_out *out, const char *data, size_t length)
{
	if (!out->error)
		out->error = buffer_append(out->buffer, data, length);
}

static void separate(struct json_out *out)
{
	if (out->comma)
		put(out, ", ", 2);
	out->comma = true;
}

void json_out_begin(struct json_out *out, char bracket)
{
	separate(out);
	put(out, &bracket, 1);
	out->comma = false;
}

void json_out_end(struct json_out *out, char bracket)
{
	put(out, &bracket, 1);
	out->comma = true;
}

void json_out_key(struct json_out *out, const char *key)
{
	json_out_text(out, key);
	json_out_colon(out);
}

void json_out_colon(struct json_out *out)
{
	put(out, ": ", 2);
	out->comma = false;
}

static void put_unit(struct json_out *out, unsigned unit)
{
	char text[8];

	snprintf(text, sizeof(text), "\\u%04x", unit & 0xffff);
	put(out, text, 6);
}

static void put_code_point(struct json_out *out, uint32_t code)
{
	if (code < 0x10000) {
		put_unit(out, code);
		return;
	}
	code -= 0x10000;
	put_unit(out, 0xd800 + (code >> 10));
	put_unit(out, 0xdc00 + (code & 0x3ff));
}

/* The letter of a short escape, 0 for a character that has none. */
static char short_escape(unsigned char byte)
{
	static const char escapes[][2] = {
		{'"', '"'}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}, {'\b', 'b'}, {'\f', 'f'}};
	size_t i;

	for (i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
		if (escapes[i][0] == (char)byte)
			return escapes[i][1];
	}
	return 0;
}

static void put_ascii(struct json_out *out, unsigned char byte)
{
	char pair[2] = {'\\', short_escape(byte)};

	if (pair[1])
		put(out, pair, 2);
	else
		put_unit(out, byte);
}

bool json_out_is_utf8(const char *text, size_t length)
{
	const unsigned char *bytes = (const unsigned char *)text;
	uint32_t code;
	size_t taken;

	for (; length; bytes += taken, length -= taken) {
		if (!utf8_take(bytes, length, &code, &taken))
			return false;
	}
	return true;
}

int json_out_clip(const char *text, size_t length, size_t most)
{
	if (length <= most)
		return (int)length;
	while (most && ((unsigned char)text[most] & 0xc0) == 0x80)
		most--;
	return (int)most;
}

static bool is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

void json_out_string(struct json_out *out, const char *text, size_t length)
{
	const unsigned char *bytes = (const unsigned char *)text;
	uint32_t code;
	size_t run;

	separate(out);
	put(out, "\"", 1);
	while (length && !out->error) {
		for (run = 0; run < length && is_plain(bytes[run]); run++)
			;
		put(out, (const char *)bytes, run);
		bytes += run;
		length -= run;
		if (!length)
			break;
		if (*bytes < 0x80) {
			put_ascii(out, *bytes);
			run = 1;
		} else {
			utf8_take(bytes, length, &code, &run);
			put_code_point(out, code);
		}
		bytes += run;
		length -= run;
	}
	put(out, "\"", 1);
}

/* What the first character of the text becomes: how many bytes, and of how many. */
static size_t escaped_bytes(const unsigned char *text, size_t length, size_t *taken)
{
	uint32_t code;

	*taken = 1;
	if (is_plain(*text))
		return 1;
	if (*text < 0x80)
		return short_escape(*text) ? 2 : 6;
	utf8_take(text, length, &code, taken);
	return code < 0x10000 ? 6 : 12;
}

size_t json_out_fitting(const char *text, size_t length, size_t most_bytes)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t used = 0, fitting = 0, taken;

	while (fitting < length) {
		used += escaped_bytes(bytes + fitting, length - fitting, &taken);
		if (used > most_bytes)
			break;
		fitting += taken;
	}
	return fitting;
}

void json_out_text(struct json_out *out, const char *text)
{
	json_out_string(out, text, strlen(text));
}

void json_out_base64(struct json_out *out, const char *prefix, const char *data, size_t length)
{
	char lines[64 * BASE64_LINE_CHARACTERS];
	size_t part, used = 0;

	separate(out);
	put(out, "\"", 1);
	put(out, prefix, strlen(prefix));
	for (; length && !out->error; data += part, length -= part) {
		part = length < BASE64_LINE_BYTES ? length : BASE64_LINE_BYTES;
		base64_encode_line(data, part, lines + used);
		used += BASE64_LINE_CHARACTERS;
		if (used == sizeof(lines) || part == length) {
			put(out, lines, used);
			used = 0;
		}
	}
	put(out, "\"", 1);
}

void json_out_raw(struct json_out *out, const char *json, size_t length)
{
	separate(out);
	put(out, json, length);
}

void json_out_integer(struct json_out *out, int64_t value)
{
	char text[32];

	json_out_raw(out, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, value));
}

void json_out_decimal(struct json_out *out, double value, int decimals)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%.*f", decimals, value);

	if (isfinite(value) && n > 0 && n < (int)sizeof(text))
		json_out_raw(out, text, (size_t)n);
	else
		json_out_raw(out, "null", 4);
}

void json_out_bool(struct json_out *out, bool value)
{
	json_out_raw(out, value ? "true" : "false", value ? 4 : 5);
}
