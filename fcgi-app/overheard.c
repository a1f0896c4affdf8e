#include "fcgi-app/overheard.h"

#include "sandbox/log.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int overheard_open(struct overheard *overheard, struct err *err)
{
	int ends[2];

	*overheard = (struct overheard){.reader = -1, .writer = -1};
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_set(err, errno, "make a pipe");
	overheard->reader = ends[0];
	overheard->writer = ends[1];
	return 0;
}

static void say(const char *role, const char *line, size_t length)
{
	if (length)
		log_warning(role, "%.*s", (int)length, line);
}

/* Says what is whole, and keeps the rest. */
static void say_lines(struct overheard *overheard, const char *role)
{
	char *start = overheard->line, *end = start + overheard->used, *stop;

	while ((stop = memchr(start, '\n', (size_t)(end - start)))) {
		say(role, start, (size_t)(stop - start));
		start = stop + 1;
	}
	overheard->used = (size_t)(end - start);
	memmove(overheard->line, start, overheard->used);
	if (overheard->used < sizeof(overheard->line))
		return;
	say(role, overheard->line, overheard->used);
	overheard->used = 0;
}

void overheard_handle(struct overheard *overheard, const char *role)
{
	ssize_t n;

	while ((n = read(overheard->reader, overheard->line + overheard->used,
			sizeof(overheard->line) - overheard->used)) > 0) {
		overheard->used += (size_t)n;
		say_lines(overheard, role);
	}
}
