#include "fcgi-app/http_status.h"

#include "sandbox/job.h"

#include <stddef.h>

#define REFUSAL_WORD(name, word, status) word,
static const char *const words[] = {REFUSALS(REFUSAL_WORD)};
#define REFUSAL_STATUS(name, word, status) status,
static const int statuses[] = {REFUSALS(REFUSAL_STATUS)};

const char *refusal_word(enum refusal refusal)
{
	return words[refusal];
}

int refusal_status(enum refusal refusal)
{
	return statuses[refusal];
}

int verdict_status(unsigned kind)
{
	switch (kind) {
	case VERDICT_OK:
		return 200;
	case VERDICT_TIME:
	case VERDICT_CPU:
		return 408;
	case VERDICT_EXCEPTION:
	case VERDICT_EXIT:
	case VERDICT_SYNTAX:
	case VERDICT_NO_MAIN:
	case VERDICT_NOT_JSON:
	case VERDICT_BLOCKED_IMPORT:
	case VERDICT_RESULT_TOO_LARGE:
	case VERDICT_MEMORY:
	case VERDICT_SIGNAL:
		return 400;
	default:
		return 500;
	}
}

const char *http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {{200, "OK"}, {204, "No Content"}, {400, "Bad Request"}, {404, "Not Found"},
		{405, "Method Not Allowed"}, {408, "Request Timeout"}, {413, "Payload Too Large"},
		{415, "Unsupported Media Type"}, {500, "Internal Server Error"},
		{503, "Service Unavailable"}};
	size_t i;

	for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "Error";
}
