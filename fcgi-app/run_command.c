#include "fcgi-app/run_command.h"

#include "fcgi-app/answer.h"
#include "fcgi-app/exit_status.h"
#include "fcgi-app/job_client.h"
#include "fcgi-app/launch.h"
#include "fcgi-app/options.h"
#include "fcgi-app/output_files.h"
#include "sandbox/log.h"
#include "sandbox/refusal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	ANSWER_MAX_BYTES = 8 << 20,
	MEMORY_BYTES = 512 << 20, /* one job, one answer, and copies of both while they grow */
};

struct run_job {
	struct request request;
	bool whole_answer; /* print the answer as HTTP would give it */
	bool is_live; /* print what the script prints while it runs */
	int feed; /* takes output files (output_files.h); -1: none */
};

static void write_all(int fd, const char *data, size_t length)
{
	ssize_t n;

	while (length && (n = write(fd, data, length)) > 0) {
		data += n;
		length -= (size_t)n;
	}
}

static void print_note(const char *text, size_t length)
{
	write_all(STDERR_FILENO, "vivarium: ", 10);
	write_all(STDERR_FILENO, text, length);
	write_all(STDERR_FILENO, "\n", 1);
}

static void print_warnings(const struct answer_run *run)
{
	char text[ANSWER_WARNING_BYTES];
	size_t i;

	for (i = 0; answer_warning(run, i, text); i++)
		print_note(text, strlen(text));
}

/* What was printed while the script ran; bytes of each stream. */
struct shown {
	uint64_t output, error;
};

static void show(void *context, enum frame_type stream, const char *text, size_t length)
{
	struct shown *shown = context;

	*(stream == FRAME_LIVE_STDOUT ? &shown->output : &shown->error) += length;
	write_all(STDERR_FILENO, text, length);
}

/* What was kept of a stream and not shown yet. What is missing of it is said in its place. */
static void print_rest(struct answer_text text, uint64_t dropped, uint64_t at, uint64_t shown)
{
	uint64_t head = dropped ? at : text.length;
	char line[96];

	if (shown < head) {
		write_all(STDERR_FILENO, text.data + shown, head - shown);
		shown = head;
	}
	if (!dropped)
		return;
	if (shown < at + dropped) {
		snprintf(line, sizeof(line), "\nvivarium: %" PRIu64 " bytes are left out here\n",
			at + dropped - shown);
		write_all(STDERR_FILENO, line, strlen(line));
		shown = at + dropped;
	}
	write_all(STDERR_FILENO, text.data + (shown - dropped), text.length + dropped - shown);
}

static void print_parts(const struct answer_run *run, const struct shown *shown)
{
	const struct verdict *verdict = &run->verdict;

	print_rest(run->output, verdict->stdout_dropped, verdict->stdout_at, shown->output);
	print_rest(run->error, verdict->stderr_dropped, verdict->stderr_at, shown->error);
	if (verdict->kind == VERDICT_OK) {
		write_all(STDOUT_FILENO, run->result.data, run->result.length);
		write_all(STDOUT_FILENO, "\n", 1);
	}
}

static void print_answer(const struct answer_run *run)
{
	struct buffer body = {0};

	if (answer_run(run, &body) > 0 && buffer_append(&body, "\n", 1) == 0)
		write_all(STDOUT_FILENO, body.data, body.length);
	buffer_free(&body);
}

static void print_failure(const struct answer_run *run)
{
	char text[512];
	struct answer_text line;

	if (run->verdict.kind == VERDICT_OK)
		return;
	write_all(STDERR_FILENO, run->traceback.data, run->traceback.length);
	line = answer_error_line(run, text, sizeof(text));
	print_note(line.data, line.length);
	if (!run->verdict.has_refused)
		return;
	/* not dprintf, which would ask of the kernel what the filter refuses */
	snprintf(text, sizeof(text), "vivarium: system call %s was refused: %s\n",
		refusal_name(run->verdict.refused), refusal_meaning(run->verdict.refused));
	write_all(STDERR_FILENO, text, strlen(text));
}

/* The front: in the place of a dispatcher, under its filter. Returns the exit status. */
static int serve_job(const struct front_setup *setup)
{
	struct frame_reader reader = {.in = {.cap = ANSWER_MAX_BYTES}};
	struct job_client client = {0};
	const struct run_job *job = setup->job;
	struct shown shown = {0};
	struct job_live live = {.context = &shown, .take = show};
	struct answer_run run = {.request = &job->request, .request_id = "run"};
	struct err err = {0};
	int lane = -1, r = front_confine(setup, MEMORY_BYTES, &err);

	if (r < 0) {
		log_error("run", "%s", err.text);
		return EXIT_STATUS_INTERNAL;
	}
	r = front_wait_for_lane(setup, &lane);
	if (!r)
		r = job_client_await_ready(lane, &reader);
	if (!r)
		r = job_client_run(&client, lane, &reader, -1, job->is_live ? &live : NULL,
			&job->request, &run);
	if (r < 0) {
		log_error("run", "the worker is gone: %s", strerror(-r));
		return EXIT_STATUS_INTERNAL;
	}
	if (job->whole_answer) {
		print_answer(&run);
	} else {
		print_parts(&run, &shown);
		print_warnings(&run);
		print_failure(&run);
	}
	if (job->feed >= 0)
		output_files_send(job->feed, &run); /* whoever takes them says what is missing */
	return answer_exit_code(&run.verdict);
}

/* --- the command line ---------------------------------------------------------------------- */

/* Only the set that the script asks for, and what it lies on, is made warm. */
static void keep_one_set(struct library_sets *sets, struct request *request)
{
	size_t chosen = library_sets_choose(sets, request->script.data, request->script.length);
	struct library_sets kept = {0};
	size_t i;

	for (i = 0; i < sets->count; i++) {
		if (library_sets_covers(sets, chosen, i))
			kept.set[kept.count++] = sets->set[i];
	}
	for (i = 1; i < kept.count; i++)
		kept.set[i].parent_index = i - 1;
	*sets = kept;
	request->limits.wanted_set = (uint32_t)(kept.count - 1);
}

int run_command_main(int argc, char **argv)
{
	struct options options;
	struct run_job job = {0};
	struct output_files files = {.feed = -1};
	struct library_sets sets;
	struct err err = {0};
	struct master_setup setup;
	int r = options_parse(&options, OPTIONS_RUN, argc, argv);

	if (r)
		return r;
	if (optind + 1 != argc)
		return options_complain(argv[0], "run takes one script; see vivarium --help");
	r = library_sets_parse(options.config.library_sets, &sets, &err);
	if (!r)
		r = run_request_make(&options.run, argv[optind], &options.config, &job.request,
			&err);
	if (!r && options.run.output_dir)
		r = output_files_start(
			&files, options.run.output_dir, &job.request.globs, &err);
	if (r < 0) {
		request_free(&job.request);
		return options_complain(argv[0], err.text);
	}
	setup = launch_setup_one_cell(&options.config, &sets, "run", serve_job, &job);
	setup.feed = job.feed = files.feed;
	job.whole_answer = options.run.json;
	job.is_live = options.run.stream;
	keep_one_set(&sets, &job.request);
	r = launch(&setup, &err);
	request_free(&job.request);
	if (r < 0)
		fprintf(stderr, "vivarium: %s\n", err.text);
	if (output_files_finish(&files) < 0)
		return EXIT_STATUS_INTERNAL;
	return r < 0 ? EXIT_STATUS_INTERNAL : r;
}
