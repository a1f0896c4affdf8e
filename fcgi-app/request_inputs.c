/*
 * Fields that become parts of a job. Where Python reads them itself (args, kwargs, argv, env) they
 * go as the client's own text, which the scanner has found strict: nothing is lost between two
 * readers of JSON, and no list is longer than its text.
 */
#include "fcgi-app/request_fields.h"

#include "fcgi-app/json_in.h"
#include "sandbox/json_walk.h"
#include "sandbox/paths.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Whether an element or member is allowed. */
typedef bool element_check(const struct json_walk_item *item);

struct checking {
	struct parsing *parsing;
	const char *field, *allowed;
	element_check *check_name; /* of an object's members; NULL: any */
	element_check *check;
	size_t count, most;
};

/* "argv must be an array of strings" */
static void refuse(struct checking *checking, const struct value *value)
{
	char error[192];

	snprintf(error, sizeof(error), "%s must be %s", checking->field, checking->allowed);
	request_refuse(checking->parsing, checking->field, value, error, checking->allowed);
}

/* Where a member's name is at fault the name is what is told, not its value, which may be a secret. */
static bool check_element(void *context, const struct json_walk_item *item)
{
	struct checking *checking = context;
	const struct value value = {
		.text = item->value, .length = item->value_length, .type = item->type};
	const struct value name = {
		.text = item->key, .length = item->key_length, .type = JSON_SCAN_STRING};

	checking->count++;
	if (checking->check_name && !checking->check_name(item))
		refuse(checking, &name);
	else if (!checking->check(item))
		refuse(checking, &value);
	return !checking->parsing->error && (!checking->most || checking->count <= checking->most);
}

static bool is_anything(const struct json_walk_item *item)
{
	(void)item;
	return true;
}

/* Returns whether there is something in an array or object, all of which passes. */
static bool check_elements(
	struct checking *checking, const struct value *value, enum json_scan_type type)
{
	struct parsing *parsing = checking->parsing;

	if (value->type == JSON_SCAN_NULL)
		return false;
	if (value->type != type) {
		refuse(checking, value);
		return false;
	}
	json_walk(value->text, value->length, check_element, checking);
	if (!parsing->error && checking->most && checking->count > checking->most)
		refuse(checking, value);
	return !parsing->error && checking->count;
}

/* It goes on as it stands. */
static void take_text(struct checking *checking, const struct value *value,
	enum json_scan_type type, enum frame_type frame)
{
	struct parsing *parsing = checking->parsing;

	if (check_elements(checking, value, type))
		parsing->error =
			frame_append(&parsing->request->parts, frame, value->text, value->length);
}

/* --- args and kwargs ----------------------------------------------------------------------- */

/* Python reads no integer that has more digits (sys.get_int_max_str_digits). */
static bool has_long_number(const struct parsing *parsing, const struct value *value)
{
	const struct json_scan_options options = {.max_bytes = BODY_MAX_BYTES,
		.max_depth = BODY_MAX_DEPTH,
		.max_number_digits = RESULT_MAX_DIGITS,
		.hash_seed = parsing->hash_seed};
	struct json_scan_result result;

	return json_scan(value->text, value->length, &options, NULL, NULL, &result) == -EINVAL;
}

static void take_arguments(struct parsing *parsing, const struct value *value, const char *field,
	enum json_scan_type type, enum frame_type frame)
{
	struct checking checking = {.parsing = parsing,
		.field = field,
		.allowed = type == JSON_SCAN_ARRAY ? "an array" : "an object",
		.check = is_anything};
	char error[128];

	take_text(&checking, value, type, frame);
	if (parsing->error || !checking.count)
		return;
	parsing->arguments_field = field;
	parsing->arguments = *value;
	if (has_long_number(parsing, value)) {
		snprintf(error, sizeof(error), "%s must be without integers of over %d digits",
			field, RESULT_MAX_DIGITS);
		request_refuse(parsing, field, value, error, "integers of up to 4300 digits");
	}
}

void request_take_args(struct parsing *parsing, const struct value *value)
{
	take_arguments(parsing, value, "args", JSON_SCAN_ARRAY, FRAME_ARGS);
}

void request_take_kwargs(struct parsing *parsing, const struct value *value)
{
	take_arguments(parsing, value, "kwargs", JSON_SCAN_OBJECT, FRAME_KWARGS);
}

/* --- argv and env -------------------------------------------------------------------------- */

static bool is_string(const struct json_walk_item *item)
{
	return item->type == JSON_SCAN_STRING &&
	       !json_walk_has_nul(item->value, item->value_length);
}

void request_take_argv(struct parsing *parsing, const struct value *value)
{
	struct checking checking = {.parsing = parsing,
		.field = "argv",
		.allowed = "an array of strings without a NUL",
		.check = is_string};

	take_text(&checking, value, JSON_SCAN_ARRAY, FRAME_ARGV);
}

