#include "sandbox/cell_run.h"

#include "sandbox/clock.h"
#include "sandbox/json_scan.h"
#include "sandbox/log.h"
#include "sandbox/proc_status.h"
#include "sandbox/scope.h"
#include "sandbox/verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
	KEEP_BYTES = 64 * 1024, /* memory kept between executions, a buffer */
	/* Beyond its limit and the warm interpreter a job may have its main stack, and the kernel
	 * what it needs for it. */
	ALLOWANCE_BYTES = 8 << 20,
};

void cell_run_reset(struct cell *cell)
{
	struct cell_run *run = &cell->run;
	struct buffer value = run->value, claim = run->claim, traceback = run->traceback;
	struct extras extras[CELL_EXTRAS];
	uint32_t number = run->number;
	size_t i;

	fd_close(&run->status_file);
	buffer_reset(&value, KEEP_BYTES);
	buffer_reset(&claim, KEEP_BYTES);
	buffer_reset(&traceback, KEEP_BYTES);
	memcpy(extras, run->extras, sizeof(extras));
	for (i = 0; i < CELL_EXTRAS; i++)
		extras_reset(&extras[i], KEEP_BYTES);
	*run = (struct cell_run){.number = number + 1,
		.status_file = -1,
		.value = value,
		.claim = claim,
		.traceback = traceback};
	cell->watch = (struct cell_watch){.next_us = 0};
	memcpy(run->extras, extras, sizeof(extras));
	if (!cell->lane_out.out.length)
		frame_writer_reset(&cell->lane_out, KEEP_BYTES); /* an answer may have been large */
	frame_reader_reset(&cell->channel_in, KEEP_BYTES);
	capture_reset(&cell->output);
	capture_reset(&cell->error);
}

void cell_job_reset(struct cell *cell)
{
	struct frame_writer out = cell->job.out;

	if (cell->job.body) {
		/* if that fails its memory is held for as long as the dispatcher likes */
		if (ftruncate(cell->job.body - 1, 0) < 0)
			log_warning("worker", "empty the room of a job: %s", strerror(errno));
		close(cell->job.body - 1);
	}
	frame_writer_reset(&out, KEEP_BYTES);
	cell->job = (struct cell_job){.out = out};
}

/* The clock id of another process's CPU time, as clock_getcpuclockid(3) makes it. */
static clockid_t cpu_clock(pid_t pid)
{
	return (clockid_t)((~(unsigned)pid << 3) | 2u);
}

static uint64_t cpu_now_us(const struct cell_run *run)
{
	struct timespec used;

	if (clock_gettime(cpu_clock(run->pid), &used) < 0)
		return 0;
	return (uint64_t)used.tv_sec * 1000000u + (uint64_t)used.tv_nsec / 1000u;
}

static uint64_t above(uint64_t value, uint64_t base)
{
	return value > base ? value - base : 0;
}

/*
 * The peak of the resident set, less what it now maps of files: those pages are the template's
 * image, code and constants. 0 once the process has let go of its memory.
 */
static uint64_t own_peak_kib(const struct proc_status *status)
{
	return above(status->peak_kib, status->file_kib + status->shmem_kib);
}

static uint64_t own_peak_now_kib(const struct cell_run *run)
{
	struct proc_status status;

	return proc_status_read(run->status_file, &status) < 0 ? 0 : own_peak_kib(&status);
}

int cell_run_note_parked(struct cell *cell, pid_t pid)
{
	struct cell_run *run = &cell->run;
	struct proc_status status;
	char path[32];
	int r;

	if (pid <= 0)
		return -EPROTO;
	run->pid = pid;
	snprintf(path, sizeof(path), "%d/status", (int)pid);
	run->status_file = openat(cell->environment->proc, path, O_RDONLY | O_CLOEXEC);
	if (run->status_file < 0)
		return -errno;
	r = proc_status_read(run->status_file, &status);
	if (r < 0)
		return r;
	run->parent = status.parent;
	run->base_peak_kib = status.peak_kib;
	run->base_own_peak_kib = own_peak_kib(&status);
	run->warm_bytes = cell->image_bytes;
	run->allowance_bytes = run->warm_bytes + ALLOWANCE_BYTES;
	cell_group_note_parked(&cell->group);
	return 0;
}

void cell_run_note_started(struct cell *cell)
{
	cell->run.started_us = clock_now_us();
	cell->run.base_cpu_us = cpu_now_us(&cell->run);
}

int cell_run_keep_value(struct cell *cell, const char *text, uint32_t length)
{
	struct json_scan_options options = {.max_bytes = RESULT_MAX_BYTES,
		.max_depth = RESULT_MAX_DEPTH,
		.max_number_digits = RESULT_MAX_DIGITS,
		.ascii_only = true};
	struct json_scan_result result;

	/* scripts read the same clocks as we do, and may have seen how long earlier values took */
	if (getrandom(&options.hash_seed, sizeof(options.hash_seed), 0) < 0)
		return -errno;
	if (json_scan(text, length, &options, NULL, NULL, &result) < 0) {
		cell->run.bad_value = true;
		return buffer_append(&cell->run.value, json_scan_error_text(result.error),
			strlen(json_scan_error_text(result.error)));
	}
	cell->run.has_value = true;
	return buffer_append(&cell->run.value, text, length);
}

