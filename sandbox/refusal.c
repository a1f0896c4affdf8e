#include "sandbox/refusal.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/ioctl.h>

/* The kernel goes by its own sizes of these, which may grow; what is beyond ours stays zero. */
enum {
	ROOM_BYTES = 512,
};

union question {
	struct seccomp_notif notification;
	char room[ROOM_BYTES];
};

union reply {
	struct seccomp_notif_resp response;
	char room[ROOM_BYTES];
};

int refusal_answer(int listener, int *number)
{
	union question question;
	union reply reply;

	memset(&question, 0, sizeof(question));
	memset(&reply, 0, sizeof(reply));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question) < 0)
		return errno == ENOENT || errno == EINTR ? 0 : -errno;
	reply.response.id = question.notification.id;
	reply.response.error = -EPERM;
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply) < 0 && errno != ENOENT)
		return -errno;
	*number = question.notification.data.nr;
	return 1;
}
