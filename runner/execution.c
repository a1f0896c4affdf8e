/*
 * An execution takes the last steps into the jail by itself, in the order of the table below: each
 * has a name, and one that fails ends the process with {step, errno} sent to the worker. Then it
 * waits, parked, for a job on its channel; lowers its limits to what the job says; and runs it.
 */
#include "runner/execution.h"

#include "runner/input.h"
#include "runner/python.h"
#include "sandbox/frame.h"
#include "sandbox/identity.h"
#include "sandbox/job.h"
#include "sandbox/warden_call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	WARM_CACHES_AFTER_MS = 1,
};

/* The channel moves first; 0, 1 and 2 are then free to be replaced. */
static int arrange_descriptors(const struct execution_setup *setup, struct err *err)
{
	int null;

	if (dup3(setup->channel, EXECUTION_FD_CHANNEL, O_CLOEXEC) < 0 ||
		dup2(setup->output, STDOUT_FILENO) < 0 || dup2(setup->error, STDERR_FILENO) < 0)
		return err_set(err, errno, "arrange descriptors");
	if (close_range(3, EXECUTION_FD_CHANNEL - 1, 0) < 0 ||
		close_range(EXECUTION_FD_CHANNEL + 1, ~0u, 0) < 0)
		return err_set(err, errno, "close descriptors");
	close(STDIN_FILENO);
	null = open("/dev/null", O_RDONLY);
	return null == STDIN_FILENO ? 0 : err_set(err, errno, "open /dev/null");
}

/* A group of its own, so that kill(0) means the script; no signal stays blocked. */
static int reset_signals(const struct execution_setup *setup, struct err *err)
{
	sigset_t none;

	(void)setup;
	setsid();
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? err_set(err, errno, "unblock signals") : 0;
}

/* Without user namespaces the warden gives its executions an id that cannot reach its own. */
static int take_own_id(const struct execution_setup *setup, struct err *err)
{
	uint32_t id = setup->own_id;

	if (id && (warden_call(SYS_setresgid, id, id, id, 0, 0) < 0 ||
			  warden_call(SYS_setresuid, id, id, id, 0, 0) < 0))
		return err_set(err, errno, "become user %u", id);
	return 0;
}

/* A PID namespace ends with its process 1; without one, whoever lives on is found by its id. */
static int die_with_warden(const struct execution_setup *setup, struct err *err)
{
	if (LAYER_HAS(setup->arrangement->layers, LAYER_PID))
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_set(err, errno, "ask to die with the warden");
	return 0;
}

/* Innermost, with no map: everybody in it is 65534, and RLIMIT_NPROC counts this one alone. */
static int enter_user_namespace(const struct execution_setup *setup, struct err *err)
{
	(void)setup;
	if (warden_call(SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0) < 0)
		return err_set(err, errno, "make a user namespace");
	return 0;
}

static int drop_capabilities(const struct execution_setup *setup, struct err *err)
{
	return identity_drop_all_capabilities(LAYER_HAS(setup->arrangement->layers, LAYER_USER), err);
}

static int set_limits(const struct execution_setup *setup, struct err *err)
{
	struct rlimits_cell limits = setup->limits;
	struct rlimit now;

	/* the one id of the service counts all its processes: threads are bounded by their stacks */
	if (!setup->own_id && !LAYER_HAS(setup->arrangement->layers, LAYER_USER) &&
		getrlimit(RLIMIT_NPROC, &now) == 0)
		limits.processes = now.rlim_max;
	return rlimits_set_cell(&limits, err);
}

/* Also what keeps a core dump handler of the host, which runs as root, from being started. */
static int become_undumpable(const struct execution_setup *setup, struct err *err)
{
	(void)setup;
	if (warden_call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_GET_DUMPABLE) != 0)
		return err_set(err, errno, "become undumpable");
	return 0;
}

