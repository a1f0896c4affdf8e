/* What a request came to: kept while it is handled, then a line of the log. */
#ifndef VIVARIUM_RECORD_H
#define VIVARIUM_RECORD_H

#include "fcgi-app/answer.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	RECORD_SCRIPT_BYTES = 1400, /* of a script in a line of the log, with its escapes */
	RECORD_STREAM_BYTES = 400, /* of each stream, likewise */
};

/*
 * The kinds of all answers, numbered: those of verdicts, those of refusals, and what only the log
 * and the metrics know.
 */
enum {
	RECORD_REFUSALS = VERDICT_COUNT,
	RECORD_CANCELLED = RECORD_REFUSALS + REFUSAL_COUNT, /* the client hung up: there is no answer */
	RECORD_UNHEALTHY, /* GET /health says so */
	RECORD_KINDS
};

/* "ok", "exception", "invalid_request", "cancelled", ...; no two kinds that occur share a word. */
const char *record_kind_word(unsigned kind);

/* The kind of a refusal; "internal" is the same with and without a run. */
unsigned record_kind_of_refusal(enum refusal refusal);

struct record {
	uint64_t begun_us, total_us; /* CLOCK_MONOTONIC; until the answer is on its way */
	size_t route; /* index in the dispatcher's table, or its length */
	int status; /* 0: not yet answered */
	unsigned kind;
	bool executes; /* it asked for a script to be run */
	bool waited; /* it came as far as the queue: queue_us is there */
	bool started; /* a cell was given the job */
	bool ran; /* the verdict is there */
	bool streamed; /* the answer was the end of a stream */
	uint64_t queue_us;
	struct verdict verdict;
	uint64_t request_bytes, answer_bytes; /* of the bodies */
	/* copies, for what they are made from goes with the answer */
	char request_id[65], client[48], method[16], path[128], key[65];
	char detail[80]; /* what went wrong inside, or "" */
	uint16_t script_length, output_length, error_length; /* of texts: 0 unless they are logged */
	char texts[RECORD_SCRIPT_BYTES + 2 * RECORD_STREAM_BYTES]; /* script, stdout, stderr */
};

/* Begins the account of a request: all that there is of it are these; NUL-terminated, cut to fit. */
void record_begin(struct record *record, const char *request_id, const char *client,
	const char *method, const char *path);

/* Takes over a run's verdict and times; with_texts: as much of its texts as a line has room for, too. */
void record_take_run(struct record *record, const struct answer_run *run, bool with_texts);

/* The answer is on its way, or, without a status, there will be none. */
void record_end(struct record *record);

/*
 * Writes the line. requests: also where there is nothing to complain of, that is, for all that is
 * neither the service's own fault (an error) nor for want of room (a warning).
 */
void record_write(const struct record *record, bool requests);

#endif
