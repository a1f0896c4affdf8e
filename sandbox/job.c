#include "sandbox/job.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define VERDICT_WORD(name, word, claimable) word,
static const char *const words[] = {VERDICT_KINDS(VERDICT_WORD)};
#define VERDICT_CLAIMABLE(name, word, claimable) claimable,
static const bool claimables[] = {VERDICT_KINDS(VERDICT_CLAIMABLE)};

const char *verdict_kind_word(uint32_t kind)
{
	return kind < VERDICT_COUNT ? words[kind] : "internal";
}

int failure_decode(const char *payload, uint32_t length, struct failure *failure)
{
	struct failure_header *header = &failure->header;
	uint64_t texts;

	if (length < sizeof(*header))
		return -EPROTO;
	memcpy(header, payload, sizeof(*header));
	texts = (uint64_t)header->type_bytes + header->error_bytes + header->traceback_bytes;
	if (texts != length - sizeof(*header) || header->type_bytes > ERROR_TYPE_MAX_BYTES ||
		header->error_bytes > ERROR_TEXT_MAX_BYTES ||
		header->traceback_bytes > TRACEBACK_MAX_BYTES)
		return -EPROTO;
	if (header->kind >= VERDICT_COUNT || header->kind == VERDICT_OK ||
		!claimables[header->kind])
		return -EPROTO;
	failure->type = payload + sizeof(*header);
	failure->error = failure->type + header->type_bytes;
	failure->traceback = failure->error + header->error_bytes;
	return 0;
}
