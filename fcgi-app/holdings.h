/*
 * What requests may hold of the dispatcher's memory together: a ledger, so that libfcgi's own
 * allocations, which abort when they fail, never meet the limit of the process. Thread-safe.
 */
#ifndef VIVARIUM_HOLDINGS_H
#define VIVARIUM_HOLDINGS_H

#include "fcgi-app/config.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct holdings {
	size_t most_bytes;
	atomic_size_t held_bytes;
};

/* What a request whose body has so many bytes is counted with: its parsed parts and job too. */
size_t holdings_of_body(size_t body_bytes);

/* Enters the bytes. Returns false, and enters nothing, where they would be too many. */
bool holdings_take(struct holdings *holdings, size_t bytes);

/* Takes back what holdings_take entered. */
void holdings_give(struct holdings *holdings, size_t bytes);

/*
 * The private memory that a dispatcher with so many threads and cells may ever come to
 * (RLIMIT_DATA): stacks and kept buffers, answers of all cells, requests, as much again as
 * these while buffers grow, and half as much for ends of streams, twice while some are cut.
 */
uint64_t holdings_limit_bytes(const struct config *config, size_t threads, size_t cells);

#endif
