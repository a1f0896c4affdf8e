/*
 * Who may come in, where the configuration names a key file. A route is marked as guarded in the
 * dispatcher's table; then its handler is called only for a request with a key that is known, not
 * expired and within its limits.
 */
#ifndef VIVARIUM_ADMISSION_H
#define VIVARIUM_ADMISSION_H

#include "fcgi-app/client.h"
#include "fcgi-app/credentials.h"
#include "fcgi-app/keys.h"
#include "fcgi-app/request_rules.h"

struct exchange;

/* What one request has shown, and as whom it was let in; all zero while there are no keys. */
struct admission {
	enum credentials_kind shown;
	uint8_t digest[KEY_DIGEST_BYTES];
	struct keys_guest guest; /* its name is for logs */
};

/*
 * Takes the digest of the request's key and wipes the key itself out of the parameters. Before
 * anything else is done with a request, whatever its route.
 */
void admission_take_key(struct exchange *exchange);

/* Whether the request may come in; else it was answered, before its body was looked at. */
bool admission_enter(struct exchange *exchange);

/* For a request that came in. */
void admission_leave(struct exchange *exchange);

/* What the request may ask for: less than others, perhaps. */
struct request_rules admission_rules(const struct exchange *exchange);

/* With whom the request takes turns: the holder of its key, or its address. */
struct client admission_client(const struct exchange *exchange);

#endif
