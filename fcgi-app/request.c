#include "fcgi-app/request_fields.h"

#include "fcgi-app/blank.h"
#include "fcgi-app/json_in.h"
#include "fcgi-app/json_out.h"
#include "sandbox/json_scan.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEEP_BYTES = 64 * 1024,
};

static void take_script(struct parsing *parsing, const struct value *value)
{
	struct buffer *script = &parsing->request->script;
	static const char error[] = "script must be a non-empty string";
	static const char allowed[] = "a string of 1 to 1048576 bytes of UTF-8, not blank";

	if (value->type != JSON_SCAN_STRING) {
		request_refuse(parsing, "script", value, error, allowed);
		return;
	}
	parsing->error = json_in_string(value->text, value->length, script);
	if (parsing->error)
		return;
	parsing->has_script = true;
	if (blank_is_all(script->data ? script->data : "", script->length))
		request_refuse(parsing, "script", value, error, allowed);
	else if (script->length > SCRIPT_MAX_BYTES)
		request_refuse_size(parsing, "script", value,
			"script must be at most 1048576 bytes of UTF-8", allowed, SCRIPT_MAX_BYTES,
			script->length);
}

static void take_entry(struct parsing *parsing, const struct value *value)
{
	struct buffer *entry = &parsing->request->entry;
	static const char error[] = "entry must be the name of a function, or null";
	static const char allowed[] = "a string of 1 to 255 bytes, or null";
	size_t i;

	parsing->request->limits.flags &= ~(uint32_t)JOB_ENTRY_IF_DEFINED;
	if (value->type == JSON_SCAN_NULL) {
		parsing->request->has_entry = false;
		return;
	}
	if (value->type != JSON_SCAN_STRING) {
		request_refuse(parsing, "entry", value, error, allowed);
		return;
	}
	buffer_reset(entry, KEEP_BYTES);
	parsing->error = json_in_string(value->text, value->length, entry);
	if (parsing->error)
		return;
	if (!entry->length || entry->length > ENTRY_MAX_BYTES)
		request_refuse(parsing, "entry", value, error, allowed);
	for (i = 0; i < entry->length && !parsing->error; i++) {
		if ((unsigned char)entry->data[i] < 0x20 || entry->data[i] == 0x7f)
			request_refuse(parsing, "entry", value, error, allowed);
	}
}

/* A number exactly as it stands in the text; json-c would bend large ones. */
static bool read_number(const struct value *value, double *number)
{
	char text[64];

	if (value->type != JSON_SCAN_NUMERIC || value->length >= sizeof(text))
		return false;
	memcpy(text, value->text, value->length);
	text[value->length] = '\0';
	*number = strtod(text, NULL);
	return isfinite(*number);
}

static void take_timeout(struct parsing *parsing, const struct value *value)
{
	double most = (double)parsing->rules->max_timeout_ms / 1000, seconds = 0;
	char error[128], allowed[64];

	if (value->type == JSON_SCAN_NULL)
		return;
	if (!read_number(value, &seconds) || seconds < 0.01 || seconds > most) {
		snprintf(allowed, sizeof(allowed), "a number from 0.01 to %.10g", most);
		snprintf(error, sizeof(error), "timeout must be a number of seconds from 0.01 to %.10g",
			most);
		request_refuse(parsing, "timeout", value, error, allowed);
		return;
	}
	parsing->request->limits.timeout_ms = (uint32_t)llround(seconds * 1000);
}

static void take_memory(struct parsing *parsing, const struct value *value)
{
	double most = (double)parsing->rules->max_memory_mib, mib = 0;
	char error[128], allowed[64];

	if (value->type == JSON_SCAN_NULL)
		return;
	if (!read_number(value, &mib) || mib != floor(mib) || mib < 16 || mib > most) {
		snprintf(allowed, sizeof(allowed), "an integer from 16 to %.10g", most);
		snprintf(error, sizeof(error), "memory must be an integer of MiB from 16 to %.10g",
			most);
		request_refuse(parsing, "memory", value, error, allowed);
		return;
	}
	parsing->request->limits.memory_mib = (uint32_t)mib;
}

static const struct field {
	const char *name;
	void (*take)(struct parsing *, const struct value *);
} fields[] = {
	{"script", take_script},
	{"entry", take_entry},
	{"timeout", take_timeout},
	{"memory", take_memory},
	{"args", request_take_args},
	{"kwargs", request_take_kwargs},
	{"argv", request_take_argv},
	{"env", request_take_env},
	{"stdin", request_take_stdin},
	{"files", request_take_files},
	{"outputs", request_take_outputs},
	{"encode", request_take_encode},
	{"visualizations", request_take_visualizations},
};

enum {
	FIELDS = sizeof(fields) / sizeof(fields[0]),
};

size_t request_field_find(const char *name, size_t length)
{
	size_t i;

	for (i = 0; i < FIELDS; i++) {
		if (length == strlen(fields[i].name) && memcmp(name, fields[i].name, length) == 0)
			return i;
	}
	return REQUEST_NO_FIELD;
}

const char *request_field_name(size_t field)
{
	return field < FIELDS ? fields[field].name : NULL;
}

/* What came is the name: the value may be a secret. */
static void refuse_field(struct parsing *parsing, const struct field *field, const struct value *name)
{
	char error[128], allowed[160];

	snprintf(error, sizeof(error), "%s is a field that clients may not set here", field->name);
	request_rules_print(parsing->rules, allowed, sizeof(allowed));
	request_refuse(parsing, field->name, name, error, allowed);
}

