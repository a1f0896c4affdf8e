#include "fcgi-app/mcp_calls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

void mcp_calls_init(struct mcp_calls *calls)
{
	calls->first = NULL;
	pthread_mutex_init(&calls->mutex, NULL);
}

void mcp_calls_enter(struct mcp_calls *calls, struct mcp_running *running)
{
	pthread_mutex_lock(&calls->mutex);
	running->previous = NULL;
	running->next = calls->first;
	if (running->next)
		running->next->previous = running;
	calls->first = running;
	pthread_mutex_unlock(&calls->mutex);
}

void mcp_calls_leave(struct mcp_calls *calls, struct mcp_running *running)
{
	pthread_mutex_lock(&calls->mutex);
	if (running->next)
		running->next->previous = running->previous;
	if (running->previous)
		running->previous->next = running->next;
	else
		calls->first = running->next;
	pthread_mutex_unlock(&calls->mutex);
}

static bool is_meant(const struct mcp_running *running, const struct client *client,
	const char *session, const struct mcp_span *id)
{
	return client_is_same(&running->client, client) && strcmp(running->session, session) == 0 &&
	       running->id.length == id->length &&
	       memcmp(running->id.text, id->text, id->length) == 0;
}

void mcp_calls_cancel(struct mcp_calls *calls, const struct client *client, const char *session,
	const struct mcp_span *id)
{
	struct mcp_running *running;

	pthread_mutex_lock(&calls->mutex);
	for (running = calls->first; running; running = running->next) {
		if (is_meant(running, client, session, id))
			fcgi_cut(running->fcgi);
	}
	pthread_mutex_unlock(&calls->mutex);
}

int mcp_calls_draw_session(char session[MCP_SESSION_CHARACTERS + 1])
{
	unsigned char drawn[MCP_SESSION_CHARACTERS / 2];
	size_t i;

	if (getrandom(drawn, sizeof(drawn), 0) < 0)
		return -errno;
	for (i = 0; i < sizeof(drawn); i++)
		snprintf(session + 2 * i, 3, "%02x", drawn[i]);
	return 0;
}
