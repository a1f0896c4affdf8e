/* The request header Accept, as far as this service has a choice to make (RFC 9110, 12.5.1). */
#ifndef VIVARIUM_ACCEPT_H
#define VIVARIUM_ACCEPT_H

#include <stdbool.h>

/*
 * Whether a client would rather have text/event-stream than application/json: it names the former
 * with a weight above 0, and the latter not at all, with less weight, or with the same one behind
 * it. Wildcards name neither. accept is NUL-terminated and may be anything.
 */
bool accept_wants_events(const char *accept);

#endif
