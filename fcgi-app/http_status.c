#include "fcgi-app/http_status.h"

#include "sandbox/job.h"

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

static const struct {
	int status;
	const char *reason;
} reasons[] = {
#define HTTP_ROW(status, reason) {status, reason},
	HTTP_REASONS(HTTP_ROW)
#undef HTTP_ROW
};

size_t http_status_index(int status)
{
	size_t i;

	for (i = 0; i < HTTP_STATUSES && reasons[i].status != status; i++)
		;
	return i;
}

int http_status_at(size_t index)
{
	return reasons[index].status;
}

bool http_status_is_packed(int status)
{
	return status == 200 || status == 403 || status == 404;
}

const char *http_reason(int status)
{
	size_t i = http_status_index(status);

	return i < HTTP_STATUSES ? reasons[i].reason : "Error";
}
