#include "fcgi-app/child.h"

#include "fcgi-app/log_output.h"
#include "sandbox/clock.h"
#include "sandbox/descriptors.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	RETRY_FIRST_US = 50 * 1000,
	RETRY_LAST_US = 5 * 1000 * 1000,
	PROVEN_US = 10 * 1000 * 1000, /* a child that lived so long starts its back-off anew */
};

void child_init(struct child *child)
{
	*child = (struct child){.control = -1, .retry_last_us = RETRY_LAST_US};
}

/*
 * Forks into a PID namespace of the child's own: unshare(2) says where the next child goes, and
 * setns(2) takes it back for those after it.
 */
static pid_t fork_into_pid_namespace(int own_pid_namespace)
{
	pid_t pid;

	if (unshare(CLONE_NEWPID) < 0)
		return -1;
	pid = fork();
	if (pid && setns(own_pid_namespace, CLONE_NEWPID) < 0) {
		log_error("master", "back to one's own PID namespace: %s", strerror(errno));
		_exit(1); /* whatever was started next would land in the wrong place */
	}
	return pid;
}

/* The master waits for nobody longer than that. */
static int set_patience(int control, uint64_t ms)
{
	const struct timeval patience = {
		.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	if (ms && setsockopt(control, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	return 0;
}

int child_start(struct child *child, int own_pid_namespace,
	void (*run)(const void *context, int control), const void *context)
{
	int pair[2], r = message_pair(SOCK_SEQPACKET, pair);
	pid_t pid;

	if (r < 0)
		return r;
	r = set_patience(pair[0], child->patience_ms);
	if (r < 0) {
		close(pair[0]);
		close(pair[1]);
		return r;
	}
	pid = own_pid_namespace < 0 ? fork() : fork_into_pid_namespace(own_pid_namespace);
	if (!pid) {
		log_output_forget_dropped();
		run(context, pair[1]);
		_exit(1);
	}
	r = pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	fd_close(&child->control);
	child->pid = pid;
	child->control = pair[0];
	child->started_us = child->heard_us = clock_now_us();
	child->retry_us = child->asked_us = 0;
	return 0;
}

void child_confine_descriptors(bool speaks, const int *keep, size_t count)
{
	int closed = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (closed >= 0) {
		dup2(closed, STDIN_FILENO);
		if (!speaks)
			dup2(closed, STDOUT_FILENO);
	}
	descriptors_keep(keep, count);
}

static void describe_status(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "was killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
}

void child_note_death(struct child *child, const char *name, int status, bool restarts)
{
	uint64_t wait = RETRY_FIRST_US, now = clock_now_us();
	char how[64];
	unsigned i;

	describe_status(status, how, sizeof(how));
	child->pid = 0;
	fd_close(&child->control);
	if (now - child->started_us > PROVEN_US)
		child->failures = 0;
	for (i = 0; i < child->failures && wait < child->retry_last_us; i++)
		wait *= 2;
	if (wait > child->retry_last_us)
		wait = child->retry_last_us;
	child->failures++;
	child->retry_us = now + wait;
	if (restarts)
		log_warning("master", "%s %s; it is started again in %llu ms", name, how,
			(unsigned long long)wait / 1000);
	else
		log_error("master", "%s %s: the service does not start", name, how);
}

void child_note_attempt(struct child *child, int r, const char *name)
{
	if (r == 0)
		return;
	child->retry_us = clock_now_us() + child->retry_last_us;
	log_error("master", "start %s: %s", name, strerror(-r));
}

bool child_is_due(const struct child *child, uint64_t now_us)
{
	return child->retry_us && child->retry_us <= now_us;
}

void child_kill(const struct child *child)
{
	SCOPE_FD process = -1;

	if (!child->pid)
		return;
	process = (int)syscall(SYS_pidfd_open, child->pid, 0); /* not reaped: still its number */
	if (process >= 0)
		syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0);
}

void child_let_go(struct child *child)
{
	child_kill(child);
	fd_close(&child->control);
}

void child_put_down(struct child *child, const char *name, const char *why)
{
	if (child->control < 0)
		return; /* it has been let go */
	log_warning("master", "%s %s: it is killed", name, why);
	child_let_go(child);
}

void child_tell(
	struct child *child, const char *name, const void *order, size_t size, const int *fd)
{
	if (child->control >= 0 &&
		message_send(child->control, order, size, fd, fd ? 1 : 0) == -EAGAIN)
		child_put_down(child, name, "takes no orders");
}

bool child_hear(struct child *child, const char *name, void *report, size_t size)
{
	size_t none = 0;
	int r = message_receive(child->control, report, size, NULL, &none);

	if (r == 1) {
		child->heard_us = clock_now_us();
		child->asked_us = 0;
		return true;
	}
	if (r == -EPROTO)
		child_put_down(child, name, "sent what is no report");
	else
		child_let_go(child);
	return false;
}

void child_check_pulse(struct child *child, const char *name, const void *order, size_t size)
{
	uint64_t patience_us = child->patience_ms * UINT64_C(1000), now = clock_now_us();

	if (child->asked_us && now >= child->asked_us + patience_us)
		child_put_down(child, name, "does not answer");
	if (child->control < 0 || child->asked_us ||
		now < child->heard_us + patience_us / CHILD_PINGS)
		return;
	child->asked_us = now;
	child_tell(child, name, order, size, NULL);
}
