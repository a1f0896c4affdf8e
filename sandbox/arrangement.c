#include "sandbox/arrangement.h"

#include "sandbox/identity.h"
#include "sandbox/landlock.h"
#include "sandbox/tree.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

uint32_t arrangement_id(const struct arrangement *arrangement, uint32_t id)
{
	return arrangement->ranged ? arrangement->id_base + id : 0;
}

int arrangement_flags(const struct arrangement *arrangement, int flags)
{
	static const struct {
		enum layer layer;
		int flag;
	} rows[] = {{LAYER_USER, CLONE_NEWUSER}, {LAYER_PID, CLONE_NEWPID},
		{LAYER_MOUNT, CLONE_NEWNS}, {LAYER_NETWORK, CLONE_NEWNET},
		{LAYER_IPC, CLONE_NEWIPC}, {LAYER_UTS, CLONE_NEWUTS},
		{LAYER_CGROUP, CLONE_NEWCGROUP}};
	int had = 0;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (LAYER_HAS(arrangement->layers, rows[i].layer))
			had |= rows[i].flag;
	}
	return flags & had;
}

int arrangement_unshare(const struct arrangement *arrangement, int flags, struct err *err)
{
	flags = arrangement_flags(arrangement, flags);
	return flags && unshare(flags) < 0 ? err_set(err, errno, "make namespaces") : 0;
}

bool arrangement_is_exposed(const struct arrangement *arrangement)
{
	bool own_id = arrangement->ranged && !LAYER_HAS(arrangement->layers, LAYER_USER);

	if (!LAYER_HAS(arrangement->layers, LAYER_PID))
		return !own_id;
	return !arrangement->ranged && !LAYER_HAS(arrangement->layers, LAYER_MOUNT);
}

uint32_t arrangement_execution_id(const struct arrangement *arrangement, uint32_t cell_id)
{
	if (!arrangement->ranged || LAYER_HAS(arrangement->layers, LAYER_USER))
		return 0;
	return cell_id - IDENTITY_CELL_FIRST + IDENTITY_EXECUTION_FIRST;
}

void arrangement_print(const struct arrangement *arrangement, char text[ARRANGEMENT_TEXT_BYTES])
{
	snprintf(text, ARRANGEMENT_TEXT_BYTES, "%s:%u:%u:%s",
		arrangement->ranged ? "ranged" : "single", arrangement->layers,
		arrangement->id_base, arrangement->work);
}

int arrangement_parse(const char *text, struct arrangement *arrangement)
{
	char kind[8];
	int used = 0;

	*arrangement = (struct arrangement){0};
	if (sscanf(text, "%7[a-z]:%u:%u:%n", kind, &arrangement->layers, &arrangement->id_base,
		    &used) != 3 ||
		!used || strlen(text + used) >= sizeof(arrangement->work))
		return -EINVAL;
	arrangement->ranged = strcmp(kind, "ranged") == 0;
	if (!arrangement->ranged && strcmp(kind, "single") != 0)
		return -EINVAL;
	memcpy(arrangement->work, text + used, strlen(text + used) + 1);
	return 0;
}

int arrangement_hide_files(const struct arrangement *arrangement, int proc, struct err *err)
{
	const struct landlock_rule reading = {.fd = proc};

	if (LAYER_HAS(arrangement->layers, LAYER_MOUNT))
		return tree_enter_empty(err);
	if (LAYER_HAS(arrangement->layers, LAYER_LANDLOCK))
		return landlock_confine(&reading, proc >= 0, false, err);
	return 0;
}
