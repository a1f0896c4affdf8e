/* The fields of a request, between the files that parse them. */
#ifndef VIVARIUM_REQUEST_FIELDS_H
#define VIVARIUM_REQUEST_FIELDS_H

#include "fcgi-app/request.h"
#include "sandbox/frame.h"
#include "sandbox/json_scan.h"

struct value {
	const char *text; /* JSON, exact span */
	size_t length;
	enum json_scan_type type;
};

struct parsing {
	const struct request_rules *rules;
	uint64_t hash_seed; /* secret, for scans of what is in the body */
	struct request *request;
	struct request_refusal *refusal;
	bool has_script;
	const char *arguments_field; /* args or kwargs, if there is something in one; else NULL */
	struct value arguments; /* of that field */
	size_t input_bytes; /* of stdin and decoded files, also of those over the limit */
	size_t file_count;
	struct buffer paths; /* of the files, each with a NUL behind it */
	int error; /* first failure */
};

/* Refuses with the field's name, what is allowed, and what came (NULL: nothing). */
void request_refuse(struct parsing *parsing, const char *field, const struct value *value,
	const char *error, const char *allowed);

/* Refuses what is over a limit of bytes; value as above. */
void request_refuse_size(struct parsing *parsing, const char *field, const struct value *value,
	const char *error, const char *allowed, size_t limit, size_t used);

/* Refuses a body that json_scan has refused with *result. */
void request_refuse_text(struct parsing *parsing, const char *body, size_t length,
	const struct json_scan_result *result);

/* Refuses a body that is strict JSON, by *result, and no object. */
void request_refuse_shape(struct parsing *parsing, const char *body, size_t length,
	const struct json_scan_result *result);

/* Notes a name for "unknown field" among the warnings. */
void request_note_unknown(struct parsing *parsing, const struct buffer *name);

/* Each takes the value of the field of its name, or sets parsing->error. */
void request_take_args(struct parsing *parsing, const struct value *value);
void request_take_kwargs(struct parsing *parsing, const struct value *value);
void request_take_argv(struct parsing *parsing, const struct value *value);
void request_take_env(struct parsing *parsing, const struct value *value);
void request_take_stdin(struct parsing *parsing, const struct value *value);
void request_take_files(struct parsing *parsing, const struct value *value);
void request_take_outputs(struct parsing *parsing, const struct value *value);
void request_take_encode(struct parsing *parsing, const struct value *value);
void request_take_visualizations(struct parsing *parsing, const struct value *value);

/*
 * Counts content towards the limit of stdin and files, and appends it to the job in frames of the
 * given type while it is within.
 */
void request_add_content(
	struct parsing *parsing, enum frame_type type, const char *data, size_t length);

#endif
