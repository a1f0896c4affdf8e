/*
 * A cell of a worker between a dispatcher, a template, a warden and an execution, all of which are
 * played by the input: a list of operations, each a byte that says what, one that says how long,
 * and bytes. Whatever they send, in whatever order, the cell stays in a state of its table, answers
 * a job at most once, and what it says to the dispatcher is frames that mean something.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/cell.h"
#include "sandbox/json_scan.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"

enum operation {
	OPERATION_LANE, /* bytes from the dispatcher */
	OPERATION_CHANNEL, /* bytes from the execution */
	OPERATION_REPORT, /* a struct cell_report, cut or padded with zeros */
	OPERATION_REPORT_SHORT, /* bytes on the warden's socket as they are */
	OPERATION_OUTPUT,
	OPERATION_ERROR,
	OPERATION_DEADLINE, /* the time of the state is over */
	OPERATION_LANE_NEW, /* the dispatcher was started again */
	OPERATION_LANE_END,
	OPERATION_CHANNEL_END,
	OPERATION_CONTROL_END,
	/* what an honest peer would send, so that all states are reached */
	OPERATION_HELLO,
	OPERATION_PARKED,
	OPERATION_JOB,
	OPERATION_VALUE,
	OPERATION_EXITED,
	OPERATION_EXTRAS, /* many; the first byte says of what */
	OPERATION_COUNT,
};

/* The other ends; -1: none. */
struct peers {
	int template, control, lane, channel, output, error;
	size_t jobs, verdicts;
	size_t files, figures, warnings; /* in the answer that comes */
	bool live; /* some job asked for live output, or may have */
	struct frame_reader heard; /* by the dispatcher */
};

static const char *const set_names[] = {"base", "numpy"};
static const size_t set_parents[] = {0, 0};
static struct cell cell;
static struct peers peers;
static int requests[2] = {-1, -1}, epoll_fd = -1, proc_fd = -1, null_fd = -1;
static struct cell_environment environment;
static struct cell_turns turns;
static const struct arrangement arrangement;
static const uint32_t layers; /* as few as the arrangement asks for */

static void start(void)
{
	int pair[2];

	if (epoll_fd < 0) {
		signal(SIGPIPE, SIG_IGN);
		epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
		null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		CHECK(epoll_fd >= 0 && proc_fd >= 0 && null_fd >= 0);
	}
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
	requests[0] = requests[1] = pair[0];
	peers = (struct peers){.template = pair[1],
		.control = -1,
		.lane = -1,
		.channel = -1,
		.output = -1,
		.error = -1,
		.heard = {.in.cap = JOB_MAX_BYTES}};
	turns = (struct cell_turns){.most = 1};
	environment = (struct cell_environment){.epoll = epoll_fd,
		.turns = &turns,
		.arrangement = &arrangement,
		.scale = -1,
		.proc = proc_fd,
		.requests = requests,
		.set_names = set_names,
		.set_parents = set_parents,
		.sets = 2,
		.max_executions = 3,
		.max_age_s = 3600};
	cell_init(&cell, &environment, 7, 0);
}

static void new_lane(void)
{
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
	fd_close(&peers.lane);
	peers.lane = pair[1];
	frame_reader_reset(&peers.heard, 0);
	peers.files = peers.figures = peers.warnings = 0;
	peers.jobs = peers.verdicts = 0; /* whoever waited for the old lane's answers is gone */
	cell_set_lane(&cell, pair[0]);
}

static void check_verdict(const struct frame *frame, bool has_value)
{
	struct verdict verdict;

	CHECK(frame->length == sizeof(verdict));
	memcpy(&verdict, frame->payload, sizeof(verdict));
	CHECK(verdict.kind < VERDICT_COUNT);
	CHECK((verdict.kind == VERDICT_OK) == has_value);
	CHECK(memchr(verdict.template_name, '\0', sizeof(verdict.template_name)));
	CHECK(++peers.verdicts <= peers.jobs);
}

/* However they were sent: the dispatcher has room for so many in one answer. */
static void count_extra(const struct frame *frame)
{
	peers.files += frame->type == FRAME_FILE;
	peers.figures += frame->type == FRAME_FIGURE;
	peers.warnings += frame->type == FRAME_WARNING;
	CHECK(peers.files <= FILES_MAX && peers.figures <= FIGURES_MAX &&
		peers.warnings <= 2 * WARNINGS_MAX);
	if (frame->type == FRAME_VERDICT)
		peers.files = peers.figures = peers.warnings = 0;
}

