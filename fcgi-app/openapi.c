/*
 * The document is a file of the tree that lies in the program: it describes that very program, and
 * nobody has to find or open it. What the configuration decides is filled in.
 */
#include "fcgi-app/openapi.h"

#include "fcgi-app/json_in.h"
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

int openapi_make(const struct config *config, struct buffer *text, struct err *err)
{
#define FIELD "/components/schemas/ExecuteRequest/properties/"
	char numbers[4][NUMBER_BYTES];
	const struct json_in_change changes[] = {
		{"/info/version", "\"" VIVARIUM_VERSION "\""},
		{FIELD "timeout/default", print_seconds(config->default_timeout_ms, numbers[0])},
		{FIELD "timeout/maximum", print_seconds(config->max_timeout_ms, numbers[1])},
		{FIELD "memory/default", print_number(config->default_memory_mib, numbers[2])},
		{FIELD "memory/maximum", print_number(config->max_memory_mib, numbers[3])},
	};
#undef FIELD
	int r = json_in_change(openapi_document, strlen(openapi_document), changes,
		sizeof(changes) / sizeof(changes[0]), text);

	return r < 0 ? err_set(err, -r, "make the OpenAPI document") : 0;
}
