#include "sandbox/scale.h"

#include "sandbox/descriptors.h"
#include "sandbox/identity.h"
#include "sandbox/log.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"
#include "sandbox/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static int confine(const struct arrangement *arrangement, int proc, struct err *err)
{
	bool has_root = LAYER_HAS(arrangement->layers, LAYER_MOUNT);
	int r = arrangement_unshare(
		arrangement, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS, err);

	if (!r && has_root)
		r = arrangement_hide_files(arrangement, proc, err);
	if (!r)
		r = identity_become(arrangement_id(arrangement, IDENTITY_SCALE),
			CAPABILITY(CAP_SYS_PTRACE), err);
	if (!r && !has_root) /* with Landlock the order is the other way round */
		r = arrangement_hide_files(arrangement, proc, err);
	return r;
}

static uint64_t bytes_of(const char *text, const char *key)
{
	const char *line = strstr(text, key);
	unsigned long long kib = 0;

	if (line)
		sscanf(line + strlen(key), "%llu", &kib);
	return kib * 1024;
}

/* A cell's question, and how far its answer has come. */
struct weighing {
	struct scale_request request;
	struct scale_answer answer;
	uint32_t next; /* of request.pids */
	bool active;
};

static void weigh(int proc, int pid, struct scale_answer *answer)
{
	char path[40], text[2048];
	SCOPE_FD fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%d/smaps_rollup", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0) {
		answer->missing++;
		return;
	}
	text[n] = '\0';
	answer->anon_bytes += bytes_of(text, "\nPss_Anon:") + bytes_of(text, "\nSwapPss:");
	answer->shmem_bytes += bytes_of(text, "\nPss_Shmem:");
}

/* Returns whether it was understood. The numbers of a worker's cells follow one another. */
static bool take_request(int socket, struct weighing *weighings)
{
	static struct scale_request request;
	struct weighing *weighing;
	size_t none = 0;

	if (message_receive(socket, &request, sizeof(request), NULL, &none) != 1 ||
		request.count > SCALE_PIDS_MAX)
		return false;
	weighing = &weighings[request.cell % WORKER_CELLS_MAX];
	*weighing = (struct weighing){.request = request,
		.answer = {.cell = request.cell, .execution = request.execution},
		.active = true};
	return true;
}

/* One process of it. Returns 0 or a negative errno. */
static int go_on(int proc, int socket, struct weighing *weighing)
{
	if (weighing->next < weighing->request.count)
		weigh(proc, weighing->request.pids[weighing->next++], &weighing->answer);
	if (weighing->next < weighing->request.count)
		return 0;
	weighing->active = false;
	return message_send(socket, &weighing->answer, sizeof(weighing->answer), NULL, 0);
}

static _Noreturn void serve(int proc, int socket)
{
	static struct weighing weighings[WORKER_CELLS_MAX];
	struct pollfd asked = {.fd = socket, .events = POLLIN};
	bool busy = false;
	size_t i;
	int r = 0;

	while (r >= 0) {
		if (poll(&asked, 1, busy ? 0 : -1) > 0) {
			if (!take_request(socket, weighings))
				break;
			busy = true;
			continue;
		}
		busy = false;
		for (i = 0; i < WORKER_CELLS_MAX && r >= 0; i++) {
			if (!weighings[i].active)
				continue;
			r = go_on(proc, socket, &weighings[i]);
			busy |= weighings[i].active;
		}
	}
	_exit(0); /* the worker is gone */
}

int scale_start(
	int proc, const struct arrangement *arrangement, int *ret_socket, struct err *err)
{
	struct err inner = {0};
	int pair[2], keep[2];
	pid_t pid;

	if (message_pair(SOCK_SEQPACKET, pair) < 0)
		return err_set(err, errno, "make a socket");
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "vivarium-scale");
		keep[0] = proc;
		keep[1] = pair[1];
		descriptors_keep(keep, 2);
		if (confine(arrangement, proc, &inner) == 0)
			serve(proc, pair[1]);
		log_error("scale", "%s", inner.text);
		_exit(1);
	}
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return err_set(err, errno, "fork the scale");
	}
	*ret_socket = pair[0];
	return 0;
}
