#include "runner/scout.h"

#include "runner/execution.h"
#include "runner/python.h"
#include "sandbox/frame.h"
#include "sandbox/job.h"
#include "sandbox/message.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int send_rehearsal(int channel, const char *typical, size_t length)
{
	const struct job_limits limits = {0};
	struct frame_writer writer = {0};
	int r = frame_append(&writer.out, FRAME_JOB, &limits, sizeof(limits));

	if (!r)
		r = frame_append(&writer.out, FRAME_SCRIPT, typical, length);
	if (!r)
		r = frame_append(&writer.out, FRAME_ENTRY, "main", strlen("main"));
	if (!r)
		r = frame_append(&writer.out, FRAME_GO, NULL, 0);
	if (!r)
		r = frame_flush(&writer, channel);
	frame_writer_reset(&writer, 0);
	return r;
}

/* In the scout: runs the typical script like a job, and looks. */
static _Noreturn void scout(const char *typical, size_t length,
	int (*look)(void *context, struct err *err), void *context)
{
	struct err err = {0};
	int pair[2], r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r = message_pair(SOCK_STREAM, pair);
	if (!r)
		r = python_wake(&err);
	if (!r)
		r = send_rehearsal(pair[0], typical, length);
	if (!r)
		r = execution_rehearse(pair[1], &err);
	if (!r)
		r = look(context, &err);
	_exit(r < 0);
}

int scout_send(const char *typical, size_t length, int (*look)(void *context, struct err *err),
	void *context)
{
	int status = 0;
	pid_t pid;

	python_before_fork();
	pid = fork();
	if (!pid)
		scout(typical, length, look, context);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	python_after_fork_parent();
	return pid < 0 ? -EAGAIN : status ? -EIO : 0;
}
