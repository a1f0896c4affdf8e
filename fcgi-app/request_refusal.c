/* How a request is refused: what was wrong, in which field, what is allowed, and what was got. */
#include "fcgi-app/request_fields.h"

#include "fcgi-app/json_fault.h"
#include "fcgi-app/json_in.h"
#include "fcgi-app/json_out.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void request_refusal_quote(struct request_refusal *refusal, const char *text, size_t length)
{
	snprintf(refusal->got, sizeof(refusal->got), "%.*s%s",
		json_out_clip(text, length, CLIP_BYTES), text, length > CLIP_BYTES ? "..." : "");
}

void request_refuse(struct parsing *parsing, const char *field, const struct value *value,
	const char *error, const char *allowed)
{
	struct request_refusal *refusal = parsing->refusal;

	parsing->error = -EINVAL;
	snprintf(refusal->field, sizeof(refusal->field), "%s", field);
	snprintf(refusal->error, sizeof(refusal->error), "%s", error);
	snprintf(refusal->allowed, sizeof(refusal->allowed), "%s", allowed);
	if (value)
		request_refusal_quote(refusal, value->text, value->length);
	else
		snprintf(refusal->got, sizeof(refusal->got), "nothing");
}

void request_refuse_size(struct parsing *parsing, const char *field, const struct value *value,
	const char *error, const char *allowed, size_t limit, size_t used)
{
	struct request_refusal *refusal = parsing->refusal;

	request_refuse(parsing, field, value, error, allowed);
	refusal->unit = "bytes";
	refusal->limit = (double)limit;
	refusal->used = (double)used;
}

/* The member of the body that the error is in, by its own name; "body" where it is in none. */
static int name_member(struct parsing *parsing, const struct json_scan_result *result)
{
	struct request_refusal *refusal = parsing->refusal;
	struct buffer name = {0};
	int r = 0;

	if (result->member)
		r = json_in_string(result->member - 1, result->member_bytes + 2, &name);
	if (!r && name.length)
		snprintf(refusal->field, sizeof(refusal->field), "%.*s",
			json_out_clip(name.data, name.length, sizeof(refusal->field) - 1),
			name.data);
	buffer_free(&name);
	return r;
}

void request_refuse_text(struct parsing *parsing, const char *body, size_t length,
	const struct json_scan_result *result)
{
	static const char allowed[] = "one JSON object (RFC 8259), UTF-8, no duplicate keys, depth "
				      "at most 64";
	struct json_fault fault;
	char error[sizeof(fault.text) + 32];

	if (result->error == JSON_SCAN_EMPTY) {
		request_refuse(parsing, "body", NULL,
			"body is empty: it must be a JSON object with a script", allowed);
		return;
	}
	json_fault_describe(body, length, result, &fault);
	snprintf(error, sizeof(error), "body is not strict JSON: %s", fault.text);
	request_refuse(parsing, "body", NULL, error, allowed);
	snprintf(parsing->refusal->got, sizeof(parsing->refusal->got), "%s", fault.got);
	if (name_member(parsing, result) < 0)
		parsing->error = -ENOMEM;
}

/* Strict JSON, and yet no object: without the white space and the mark around it. */
void request_refuse_shape(struct parsing *parsing, const char *body, size_t length,
	const struct json_scan_result *result)
{
	static const char blanks[] = {' ', '\t', '\r', '\n'};
	struct value value = {.text = body + result->body_offset,
		.length = length - result->body_offset,
		.type = result->type};

	while (memchr(blanks, value.text[value.length - 1], sizeof(blanks)))
		value.length--;
	for (; memchr(blanks, *value.text, sizeof(blanks)); value.length--)
		value.text++;
	request_refuse(parsing, "body", &value, "body must be a JSON object", "an object");
}
