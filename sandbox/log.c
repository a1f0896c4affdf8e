#include "sandbox/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	TEXT_BYTES = 1024,
};

static void write_plain(enum log_level level, const char *role, const char *text)
{
	char line[TEXT_BYTES + 64];
	size_t used;
	ssize_t n;

	(void)level;
	snprintf(line, sizeof(line) - 1, "vivarium %s: %s", role, text);
	log_clean(line);
	used = strlen(line);
	line[used++] = '\n';
	n = write(STDERR_FILENO, line, used);
	(void)n; /* there is nobody left to tell */
}

/* Set before there are threads, and inherited by whatever is forked. */
static enum log_level taken = LOG_LEVEL_INFO;
static void (*taker)(enum log_level, const char *, const char *) = write_plain;

void log_direct(enum log_level most,
	void (*take)(enum log_level level, const char *role, const char *text))
{
	taken = most;
	taker = take;
}

bool log_takes(enum log_level level)
{
	return level <= taken;
}

void log_line(enum log_level level, const char *role, const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list arguments;

	if (!log_takes(level))
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	taker(level, role, text);
}

void log_clean(char *text)
{
	for (; *text; text++) {
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
	}
}
