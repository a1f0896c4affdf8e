#include "fcgi-app/request_rules.h"

#include "fcgi-app/request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char separators[] = " \t,";

static uint32_t bit(size_t field)
{
	return UINT32_C(1) << field;
}

void request_rules_init(struct request_rules *rules, const struct config *config)
{
	*rules = (struct request_rules){.default_timeout_ms = (uint32_t)config->default_timeout_ms,
		.max_timeout_ms = (uint32_t)config->max_timeout_ms,
		.default_memory_mib = (uint32_t)config->default_memory_mib,
		.max_memory_mib = (uint32_t)config->max_memory_mib,
		.fields = UINT32_MAX};
}

int request_rules_allow(struct request_rules *rules, const char *names, struct err *err)
{
	size_t span, field;

	if (strcmp(names, "all") == 0) {
		rules->fields = UINT32_MAX;
		return 0;
	}
	rules->fields = bit(request_field_find("script", strlen("script")));
	for (names += strspn(names, separators); *names; names += strspn(names, separators)) {
		span = strcspn(names, separators);
		field = request_field_find(names, span);
		if (field == REQUEST_NO_FIELD)
			return err_set(err, EINVAL, "client_fields: no field is called \"%.*s\"",
				span < 40 ? (int)span : 40, names);
		rules->fields |= bit(field);
		names += span;
	}
	return 0;
}

static void lower(uint32_t *most, uint32_t *fallback, uint32_t limit)
{
	if (limit && limit < *most)
		*most = limit;
	if (*fallback > *most)
		*fallback = *most;
}

void request_rules_lower(
	struct request_rules *rules, uint32_t max_timeout_ms, uint32_t max_memory_mib)
{
	lower(&rules->max_timeout_ms, &rules->default_timeout_ms, max_timeout_ms);
	lower(&rules->max_memory_mib, &rules->default_memory_mib, max_memory_mib);
}

bool request_rules_has(const struct request_rules *rules, size_t field)
{
	return rules->fields & bit(field);
}

void request_rules_print(const struct request_rules *rules, char *text, size_t size)
{
	const char *name;
	size_t used = 0, field;

	for (field = 0; (name = request_field_name(field)); field++) {
		if (request_rules_has(rules, field) && used < size)
			used += (size_t)snprintf(
				text + used, size - used, "%s%s", used ? ", " : "", name);
	}
}
