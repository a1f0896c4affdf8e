#include "runner/scout.h"

#include "runner/execution.h"
#include "runner/heat_survey.h"
#include "runner/python.h"
#include "sandbox/frame.h"
#include "sandbox/job.h"
#include "sandbox/message.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int send_job(int channel, const char *typical, size_t length)
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

struct mission {
	int proc;
	int (*prepare)(struct mission *mission, struct err *err); /* NULL: nothing */
	int (*look)(struct mission *mission, struct err *err); /* when the script has run */
	struct hot_pages *pages; /* shared with the template */
	size_t set;
};

static _Noreturn void scout(struct mission *mission, const char *typical, size_t length)
{
	struct err err = {0};
	int pair[2], r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r = message_pair(SOCK_STREAM, pair);
	if (!r && mission->prepare)
		r = mission->prepare(mission, &err);
	if (!r)
		r = python_wake(&err);
	if (!r)
		r = send_job(pair[0], typical, length);
	if (!r)
		r = execution_run_unjailed(pair[1], &err);
	if (!r)
		r = mission->look(mission, &err);
	if (r < 0)
		fprintf(stderr, "vivarium-template: a scout: %s\n", err.text);
	_exit(r < 0 ? 1 : 0);
}

static int send_out(struct mission *mission, const char *typical, size_t length)
{
	int status = 0;
	pid_t pid;

	python_before_fork();
	pid = fork();
	if (!pid)
		scout(mission, typical, length);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	python_after_fork_parent();
	return pid < 0 ? -EAGAIN : status ? -EIO : 0;
}

static int learn_hot_pages(struct mission *mission, struct err *err)
{
	return hot_pages_learn(mission->proc, mission->pages, err);
}

static int look_closely(struct mission *mission, struct err *err)
{
	return hot_pages_look_closely(mission->proc, &mission->pages->read, err);
}

static int survey_heat(struct mission *mission, struct err *err)
{
	return heat_survey_look(mission->proc, mission->set, err);
}

int scout_hot_pages(
	int proc, const char *typical, size_t length, bool closely, struct hot_pages *hot)
{
	struct mission mission = {.proc = proc, .look = learn_hot_pages};
	int r;

	hot->written.count = hot->read.count = 0;
	mission.pages = mmap(NULL, sizeof(*hot), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mission.pages == MAP_FAILED)
		return -errno;
	r = send_out(&mission, typical, length);
	if (!r)
		*hot = *mission.pages;
	mission.prepare = look_closely;
	if (!r && closely && send_out(&mission, typical, length) == 0)
		*hot = *mission.pages; /* else the first one's findings have to do */
	munmap(mission.pages, sizeof(*hot));
	return r;
}

int scout_heat(int proc, const char *typical, size_t length, size_t set)
{
	struct mission mission = {.proc = proc, .look = survey_heat, .set = set};

	return send_out(&mission, typical, length);
}
