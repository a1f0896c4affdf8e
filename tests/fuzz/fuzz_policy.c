/* Feeds arbitrary text to the policy parser and checks what it made of it. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "sandbox/policy.h"

static struct policy policy, again;

static void check_rule(const struct policy_rule *rule)
{
	size_t length = strnlen(rule->name, sizeof(rule->name));

	CHECK(length > 0 && length < sizeof(rule->name));
	CHECK(strspn(rule->name, "abcdefghijklmnopqrstuvwxyz0123456789_") == length);
	CHECK(rule->section == POLICY_ALLOW || rule->section == POLICY_WARDEN ||
		rule->section == POLICY_ERRNO);
	CHECK(rule->section == POLICY_ERRNO ? rule->error >= 0 : rule->error == 0);
	CHECK(rule->line > 0 && rule->conditions <= POLICY_CONDITIONS_MAX);
	for (size_t i = 0; i < rule->conditions; i++) {
		CHECK(rule->condition[i].argument <= 5);
		CHECK(!(rule->condition[i].value & ~rule->condition[i].mask));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct err err = {0};
	int r;

	memset(&policy, 0xA5, sizeof(policy));
	memset(&again, 0x5A, sizeof(again));
	r = policy_parse(text, size, &policy, &err);
	CHECK(r == 0 || r == -EINVAL);
	CHECK(policy.rules <= POLICY_RULES_MAX);
	CHECK(r ? err.code == EINVAL && strncmp(err.text, "policy line ", 12) == 0 : !err.code);
	for (size_t i = 0; !r && i < policy.rules; i++) {
		check_rule(&policy.rule[i]);
		CHECK(!i || policy.rule[i - 1].line <= policy.rule[i].line);
	}
	/* what was there before makes no difference */
	CHECK(policy_parse(text, size, &again, NULL) == r && again.rules == policy.rules);
	CHECK(r || !memcmp(again.rule, policy.rule, policy.rules * sizeof(*policy.rule)));
	return 0;
}
