#include "sandbox/paths.h"

#include <string.h>

static bool is_plain_part(const char *part, size_t length)
{
	return length && !(length == 1 && part[0] == '.') &&
	       !(length == 2 && part[0] == '.' && part[1] == '.');
}

bool paths_is_plain(const char *path, size_t length)
{
	const char *end, *slash;

	if (!length || memchr(path, '\0', length))
		return false;
	end = path + length;
	while ((slash = memchr(path, '/', (size_t)(end - path)))) {
		if (!is_plain_part(path, (size_t)(slash - path)))
			return false;
		path = slash + 1;
	}
	return is_plain_part(path, (size_t)(end - path));
}

bool paths_is_above(const char *path, size_t length, const char *other, size_t other_length)
{
	return other_length > length && other[length] == '/' && memcmp(path, other, length) == 0;
}
