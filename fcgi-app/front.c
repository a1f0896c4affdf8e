#include "fcgi-app/front.h"

#include "sandbox/identity.h"
#include "sandbox/message.h"
#include "sandbox/role.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

static int enter_namespaces(const struct front_setup *setup, uint32_t id, struct err *err)
{
	int r = arrangement_unshare(setup->arrangement,
		CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
			CLONE_NEWCGROUP,
		err);

	if (r < 0 || !LAYER_HAS(setup->arrangement->layers, LAYER_USER))
		return r;
	/* the change of credentials made us undumpable, and /proc/self/uid_map root's */
	if (prctl(PR_SET_DUMPABLE, 1) < 0)
		return err_set(err, errno, "open one's own id map");
	return identity_map_self(setup->proc, id, err);
}

int front_confine(const struct front_setup *setup, uint64_t memory_bytes, struct err *err)
{
	uint32_t id = arrangement_id(setup->arrangement, IDENTITY_DISPATCHER);
	bool has_namespace = LAYER_HAS(setup->arrangement->layers, LAYER_USER);
	/* whoever maps its namespace's 0 into another one must have had this when it made that */
	int r = identity_become(id, id || !has_namespace ? 0 : CAPABILITY(CAP_SETFCAP), err);

	if (!r)
		r = enter_namespaces(setup, id, err);
	close(setup->proc);
	if (!r)
		r = arrangement_hide_files(setup->arrangement, -1, err);
	if (!r)
		r = identity_drop_all_capabilities(has_namespace, err);
	if (!r && prctl(PR_SET_DUMPABLE, 0) < 0)
		r = err_set(err, errno, "become undumpable");
	/* a change of credentials has cleared it */
	if (!r && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		r = err_set(err, errno, "ask to die with the master");
	if (!r)
		r = role_limit(memory_bytes, 0, err);
	if (!r)
		r = role_filter(setup->policy, err);
	close(setup->policy);
	return r;
}

int front_wait_for_lane(const struct front_setup *setup, int *lane)
{
	const struct front_report report = {.type = FRONT_REPORT_READY};
	struct front_order order = {0};
	size_t count = 0;
	int r = message_send(setup->control, &report, sizeof(report), NULL, 0);

	while (!r && order.type != FRONT_ORDER_LANE) {
		count = 1;
		r = message_receive(setup->control, &order, sizeof(order), lane, &count) != 1;
	}
	return !r && count == 1 ? 0 : -EPIPE;
}
