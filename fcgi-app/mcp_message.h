/*
 * A message of the Model Context Protocol, as one body of POST /mcp: JSON-RPC 2.0, read strictly.
 * Pure: it knows the form of messages and nothing of what they ask for.
 */
#ifndef VIVARIUM_MCP_MESSAGE_H
#define VIVARIUM_MCP_MESSAGE_H

#include "sandbox/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MCP_ID_MAX_BYTES = 1024, /* of JSON; a request's id comes back with its answer */
	MCP_NAME_MAX_BYTES =
		128, /* of methods, tools and revisions; longer ones are no known ones */
};

/* Codes of errors: JSON-RPC's own, and those that the protocol has added. */
enum mcp_code {
	MCP_PARSE_ERROR = -32700,
	MCP_INVALID_REQUEST = -32600,
	MCP_METHOD_NOT_FOUND = -32601,
	MCP_INVALID_PARAMS = -32602,
	MCP_INTERNAL_ERROR = -32603,
	MCP_HEADER_MISMATCH = -32020,
	MCP_UNSUPPORTED_VERSION = -32022,
};

struct mcp_error {
	int code; /* enum mcp_code */
	char text[256];
};

/* JSON inside the body; not terminated. */
struct mcp_span {
	const char *text; /* NULL: it is not there */
	size_t length;
};

/* A decoded string of up to MCP_NAME_MAX_BYTES; "" for one that is longer or has a NUL in it. */
struct mcp_name {
	bool is_there; /* as a string */
	bool is_wrong; /* it is there, and no string */
	char text[MCP_NAME_MAX_BYTES + 1];
};

enum mcp_kind {
	MCP_REQUEST, /* with an id: it is answered */
	MCP_NOTIFICATION,
	MCP_RESPONSE, /* to a request of a server, of which there are none */
};

struct mcp_message {
	enum mcp_kind kind;
	struct mcp_span id; /* a string or an integer, as the client wrote it */
	struct mcp_name method;
	struct mcp_span params; /* an object */
	/* members of params that the protocol's methods have */
	struct mcp_name name; /* of tools/call */
	struct mcp_span arguments; /* likewise, of any type but null */
	struct mcp_name offered_version; /* of initialize: protocolVersion */
	struct mcp_span cancelled; /* of notifications/cancelled: requestId */
	/* members of params._meta, from revision 2026-07-28 on in every request */
	struct mcp_name version; /* io.modelcontextprotocol/protocolVersion */
	bool has_capabilities; /* io.modelcontextprotocol/clientCapabilities, an object */
};

/*
 * Reads length bytes of body, which has to outlive *message: that points into it. hash_seed as for
 * json_scan. Returns 0; -EINVAL and *error, with message->id filled in if it could be read;
 * -ENOMEM.
 */
int mcp_message_read(const char *body, size_t length, uint64_t hash_seed,
	struct mcp_message *message, struct mcp_error *error);

#endif
