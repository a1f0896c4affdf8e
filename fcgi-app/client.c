#include "fcgi-app/client.h"

#include <arpa/inet.h>
#include <endian.h>
#include <string.h>

static struct client client_of_ipv6(const struct in6_addr *address)
{
	uint64_t network;
	uint32_t inner;

	if (IN6_IS_ADDR_V4MAPPED(address)) {
		memcpy(&inner, address->s6_addr + 12, sizeof(inner));
		return (struct client){.kind = CLIENT_IPV4, .id = be32toh(inner)};
	}
	memcpy(&network, address->s6_addr, sizeof(network));
	return (struct client){.kind = CLIENT_IPV6, .id = be64toh(network)};
}

struct client client_of_address(const char *address)
{
	struct in_addr ipv4;
	struct in6_addr ipv6;

	if (inet_pton(AF_INET, address, &ipv4) == 1)
		return (struct client){.kind = CLIENT_IPV4, .id = be32toh(ipv4.s_addr)};
	if (inet_pton(AF_INET6, address, &ipv6) == 1)
		return client_of_ipv6(&ipv6);
	return (struct client){.kind = CLIENT_UNKNOWN};
}

struct client client_of_key(uint64_t number)
{
	return (struct client){.kind = CLIENT_KEY, .id = number};
}

bool client_is_same(const struct client *one, const struct client *other)
{
	return one->kind == other->kind && one->id == other->id;
}

/* The finalizer of MurmurHash3, over what is mixed with the seed twice. */
static uint64_t mix(uint64_t value)
{
	value = (value ^ (value >> 33)) * UINT64_C(0xff51afd7ed558ccd);
	value = (value ^ (value >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
	return value ^ (value >> 33);
}

uint64_t client_hash(const struct client *client, uint64_t seed)
{
	return mix(mix(client->id ^ seed) + seed + (uint64_t)client->kind);
}
