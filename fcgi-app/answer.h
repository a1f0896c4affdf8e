/* Answers as API.md has them: the JSON body and the header lines that go with it. */
#ifndef VIVARIUM_ANSWER_H
#define VIVARIUM_ANSWER_H

#include "fcgi-app/http_status.h"
#include "fcgi-app/request.h"
#include "sandbox/buffer.h"
#include "sandbox/job.h"

enum {
	ANSWER_WARNING_BYTES = WARNING_MAX_BYTES + 32, /* with a NUL */
};

/* What a worker sent about one execution; texts point into the frames' reader or a copy. */
struct answer_text {
	const char *data;
	size_t length;
};

struct answer_file {
	struct answer_text path, content;
};

struct answer_figure {
	struct answer_text header; /* struct figure_header */
	struct answer_text content; /* PNG */
};

struct answer_run {
	struct verdict verdict;
	struct answer_text output, error, result, error_type, error_text, traceback;
	struct answer_file files[FILES_MAX];
	struct answer_figure figures[FIGURES_MAX];
	struct answer_text warnings[2 * WARNINGS_MAX]; /* about figures, and about files */
	size_t file_count, figure_count, warning_count;
	bool live_is_cut; /* live output was dropped, for its reader was slow */
	uint64_t queue_us;
	const struct request *request;
	const char *request_id;
};

/* The body for a verdict, appended to *body. Returns the HTTP status, or a negative errno. */
int answer_run(const struct answer_run *run, struct buffer *body);

/*
 * The body for a request that was refused before a run. refusal may be NULL when there is no more
 * to say than error. Returns the HTTP status, or a negative errno.
 */
int answer_refusal(enum refusal kind, const char *error, const struct request_refusal *refusal,
	const char *request_id, struct buffer *body);

/*
 * The line for people of a verdict other than OK: in text (size bytes) or in the run's own words.
 */
struct answer_text answer_error_line(const struct answer_run *run, char *text, size_t size);

/*
 * The warning of that number, from 0, as one line in text. Returns whether there is one: those of
 * the request first, then the execution's, then the service's own.
 */
bool answer_warning(const struct answer_run *run, size_t index, char text[ANSWER_WARNING_BYTES]);

/* The Server-Timing line's value for a verdict. */
void answer_server_timing(const struct answer_run *run, char *text, size_t size);

/* Now, as "2026-11-20T12:00:00+00:00". */
void answer_timestamp(char text[32]);

/* Exit status of `vivarium run` for a verdict: 0 for a value, 1 for any failure of the script,
 * 124 out of time, 125 internal. */
int answer_exit_code(const struct verdict *verdict);

#endif
