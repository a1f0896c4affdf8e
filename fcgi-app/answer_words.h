/* Between the files that write answers: how words and numbers in them look. */
#ifndef VIVARIUM_ANSWER_WORDS_H
#define VIVARIUM_ANSWER_WORDS_H

#include "fcgi-app/answer.h"

static const double ANSWER_WORDS_MIB = 1024 * 1024;

static inline double answer_words_ms(uint64_t us)
{
	return (double)us / 1000;
}

/* "SIGSEGV", in text or static. */
const char *answer_words_signal(int number, char text[32]);

/*
 * Words of an execution as one line of up to size bytes, without a NUL behind it: control
 * characters become blanks. The harness makes one line of them, but it may not be the harness that
 * speaks. Returns the length.
 */
size_t answer_words_flatten(char *line, size_t size, struct answer_text text);

#endif
