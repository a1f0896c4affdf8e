/* A request over FastCGI (1.0, 8.), with a test in the web server's place. */
#ifndef VIVARIUM_TESTS_WEB_SERVER_H
#define VIVARIUM_TESTS_WEB_SERVER_H

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fcgi-app/fcgi.h"
#include "tests/unit/unit.h"

struct web_server {
	int listener;
	int connection; /* the web server's end; does not block */
	struct fcgi *fcgi;
};

/* Without parameters or a body. */
static inline void web_server_send_request(int connection)
{
	enum { ROLE_BYTES = 8 };
	static const unsigned char records[] = {1, 1, 0, 1, 0, ROLE_BYTES, 0, 0, 0, 1, 0, 0, 0, 0,
		0, 0, 1, 4, 0, 1, 0, 0, 0, 0, 1, 5, 0, 1, 0, 0, 0, 0};

	assert_int_equal(write(connection, records, sizeof(records)), sizeof(records));
}

static inline void web_server_open(struct web_server *server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(address.sun_family); /* the kernel names it (unix(7), autobind) */

	*server = (struct web_server){.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
		.connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	assert_int_equal(bind(server->listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(server->listener, 1), 0);
	length = sizeof(address);
	assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(server->connection, (struct sockaddr *)&address, length), 0);
	assert_int_equal(fcntl(server->connection, F_SETFL, O_NONBLOCK), 0);
	web_server_send_request(server->connection);
	server->fcgi = fcgi_new(server->listener);
	assert_non_null(server->fcgi);
	assert_int_equal(fcgi_accept(server->fcgi), 0);
}

static inline void web_server_close(struct web_server *server)
{
	close(server->connection);
	fcgi_finish(server->fcgi);
	fcgi_free(server->fcgi);
	close(server->listener);
}

#endif
