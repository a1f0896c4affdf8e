/* What requests may ask for: the configuration's defaults, maxima and fields, or less for a key. */
#ifndef VIVARIUM_REQUEST_RULES_H
#define VIVARIUM_REQUEST_RULES_H

#include "fcgi-app/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request_rules {
	uint32_t default_timeout_ms, max_timeout_ms;
	uint32_t default_memory_mib, max_memory_mib;
	uint32_t fields; /* bit n: the field n of request.h may be set */
};

/* The configuration's limits, and every field. */
void request_rules_init(struct request_rules *rules, const struct config *config);

/*
 * Allows `script` and the fields whose names are in the list, separated by blanks or commas; "all":
 * every field. Returns 0, or -EINVAL for a name that is none.
 */
int request_rules_allow(struct request_rules *rules, const char *names, struct err *err);

/* Lowers the maxima, and the defaults to them; 0: not that one. */
void request_rules_lower(
	struct request_rules *rules, uint32_t max_timeout_ms, uint32_t max_memory_mib);

/* Whether the field of that number may be set. */
bool request_rules_has(const struct request_rules *rules, size_t field);

/* Writes the names of the fields that may be set, with commas, as far as there is room. */
void request_rules_print(const struct request_rules *rules, char *text, size_t size);

#endif
