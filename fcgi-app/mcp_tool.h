/* The one tool of POST /mcp, run_python, as it is described to language models. */
#ifndef VIVARIUM_MCP_TOOL_H
#define VIVARIUM_MCP_TOOL_H

#include "fcgi-app/json_out.h"
#include "fcgi-app/request_rules.h"

#define MCP_TOOL_NAME "run_python"

/* What the server is for, in a few sentences. */
extern const char mcp_tool_instructions[];

/* Writes the tool's description as one JSON object, with what the rules allow to ask for. */
void mcp_tool_put(struct json_out *out, const struct request_rules *rules);

#endif
