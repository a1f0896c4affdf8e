/* The one place that knows HTTP status codes: API.md's table of kinds. */
#ifndef VIVARIUM_HTTP_STATUS_H
#define VIVARIUM_HTTP_STATUS_H

/* Kinds of answers that are given without a run. */
#define REFUSALS(X)                                                                                \
	X(INVALID_REQUEST, "invalid_request", 400)                                                 \
	X(NOT_FOUND, "not_found", 404)                                                             \
	X(METHOD_NOT_ALLOWED, "method_not_allowed", 405)                                           \
	X(PAYLOAD_TOO_LARGE, "payload_too_large", 413)                                             \
	X(UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415)                                   \
	X(OVERLOADED, "overloaded", 503)                                                           \
	X(INTERNAL, "internal", 500)

#define REFUSAL_ENUM(name, word, status) REFUSAL_##name,
enum refusal { REFUSALS(REFUSAL_ENUM) REFUSAL_COUNT };
#undef REFUSAL_ENUM

const char *refusal_word(enum refusal refusal);
int refusal_status(enum refusal refusal);

/* Status of a verdict of sandbox/job.h; kind may be any number. */
int verdict_status(unsigned kind);

/* "Not Found" for 404; "Error" for a status that this service does not use. */
const char *http_reason(int status);

#endif
