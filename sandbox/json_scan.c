/*
 * How it works: a loop over six states, one function for each, that says what may come next. What
 * recursion would keep on the stack is in two arrays:
 *
 *   frames  one for each open object or array;
 *   keys    the keys of all open objects (json_keys.h); those of the innermost one are the top of
 *           that stack, from frame.first_key upwards.
 *
 * The outermost object's keys are not popped. They are what json_scan() walks to report members,
 * which is why that costs no second pass over the values.
 */
#include "sandbox/json_scan.h"

#include "sandbox/json_bytes.h"
#include "sandbox/json_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	FIRST_FRAMES = 64,
	BOM_BYTES = 3,
};

enum expected {
	EXPECT_VALUE,
	EXPECT_FIRST_ELEMENT, /* or the end of the array */
	EXPECT_FIRST_KEY, /* or the end of the object */
	EXPECT_KEY,
	EXPECT_SEPARATOR, /* or the end of the object or array */
	EXPECT_NOTHING,
};

struct frame {
	uint32_t first_key;
	bool object;
};

struct scanner {
	const struct json_scan_options *options;
	const unsigned char *text;
	const unsigned char *next;
	const unsigned char *end;
	enum expected expected;

	struct frame *frames;
	size_t frame_capacity;
	unsigned depth;

	struct json_keys keys;

	struct json_key refused; /* the second of two equal keys */
};

__attribute__((weak)) void *json_scan_resize(void *old, size_t bytes)
{
	return realloc(old, bytes);
}

