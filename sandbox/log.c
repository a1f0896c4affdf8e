#include "sandbox/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void log_line(const char *role, const char *format, ...)
{
	char line[1024];
	va_list arguments;
	size_t used;
	ssize_t n;

	snprintf(line, sizeof(line), "vivarium %s: ", role);
	used = strlen(line);
	va_start(arguments, format);
	vsnprintf(line + used, sizeof(line) - used - 1, format, arguments);
	va_end(arguments);
	used = strlen(line);
	line[used++] = '\n';
	n = write(STDERR_FILENO, line, used);
	(void)n; /* there is nobody left to tell */
}
