/* An error as a value: what failed, with which errno, in words. */
#ifndef VIVARIUM_ERR_H
#define VIVARIUM_ERR_H

#include <errno.h>

struct err {
	int code; /* positive errno */
	char text[240]; /* one line for people, NUL-terminated */
};

/*
 * Fills *err (NULL is allowed) with code, a positive errno, and a text made like printf's, to
 * which ": strerror(code)" is appended. An err is written on failure only. A code of 0, as errno
 * is after a short write, counts as EIO: a failure is never taken for success.
 * Returns -code, so that a function can end with "return err_set(...)".
 */
int err_fill(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* err_fill, with a result of which compilers and analysers see that it is negative. */
#define err_set(...) err_negative(err_fill(__VA_ARGS__))

/* The same for a sentence that says it all: code is told by its number alone, not in words. */
int err_fill_plainly(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define err_set_plainly(...) err_negative(err_fill_plainly(__VA_ARGS__))

static inline int err_negative(int r)
{
	return r < 0 ? r : -EIO;
}

#endif