static bool is_space(unsigned char byte)
{
	return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static bool is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

static bool word_is_plain(uint64_t word)
{
	uint64_t control = (word - JSON_BYTES_ONES * 0x20) & ~word & JSON_BYTES_HIGH_BITS;

	return !(control | (word & JSON_BYTES_HIGH_BITS) | json_bytes_have(word, '"') |
		 json_bytes_have(word, '\\'));
}

static const unsigned char *skip_space(const unsigned char *at, const unsigned char *end)
{
	while (at < end && is_space(*at))
		at++;
	return at;
}

static const unsigned char *skip_plain(const unsigned char *at, const unsigned char *end)
{
	while (end - at >= 8 && word_is_plain(json_bytes_load(at)))
		at += 8;
	while (at < end && is_plain(*at))
		at++;
	return at;
}

static enum json_scan_error fail_at(
	struct scanner *s, const unsigned char *at, enum json_scan_error error)
{
	s->next = at;
	return error;
}

/* The byte at s->next, or the end of the text, cannot stand there. */
static enum json_scan_error refuse_next(const struct scanner *s, enum json_scan_error error)
{
	if (s->options->ascii_only && s->next < s->end && *s->next >= 0x80)
		return JSON_SCAN_NOT_ASCII;
	return error;
}

/* The length of the character at at by the table of RFC 3629, section 4; 0 if it is malformed. */
static size_t utf8_length(const unsigned char *at, const unsigned char *end)
{
	unsigned char lead = at[0], low = 0x80, high = 0xBF;
	size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;

	if (lead < 0xC2 || lead > 0xF4 || (size_t)(end - at) < length)
		return 0;
	if (lead == 0xE0)
		low = 0xA0; /* below: overlong */
	else if (lead == 0xED)
		high = 0x9F; /* above: surrogates */
	else if (lead == 0xF0)
		low = 0x90; /* below: overlong */
	else if (lead == 0xF4)
		high = 0x8F; /* above: over U+10FFFF */
	if (at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((at[i] & 0xC0) != 0x80)
			return 0;
	return length;
}

static enum json_scan_error scan_utf8(struct scanner *s)
{
	if (s->options->ascii_only)
		return JSON_SCAN_NOT_ASCII;
	while (s->next < s->end && *s->next >= 0x80) {
		size_t length = utf8_length(s->next, s->end);

		if (!length)
			return JSON_SCAN_UTF8;
		s->next += length;
	}
	return JSON_SCAN_OK;
}

static enum json_scan_error scan_unicode_escape(struct scanner *s, bool in_key)
{
	long unit = json_bytes_unicode_escape(s->next, s->end), low;

	if (unit < 0)
		return JSON_SCAN_SYNTAX;
	if (unit == 0 && in_key)
		return JSON_SCAN_KEY_NUL;
	if (unit >= 0xDC00 && unit <= 0xDFFF)
		return JSON_SCAN_SURROGATE;
	if (unit >= 0xD800 && unit <= 0xDBFF) {
		low = json_bytes_unicode_escape(s->next + 6, s->end);
		if (low < 0xDC00 || low > 0xDFFF)
			return JSON_SCAN_SURROGATE;
		s->next += 6;
	}
	s->next += 6;
	return JSON_SCAN_OK;
}

static enum json_scan_error scan_escape(struct scanner *s, bool in_key)
{
	static const char letters[] = {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'};

	if (s->end - s->next < 2)
		return JSON_SCAN_SYNTAX;
	if (s->next[1] == 'u')
		return scan_unicode_escape(s, in_key);
	if (!memchr(letters, s->next[1], sizeof(letters)))
		return JSON_SCAN_SYNTAX;
	s->next += 2;
	return JSON_SCAN_OK;
}

/* From the opening quote to behind the closing one. */
static enum json_scan_error scan_string(struct scanner *s, bool in_key)
{
	enum json_scan_error error = JSON_SCAN_OK;

	s->next++;
	while (!error) {
		s->next = skip_plain(s->next, s->end);
		if (s->next == s->end)
			return JSON_SCAN_SYNTAX;
		if (*s->next == '"')
			break;
		if (*s->next == '\\')
			error = scan_escape(s, in_key);
		else if (*s->next >= 0x80)
			error = scan_utf8(s);
		else
			error = JSON_SCAN_CONTROL;
	}
	if (!error)
		s->next++;
	return error;
}

static size_t skip_digits(struct scanner *s)
{
	const unsigned char *first = s->next;

	while (s->next < s->end && json_bytes_is_digit(*s->next))
		s->next++;
	return (size_t)(s->next - first);
}

static bool take_either(struct scanner *s, unsigned char one, unsigned char other)
{
	if (s->next == s->end || (*s->next != one && *s->next != other))
		return false;
	s->next++;
	return true;
}

static enum json_scan_error scan_number(struct scanner *s)
{
	const unsigned char *first = s->next, *integer;
	unsigned limit = s->options->max_number_digits;
	size_t digits;

	take_either(s, '-', '-');
	integer = s->next;
	digits = skip_digits(s);
	if (!digits)
		return refuse_next(s, JSON_SCAN_SYNTAX);
	if (*integer == '0' && digits > 1)
		return fail_at(s, integer + 1, JSON_SCAN_SYNTAX);
	if (limit && digits > limit)
		return fail_at(s, first, JSON_SCAN_NUMBER);
	if (take_either(s, '.', '.') && !skip_digits(s))
		return refuse_next(s, JSON_SCAN_SYNTAX);
	if (take_either(s, 'e', 'E')) {
		take_either(s, '+', '-');
		if (!skip_digits(s))
			return refuse_next(s, JSON_SCAN_SYNTAX);
	}
	return JSON_SCAN_OK;
}

static enum json_scan_error scan_word(struct scanner *s, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(s->end - s->next) < length || memcmp(s->next, word, length) != 0)
		return JSON_SCAN_SYNTAX;
	s->next += length;
	return JSON_SCAN_OK;
}

static enum json_scan_error grow_frames(struct scanner *s)
{
	size_t capacity = s->frame_capacity ? s->frame_capacity * 2 : FIRST_FRAMES;
	struct frame *frames = json_scan_resize(s->frames, capacity * sizeof(*frames));

	if (!frames)
		return JSON_SCAN_MEMORY;
	s->frames = frames;
	s->frame_capacity = capacity;
	return JSON_SCAN_OK;
}

static void value_ended(struct scanner *s)
{
	s->expected = s->depth ? EXPECT_SEPARATOR : EXPECT_NOTHING;
}

static enum json_scan_error open_container(struct scanner *s, bool object)
{
	if (s->depth >= s->options->max_depth)
		return JSON_SCAN_DEPTH;
	if (s->depth == s->frame_capacity && grow_frames(s))
		return JSON_SCAN_MEMORY;
	s->frames[s->depth++] = (struct frame){(uint32_t)s->keys.count, object};
	s->next++;
	s->expected = object ? EXPECT_FIRST_KEY : EXPECT_FIRST_ELEMENT;
	return JSON_SCAN_OK;
}

static enum json_scan_error close_container(struct scanner *s)
{
	const struct frame *frame = &s->frames[s->depth - 1];

	if (*s->next != (frame->object ? '}' : ']'))
		return refuse_next(s, JSON_SCAN_SYNTAX);
	if (s->depth > 1)
		json_keys_pop(&s->keys, frame->first_key);
	s->depth--;
	s->next++;
	value_ended(s);
	return JSON_SCAN_OK;
}

static enum json_scan_error scan_scalar(struct scanner *s)
{
	switch (*s->next) {
	case '"':
		return scan_string(s, false);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	default:
		return scan_number(s);
	}
}

static enum json_scan_error step_value(struct scanner *s)
{
	enum json_scan_error error;

	if (*s->next == '{' || *s->next == '[')
		return open_container(s, *s->next == '{');
	error = scan_scalar(s);
	if (!error)
		value_ended(s);
	return error;
}

static enum json_scan_error step_first_element(struct scanner *s)
{
	return *s->next == ']' ? close_container(s) : step_value(s);
}

static enum json_scan_error push_key(struct scanner *s, struct json_key key)
{
	switch (json_keys_push(&s->keys, key, s->depth, s->frames[s->depth - 1].first_key)) {
	case 0:
		return JSON_SCAN_OK;
	case -EEXIST:
		return JSON_SCAN_DUPLICATE_KEY;
	default:
		return JSON_SCAN_MEMORY;
	}
}

static enum json_scan_error step_key(struct scanner *s)
{
	const unsigned char *quote = s->next;
	struct json_key key = {.offset = (uint32_t)(quote + 1 - s->text)};
	enum json_scan_error error;

	if (*quote != '"')
		return refuse_next(s, JSON_SCAN_SYNTAX);
	error = scan_string(s, true);
	if (error)
		return error;
	key.length = (uint32_t)(s->next - quote - 2);
	error = push_key(s, key);
	if (error) {
		s->refused = key;
		return fail_at(s, quote, error);
	}
	s->next = skip_space(s->next, s->end);
	s->expected = EXPECT_VALUE;
	return take_either(s, ':', ':') ? JSON_SCAN_OK : refuse_next(s, JSON_SCAN_SYNTAX);
}

static enum json_scan_error step_first_key(struct scanner *s)
{
	return *s->next == '}' ? close_container(s) : step_key(s);
}

static enum json_scan_error step_separator(struct scanner *s)
{
	if (!take_either(s, ',', ','))
		return close_container(s);
	s->expected = s->frames[s->depth - 1].object ? EXPECT_KEY : EXPECT_VALUE;
	return JSON_SCAN_OK;
}

/* Every step is called with at least one byte left, which is not whitespace. */
static enum json_scan_error (*const steps[])(struct scanner *) = {
	[EXPECT_VALUE] = step_value,
	[EXPECT_FIRST_ELEMENT] = step_first_element,
	[EXPECT_FIRST_KEY] = step_first_key,
	[EXPECT_KEY] = step_key,
	[EXPECT_SEPARATOR] = step_separator,
};

static enum json_scan_error scan_value(struct scanner *s)
{
	enum json_scan_error error = JSON_SCAN_OK;

	while (!error && s->expected != EXPECT_NOTHING) {
		s->next = skip_space(s->next, s->end);
		error = s->next == s->end ? JSON_SCAN_SYNTAX : steps[s->expected](s);
	}
	return error;
}

enum json_scan_type json_scan_type_of(char first)
{
	switch (first) {
	case '{':
		return JSON_SCAN_OBJECT;
	case '[':
		return JSON_SCAN_ARRAY;
	case '"':
		return JSON_SCAN_STRING;
	case 't':
		return JSON_SCAN_TRUE;
	case 'f':
		return JSON_SCAN_FALSE;
	case 'n':
		return JSON_SCAN_NULL;
	default:
		return JSON_SCAN_NUMERIC;
	}
}

static enum json_scan_error check_size(struct scanner *s)
{
	size_t cap = s->options->max_bytes < UINT32_MAX ? s->options->max_bytes : UINT32_MAX;

	if ((size_t)(s->end - s->text) <= cap)
		return JSON_SCAN_OK;
	return fail_at(s, s->text + cap, JSON_SCAN_TOO_LARGE);
}

/* From s->next, behind a byte order mark that is skipped, to the end of the text. */
static enum json_scan_error scan_text(struct scanner *s, enum json_scan_type *type)
{
	enum json_scan_error error = check_size(s);

	if (error)
		return error;
	s->next = skip_space(s->next, s->end);
	if (s->next == s->end)
		return JSON_SCAN_EMPTY;
	*type = json_scan_type_of(*s->next);
	error = scan_value(s);
	if (error)
		return error;
	s->next = skip_space(s->next, s->end);
	return s->next == s->end ? JSON_SCAN_OK : refuse_next(s, JSON_SCAN_TRAILING);
}

/* Where the value ends that is followed by whitespace, one comma or brace, whitespace, and at. */
static const unsigned char *value_end(const unsigned char *at)
{
	while (is_space(at[-1]))
		at--;
	at--;
	while (is_space(at[-1]))
		at--;
	return at;
}

/* The text is valid, and the keys that are left are those of the outermost object. */
static void report_members(const struct scanner *s, json_scan_member_fn member, void *context)
{
	for (size_t i = 0; i < s->keys.count; i++) {
		const unsigned char *key = s->text + s->keys.key[i].offset, *value, *end = s->end;

		if (i + 1 < s->keys.count)
			end = s->text + s->keys.key[i + 1].offset - 1;
		end = value_end(end);
		value = skip_space(key + s->keys.key[i].length + 1, end) + 1;
		value = skip_space(value, end);
		member(context, (const char *)key, s->keys.key[i].length, (const char *)value,
			(size_t)(end - value), json_scan_type_of(*value));
	}
}

/* The outermost object's member that the scanner was in; NULL: it was between two, or in none. */
static const struct json_key *open_member(const struct scanner *s)
{
	size_t count = s->depth > 1 ? s->frames[1].first_key : s->keys.count;

	if (!s->depth || !s->frames[0].object)
		return NULL;
	if (s->depth == 1 && s->refused.offset)
		return &s->refused;
	if (s->depth == 1 && s->expected != EXPECT_VALUE)
		return NULL;
	return &s->keys.key[count - 1];
}

static void locate(const struct scanner *s, struct json_scan_result *result)
{
	const unsigned char *line = s->text + result->body_offset, *feed;
	const struct json_key *member = open_member(s);

	if (member) {
		result->member = (const char *)s->text + member->offset;
		result->member_bytes = member->length;
	}
	result->type = JSON_SCAN_NOTHING;
	result->offset = (size_t)(s->next - s->text);
	result->line = 1;
	while (line < s->next && (feed = memchr(line, '\n', (size_t)(s->next - line)))) {
		line = feed + 1;
		result->line++;
	}
	result->column = line < s->next ? (size_t)(s->next - line) + 1 : 1;
}

int json_scan(const char *text, size_t length, const struct json_scan_options *options,
	json_scan_member_fn member, void *context, struct json_scan_result *result)
{
	const unsigned char *bytes = (const unsigned char *)(text ? text : "");
	struct scanner s = {.options = options, .text = bytes, .end = bytes + length,
		.keys = {.text = bytes, .seed = options->hash_seed}};

	*result = (struct json_scan_result){0};
	if (options->skip_bom && length >= BOM_BYTES && !memcmp(bytes, "\xEF\xBB\xBF", BOM_BYTES))
		result->body_offset = BOM_BYTES;
	s.next = bytes + result->body_offset;
	result->error = scan_text(&s, &result->type);
	if (result->error)
		locate(&s, result);
	else if (member && result->type == JSON_SCAN_OBJECT)
		report_members(&s, member, context);
	free(s.frames);
	json_keys_free(&s.keys);
	if (result->error == JSON_SCAN_MEMORY)
		return -ENOMEM;
	return result->error ? -EINVAL : 0;
}

const char *json_scan_error_text(enum json_scan_error error)
{
	static const char *const texts[] = {
		[JSON_SCAN_OK] = "no error",
		[JSON_SCAN_EMPTY] = "no JSON value",
		[JSON_SCAN_TOO_LARGE] = "JSON text too large",
		[JSON_SCAN_SYNTAX] = "not JSON",
		[JSON_SCAN_CONTROL] = "raw control character in a string",
		[JSON_SCAN_UTF8] = "invalid UTF-8",
		[JSON_SCAN_SURROGATE] = "lone surrogate escape",
		[JSON_SCAN_KEY_NUL] = "NUL in a key",
		[JSON_SCAN_DUPLICATE_KEY] = "duplicate key",
		[JSON_SCAN_DEPTH] = "nested too deeply",
		[JSON_SCAN_TRAILING] = "text after the JSON value",
		[JSON_SCAN_NUMBER] = "number with too many digits",
		[JSON_SCAN_NOT_ASCII] = "byte outside ASCII",
		[JSON_SCAN_MEMORY] = "out of memory",
	};

	if ((size_t)error >= sizeof(texts) / sizeof(texts[0]))
		return "unknown error";
	return texts[error];
}
