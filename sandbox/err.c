#include "sandbox/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static int fill(
	struct err *err, int code, const char *format, va_list arguments)
{
	if (code <= 0)
		code = EIO;
	if (err) {
		err->code = code;
		vsnprintf(err->text, sizeof(err->text), format, arguments);
	}
	return -code;
}

int err_fill(struct err *err, int code, const char *format, ...)
{
	const char *known;
	va_list arguments;
	size_t used;
	int r;

	va_start(arguments, format);
	r = fill(err, code, format, arguments);
	va_end(arguments);
	if (!err)
		return r;
	known = strerrordesc_np(-r);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof(err->text) - used, ": %s",
		known ? known : "unknown error");
	return r;
}

int err_fill_plainly(struct err *err, int code, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = fill(err, code, format, arguments);
	va_end(arguments);
	return r;
}