/* What the cell says to its dispatcher. */
static void hear(void)
{
	const struct json_scan_options strict = {.max_bytes = RESULT_MAX_BYTES,
		.max_depth = RESULT_MAX_DEPTH,
		.max_number_digits = RESULT_MAX_DIGITS,
		.ascii_only = true,
		.hash_seed = 1};
	static bool has_value;
	struct json_scan_result result;
	struct frame frame;

	if (peers.lane < 0)
		return;
	while (frame_reader_fill(&peers.heard, peers.lane, NULL) > 0)
		;
	while (frame_reader_next(&peers.heard, &frame)) {
		CHECK((frame.type >= FRAME_READY && frame.type <= FRAME_LIVE_STDERR) ||
			frame.type == FRAME_RESULT || frame.type == FRAME_TRACEBACK ||
			frame.type == FRAME_FILE || frame.type == FRAME_FIGURE ||
			frame.type == FRAME_CONTENT || frame.type == FRAME_WARNING);
		if (frame.type == FRAME_LIVE_STDOUT || frame.type == FRAME_LIVE_STDERR)
			CHECK(frame.length && frame.length <= LIVE_MAX_BYTES && peers.live);
		count_extra(&frame);
		if (frame.type == FRAME_RESULT) {
			CHECK(json_scan(frame.payload, frame.length, &strict, NULL, NULL,
				      &result) == 0);
			has_value = true;
		} else if (frame.type == FRAME_VERDICT) {
			check_verdict(&frame, has_value);
			has_value = false;
		}
	}
}

/* The template hands the warden's end over, the warden the execution's ends. */
static void collect(void)
{
	struct template_request request;
	struct cell_order order;
	int fds[3];
	size_t count = 1;

	while (message_receive(peers.template, &request, sizeof(request), fds, &count) == 1) {
		CHECK(count == 1 && request.cell == 7);
		fd_close(&peers.control);
		peers.control = fds[0];
		CHECK(fcntl(peers.control, F_SETFL, O_NONBLOCK) == 0);
		count = 1;
	}
	while (peers.control >= 0 &&
		(count = 3, message_receive(peers.control, &order, sizeof(order), fds, &count) == 1)) {
		CHECK(order.type == CELL_ORDER_FORK ? count == 3 : count == 0);
		if (order.type != CELL_ORDER_FORK)
			continue;
		fd_close(&peers.channel);
		fd_close(&peers.output);
		fd_close(&peers.error);
		peers.channel = fds[0];
		peers.output = fds[1];
		peers.error = fds[2];
	}
}

static void settle(void)
{
	struct epoll_event events[8];
	int rounds = 100, count, i;

	while (rounds-- && (count = epoll_wait(epoll_fd, events, 8, 0)) > 0) {
		for (i = 0; i < count; i++) {
			struct cell_source *source = events[i].data.ptr;

			cell_handle(source->cell, source->kind, events[i].events);
		}
		CHECK(cell.state < CELL_STATE_COUNT);
		collect();
		hear();
	}
}

static void send_bytes(int fd, const void *data, size_t size)
{
	ssize_t n = fd < 0 ? 0 : send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	(void)n;
}

static void send_frame(int fd, enum frame_type type, const void *payload, size_t length)
{
	struct buffer out = {0};

	CHECK(frame_append(&out, type, payload, length) == 0);
	send_bytes(fd, out.data, out.length);
	buffer_free(&out);
}

/* More than there may be of files, figures or warnings, or the announcement of files. */
static void send_extras(uint8_t choice)
{
	const struct figure_header header = {.number = choice};
	char path[8];
	int i;

	for (i = 0; i <= FILES_MAX && choice % 4 == 0; i++) {
		snprintf(path, sizeof(path), "%03d", i);
		send_frame(peers.channel, FRAME_FILE, path, 3);
	}
	for (i = 0; i <= FIGURES_MAX && choice % 4 == 1; i++)
		send_frame(peers.channel, FRAME_FIGURE, &header, sizeof(header));
	for (i = 0; i <= WARNINGS_MAX && choice % 4 == 2; i++)
		send_frame(peers.channel, FRAME_WARNING, "w", 1);
	if (choice % 4 == 3)
		send_frame(peers.channel, FRAME_FILES, NULL, 0);
}

static void send_report(struct cell_report *report, bool with_fd)
{
	if (peers.control >= 0)
		message_send(peers.control, report, sizeof(*report), &null_fd, with_fd);
}

