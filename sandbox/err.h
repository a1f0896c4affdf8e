/* An error as a value: what failed, with which errno, in words. */
#ifndef VIVARIUM_ERR_H
#define VIVARIUM_ERR_H

struct err {
	int code; /* positive errno */
	char text[240]; /* one line for people, NUL-terminated */
};

/*
 * Fills *err (NULL is allowed) with code, a positive errno, and a text made like printf's, to
 * which ": strerror(code)" is appended. An err is written on failure only.
 * Returns -code, so that a function can end with "return err_set(...)".
 */
int err_set(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
