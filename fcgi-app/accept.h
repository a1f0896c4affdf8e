/* What a client would rather have, as far as this service has a choice (RFC 9110, 12.5). */
#ifndef VIVARIUM_ACCEPT_H
#define VIVARIUM_ACCEPT_H

#include <stdbool.h>

/*
 * Whether a client would rather have text/event-stream than application/json: it names the former
 * with a weight above 0, and the latter not at all, with less weight, or with the same one behind
 * it. Wildcards name neither. accept is NUL-terminated and may be anything.
 */
bool accept_wants_events(const char *accept);

/*
 * Whether a client that sent this Accept-Encoding takes gzip: by its name, or by "*" where it is
 * not named, with a weight above 0. Without the header nothing is packed. As above.
 */
bool accept_takes_gzip(const char *accept_encoding);

#endif
