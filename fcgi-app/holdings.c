#include "fcgi-app/holdings.h"

static const uint64_t MIB = 1 << 20;

enum {
	COPIES = 4, /* of a body: as it came, its strings, its job's frames, room to grow */
	BASE_MIB = 64,
	/* stack, libfcgi's buffers, and four buffers that are kept up to 256 KiB each */
	THREAD_KIB = 1536,
	/* a result, two streams, each control character of which becomes six; files and figures in
	 * base64; read, kept, written; and what of a stream waits for its reader */
	CELL_MIB = 232,
};

size_t holdings_of_body(size_t body_bytes)
{
	return COPIES * body_bytes;
}

bool holdings_take(struct holdings *holdings, size_t bytes)
{
	if (atomic_fetch_add(&holdings->held_bytes, bytes) + bytes <= holdings->most_bytes)
		return true;
	holdings_give(holdings, bytes);
	return false;
}

void holdings_give(struct holdings *holdings, size_t bytes)
{
	atomic_fetch_sub(&holdings->held_bytes, bytes);
}

uint64_t holdings_limit_bytes(const struct config *config, size_t threads, size_t cells)
{
	return BASE_MIB * MIB + threads * UINT64_C(1024) * THREAD_KIB + cells * CELL_MIB * MIB +
	       3 * config->request_memory_mib * MIB;
}
