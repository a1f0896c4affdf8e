#include "sandbox/layers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	uint32_t full;
} layers[] = {
#define LAYER_ROW(name, text, required) {text, (required) ? LAYER_BIT(LAYER_##name) : 0},
	LAYERS(LAYER_ROW)
#undef LAYER_ROW
};

/* Only in a user namespace of one's own may one make the others. */
static const uint32_t rest_on_user = LAYER_BIT(LAYER_PID) | LAYER_BIT(LAYER_MOUNT) |
				     LAYER_BIT(LAYER_NETWORK) | LAYER_BIT(LAYER_IPC) |
				     LAYER_BIT(LAYER_UTS) | LAYER_BIT(LAYER_CGROUP) |
				     LAYER_BIT(LAYER_PROCFS);

static const uint32_t least = LAYER_BIT(LAYER_SECCOMP) | LAYER_BIT(LAYER_CAPABILITIES) |
			      LAYER_BIT(LAYER_NO_NEW_PRIVS) | LAYER_BIT(LAYER_RLIMITS);

const char *layer_name(enum layer layer)
{
	return (unsigned)layer < LAYER_COUNT ? layers[layer].name : "?";
}

uint32_t layers_missing(uint32_t set)
{
	uint32_t full = 0;
	size_t i;

	for (i = 0; i < LAYER_COUNT; i++)
		full |= layers[i].full;
	return full & ~set;
}

void layers_print(uint32_t set, char *text, size_t size)
{
	size_t used = 0, i;

	snprintf(text, size, "none");
	for (i = 0; i < LAYER_COUNT && used < size; i++) {
		if (LAYER_HAS(set, i))
			used += (size_t)snprintf(
				text + used, size - used, "%s%s", used ? " " : "", layers[i].name);
	}
}

static int refuse(uint32_t missing, const char *mode, struct err *err)
{
	char names[160];

	layers_print(missing, names, sizeof(names));
	return err_set(err, ENOTSUP, "isolation = %s needs what is missing here (%s)", mode, names);
}

int layers_plan(enum isolation isolation, uint32_t found, uint32_t *plan, struct err *err)
{
	uint32_t missing;

	if (!LAYER_HAS(found, LAYER_USER))
		found &= ~rest_on_user;
	if (!LAYER_HAS(found, LAYER_MOUNT))
		found &= ~LAYER_BIT(LAYER_PROCFS); /* there is nowhere to mount it */
	else
		found &= ~LAYER_BIT(LAYER_LANDLOCK);
	missing = isolation == ISOLATION_FULL ? layers_missing(found) : least & ~found;
	if (isolation == ISOLATION_AVAILABLE && !LAYER_HAS(found, LAYER_MOUNT))
		missing |= LAYER_BIT(LAYER_LANDLOCK) & ~found;
	if (missing && isolation != ISOLATION_PLATFORM)
		return refuse(missing, isolation == ISOLATION_FULL ? "full" : "available", err);
	*plan = found;
	return 0;
}
