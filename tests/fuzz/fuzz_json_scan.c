/*
 * Feeds arbitrary bytes to the scanner and checks what must hold for any of them. The input is the
 * text itself, so that a corpus file is a JSON document and nothing else.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/json_scan.h"

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

struct text {
	const char *start;
	size_t length;
	const struct json_scan_options *options;
	const char *reached;
	size_t members;
};

static const struct json_scan_options all_options[] = {
	{.max_bytes = SIZE_MAX, .max_depth = 64, .skip_bom = true, .hash_seed = 1},
	{.max_bytes = SIZE_MAX, .max_depth = UINT32_MAX, .hash_seed = UINT64_MAX},
	{.max_bytes = 4096, .max_depth = 3, .max_number_digits = 4, .ascii_only = true},
};

static void check_member(void *context, const char *key, size_t key_bytes, const char *value,
	size_t value_bytes, enum json_scan_type type)
{
	struct text *text = context;
	struct json_scan_result result;

	CHECK(key > text->reached && key[-1] == '"' && key[key_bytes] == '"');
	CHECK(value > key + key_bytes && value_bytes > 0);
	CHECK(value + value_bytes < text->start + text->length);
	CHECK(!json_scan(value, value_bytes, text->options, NULL, NULL, &result));
	CHECK(result.type == type);
	CHECK(!strchr(" \t\r\n", value[0]) && !strchr(" \t\r\n", value[value_bytes - 1]));
	text->reached = value + value_bytes;
	text->members++;
}

/* A valid text stays valid as an element of an array, and not after one more bracket. */
static void check_wrapped(const struct text *text, const struct json_scan_result *result)
{
	struct json_scan_options options = *text->options;
	struct json_scan_result wrapped;
	size_t length = text->length - result->body_offset;
	char *copy = malloc(length + 3);

	CHECK(copy);
	options.max_bytes = SIZE_MAX;
	options.max_depth = UINT32_MAX;
	copy[0] = '[';
	memcpy(copy + 1, text->start + result->body_offset, length);
	memcpy(copy + 1 + length, "]]", 2);
	CHECK(!json_scan(copy, length + 2, &options, NULL, NULL, &wrapped));
	CHECK(json_scan(copy, length + 3, &options, NULL, NULL, &wrapped) == -EINVAL);
	CHECK(wrapped.error == JSON_SCAN_TRAILING && wrapped.offset == length + 2);
	free(copy);
}

static void check_refusal(const struct text *text, const struct json_scan_result *result)
{
	size_t feeds = 0;

	CHECK(result->error != JSON_SCAN_OK && result->error != JSON_SCAN_MEMORY);
	CHECK(result->type == JSON_SCAN_NOTHING && text->members == 0);
	CHECK(result->offset <= text->length && result->column >= 1);
	for (size_t i = 0; i < result->offset; i++)
		feeds += text->start[i] == '\n';
	CHECK(result->line == feeds + 1);
	CHECK(!result->member || (result->member > text->start && result->member[-1] == '"' &&
					 result->member[result->member_bytes] == '"'));
}

static void check_text(struct text *text)
{
	struct json_scan_options reseeded = *text->options;
	struct json_scan_result result, again;
	int status;

	status = json_scan(text->start, text->length, text->options, check_member, text, &result);
	CHECK(status == (result.error ? -EINVAL : 0));
	if (status)
		check_refusal(text, &result);
	else
		check_wrapped(text, &result);
	reseeded.hash_seed = ~reseeded.hash_seed * 3;
	json_scan(text->start, text->length, &reseeded, NULL, NULL, &again);
	CHECK(again.error == result.error && again.offset == result.offset);
	CHECK(json_scan_error_text(result.error)[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < sizeof(all_options) / sizeof(all_options[0]); i++) {
		struct text text = {
			.start = (const char *)data,
			.length = size,
			.options = &all_options[i],
			.reached = (const char *)data,
		};

		check_text(&text);
	}
	return 0;
}