static int close_filter(const struct execution_setup *setup, struct err *err)
{
	int r = setup->exposed ? seccomp_install(setup->exposed, err) : 0;

	return r < 0 ? r : seccomp_install(setup->closing, err);
}

static int wake_python(const struct execution_setup *setup, struct err *err)
{
	(void)setup;
	return python_wake(err);
}

/* Before all else: one call for many pages is cheaper than one fault for each. */
static int touch_hot_pages(const struct execution_setup *setup, struct err *err)
{
	(void)err;
	hot_pages_touch(setup->hot);
	return 0;
}

/* With layers: the step is one that puts them in force, and is left out where they are missing. */
static const struct execution_step {
	const char *name;
	int (*run)(const struct execution_setup *, struct err *);
	uint32_t layers;
} steps[] = {
	{"hot pages", touch_hot_pages, 0},
	{"descriptors", arrange_descriptors, 0},
	{"signals", reset_signals, 0},
	{"identity", take_own_id, 0},
	{"user namespace", enter_user_namespace, LAYER_BIT(LAYER_USER)},
	{"capabilities", drop_capabilities, LAYER_BIT(LAYER_CAPABILITIES)},
	{"rlimits", set_limits, LAYER_BIT(LAYER_RLIMITS)},
	{"undumpable", become_undumpable, 0},
	{"death with the warden", die_with_warden, 0},
	{"closing filter", close_filter, LAYER_BIT(LAYER_SECCOMP)},
	{"python", wake_python, 0},
};

static void send_frame(int channel, enum frame_type type, const void *payload, size_t length)
{
	struct frame_writer writer = {0};

	if (frame_append(&writer.out, type, payload, length) == 0)
		frame_flush(&writer, channel);
	frame_writer_reset(&writer, 0);
}

/* Returns the layers in force. */
static uint32_t jail_oneself(const struct execution_setup *setup)
{
	uint32_t planned = setup->arrangement->layers, layers = setup->layers;
	struct step_failure failure = {0};
	struct err err = {0};
	uint32_t i;

	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].layers && !(steps[i].layers & planned))
			continue;
		if (steps[i].run(setup, &err) == 0) {
			layers |= steps[i].layers & planned;
			continue;
		}
		failure.step = i;
		failure.code = err.code;
		strncpy(failure.name, steps[i].name, sizeof(failure.name) - 1);
		/* before the descriptors are arranged the channel is where it came */
		send_frame(i > 1 ? EXECUTION_FD_CHANNEL : setup->channel, FRAME_STEP_FAILED, &failure,
			sizeof(failure));
		_exit(1);
	}
	return layers;
}

struct job {
	struct job_limits limits;
	struct buffer script, entry;
	bool has_entry;
	struct buffer text[PYTHON_TEXTS]; /* parts that Python reads */
	struct input input;
};

static int take_text(struct job *job, enum python_text which, const struct frame *frame)
{
	return buffer_append(&job->text[which], frame->payload, frame->length);
}

static int take_frame(struct job *job, const struct frame *frame)
{
	switch ((int)frame->type) {
	case FRAME_JOB:
		if (frame->length != sizeof(job->limits))
			return -EPROTO;
		memcpy(&job->limits, frame->payload, sizeof(job->limits));
		return 0;
	case FRAME_SCRIPT:
		return buffer_append(&job->script, frame->payload, frame->length);
	case FRAME_ENTRY:
		job->has_entry = true;
		return buffer_append(&job->entry, frame->payload, frame->length);
	case FRAME_ARGS:
		return take_text(job, PYTHON_ARGS, frame);
	case FRAME_KWARGS:
		return take_text(job, PYTHON_KWARGS, frame);
	case FRAME_ARGV:
		return take_text(job, PYTHON_ARGV, frame);
	case FRAME_ENV:
		return take_text(job, PYTHON_ENV, frame);
	case FRAME_OUTPUTS:
		return take_text(job, PYTHON_OUTPUTS, frame);
	case FRAME_STDIN:
	case FRAME_FILE:
	case FRAME_CONTENT:
		input_take(&job->input, frame);
		return 0;
	default:
		return -EPROTO;
	}
}

