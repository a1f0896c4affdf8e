/*
 * The service's log: each line JSON, or text for people, on standard error, whether that is a
 * terminal, a file, a pipe or the journal. No line ever waits: what cannot be written at once, on a
 * full disk or to a reader that sleeps or is gone, is dropped and counted, and the count is told as
 * soon as a line goes through again.
 */
#ifndef VIVARIUM_LOG_OUTPUT_H
#define VIVARIUM_LOG_OUTPUT_H

#include "fcgi-app/config.h"
#include "fcgi-app/json_out.h"
#include "sandbox/log.h"

enum {
	LOG_LINE_BYTES = 4096, /* with the line break: what a pipe takes whole or not at all */
};

/*
 * Takes what log_line says, in this process and in those forked from it, as config has it. Where
 * standard error is a file, a pipe or a terminal it is opened anew, so that appending and not
 * waiting are ours alone and not those of others who write there. Before there are threads.
 */
void log_output_begin(const struct config *config);

/* A line that is being written. */
struct log_output_line {
	enum log_level level;
	bool is_json;
	struct json_out json; /* over `buffer` */
	struct buffer buffer; /* over `text`; never freed */
	char text[LOG_LINE_BYTES];
};

/*
 * Begins a line. As JSON it is an object whose time, level and role are there already; as text it
 * has the time. The caller adds members to line->json, or text to line->buffer.
 */
void log_output_open(struct log_output_line *line, enum log_level level, const char *role);

/* Ends the line and writes it, in one write(2). One that has grown too long is dropped, and counted. */
void log_output_close(struct log_output_line *line);

/* A member with as much of the text as fits into most_bytes, its escapes included. */
void log_output_clip(struct log_output_line *line, const char *key, const char *text, size_t length,
	size_t most_bytes);

/* Lines that this process has dropped. */
uint64_t log_output_dropped(void);

/* In a process that was just forked: what its parent has dropped is for that one to tell. */
void log_output_forget_dropped(void);

#endif
