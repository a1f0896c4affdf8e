#include "fcgi-app/admission.h"

#include "fcgi-app/exchange.h"
#include "fcgi-app/key_digest.h"
#include "sandbox/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const headers[] = {"HTTP_AUTHORIZATION", "HTTP_X_API_KEY"};

enum {
	HEADERS = sizeof(headers) / sizeof(headers[0]),
};

void admission_take_key(struct exchange *exchange)
{
	struct admission *admission = &exchange->admission;
	const char *key;
	size_t length, i;

	*admission = (struct admission){0};
	admission->shown = credentials_find(fcgi_parameter(exchange->fcgi, headers[0]),
		fcgi_parameter(exchange->fcgi, headers[1]), &key, &length);
	if (admission->shown == CREDENTIALS_KEY)
		key_digest(key, length, admission->digest);
	for (i = 0; i < HEADERS; i++) {
		if (fcgi_wipe_parameter(exchange->fcgi, headers[i]) > 1)
			admission->shown = CREDENTIALS_SEVERAL;
	}
}

/* RFC 6750, 3: a challenge, with a reason only where something was shown. */
static void refuse_key(struct exchange *exchange, const char *error, const char *code)
{
	char header[256];

	snprintf(header, sizeof(header),
		"WWW-Authenticate: Bearer realm=\"vivarium\"%s%s%s%s%s\r\n",
		*code ? ", error=\"" : "", code, *code ? "\", error_description=\"" : "",
		*code ? error : "", *code ? "\"" : "");
	exchange_refuse(exchange, REFUSAL_UNAUTHORIZED, error, NULL, header);
}

static const char *period_word(uint32_t period_s)
{
	return period_s == 1 ? "second" : period_s == 60 ? "minute" : "hour";
}

static void refuse_limit(struct exchange *exchange, const struct keys_refusal *refusal)
{
	const char *requests = refusal->limit == 1 ? "request" : "requests";
	char error[128], header[64];

	if (refusal->period_s)
		snprintf(error, sizeof(error), "The API key's limit is %u %s per %s",
			refusal->limit, requests, period_word(refusal->period_s));
	else
		snprintf(error, sizeof(error), "The API key's limit is %u %s at once",
			refusal->limit, requests);
	snprintf(header, sizeof(header), "Retry-After: %u\r\n", refusal->retry_after_s);
	exchange_refuse(exchange, REFUSAL_RATE_LIMITED, error, NULL, header);
}

static bool enter_with_key(struct exchange *exchange)
{
	struct admission *admission = &exchange->admission;
	const struct keys_now now = {.monotonic_us = clock_now_us(), .unix_s = time(NULL)};
	struct keys_refusal refusal;
	enum keys_verdict verdict = keys_enter(
		exchange->dispatcher->keys, admission->digest, &now, &admission->guest, &refusal);

	snprintf(exchange->record.key, sizeof(exchange->record.key), "%s", admission->guest.name);
	switch (verdict) {
	case KEYS_ADMITTED:
		return true;
	case KEYS_EXPIRED:
		refuse_key(exchange, "The API key has expired", "invalid_token");
		return false;
	case KEYS_TOO_MANY:
	case KEYS_TOO_OFTEN:
		refuse_limit(exchange, &refusal);
		return false;
	case KEYS_UNKNOWN:
		break;
	}
	refuse_key(exchange, "The API key is not known", "invalid_token");
	return false;
}

bool admission_enter(struct exchange *exchange)
{
	if (!exchange->dispatcher->keys)
		return true;
	switch (exchange->admission.shown) {
	case CREDENTIALS_KEY:
		return enter_with_key(exchange);
	case CREDENTIALS_MALFORMED:
		refuse_key(exchange, "The API key is malformed", "invalid_token");
		return false;
	case CREDENTIALS_SEVERAL:
		refuse_key(exchange, "More than one API key was sent", "invalid_request");
		return false;
	case CREDENTIALS_NONE:
		break;
	}
	refuse_key(exchange,
		"An API key is required, as \"Authorization: Bearer KEY\" or \"X-Api-Key: KEY\"",
		"");
	return false;
}

void admission_leave(struct exchange *exchange)
{
	if (exchange->dispatcher->keys)
		keys_leave(exchange->dispatcher->keys, &exchange->admission.guest);
}

struct request_rules admission_rules(const struct exchange *exchange)
{
	const struct keys_guest *guest = &exchange->admission.guest;
	struct request_rules rules = *exchange->dispatcher->setup->rules;

	request_rules_lower(&rules, guest->max_timeout_ms, guest->max_memory_mib);
	return rules;
}

struct client admission_client(const struct exchange *exchange)
{
	const struct keys_guest *guest = &exchange->admission.guest;

	return guest->entry ? client_of_key(guest->number)
			    : client_of_address(fcgi_parameter(exchange->fcgi, "REMOTE_ADDR"));
}
