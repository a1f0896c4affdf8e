#include "fcgi-app/mcp_tool.h"

#include "fcgi-app/request.h"

#include <string.h>

const char mcp_tool_instructions[] =
	"run_python runs a Python script in a fresh sandbox, without a network and without a "
	"memory of earlier runs. Print what you want to see, or let the script end with an "
	"expression; figures that matplotlib has open at the end come back as images.";

static const char description[] =
	"Runs a Python script in a fresh, isolated process and returns its value, what it printed, "
	"and its open matplotlib figures as images. The value is that of the script's last "
	"expression, or, where the script defines main(), what main() returns. Nothing is kept "
	"between calls: import and define all that is needed in each. The working directory is "
	"empty but for the given files, and the only place to write. There is no network, and no "
	"other program can be started. The standard library is there, as are numpy, pandas, scipy "
	"and matplotlib where the operator has installed them.";

static const char annotations[] = "{\"title\": \"Run Python\", \"readOnlyHint\": true, "
				  "\"destructiveHint\": false, \"idempotentHint\": false, "
				  "\"openWorldHint\": false}";

static const char files_schema[] =
	"{\"type\": \"array\", \"maxItems\": 100, \"description\": \"Files to put into the working "
	"directory before the run, each with exactly one content\", \"items\": {\"type\": "
	"\"object\", \"properties\": {\"path\": {\"type\": \"string\", \"description\": \"Relative "
	"path, such as data/in.csv\"}, \"content\": {\"type\": \"string\"}, \"content_base64\": "
	"{\"type\": \"string\"}}, \"required\": [\"path\"]}}";

static const char outputs_schema[] =
	"{\"type\": \"array\", \"maxItems\": 100, \"items\": {\"type\": \"string\"}, "
	"\"description\": \"Globs of files to return from the working directory, such as *.csv\"}";

static const char output_schema[] =
	"{\"type\": \"object\", \"properties\": {\"success\": {\"type\": \"boolean\"}, "
	"\"result\": {\"description\": \"The value, as JSON\"}, "
	"\"error\": {\"type\": \"string\"}, "
	"\"cause\": {\"type\": \"object\"}, "
	"\"traceback\": {\"type\": \"string\"}, "
	"\"stdout\": {\"type\": \"string\"}, "
	"\"stderr\": {\"type\": \"string\"}, "
	"\"files\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"properties\": "
	"{\"path\": {\"type\": \"string\"}, \"size\": {\"type\": \"integer\"}, "
	"\"content_base64\": {\"type\": \"string\"}}}}, "
	"\"truncated\": {\"type\": \"object\"}, "
	"\"warnings\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}, "
	"\"usage\": {\"type\": \"object\"}, "
	"\"timestamp\": {\"type\": \"string\"}, "
	"\"request_id\": {\"type\": \"string\"}}, "
	"\"required\": [\"success\", \"stdout\", \"timestamp\", \"request_id\"]}";

static void put_member(struct json_out *out, const char *key, const char *value)
{
	json_out_key(out, key);
	json_out_text(out, value);
}

static void put_schema(struct json_out *out, const char *key, const char *schema)
{
	json_out_key(out, key);
	json_out_raw(out, schema, strlen(schema));
}

static void put_text(struct json_out *out, const char *what)
{
	json_out_begin(out, '{');
	put_member(out, "type", "string");
	put_member(out, "description", what);
	json_out_end(out, '}');
}

/* decimals: 0 for whole numbers. */
static void put_number(struct json_out *out, const char *what, double least, double most,
	double fallback, int decimals)
{
	json_out_begin(out, '{');
	put_member(out, "type", decimals ? "number" : "integer");
	put_member(out, "description", what);
	json_out_key(out, "minimum");
	json_out_decimal(out, least, decimals);
	json_out_key(out, "maximum");
	json_out_decimal(out, most, decimals);
	json_out_key(out, "default");
	json_out_decimal(out, fallback, decimals);
	json_out_end(out, '}');
}

static void put_script(struct json_out *out, const struct request_rules *rules)
{
	(void)rules;
	put_text(out, "Python source");
}

static void put_timeout(struct json_out *out, const struct request_rules *rules)
{
	put_number(out, "Seconds that the run may take", 0.01, rules->max_timeout_ms / 1000.0,
		rules->default_timeout_ms / 1000.0, 3);
}

static void put_memory(struct json_out *out, const struct request_rules *rules)
{
	put_number(out, "MiB of memory that it may use", 16, rules->max_memory_mib,
		rules->default_memory_mib, 0);
}

static void put_stdin(struct json_out *out, const struct request_rules *rules)
{
	(void)rules;
	put_text(out, "What the script reads from standard input");
}

static void put_files(struct json_out *out, const struct request_rules *rules)
{
	(void)rules;
	json_out_raw(out, files_schema, strlen(files_schema));
}

static void put_outputs(struct json_out *out, const struct request_rules *rules)
{
	(void)rules;
	json_out_raw(out, outputs_schema, strlen(outputs_schema));
}

/* A call's arguments are the fields of POST /execute; these are the ones that models need. */
static const struct argument {
	const char *name;
	void (*put)(struct json_out *, const struct request_rules *);
} arguments[] = {
	{"script", put_script},
	{"timeout", put_timeout},
	{"memory", put_memory},
	{"stdin", put_stdin},
	{"files", put_files},
	{"outputs", put_outputs},
};

static void put_input_schema(struct json_out *out, const struct request_rules *rules)
{
	const struct argument *each = arguments,
			      *end = arguments + sizeof(arguments) / sizeof(arguments[0]);

	json_out_key(out, "inputSchema");
	json_out_begin(out, '{');
	put_member(out, "type", "object");
	json_out_key(out, "properties");
	json_out_begin(out, '{');
	for (; each < end; each++) {
		if (!request_rules_has(rules, request_field_find(each->name, strlen(each->name))))
			continue;
		json_out_key(out, each->name);
		each->put(out, rules);
	}
	json_out_end(out, '}');
	json_out_key(out, "required");
	json_out_raw(out, "[\"script\"]", strlen("[\"script\"]"));
	json_out_end(out, '}');
}

void mcp_tool_put(struct json_out *out, const struct request_rules *rules)
{
	json_out_begin(out, '{');
	put_member(out, "name", MCP_TOOL_NAME);
	put_member(out, "title", "Run Python");
	put_member(out, "description", description);
	put_input_schema(out, rules);
	put_schema(out, "outputSchema", output_schema);
	put_schema(out, "annotations", annotations);
	json_out_end(out, '}');
}
