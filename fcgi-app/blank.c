#include "fcgi-app/blank.h"

#include <string.h>

/* Beyond ASCII: what str.isspace() is true for. */
static const char *const spaces[] = {"\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80", "\xe2\x80\x80",
	"\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85",
	"\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a",
	"\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

static bool begins_with(const char *text, size_t length, const char *with)
{
	return length >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

/* The length of the white space at text; 0: something else is there. */
static size_t space_length(const char *text, size_t length)
{
	size_t i;

	if ((*text >= '\t' && *text <= '\r') || (*text >= 0x1c && *text <= ' '))
		return 1;
	for (i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
		if (begins_with(text, length, spaces[i]))
			return strlen(spaces[i]);
	}
	return 0;
}

bool blank_is_all(const char *text, size_t length)
{
	static const char mark[] = "\xef\xbb\xbf";
	const char *end = text + length;
	size_t space;

	if (begins_with(text, length, mark))
		text += strlen(mark);
	while (text < end && (space = space_length(text, (size_t)(end - text))))
		text += space;
	return text == end;
}
