#include "fcgi-app/front.h"

#include "sandbox/identity.h"
#include "sandbox/role.h"
#include "sandbox/tree.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

int front_confine(const struct front_setup *setup, uint64_t memory_bytes, struct err *err)
{
	uint32_t id = setup->ranged ? IDENTITY_DISPATCHER : 0;
	/* whoever maps its namespace's 0 into another one must have had this when it made that */
	int r = identity_become(id, id ? 0 : CAPABILITY(CAP_SETFCAP), err);

	if (r < 0)
		return r;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
		    CLONE_NEWCGROUP) < 0)
		return err_set(err, errno, "make the dispatcher's namespaces");
	/* the change of credentials made us undumpable, and /proc/self/uid_map root's */
	if (prctl(PR_SET_DUMPABLE, 1) < 0)
		return err_set(err, errno, "open one's own id map");
	r = identity_map_self(setup->proc, id, err);
	if (r < 0)
		return r;
	close(setup->proc);
	r = tree_enter_empty(err);
	if (!r)
		r = identity_drop_all_capabilities(err);
	if (!r && prctl(PR_SET_DUMPABLE, 0) < 0)
		r = err_set(err, errno, "become undumpable");
	if (!r)
		r = role_limit(memory_bytes, 0, err);
	if (!r)
		r = role_filter(setup->policy, err);
	close(setup->policy);
	return r;
}
