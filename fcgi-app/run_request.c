#include "fcgi-app/run_request.h"

#include "fcgi-app/json_out.h"
#include "fcgi-app/text_file.h"
#include "sandbox/json_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int run_list_add(struct run_list *list, const char *item)
{
	if (list->count == RUN_LIST_MAX)
		return -E2BIG;
	list->item[list->count++] = item;
	return 0;
}

static int check_utf8(const char *text, size_t length, const char *what, struct err *err)
{
	if (json_out_is_utf8(text, length))
		return 0;
	return err_set_plainly(err, EILSEQ, "%s is not UTF-8", what);
}

static int put_file(
	struct json_out *out, const char *key, const char *path, size_t most, struct err *err)
{
	struct buffer text = {0};
	int r = text_file_read(path, most, &text, err);

	if (!r)
		r = check_utf8(text.data, text.length, path, err);
	if (!r) {
		json_out_key(out, key);
		json_out_string(out, text.data ? text.data : "", text.length);
	}
	buffer_free(&text);
	return r;
}

/* JSON as it stands, so that 5 is a number; anything else is a string. Nothing else slips in. */
static int put_value(struct json_out *out, const char *text, struct err *err)
{
	const struct json_scan_options strict = {
		.max_bytes = BODY_MAX_BYTES, .max_depth = BODY_MAX_DEPTH};
	struct json_scan_result result;

	if (json_scan(text, strlen(text), &strict, NULL, NULL, &result) == 0) {
		json_out_raw(out, text, strlen(text));
		return 0;
	}
	json_out_text(out, text);
	return check_utf8(text, strlen(text), "an argument", err);
}

static int put_number(struct json_out *out, const char *key, const char *text, struct err *err)
{
	const struct json_scan_options options = {.max_bytes = 40};
	struct json_scan_result result;

	if (!text)
		return 0;
	if (json_scan(text, strlen(text), &options, NULL, NULL, &result) < 0 ||
		result.type != JSON_SCAN_NUMERIC)
		return err_set_plainly(
			err, EINVAL, "--%s takes a number, not \"%.40s\"", key, text);
	json_out_key(out, key);
	json_out_raw(out, text, strlen(text));
	return 0;
}

/* --- lists --------------------------------------------------------------------------------- */

static int put_string(struct json_out *out, const char *text, struct err *err)
{
	json_out_text(out, text);
	return check_utf8(text, strlen(text), "an argument", err);
}

static int put_array(struct json_out *out, const char *key, const struct run_list *list,
	int (*put)(struct json_out *, const char *, struct err *), struct err *err)
{
	size_t i;
	int r = 0;

	json_out_key(out, key);
	json_out_begin(out, '[');
	for (i = 0; !r && i < list->count; i++)
		r = put(out, list->item[i], err);
	json_out_end(out, ']');
	return r;
}

/* NAME=VALUE; the name goes out as a key. */
static int put_name(struct json_out *out, const char *option, const char *item, const char **value,
	struct err *err)
{
	const char *equals = strchr(item, '=');

	if (!equals || equals == item)
		return err_set_plainly(
			err, EINVAL, "--%s takes NAME=VALUE, not \"%.40s\"", option, item);
	*value = equals + 1;
	json_out_string(out, item, (size_t)(equals - item));
	json_out_colon(out);
	return check_utf8(item, (size_t)(equals - item), "a name", err);
}

static int put_object(struct json_out *out, const char *key, const char *option,
	const struct run_list *list, int (*put)(struct json_out *, const char *, struct err *),
	struct err *err)
{
	const char *value = "";
	size_t i;
	int r = 0;

	json_out_key(out, key);
	json_out_begin(out, '{');
	for (i = 0; !r && i < list->count; i++) {
		r = put_name(out, option, list->item[i], &value, err);
		if (!r)
			r = put(out, value, err);
	}
	json_out_end(out, '}');
	return r;
}

