#include "sandbox/landlock.h"

#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Rights and fields newer than the headers of the oldest system that this is built on. */
enum {
	RIGHTS_FIRST = 13, /* of ABI 1: EXECUTE to MAKE_SYM */
	ABI_REFER = 2,
	ABI_TRUNCATE = 3,
	ABI_SCOPES = 6,
};

static const uint64_t refer = UINT64_C(1) << 13, truncation = UINT64_C(1) << 14;
static const uint64_t scope_sockets = 1, scope_signals = 2;

struct attributes { /* struct landlock_ruleset_attr as of ABI 6 */
	uint64_t handled_access_fs, handled_access_net, scoped;
};

static int ask_abi(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static uint64_t all_rights(int abi)
{
	uint64_t rights = (UINT64_C(1) << RIGHTS_FIRST) - 1;

	if (abi >= ABI_REFER)
		rights |= refer;
	return abi >= ABI_TRUNCATE ? rights | truncation : rights;
}

static uint64_t rights_of(const struct landlock_rule *rule, const struct stat *status, int abi)
{
	const uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
				 LANDLOCK_ACCESS_FS_EXECUTE;
	const uint64_t of_files = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE |
				  LANDLOCK_ACCESS_FS_WRITE_FILE | truncation;
	const uint64_t devices = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
				 LANDLOCK_ACCESS_FS_EXECUTE;
	uint64_t rights = rule->writable ? all_rights(abi) & ~devices : reading;

	return S_ISDIR(status->st_mode) ? rights : rights & of_files & all_rights(abi);
}

static int add_rule(int ruleset, const struct landlock_rule *rule, int abi, struct err *err)
{
	SCOPE_FD opened = rule->path ? open(rule->path, O_PATH | O_CLOEXEC) : -1;
	struct landlock_path_beneath_attr beneath = {.parent_fd = rule->path ? opened : rule->fd};
	const char *name = rule->path ? rule->path : "a descriptor";
	struct stat status;

	if (rule->path && opened < 0)
		return errno == ENOENT && rule->optional ? 0 : err_set(err, errno, "open %s", name);
	if (fstat(beneath.parent_fd, &status) < 0)
		return err_set(err, errno, "look at %s", name);
	beneath.allowed_access = rights_of(rule, &status, abi);
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		return err_set(err, errno, "add %s to the Landlock rules", name);
	return 0;
}

int landlock_confine(const struct landlock_rule *rules, size_t count, bool scoped, struct err *err)
{
	int abi = ask_abi(), r = 0;
	const struct attributes attributes = {.handled_access_fs = all_rights(abi),
		.scoped = scoped ? scope_sockets | scope_signals : 0};
	SCOPE_FD ruleset = -1;
	size_t i;

	if (abi < 1)
		return err_set(err, errno, "ask for Landlock");
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes,
		abi >= ABI_SCOPES ? sizeof(attributes) : sizeof(attributes.handled_access_fs), 0);
	if (ruleset < 0)
		return err_set(err, errno, "make Landlock rules");
	for (i = 0; !r && i < count; i++)
		r = add_rule(ruleset, &rules[i], abi, err);
	if (r < 0)
		return r;
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return err_set(err, errno, "put Landlock rules in force");
	return 0;
}
