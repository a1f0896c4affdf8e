/*
 * The document is a file of the tree that lies in the program: it describes that very program, and
 * nobody has to find or open it. What the configuration decides is filled in.
 */
#include "fcgi-app/openapi.h"

#include "fcgi-app/json_in.h"
#include "fcgi-app/request.h"
#include "fcgi-app/version.h"

#include <stdio.h>
#include <string.h>

/* The path is relative to the top of the tree, where make runs the compiler. */
__asm__(".pushsection .rodata\n"
	"openapi_document:\n"
	".incbin \"fcgi-app/openapi.json\"\n"
	".byte 0\n"
	".popsection\n");
extern const char openapi_document[];

enum {
	NUMBER_BYTES = 32,
};

static const char *print_seconds(uint64_t ms, char text[NUMBER_BYTES])
{
	snprintf(text, NUMBER_BYTES, "%.10g", (double)ms / 1000);
	return text;
}

static const char *print_number(uint64_t number, char text[NUMBER_BYTES])
{
	snprintf(text, NUMBER_BYTES, "%llu", (unsigned long long)number);
	return text;
}

#define FIELD "/components/schemas/ExecuteRequest/properties/"

struct changes {
	struct json_in_change change[5 + REQUEST_NO_FIELD];
	size_t count;
	char numbers[4][NUMBER_BYTES];
	char pointers[REQUEST_NO_FIELD][sizeof(FIELD) + 16];
};

static void add(struct changes *changes, const char *pointer, const char *json)
{
	changes->change[changes->count++] =
		(struct json_in_change){.pointer = pointer, .json = json};
}

static void add_limits(struct changes *changes, const struct request_rules *rules)
{
	add(changes, FIELD "timeout/default",
		print_seconds(rules->default_timeout_ms, changes->numbers[0]));
	add(changes, FIELD "timeout/maximum",
		print_seconds(rules->max_timeout_ms, changes->numbers[1]));
	add(changes, FIELD "memory/default",
		print_number(rules->default_memory_mib, changes->numbers[2]));
	add(changes, FIELD "memory/maximum",
		print_number(rules->max_memory_mib, changes->numbers[3]));
}

/* A field that clients may not set has the schema that nothing satisfies. */
static void add_fields(struct changes *changes, const struct request_rules *rules)
{
	const char *name;
	size_t field;

	for (field = 0; (name = request_field_name(field)); field++) {
		if (request_rules_has(rules, field))
			continue;
		snprintf(changes->pointers[field], sizeof(changes->pointers[field]), "%s%s", FIELD,
			name);
		add(changes, changes->pointers[field], "false");
	}
}

int openapi_make(const struct request_rules *rules, struct buffer *text, struct err *err)
{
	struct changes changes = {0};
	int r;

	add(&changes, "/info/version", "\"" VIVARIUM_VERSION "\"");
	add_limits(&changes, rules);
	add_fields(&changes, rules);
	r = json_in_change(
		openapi_document, strlen(openapi_document), changes.change, changes.count, text);
	return r < 0 ? err_set(err, -r, "make the OpenAPI document") : 0;
}
