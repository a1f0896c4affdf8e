/* An API key as everybody but its holder knows it: by a digest, with a name and limits. */
#ifndef VIVARIUM_KEY_H
#define VIVARIUM_KEY_H

#include <stdint.h>

enum {
	KEY_DIGEST_BYTES = 32, /* SHA-256 */
	KEY_NAME_BYTES = 64, /* with a NUL */
	KEYS_MAX = 4096,
};

/* Goes between processes as it is. Equal keys are equal bytes: what is not used is zero. */
struct key {
	char name[KEY_NAME_BYTES];
	uint8_t digest[KEY_DIGEST_BYTES];
	int64_t created_s, expires_s; /* Unix time; 0: not said, never */
	uint32_t rate, rate_period_s; /* requests in a period; 0: no limit */
	uint32_t burst; /* requests at once, when it has been quiet; 0: as many as rate */
	uint32_t concurrent; /* requests at hand; 0: no limit */
	uint32_t max_timeout_ms, max_memory_mib; /* 0: the configuration's */
};

#endif
