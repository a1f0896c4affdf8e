#include "fcgi-app/fcgi.h"

#include <errno.h>
#include <fcgiapp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	/*
	 * Longer than nginx keeps one that is idle, and than it waits for a client that takes
	 * nothing of what is in the socket.
	 */
	KEPT_MAX_MS = 90 * 1000,
};

struct fcgi {
	FCGX_Request request;
	bool is_read; /* the body, to its end */
};

int fcgi_init(void)
{
	return FCGX_Init() ? -EIO : 0;
}

struct fcgi *fcgi_new(int listener)
{
	struct fcgi *fcgi = calloc(1, sizeof(*fcgi));

	if (fcgi && FCGX_InitRequest(&fcgi->request, listener, 0)) {
		free(fcgi);
		return NULL;
	}
	return fcgi;
}

void fcgi_free(struct fcgi *fcgi)
{
	FCGX_Free(&fcgi->request, 1);
	free(fcgi);
}

bool fcgi_wait_kept(struct fcgi *fcgi)
{
	struct pollfd watched = {.fd = fcgi->request.ipcFd, .events = POLLIN | POLLRDHUP};
	int r;

	if (fcgi->request.ipcFd < 0)
		return false;
	do
		r = poll(&watched, 1, KEPT_MAX_MS);
	while (r < 0 && errno == EINTR);
	return r > 0 && watched.revents == POLLIN;
}

void fcgi_drop(struct fcgi *fcgi)
{
	if (fcgi->request.ipcFd >= 0)
		FCGX_Free(&fcgi->request, 1);
}

int fcgi_accept(struct fcgi *fcgi)
{
	int r = FCGX_Accept_r(&fcgi->request);

	fcgi->is_read = false;
	return r < 0 ? -ECONNABORTED : 0;
}

const char *fcgi_parameter(const struct fcgi *fcgi, const char *name)
{
	const char *value = FCGX_GetParam(name, fcgi->request.envp);

	return value ? value : "";
}

size_t fcgi_wipe_parameter(struct fcgi *fcgi, const char *name)
{
	size_t length = strlen(name), found = 0;
	char **parameter;

	for (parameter = fcgi->request.envp; parameter && *parameter; parameter++) {
		if (strncmp(*parameter, name, length) != 0 || (*parameter)[length] != '=')
			continue;
		explicit_bzero(*parameter + length + 1, strlen(*parameter + length + 1));
		found++;
	}
	return found;
}

int fcgi_read_body(struct fcgi *fcgi, struct buffer *body)
{
	char data[16 * 1024];
	int n, r;

	while ((n = FCGX_GetStr(data, sizeof(data), fcgi->request.in)) > 0) {
		r = buffer_append(body, data, (size_t)n);
		if (r < 0)
			return r;
	}
	if (FCGX_GetError(fcgi->request.in))
		return -EPROTO;
	fcgi->is_read = true;
	return 0;
}

int fcgi_connection(const struct fcgi *fcgi)
{
	return fcgi->request.ipcFd;
}

void fcgi_write(struct fcgi *fcgi, const char *data, size_t length)
{
	FCGX_PutStr(data, (int)length, fcgi->request.out);
}

void fcgi_flush(struct fcgi *fcgi)
{
	FCGX_FFlush(fcgi->request.out);
}

void fcgi_cut(struct fcgi *fcgi)
{
	shutdown(fcgi->request.ipcFd, SHUT_RDWR);
}

/*
 * What is left unread would be taken for the next request. To close is no way out: nginx has the
 * end of this answer before it sees that, and may have sent the next request meanwhile.
 */
static void skip_body(struct fcgi *fcgi)
{
	char data[16 * 1024];

	while (FCGX_GetStr(data, sizeof(data), fcgi->request.in) > 0)
		;
}

void fcgi_finish(struct fcgi *fcgi)
{
	if (!fcgi->is_read)
		skip_body(fcgi);
	if (FCGX_GetError(fcgi->request.in))
		fcgi->request.keepConnection = 0;
	FCGX_Finish_r(&fcgi->request);
}
