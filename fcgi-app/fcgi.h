/* libfcgi, behind one file: a request in, an answer out, one at a time and thread. */
#ifndef VIVARIUM_FCGI_H
#define VIVARIUM_FCGI_H

#include "sandbox/buffer.h"

#include <stdbool.h>

struct fcgi;

/*
 * Once, before any thread. libfcgi installs handlers for SIGPIPE, SIGUSR1 and SIGTERM: signals are
 * to be set up afterwards. Returns 0 or a negative errno.
 */
int fcgi_init(void);

/* A place for one request at a time on a listening socket; NULL without memory. */
struct fcgi *fcgi_new(int listener);
void fcgi_free(struct fcgi *fcgi);

/*
 * Waits on the connection of the request before, if the web server keeps it (FCGI_KEEP_CONN).
 * Returns whether the next request comes over it; false: there is none, it was closed or cut, or
 * nothing has come for 90 s. Then it is to be dropped.
 */
bool fcgi_wait_kept(struct fcgi *fcgi);

/* Closes the connection, if there is one. What was written can still be read at its other end. */
void fcgi_drop(struct fcgi *fcgi);

/*
 * Waits for a request, on a kept connection or a new one. Returns 0, or a negative errno when the socket was shut down or broke.
 * Whatever this request's parameters point to dies at fcgi_finish.
 */
int fcgi_accept(struct fcgi *fcgi);

/* A parameter such as "CONTENT_TYPE"; "" when there is none. */
const char *fcgi_parameter(const struct fcgi *fcgi, const char *name);

/*
 * Overwrites the values of all parameters of that name, which read as "" from then on. Returns how
 * many there were: whoever speaks HTTP may repeat a header.
 */
size_t fcgi_wipe_parameter(struct fcgi *fcgi, const char *name);

/*
 * Appends the request's body to *body, up to its cap.
 * Returns 0, -EMSGSIZE over the cap, -ENOMEM, or -EPROTO when it broke off.
 */
int fcgi_read_body(struct fcgi *fcgi, struct buffer *body);

/* The connection; it shows POLLRDHUP when the client has gone. */
int fcgi_connection(const struct fcgi *fcgi);

/* Queues length bytes of the answer, header first. */
void fcgi_write(struct fcgi *fcgi, const char *data, size_t length);

/* Sends what was queued. Where the client is gone it is lost; fcgi_connection shows that. */
void fcgi_flush(struct fcgi *fcgi);

/* Breaks the connection: the web server sees an answer without its end. */
void fcgi_cut(struct fcgi *fcgi);

/* Reads what is left of the request, sends the answer and ends the request. */
void fcgi_finish(struct fcgi *fcgi);

#endif
