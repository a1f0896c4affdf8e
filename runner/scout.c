#include "runner/scout.h"

#include "runner/execution.h"
#include "runner/python.h"
#include "sandbox/frame.h"
#include "sandbox/job.h"
#include "sandbox/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
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

/* In the scout: runs the typical script like a job, looks, and passes on what it saw. */
static _Noreturn void scout(int proc, const char *typical, size_t length, int report)
{
	struct hot_pages *pages = malloc(sizeof(*pages));
	struct err err = {0};
	int pair[2], r = pages ? message_pair(SOCK_STREAM, pair) : -ENOMEM;

	if (!r)
		r = python_wake(&err);
	if (!r)
		r = send_rehearsal(pair[0], typical, length);
	if (!r)
		r = execution_rehearse(pair[1], &err);
	if (!r)
		r = hot_pages_learn(proc, pages, &err);
	if (r < 0 || write(report, pages, sizeof(*pages)) != (ssize_t)sizeof(*pages))
		_exit(1);
	_exit(0);
}

int scout_send(int proc, const char *typical, size_t length, struct hot_pages *hot)
{
	int pipe_fds[2];
	size_t got = 0;
	ssize_t n = 0;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	python_before_fork();
	pid = fork();
	if (!pid) {
		close(pipe_fds[0]); /* a template that was killed reads no more, which it is to notice */
		scout(proc, typical, length, pipe_fds[1]);
	}
	close(pipe_fds[1]);
	while (pid > 0 && got < sizeof(*hot) &&
		(n = read(pipe_fds[0], (char *)hot + got, sizeof(*hot) - got)) > 0)
		got += (size_t)n;
	close(pipe_fds[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	python_after_fork_parent();
	if (got == sizeof(*hot))
		return 0;
	hot->written.count = hot->read.count = 0;
	return -EIO;
}