static void send_job(uint8_t choice)
{
	const struct job_limits limits = {.timeout_ms = 1000,
		.memory_mib = 64,
		.cpu_s = 3,
		.wanted_set = choice & 1,
		.flags = choice & 2 ? JOB_LIVE : 0};

	peers.live |= limits.flags != 0;
	send_frame(peers.lane, FRAME_JOB, &limits, sizeof(limits));
	send_frame(peers.lane, FRAME_SCRIPT, "pass", 4);
	send_frame(peers.lane, FRAME_GO, NULL, 0);
}

/* A GO may come in any bytes: so many answers may come back, and no more. */
static size_t count_goes(const uint8_t *data, size_t size)
{
	size_t count = 1, i;

	for (i = 0; i < size; i++)
		count += data[i] == FRAME_GO;
	return count;
}

static void print_to(int fd, const void *data, size_t size)
{
	if (fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && write(fd, data, size) < 0)
		CHECK(errno == EAGAIN || errno == EPIPE);
}

static void operate(enum operation operation, const uint8_t *data, size_t size)
{
	struct cell_report report = {0};

	switch (operation) {
	case OPERATION_LANE:
		peers.jobs += count_goes(data, size);
		peers.live = true;
		send_bytes(peers.lane, data, size);
		break;
	case OPERATION_CHANNEL:
		send_bytes(peers.channel, data, size);
		break;
	case OPERATION_REPORT:
		memcpy(&report, data, size < sizeof(report) ? size : sizeof(report));
		send_report(&report, size & 1);
		break;
	case OPERATION_REPORT_SHORT:
		send_bytes(peers.control, data, size);
		break;
	case OPERATION_OUTPUT:
		print_to(peers.output, data, size);
		break;
	case OPERATION_ERROR:
		print_to(peers.error, data, size);
		break;
	case OPERATION_DEADLINE:
		cell_check_deadline(&cell, UINT64_MAX);
		break;
	case OPERATION_LANE_NEW:
		new_lane();
		break;
	case OPERATION_LANE_END:
		fd_close(&peers.lane);
		break;
	case OPERATION_CHANNEL_END:
		fd_close(&peers.channel);
		break;
	case OPERATION_CONTROL_END:
		fd_close(&peers.control);
		break;
	case OPERATION_HELLO:
		report.type = CELL_REPORT_HELLO;
		send_report(&report, true);
		break;
	case OPERATION_PARKED:
		send_frame(peers.channel, FRAME_PARKED, &layers, sizeof(layers));
		break;
	case OPERATION_JOB:
		peers.jobs++;
		send_job(size ? data[0] : 0);
		break;
	case OPERATION_VALUE:
		send_frame(peers.channel, FRAME_RESULT, "[1]", 3);
		send_frame(peers.channel, FRAME_DONE, NULL, 0);
		break;
	case OPERATION_EXITED:
		report = (struct cell_report){
			.type = CELL_REPORT_EXITED, .execution = cell.run.number};
		report.status = size ? data[0] : 0;
		send_report(&report, false);
		break;
	case OPERATION_EXTRAS:
		send_extras(size ? data[0] : 0);
		break;
	case OPERATION_COUNT:
		break;
	}
	collect();
	settle();
}

static void stop(void)
{
	int i;

	for (i = 0; i < CELL_SOURCE_COUNT; i++)
		fd_close(&cell.source[i].fd);
	fd_close(&cell.warden);
	fd_close(&cell.run.status_file);
	frame_reader_free(&cell.lane_in);
	frame_reader_free(&cell.channel_in);
	frame_writer_reset(&cell.lane_out, 0);
	frame_writer_reset(&cell.job.out, 0);
	buffer_free(&cell.run.value);
	buffer_free(&cell.run.claim);
	buffer_free(&cell.run.traceback);
	for (i = 0; i < CELL_EXTRAS; i++)
		extras_reset(&cell.run.extras[i], 0);
	capture_reset(&cell.output);
	capture_reset(&cell.error);
	buffer_free(&cell.output.head);
	buffer_free(&cell.error.head);
	frame_reader_free(&peers.heard);
	fd_close(&requests[0]);
	fd_close(&peers.template);
	fd_close(&peers.control);
	fd_close(&peers.lane);
	fd_close(&peers.channel);
	fd_close(&peers.output);
	fd_close(&peers.error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t at = 0, length;

	start();
	new_lane();
	while (at + 2 <= size && at < 4096) {
		length = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
		operate((enum operation)(data[at] % OPERATION_COUNT), data + at + 2, length);
		at += 2 + length;
	}
	stop();
	return 0;
}