/* A large job's frames lie in a sealed file, and are read where they lie. */
static int take_body(struct job *job, int body)
{
	struct frame_reader reader = {0};
	struct frame frame;
	struct stat status;
	int r = body < 0 || fstat(body, &status) < 0 ? -EPROTO : 0;

	if (!r) {
		reader.in.length = (size_t)status.st_size;
		reader.in.data =
			mmap(NULL, reader.in.length, PROT_READ, MAP_SHARED, body, 0);
		if (reader.in.data == MAP_FAILED)
			r = -errno;
	}
	if (body >= 0)
		close(body);
	if (r < 0)
		return r;
	while (!r && frame_reader_next(&reader, &frame))
		r = frame.type == FRAME_JOB ? -EPROTO : take_frame(job, &frame);
	munmap(reader.in.data, reader.in.length);
	return r;
}

/* Blocks, parked, until a whole job is here. Anything else is the end of this process. */
static void receive_job(int channel, struct job *job)
{
	struct frame_reader reader = {.in = {.cap = JOB_MAX_BYTES}, .takes_descriptor = true};
	struct frame frame;
	int r = 0;

	do {
		if (frame_reader_wait(&reader, channel, &frame) != 1)
			_exit(0); /* the worker is gone */
		if (frame.type == FRAME_BODY)
			r = take_body(job, frame_reader_take_descriptor(&reader));
		else if (frame.type != FRAME_GO)
			r = take_frame(job, &frame);
		if (r < 0)
			_exit(1);
	} while (frame.type != FRAME_GO);
	input_finish(&job->input);
	frame_reader_free(&reader);
}

/* Where no job follows at once there is time; where one does, the processors have other work. */
static void wait_warm(int channel)
{
	struct pollfd watched = {.fd = channel, .events = POLLIN};
	struct err err = {0};

	if (poll(&watched, 1, WARM_CACHES_AFTER_MS) == 0 && python_warm_caches(&err) < 0)
		_exit(1);
}

static int limit_job(const struct execution_setup *setup, const struct job_limits *limits, struct err *err)
{
	const struct rlimits_job job = {.data_bytes = setup->data_bytes,
		.address_bytes = setup->address_bytes,
		.memory_mib = limits->memory_mib,
		.cpu_s = limits->cpu_s,
		.processes = setup->limits.processes};

	return rlimits_set_job(&job, err);
}

static int run_job(struct job *job, int channel, struct err *err)
{
	struct python_job run = {.script = job->script.data ? job->script.data : "",
		.script_bytes = job->script.length,
		.entry = !job->has_entry ? NULL : job->entry.data ? job->entry.data : "",
		.entry_bytes = job->entry.length,
		.flags = job->limits.flags,
		.text = job->text,
		.input_error = job->input.error,
		.input_path = job->input.path};

	return python_run(&run, channel, err);
}

int execution_run_unjailed(int channel, struct err *err)
{
	struct job job = {0};

	receive_job(channel, &job);
	return run_job(&job, channel, err);
}

_Noreturn void execution_main(const struct execution_setup *setup)
{
	struct job job = {0};
	struct err err = {0};
	uint32_t layers;

	layers = jail_oneself(setup);
	send_frame(EXECUTION_FD_CHANNEL, FRAME_PARKED, &layers, sizeof(layers));
	wait_warm(EXECUTION_FD_CHANNEL);
	receive_job(EXECUTION_FD_CHANNEL, &job);
	if (limit_job(setup, &job.limits, &err) < 0) {
		dprintf(STDERR_FILENO, "vivarium: %s\n", err.text);
		_exit(EXECUTION_EXIT_UNLIMITED);
	}
	if (run_job(&job, EXECUTION_FD_CHANNEL, &err) < 0)
		_exit(1);
	for (;;)
		pause(); /* all is said; the worker has us swept */
}