/* The larger of what the execution alone had and, where that is known, all of its processes. */
static uint64_t memory_of(const struct cell *cell, uint64_t own)
{
	uint64_t all = cell_group_peak_bytes(&cell->group);

	if (cell->run.struck_bytes > all)
		all = cell->run.struck_bytes;
	return own > all ? own : all;
}

static void measure(const struct cell *cell, struct verdict_facts *facts)
{
	const struct cell_run *run = &cell->run;
	uint64_t cpu_us = run->exited ? run->exit_cpu_us : cpu_now_us(run);
	uint64_t own_kib = run->exited ? above(run->exit_peak_kib, run->base_peak_kib)
				       : above(own_peak_now_kib(run), run->base_own_peak_kib);

	facts->wall_us = clock_now_us() - run->started_us;
	facts->cpu_us = above(cpu_us, run->base_cpu_us);
	facts->memory_bytes = memory_of(cell, own_kib * 1024);
}

static int append_stream(struct cell *cell, enum frame_type type, struct capture *capture,
	uint64_t *dropped, uint64_t *at)
{
	struct buffer *out = &cell->lane_out.out;
	struct frame_header header = {.type = type};
	size_t start = out->length;
	int r = buffer_append(out, &header, sizeof(header));

	if (!r)
		r = capture_finish(capture, out, dropped, at);
	if (r < 0)
		return r;
	header.length = (uint32_t)(out->length - start - sizeof(header));
	memcpy(out->data + start, &header, sizeof(header));
	return 0;
}

static int append_words(struct cell *cell, const struct verdict *verdict,
	const struct failure *claim)
{
	struct cell_run *run = &cell->run;
	int r = 0;

	if (verdict->kind == VERDICT_OK)
		return frame_append(
			&cell->lane_out.out, FRAME_RESULT, run->value.data, run->value.length);
	if (verdict->kind == VERDICT_NOT_JSON && run->bad_value)
		return frame_append(
			&cell->lane_out.out, FRAME_ERROR_TEXT, run->value.data, run->value.length);
	if (verdict->kind == VERDICT_TIME && run->traceback.length)
		return frame_append(&cell->lane_out.out, FRAME_TRACEBACK, run->traceback.data,
			run->traceback.length);
	if (!claim || run->timed_out || run->oversize_bytes || run->struck_bytes)
		return 0;
	r = frame_append(&cell->lane_out.out, FRAME_ERROR_TYPE, claim->type, claim->header.type_bytes);
	if (!r)
		r = frame_append(&cell->lane_out.out, FRAME_ERROR_TEXT, claim->error,
			claim->header.error_bytes);
	if (!r && claim->header.traceback_bytes)
		r = frame_append(&cell->lane_out.out, FRAME_TRACEBACK, claim->traceback,
			claim->header.traceback_bytes);
	return r;
}

/*
 * Files and figures, where they came to their end: not those of a run that was cut off. Files that
 * were sent a second time, after threads and atexit handlers, count if that came to its end too.
 */
static int append_extras(struct cell *cell, const struct verdict_facts *facts)
{
	struct cell_run *run = &cell->run;
	bool again = run->done && run->extra == 2;
	const struct buffer *figures = &run->extras[0].frames,
			    *files = &run->extras[again ? 2 : 1].frames;
	int r;

	if (!facts->has_value && !facts->bad_value && !facts->oversize_bytes && !facts->claim)
		return 0;
	if (facts->timed_out)
		return 0;
	r = buffer_append(&cell->lane_out.out, figures->data, figures->length);
	return r < 0 ? r : buffer_append(&cell->lane_out.out, files->data, files->length);
}

int cell_run_answer(struct cell *cell, const char *template_name)
{
	struct cell_run *run = &cell->run;
	struct verdict verdict = {.has_refused = run->has_refused,
		.refused = run->refused,
		.parked = run->was_parked,
		.fork_us = run->was_parked ? 0 : run->started_us - cell->job.complete_us};
	struct failure claim;
	struct verdict_facts facts = {.limits = &cell->job.limits,
		.timed_out = run->timed_out,
		.has_value = run->has_value,
		.unfinished = run->unfinished,
		.bad_value = run->bad_value,
		.oversize_bytes = run->oversize_bytes,
		.struck_bytes = run->struck_bytes,
		.exited = run->exited,
		.status = run->status};
	int r;

	if (run->claim.length &&
		failure_decode(run->claim.data, (uint32_t)run->claim.length, &claim) == 0)
		facts.claim = &claim;
	measure(cell, &facts);
	verdict_decide(&facts, &verdict);
	snprintf(verdict.template_name, sizeof(verdict.template_name), "%s", template_name);
	r = append_stream(cell, FRAME_STDOUT, &cell->output, &verdict.stdout_dropped,
		&verdict.stdout_at);
	if (!r)
		r = append_stream(cell, FRAME_STDERR, &cell->error, &verdict.stderr_dropped,
			&verdict.stderr_at);
	if (!r)
		r = append_words(cell, &verdict, facts.claim);
	if (!r)
		r = append_extras(cell, &facts);
	if (!r)
		r = frame_append(&cell->lane_out.out, FRAME_VERDICT, &verdict, sizeof(verdict));
	return r;
}

int cell_run_answer_internal(struct cell *cell)
{
	const struct verdict verdict = {
		.kind = VERDICT_INTERNAL, .unstarted = !cell->run.started_us};

	return frame_append(&cell->lane_out.out, FRAME_VERDICT, &verdict, sizeof(verdict));
}
