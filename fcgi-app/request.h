/* The body of POST /execute: from hostile bytes to a job, or to a refusal that says why. */
#ifndef VIVARIUM_REQUEST_H
#define VIVARIUM_REQUEST_H

#include "fcgi-app/request_rules.h"
#include "sandbox/buffer.h"
#include "sandbox/job.h"

#include <stdbool.h>

enum {
	BODY_MAX_BYTES = 20 << 20,
	BODY_MAX_DEPTH = 64,
	SCRIPT_MAX_BYTES = 1 << 20,
	ENTRY_MAX_BYTES = 255,
	UNKNOWN_FIELDS_MAX = 10, /* named in warnings */
	CLIP_BYTES = 80, /* of what a client sent, when it is quoted */
	INPUT_PATH_MAX_BYTES = 255, /* of an input file, and of a glob for output files */
	OUTPUTS_MAX = 100, /* globs */
	REQUEST_NO_FIELD = 32, /* there are never so many */
};

struct request {
	struct job_limits limits;
	struct buffer script; /* UTF-8 */
	struct buffer entry;
	bool has_entry; /* false: run as __main__ */
	struct buffer parts; /* arguments, input and the like, as the frames that carry them */
	struct buffer globs; /* of output files, each with a NUL behind it; see globs.h */
	size_t unknown_fields; /* at most UNKNOWN_FIELDS_MAX */
	char unknown_field[UNKNOWN_FIELDS_MAX][CLIP_BYTES];
};

/* Why a request was refused; goes into "error" and "cause". Each text may be "": not said. */
struct request_refusal {
	char error[256];
	char field[CLIP_BYTES]; /* "body": the body as a whole */
	char allowed[160];
	char got[CLIP_BYTES + 8];
	const char *unit; /* where a limit struck: of limit and used; else NULL */
	double limit, used;
};

/*
 * Parses length bytes of body. Returns 0 and fills *request, whose buffers are the caller's to
 * free; -EINVAL and fills *refusal; -ENOMEM.
 */
int request_parse(const char *body, size_t length, const struct request_rules *rules,
	uint64_t hash_seed, struct request *request, struct request_refusal *refusal);

/*
 * The same for the arguments of a tool of language models, which have the same fields: without an
 * entry among them the script's main() is it if the script defines one, and rich is the encoding.
 */
int request_parse_call(const char *arguments, size_t length, const struct request_rules *rules,
	uint64_t hash_seed, struct request *request, struct request_refusal *refusal);

/* Quotes length bytes of UTF-8 that a client sent as what was got: up to CLIP_BYTES of them. */
void request_refusal_quote(struct request_refusal *refusal, const char *text, size_t length);

/* The number of the field of that name, or REQUEST_NO_FIELD. */
size_t request_field_find(const char *name, size_t length);

/* The name of a field by its number; NULL behind the last. */
const char *request_field_name(size_t field);

/* Readies a used request for the next; keeps small buffers. */
void request_reset(struct request *request);
void request_free(struct request *request);

#endif
