/* Answers to messages of the Model Context Protocol: JSON-RPC objects, in pure ASCII. */
#ifndef VIVARIUM_MCP_ANSWER_H
#define VIVARIUM_MCP_ANSWER_H

#include "fcgi-app/answer.h"
#include "fcgi-app/mcp_message.h"

/*
 * The revisions that are spoken, newest first. Those from MCP_MODERN on say in each request which
 * one it is; with the others a client begins with "initialize".
 */
#define MCP_MODERN "2026-07-28"
extern const char *const mcp_versions[];

/* What an answer needs to know of its request. */
struct mcp_reply {
	struct buffer *body; /* the answer is appended to it */
	const struct mcp_span *id;
	bool is_modern;
};

/* Each returns 0, or a negative errno of the writing. */

/* requested: for MCP_UNSUPPORTED_VERSION, what the client asked for; else NULL. */
int mcp_answer_error(
	const struct mcp_reply *reply, const struct mcp_error *error, const char *requested);

/* To ping. */
int mcp_answer_nothing(const struct mcp_reply *reply);

/* To initialize and to server/discover. */
int mcp_answer_initialize(const struct mcp_reply *reply, const char *version);
int mcp_answer_discover(const struct mcp_reply *reply);

/* To tools/list; rules: what the client may ask for. */
int mcp_answer_tools(const struct mcp_reply *reply, const struct request_rules *rules);

/* To tools/call: a run, whose figures become images, or why there was none. */
int mcp_answer_run(const struct mcp_reply *reply, const struct answer_run *run);
int mcp_answer_refusal(const struct mcp_reply *reply, enum refusal kind, const char *error,
	const struct request_refusal *refusal, const char *request_id);

#endif
