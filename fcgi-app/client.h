/* Who asks, as far as turns are concerned: the holder of a key, or an address. */
#ifndef VIVARIUM_CLIENT_H
#define VIVARIUM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

enum client_kind {
	CLIENT_UNKNOWN, /* all that have neither: one client */
	CLIENT_KEY,
	CLIENT_IPV4,
	CLIENT_IPV6, /* a network of 64 bits: whoever has one address has 2^64 of them */
};

struct client {
	enum client_kind kind;
	uint64_t id;
};

/* The client at an address as nginx writes it; IPv4 within IPv6 is IPv4. */
struct client client_of_address(const char *address);

/* The holder of a key, by the number that the key has in this process. */
struct client client_of_key(uint64_t number);

bool client_is_same(const struct client *one, const struct client *other);

/* A number that nobody can foretell without the seed: clients choose their addresses. */
uint64_t client_hash(const struct client *client, uint64_t seed);

#endif
