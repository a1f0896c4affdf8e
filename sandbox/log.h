/* One line for people on standard error, with the role that speaks. */
#ifndef VIVARIUM_LOG_H
#define VIVARIUM_LOG_H

/*
 * Writes "vivarium ROLE: text\n" in one write(2), so that lines of several processes stay whole.
 * Only the main code of a process logs; whatever it calls returns errors.
 */
void log_line(const char *role, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
