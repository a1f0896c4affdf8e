/* What the processes of Vivarium say about themselves: a line, its weight, and the role that speaks. */
#ifndef VIVARIUM_LOG_H
#define VIVARIUM_LOG_H

#include <stdbool.h>

/* The configuration's words for them, in this order. */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/*
 * Says one line, formatted like printf's. Until somebody else takes them, lines go to standard
 * error as "vivarium ROLE: text\n", in one write(2), so that those of several processes stay whole.
 * Only the main code of a process logs; whatever it calls returns errors.
 */
void log_line(enum log_level level, const char *role, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * From now on, also in processes forked from this one: lines graver than `most`, or as grave, go to
 * `take`; others nowhere. text is NUL-terminated and may hold any byte.
 */
void log_direct(enum log_level most,
	void (*take)(enum log_level level, const char *role, const char *text));

/* Whether a line of this level goes anywhere. */
bool log_takes(enum log_level level);

/* Leaves nothing in text that could end a line or steer a terminal: a "?" for all but printable ASCII. */
void log_clean(char *text);

#endif