/* null is as if the field were not there; of the entry it is a value. */
static void take_field(struct parsing *parsing, const struct field *field,
	const struct value *name, const struct value *value)
{
	if (request_rules_has(parsing->rules, (size_t)(field - fields)))
		field->take(parsing, value);
	else if (value->type != JSON_SCAN_NULL || field->take == take_entry)
		refuse_field(parsing, field, name);
}

void request_note_unknown(struct parsing *parsing, const struct buffer *name)
{
	struct request *request = parsing->request;
	const char *text = name->data ? name->data : "";

	if (request->unknown_fields == UNKNOWN_FIELDS_MAX)
		return;
	snprintf(request->unknown_field[request->unknown_fields++], CLIP_BYTES, "%.*s",
		json_out_clip(text, name->length, CLIP_BYTES - 1), text);
}

/* The name is decoded first: "s\u0063ript" is script. It stands between its quotes in the text. */
static void take_member(void *context, const char *key, size_t key_bytes, const char *text,
	size_t text_bytes, enum json_scan_type type)
{
	struct parsing *parsing = context;
	const struct value value = {.text = text, .length = text_bytes, .type = type};
	const struct value quoted = {
		.text = key - 1, .length = key_bytes + 2, .type = JSON_SCAN_STRING};
	struct buffer name = {0};
	size_t field;

	if (parsing->error)
		return;
	parsing->error = json_in_string(quoted.text, quoted.length, &name);
	if (!parsing->error) {
		field = request_field_find(name.data ? name.data : "", name.length);
		if (field == REQUEST_NO_FIELD)
			request_note_unknown(parsing, &name);
		else
			take_field(parsing, &fields[field], &quoted, &value);
	}
	buffer_free(&name);
}

/* What no field can tell alone. */
static void check_together(struct parsing *parsing)
{
	struct request *request = parsing->request;
	char error[128];

	if (parsing->arguments_field) /* they are for an entry: it has to be there */
		request->limits.flags &= ~(uint32_t)JOB_ENTRY_IF_DEFINED;
	if (!request->has_entry && parsing->arguments_field) {
		request_refuse(parsing, parsing->arguments_field, &parsing->arguments,
			"args and kwargs are for the entry, and entry is null",
			"nothing where entry is null");
		return;
	}
	if (parsing->input_bytes <= FILES_MAX_BYTES)
		return;
	snprintf(error, sizeof(error),
		"stdin and files are %zu bytes together, over the limit of %d",
		parsing->input_bytes, FILES_MAX_BYTES);
	request_refuse_size(parsing, parsing->file_count ? "files" : "stdin", NULL, error,
		"8388608 bytes of stdin and decoded files together", FILES_MAX_BYTES,
		parsing->input_bytes);
	snprintf(parsing->refusal->got, sizeof(parsing->refusal->got), "%zu bytes",
		parsing->input_bytes);
}

static void set_defaults(
	struct request *request, const struct request_rules *rules, uint32_t flags)
{
	request->limits = (struct job_limits){.timeout_ms = rules->default_timeout_ms,
		.memory_mib = rules->default_memory_mib,
		.flags = flags};
	request->has_entry = true;
}

static int parse(const char *body, size_t length, const struct request_rules *rules,
	uint64_t hash_seed, uint32_t flags, struct request *request, struct request_refusal *refusal)
{
	const struct json_scan_options options = {.max_bytes = BODY_MAX_BYTES,
		.max_depth = BODY_MAX_DEPTH,
		.skip_bom = true,
		.hash_seed = hash_seed};
	struct parsing parsing = {.rules = rules,
		.hash_seed = hash_seed,
		.request = request,
		.refusal = refusal};
	struct json_scan_result result;
	int r;

	*refusal = (struct request_refusal){0};
	set_defaults(request, rules, flags);
	parsing.error = buffer_append(&request->entry, "main", 4);
	r = json_scan(body, length, &options, take_member, &parsing, &result);
	if (r == -EINVAL)
		request_refuse_text(&parsing, body, length, &result);
	else if (r < 0)
		parsing.error = r;
	else if (!parsing.error && result.type != JSON_SCAN_OBJECT)
		request_refuse_shape(&parsing, body, length, &result);
	if (!parsing.error && !parsing.has_script)
		request_refuse(&parsing, "script", NULL, "script must be a non-empty string",
			"a string of 1 to 1048576 bytes of UTF-8, not blank");
	if (!parsing.error)
		check_together(&parsing);
	buffer_free(&parsing.paths);
	/* twice the time on every processor's account, and one second for rounding */
	request->limits.cpu_s = (request->limits.timeout_ms * 2 + 999) / 1000 + 1;
	return parsing.error;
}

int request_parse(const char *body, size_t length, const struct request_rules *rules,
	uint64_t hash_seed, struct request *request, struct request_refusal *refusal)
{
	return parse(body, length, rules, hash_seed, JOB_FIGURES, request, refusal);
}

int request_parse_call(const char *arguments, size_t length, const struct request_rules *rules,
	uint64_t hash_seed, struct request *request, struct request_refusal *refusal)
{
	return parse(arguments, length, rules, hash_seed,
		JOB_FIGURES | JOB_RICH | JOB_ENTRY_IF_DEFINED, request, refusal);
}

void request_reset(struct request *request)
{
	struct buffer script = request->script, entry = request->entry, parts = request->parts,
		      globs = request->globs;

	buffer_reset(&script, KEEP_BYTES);
	buffer_reset(&entry, KEEP_BYTES);
	buffer_reset(&parts, KEEP_BYTES);
	buffer_reset(&globs, KEEP_BYTES);
	*request = (struct request){
		.script = script, .entry = entry, .parts = parts, .globs = globs};
}

void request_free(struct request *request)
{
	buffer_free(&request->script);
	buffer_free(&request->entry);
	buffer_free(&request->parts);
	buffer_free(&request->globs);
}