/* PATH, read from the same path, or PATH=SOURCE. */
static int put_input_file(struct json_out *out, const char *item, struct err *err)
{
	const char *equals = strchr(item, '='), *source = equals ? equals + 1 : item;
	size_t length = equals ? (size_t)(equals - item) : strlen(item);
	struct buffer content = {0};
	int r = text_file_read(source, FILES_MAX_BYTES, &content, err);

	if (!r)
		r = check_utf8(item, length, "a path", err);
	if (!r) {
		json_out_begin(out, '{');
		json_out_key(out, "path");
		json_out_string(out, item, length);
		json_out_key(out, "content_base64");
		json_out_base64(out, "", content.data, content.length);
		json_out_end(out, '}');
	}
	buffer_free(&content);
	return r;
}

/* --- the whole ----------------------------------------------------------------------------- */

static int put_lists(struct json_out *out, const struct run_options *options, struct err *err)
{
	int r = put_array(out, "args", &options->args, put_value, err);

	if (!r)
		r = put_object(out, "kwargs", "kwarg", &options->kwargs, put_value, err);
	if (!r)
		r = put_array(out, "argv", &options->argv, put_string, err);
	if (!r)
		r = put_object(out, "env", "env", &options->env, put_string, err);
	if (!r)
		r = put_array(out, "files", &options->files, put_input_file, err);
	if (!r)
		r = put_array(out, "outputs", &options->outputs, put_string, err);
	return r;
}

static int write_request(
	const struct run_options *options, const char *path, struct buffer *body, struct err *err)
{
	struct json_out out = {.buffer = body};
	int r;

	json_out_begin(&out, '{');
	r = put_file(&out, "script", path, SCRIPT_MAX_BYTES, err);
	if (!r && options->input)
		r = put_file(&out, "stdin", options->input, FILES_MAX_BYTES, err);
	if (options->entry || options->no_entry)
		json_out_key(&out, "entry");
	if (options->no_entry)
		json_out_raw(&out, "null", 4);
	else if (options->entry)
		json_out_text(&out, options->entry);
	if (options->encode) {
		json_out_key(&out, "encode");
		json_out_text(&out, options->encode);
	}
	json_out_key(&out, "visualizations");
	json_out_bool(&out, options->json); /* there is nowhere else to put them */
	if (!r)
		r = put_number(&out, "timeout", options->timeout, err);
	if (!r)
		r = put_number(&out, "memory", options->memory, err);
	if (!r)
		r = put_lists(&out, options, err);
	json_out_end(&out, '}');
	return !r && out.error ? err_set(err, -out.error, "write the request") : r;
}

static int check_options(const struct run_options *options, const char *path, struct err *err)
{
	if (options->outputs.count && !options->json && !options->output_dir)
		return err_set_plainly(err, EINVAL, "--output needs --output-dir, or --json");
	if (options->output_dir && !options->outputs.count)
		return err_set_plainly(err, EINVAL, "--output-dir needs --output");
	if (options->input && strcmp(options->input, "-") == 0 && strcmp(path, "-") == 0)
		return err_set_plainly(err, EINVAL, "standard input is the script already");
	return 0;
}

/* By the option that the field was made from; the script's is none. */
static int refuse(const struct request_refusal *refusal, struct err *err)
{
	static const struct {
		const char *field, *option;
	} options[] = {{"timeout", "timeout"}, {"memory", "memory"}, {"entry", "entry"},
		{"args", "arg"}, {"kwargs", "kwarg"}, {"argv", "argv"}, {"env", "env"},
		{"stdin", "stdin"}, {"files", "file"}, {"outputs", "output"}, {"encode", "encode"}};
	size_t i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (strcmp(refusal->field, options[i].field) == 0)
			return err_set_plainly(err, EINVAL, "--%s: %s, not %s", options[i].option,
				refusal->error, refusal->got);
	}
	return err_set_plainly(err, EINVAL, "%s", refusal->error);
}

int run_request_make(const struct run_options *options, const char *path,
	const struct config *config, struct request *request, struct err *err)
{
	struct request_refusal refusal;
	struct request_rules rules;
	struct buffer body = {0};
	int r = check_options(options, path, err);

	request_rules_init(&rules, config);
	if (!r)
		r = write_request(options, path, &body, err);
	if (!r) {
		r = request_parse(body.data, body.length, &rules, 0, request, &refusal);
		if (r == -EINVAL)
			refuse(&refusal, err);
		else if (r < 0)
			err_set(err, -r, "read the options");
	}
	buffer_free(&body);
	return r;
}
