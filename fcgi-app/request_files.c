/* The field "files": paths and contents that are put into the working directory before a run. */
#include "fcgi-app/base64.h"
#include "fcgi-app/json_in.h"
#include "fcgi-app/request_fields.h"
#include "sandbox/json_walk.h"
#include "sandbox/paths.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char allowed[] = "an array of up to 100 objects with path and either content or "
			      "content_base64";

/* One element of the array. */
struct file {
	struct parsing *parsing;
	size_t index;
	struct value path, content;
	bool is_base64;
};

/* "files[3].path must be ..." */
static void refuse(
	struct file *file, const char *member, const struct value *value, const char *wrong)
{
	char error[256];

	snprintf(error, sizeof(error), "files[%zu]%s %s", file->index, member, wrong);
	request_refuse(file->parsing, "files", value, error, allowed);
}

/* got: what was, in words. */
static void refuse_contents(struct file *file, const char *got)
{
	struct request_refusal *refusal = file->parsing->refusal;

	refuse(file, "", NULL, "must have exactly one of content and content_base64");
	snprintf(refusal->got, sizeof(refusal->got), "%s", got);
}

static void take_content_member(struct file *file, const struct value *value, bool is_base64)
{
	if (file->content.text) {
		refuse_contents(file, "both of them");
		return;
	}
	file->content = *value;
	file->is_base64 = is_base64;
}

static void note_unknown(struct file *file, const struct buffer *name)
{
	struct buffer full = {0};
	char prefix[48];
	int n = snprintf(prefix, sizeof(prefix), "files[%zu].", file->index);

	file->parsing->error = buffer_append(&full, prefix, (size_t)n);
	if (!file->parsing->error)
		file->parsing->error = buffer_append(&full, name->data, name->length);
	if (!file->parsing->error)
		request_note_unknown(file->parsing, &full);
	buffer_free(&full);
}

static bool is_named(const struct buffer *name, const char *word)
{
	return name->length == strlen(word) && memcmp(name->data, word, name->length) == 0;
}

static bool take_member(void *context, const struct json_walk_item *item)
{
	struct file *file = context;
	const struct value value = {
		.text = item->value, .length = item->value_length, .type = item->type};
	struct buffer name = {0};

	file->parsing->error = json_in_string(item->key, item->key_length, &name);
	if (file->parsing->error)
		return false;
	if (is_named(&name, "path"))
		file->path = value;
	else if (is_named(&name, "content") && value.type != JSON_SCAN_NULL)
		take_content_member(file, &value, false);
	else if (is_named(&name, "content_base64") && value.type != JSON_SCAN_NULL)
		take_content_member(file, &value, true);
	else if (!is_named(&name, "content") && !is_named(&name, "content_base64"))
		note_unknown(file, &name);
	buffer_free(&name);
	return !file->parsing->error;
}

/* Whether a file of the same path, or one that would have to be a directory, is there already. */
static bool collides(const struct buffer *paths, const char *path, size_t length)
{
	const char *at = paths->data, *end = at + paths->length;
	size_t other;

	for (; at < end; at += other + 1) {
		other = strlen(at);
		if ((other == length && memcmp(at, path, length) == 0) ||
			paths_is_above(at, other, path, length) ||
			paths_is_above(path, length, at, other))
			return true;
	}
	return false;
}

static void add_path(struct file *file, const struct buffer *path)
{
	struct parsing *parsing = file->parsing;

	if (path->length > INPUT_PATH_MAX_BYTES || !paths_is_plain(path->data, path->length)) {
		refuse(file, ".path", &file->path,
			"must be a relative path of 1 to 255 bytes, with no empty, . or .. part");
		return;
	}
	if (parsing->paths.length && collides(&parsing->paths, path->data, path->length)) {
		refuse(file, ".path", &file->path,
			"is there twice, or is a directory of another file");
		return;
	}
	parsing->error = buffer_append(&parsing->paths, path->data, path->length);
	if (!parsing->error)
		parsing->error = buffer_append(&parsing->paths, "", 1);
	if (!parsing->error)
		parsing->error = frame_append(
			&parsing->request->parts, FRAME_FILE, path->data, path->length);
}

static void take_path(struct file *file)
{
	struct buffer path = {0};

	if (file->path.type != JSON_SCAN_STRING) {
		refuse(file, ".path", file->path.text ? &file->path : NULL, "must be a string");
		return;
	}
	file->parsing->error = json_in_string(file->path.text, file->path.length, &path);
	if (!file->parsing->error)
		add_path(file, &path);
	buffer_free(&path);
}

static void take_content(struct file *file)
{
	struct parsing *parsing = file->parsing;
	struct buffer text = {0};

	if (!file->content.text) {
		refuse_contents(file, "neither of them");
		return;
	}
	if (file->content.type != JSON_SCAN_STRING) {
		refuse(file, file->is_base64 ? ".content_base64" : ".content", &file->content,
			"must be a string");
		return;
	}
	parsing->error = json_in_string(file->content.text, file->content.length, &text);
	if (!parsing->error && file->is_base64 &&
		base64_decode(text.data, text.length, text.data, &text.length) < 0)
		refuse(file, ".content_base64", &file->content, "must be strict base64 (RFC 4648)");
	if (!parsing->error)
		request_add_content(parsing, FRAME_CONTENT, text.data, text.length);
	buffer_free(&text);
}

static bool take_file(void *context, const struct json_walk_item *item)
{
	struct parsing *parsing = context;
	struct file file = {.parsing = parsing, .index = item->index};
	const struct value value = {
		.text = item->value, .length = item->value_length, .type = item->type};

	if (++parsing->file_count > FILES_MAX)
		return false;
	if (item->type != JSON_SCAN_OBJECT)
		refuse(&file, "", &value, "must be an object with path and content");
	else
		json_walk(item->value, item->value_length, take_member, &file);
	if (!parsing->error)
		take_path(&file);
	if (!parsing->error)
		take_content(&file);
	return !parsing->error;
}

void request_take_files(struct parsing *parsing, const struct value *value)
{
	if (value->type == JSON_SCAN_NULL)
		return;
	if (value->type != JSON_SCAN_ARRAY) {
		request_refuse(parsing, "files", value, "files must be an array", allowed);
		return;
	}
	json_walk(value->text, value->length, take_file, parsing);
	if (parsing->file_count > FILES_MAX)
		request_refuse(
			parsing, "files", value, "files must have at most 100 elements", allowed);
}
