#include "sandbox/globs.h"

#include "sandbox/utf8.h"

#include <stdint.h>
#include <string.h>

struct text {
	const char *at, *end;
};

static uint32_t take_point(struct text *text)
{
	const unsigned char *bytes = (const unsigned char *)text->at;
	uint32_t code;
	size_t taken;

	if (*bytes < 0x80) { /* nearly all are */
		text->at++;
		return *bytes;
	}
	if (!utf8_take(bytes, (size_t)(text->end - text->at), &code, &taken)) {
		code = 0xdc00u + *bytes;
		taken = 1;
	}
	text->at += taken;
	return code;
}

static bool begins_with(const struct text *text, char byte)
{
	return text->at < text->end && *text->at == byte;
}

/* --- one part of a path -------------------------------------------------------------------- */

/* The "]" that closes a set; NULL: there is none. One that comes first is of the set. */
static const char *find_close(const struct text *set)
{
	const char *at = set->at + begins_with(set, '!');

	at += at < set->end && *at == ']';
	return memchr(at, ']', (size_t)(set->end - at));
}

static bool is_in_set(struct text set, uint32_t point)
{
	bool is_negated = begins_with(&set, '!'), is_in = false;
	uint32_t low, high;

	set.at += is_negated;
	while (set.at < set.end) {
		low = high = take_point(&set);
		if (set.end - set.at >= 2 && *set.at == '-') {
			set.at++;
			high = take_point(&set);
		}
		is_in |= low <= point && point <= high;
	}
	return is_in != is_negated;
}

/* Takes a character off the name, and off the glob what matches it. Both have something left. */
static bool match_one(struct text *glob, struct text *name, size_t *steps)
{
	uint32_t point = take_point(name), wanted = take_point(glob);
	const char *close;

	if (wanted == '?')
		return true;
	close = wanted == '[' ? find_close(glob) : NULL;
	if (!close)
		return wanted == point;
	*steps += (size_t)(close - glob->at);
	if (!is_in_set((struct text){glob->at, close}, point))
		return false;
	glob->at = close + 1;
	return true;
}

/* Where a character does not match, the last "*" takes one more. */
static bool match_part(struct text glob, struct text name, size_t *steps)
{
	struct text star = {0}, resume = {0}; /* behind the last "*", and what it does not cover */
	struct text glob_next, name_next;

	if (begins_with(&name, '.') && !begins_with(&glob, '.'))
		return false;
	while (name.at < name.end) {
		if (++*steps > GLOBS_MAX_STEPS)
			return false;
		glob_next = glob;
		name_next = name;
		if (begins_with(&glob, '*')) {
			glob.at++;
			star = glob;
			resume = name;
		} else if (glob.at < glob.end && match_one(&glob_next, &name_next, steps)) {
			glob = glob_next;
			name = name_next;
		} else if (star.at) {
			take_point(&resume);
			name = resume;
			glob = star;
		} else {
			return false;
		}
	}
	while (begins_with(&glob, '*'))
		glob.at++;
	return glob.at == glob.end;
}

/* --- all of them --------------------------------------------------------------------------- */

static struct text first_part(struct text path)
{
	const char *slash = memchr(path.at, '/', (size_t)(path.end - path.at));

	return (struct text){path.at, slash ? slash : path.end};
}

/* Moves on to what is behind that part. */
static void skip_part(struct text *path, struct text part)
{
	path->at = part.end + (part.end < path->end);
}

static bool is_deep(struct text part)
{
	return part.end - part.at == 2 && memcmp(part.at, "**", 2) == 0;
}

/* As with the characters of one part, "**" being the star. */
static bool match_path(struct text glob, struct text path, size_t *steps)
{
	struct text star = {0}, resume = {0};

	while (path.at < path.end) {
		struct text wanted = first_part(glob), part = first_part(path);

		if (++*steps > GLOBS_MAX_STEPS)
			return false;
		if (is_deep(wanted)) {
			skip_part(&glob, wanted);
			star = glob;
			resume = path;
		} else if (glob.at < glob.end && match_part(wanted, part, steps)) {
			skip_part(&glob, wanted);
			skip_part(&path, part);
		} else if (star.at && !begins_with(&resume, '.')) {
			skip_part(&resume, first_part(resume));
			path = resume;
			glob = star;
		} else {
			return false;
		}
	}
	while (is_deep(first_part(glob)))
		skip_part(&glob, first_part(glob));
	return glob.at == glob.end;
}

bool globs_match(const char *globs, size_t length, const char *path, size_t path_length)
{
	const struct text whole = {path, path + path_length};
	struct text left, glob;
	size_t steps = 0;

	if (!length) /* there may be no buffer then */
		return false;
	left = (struct text){globs, globs + length};
	while (left.at < left.end && steps <= GLOBS_MAX_STEPS) {
		glob = (struct text){left.at, memchr(left.at, '\0', (size_t)(left.end - left.at))};
		glob.end = glob.end ? glob.end : left.end;
		if (match_path(glob, whole, &steps))
			return true;
		left.at = glob.end + (glob.end < left.end);
	}
	return false;
}
