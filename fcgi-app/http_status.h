/* The one place that knows HTTP status codes: API.md's table of kinds. */
#ifndef VIVARIUM_HTTP_STATUS_H
#define VIVARIUM_HTTP_STATUS_H

#include <stdbool.h>
#include <stddef.h>

/* Kinds of answers that are given without a run. */
#define REFUSALS(X)                                                                                \
	X(INVALID_REQUEST, "invalid_request", 400)                                                 \
	X(UNAUTHORIZED, "unauthorized", 401)                                                       \
	X(NOT_FOUND, "not_found", 404)                                                             \
	X(METHOD_NOT_ALLOWED, "method_not_allowed", 405)                                           \
	X(PAYLOAD_TOO_LARGE, "payload_too_large", 413)                                             \
	X(UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415)                                   \
	X(RATE_LIMITED, "rate_limited", 429)                                                       \
	X(OVERLOADED, "overloaded", 503)                                                           \
	X(INTERNAL, "internal", 500)

#define REFUSAL_ENUM(name, word, status) REFUSAL_##name,
enum refusal { REFUSALS(REFUSAL_ENUM) REFUSAL_COUNT };
#undef REFUSAL_ENUM

enum {
	HTTP_CLIENT_GONE = 499, /* of a request without an answer; never sent, named as nginx does */
};

/* The statuses of this service with the reasons that go into its answers. */
#define HTTP_REASONS(X)                                                                            \
	X(200, "OK")                                                                               \
	X(202, "Accepted")                                                                         \
	X(204, "No Content")                                                                       \
	X(400, "Bad Request")                                                                      \
	X(401, "Unauthorized")                                                                     \
	X(403, "Forbidden")                                                                        \
	X(404, "Not Found")                                                                        \
	X(405, "Method Not Allowed")                                                               \
	X(406, "Not Acceptable")                                                                   \
	X(408, "Request Timeout")                                                                  \
	X(413, "Payload Too Large")                                                                \
	X(415, "Unsupported Media Type")                                                           \
	X(429, "Too Many Requests")                                                                \
	X(HTTP_CLIENT_GONE, "Client Closed Request")                                               \
	X(500, "Internal Server Error")                                                            \
	X(503, "Service Unavailable")

#define HTTP_PLACE(status, reason) HTTP_PLACE_##status,
enum { HTTP_REASONS(HTTP_PLACE) HTTP_STATUSES };
#undef HTTP_PLACE

const char *refusal_word(enum refusal refusal);
int refusal_status(enum refusal refusal);

/* Status of a verdict of sandbox/job.h; kind may be any number. */
int verdict_status(unsigned kind);

/* The place of a status among HTTP_REASONS, HTTP_STATUSES if it is none of them; and back. */
size_t http_status_index(int status);
int http_status_at(size_t index);

/* Whether nginx's gzip filter, to which all other statuses are nothing, packs answers of this one.
 */
bool http_status_is_packed(int status);

/* "Not Found" for 404; "Error" for a status that this service does not use. */
const char *http_reason(int status);

#endif
