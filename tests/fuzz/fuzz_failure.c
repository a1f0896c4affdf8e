/* Takes apart what an execution may send as its failure, and lets a verdict be made of it. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "sandbox/verdict.h"

static volatile unsigned char seen;

/* What a script may say of itself; all else is the worker's to tell. */
static const bool claimable[VERDICT_COUNT] = {[VERDICT_EXCEPTION] = true,
	[VERDICT_EXIT] = true,
	[VERDICT_SYNTAX] = true,
	[VERDICT_NO_MAIN] = true,
	[VERDICT_NOT_JSON] = true,
	[VERDICT_BLOCKED_IMPORT] = true,
	[VERDICT_MEMORY] = true};

static void read_all(const char *text, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		seen ^= (unsigned char)text[i];
}

static void check_verdict(const struct failure *failure)
{
	const struct job_limits limits = {.timeout_ms = 1, .memory_mib = UINT32_MAX, .cpu_s = 1};
	const struct verdict_facts facts = {.limits = &limits, .claim = failure};
	struct verdict verdict = {0};

	verdict_decide(&facts, &verdict);
	CHECK(verdict.kind == failure->header.kind);
	CHECK(verdict.line >= 0 && verdict.exit_code >= 0 && verdict.exit_code <= 255);
	CHECK(strcmp(verdict_kind_word(verdict.kind), "internal") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct failure failure;
	const struct failure_header *header = &failure.header;
	int r = failure_decode((const char *)data, (uint32_t)size, &failure);

	CHECK(r == 0 || r == -EPROTO);
	if (r)
		return 0;
	CHECK(header->kind < VERDICT_COUNT && claimable[header->kind]);
	CHECK(failure.type == (const char *)data + sizeof(*header));
	CHECK(failure.traceback + header->traceback_bytes == (const char *)data + size);
	read_all(failure.type, header->type_bytes);
	read_all(failure.error, header->error_bytes);
	read_all(failure.traceback, header->traceback_bytes);
	check_verdict(&failure);
	return 0;
}