/* [A-Z_][A-Z0-9_]*, and nothing that would tell the loader or the interpreter what to do. */
static bool is_variable_name(const char *name, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++) {
		if (!(name[i] >= 'A' && name[i] <= 'Z') && name[i] != '_' &&
			!(i && name[i] >= '0' && name[i] <= '9'))
			return false;
	}
	return length && !(length >= 3 && memcmp(name, "LD_", 3) == 0) &&
	       !(length >= 6 && memcmp(name, "PYTHON", 6) == 0);
}

static bool is_variable(const struct json_walk_item *item)
{
	struct buffer name = {0};
	int r = json_in_string(item->key, item->key_length, &name);
	bool is_named = !r && is_variable_name(name.data, name.length);

	buffer_free(&name);
	return is_named;
}

void request_take_env(struct parsing *parsing, const struct value *value)
{
	struct checking checking = {.parsing = parsing,
		.field = "env",
		.allowed = "an object of strings without a NUL, names [A-Z_][A-Z0-9_]*, not LD_* "
			   "or PYTHON*",
		.check_name = is_variable,
		.check = is_string};

	take_text(&checking, value, JSON_SCAN_OBJECT, FRAME_ENV);
}

/* --- outputs ------------------------------------------------------------------------------- */

static bool is_glob(const struct json_walk_item *item)
{
	struct buffer glob = {.cap = INPUT_PATH_MAX_BYTES};
	bool fits = item->type == JSON_SCAN_STRING &&
		    json_in_string(item->value, item->value_length, &glob) == 0 &&
		    paths_is_plain(glob.data, glob.length);

	buffer_free(&glob);
	return fits;
}

static bool keep_glob(void *context, const struct json_walk_item *item)
{
	struct parsing *parsing = context;
	struct buffer *globs = &parsing->request->globs;

	parsing->error = json_in_string(item->value, item->value_length, globs);
	if (!parsing->error)
		parsing->error = buffer_append(globs, "", 1);
	return !parsing->error;
}

/* They are kept as well: what comes back is held against them. */
void request_take_outputs(struct parsing *parsing, const struct value *value)
{
	struct checking checking = {.parsing = parsing,
		.field = "outputs",
		.allowed =
			"an array of up to 100 relative globs of 1 to 255 bytes, with no empty, . "
			"or .. part",
		.check = is_glob,
		.most = OUTPUTS_MAX};

	if (!check_elements(&checking, value, JSON_SCAN_ARRAY))
		return;
	json_walk(value->text, value->length, keep_glob, parsing);
	if (!parsing->error)
		parsing->error = frame_append(&parsing->request->parts, FRAME_OUTPUTS,
			parsing->request->globs.data, parsing->request->globs.length);
}

/* --- stdin --------------------------------------------------------------------------------- */

void request_add_content(
	struct parsing *parsing, enum frame_type type, const char *data, size_t length)
{
	size_t part;

	parsing->input_bytes += length;
	if (parsing->input_bytes > FILES_MAX_BYTES)
		return; /* refused in the end, with the whole sum */
	for (; length && !parsing->error; data += part, length -= part) {
		part = length < CONTENT_MAX_BYTES ? length : CONTENT_MAX_BYTES;
		parsing->error = frame_append(&parsing->request->parts, type, data, part);
	}
}

void request_take_stdin(struct parsing *parsing, const struct value *value)
{
	struct buffer text = {0};

	if (value->type == JSON_SCAN_NULL)
		return;
	if (value->type != JSON_SCAN_STRING) {
		request_refuse(parsing, "stdin", value, "stdin must be a string", "a string");
		return;
	}
	parsing->error = json_in_string(value->text, value->length, &text);
	if (!parsing->error)
		request_add_content(parsing, FRAME_STDIN, text.data, text.length);
	buffer_free(&text);
}

/* --- switches ------------------------------------------------------------------------------ */

void request_take_encode(struct parsing *parsing, const struct value *value)
{
	if (json_in_equals(value->text, value->length, "rich"))
		parsing->request->limits.flags |= JOB_RICH;
	else if (json_in_equals(value->text, value->length, "strict"))
		parsing->request->limits.flags &= ~(uint32_t)JOB_RICH;
	else if (value->type != JSON_SCAN_NULL)
		request_refuse(parsing, "encode", value, "encode must be \"strict\" or \"rich\"",
			"\"strict\" or \"rich\"");
}

void request_take_visualizations(struct parsing *parsing, const struct value *value)
{
	if (value->type == JSON_SCAN_FALSE)
		parsing->request->limits.flags &= ~(uint32_t)JOB_FIGURES;
	else if (value->type == JSON_SCAN_TRUE)
		parsing->request->limits.flags |= JOB_FIGURES;
	else if (value->type != JSON_SCAN_NULL)
		request_refuse(parsing, "visualizations", value,
			"visualizations must be true or false", "true or false");
}
