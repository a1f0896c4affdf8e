#include "sandbox/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_fill(struct err *err, int code, const char *format, ...)
{
	const char *known;
	va_list arguments;
	size_t used;

	if (code <= 0)
		code = EIO;
	if (!err)
		return -code;
	known = strerrordesc_np(code);
	err->code = code;
	va_start(arguments, format);
	vsnprintf(err->text, sizeof(err->text), format, arguments);
	va_end(arguments);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof(err->text) - used, ": %s",
		known ? known : "unknown error");
	return -code;
}
