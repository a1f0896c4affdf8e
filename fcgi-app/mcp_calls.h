/*
 * Calls that run, so that a client can cancel one by naming it in another request. Revisions before
 * 2026-07-28 do that; later ones close the connection instead. Thread-safe.
 *
 * A request's id is the client's choice and mostly a small number. What tells clients apart is the
 * session id that each is given when it begins: a random number, which nobody else can name. That
 * is all it is for; the service forgets it at once. So it cannot know one that a client made up,
 * and others might guess: only who made a call, by key or address, cancels it.
 */
#ifndef VIVARIUM_MCP_CALLS_H
#define VIVARIUM_MCP_CALLS_H

#include "fcgi-app/client.h"
#include "fcgi-app/fcgi.h"
#include "fcgi-app/mcp_message.h"

#include <pthread.h>

enum {
	MCP_SESSION_CHARACTERS = 32, /* hexadecimal */
};

/* One call: its thread's own, and in the list from enter to leave. */
struct mcp_running {
	struct client client;
	const char *session;
	struct mcp_span id;
	struct fcgi *fcgi;
	struct mcp_running *next, *previous;
};

struct mcp_calls {
	pthread_mutex_t mutex;
	struct mcp_running *first;
};

void mcp_calls_init(struct mcp_calls *calls);

/* running has client, session, id and fcgi filled in, and these live until it has left. */
void mcp_calls_enter(struct mcp_calls *calls, struct mcp_running *running);
void mcp_calls_leave(struct mcp_calls *calls, struct mcp_running *running);

/* Breaks the connections of the client's calls with that session and id, which ends their runs. */
void mcp_calls_cancel(struct mcp_calls *calls, const struct client *client, const char *session,
	const struct mcp_span *id);

/* A new session id, NUL-terminated. Returns 0 or a negative errno. */
int mcp_calls_draw_session(char session[MCP_SESSION_CHARACTERS + 1]);

#endif
