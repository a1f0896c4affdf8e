#include "fcgi-app/answer.h"

#include "fcgi-app/answer_words.h"
#include "fcgi-app/exit_status.h"
#include "fcgi-app/json_out.h"
#include "sandbox/refusal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void answer_timestamp(char text[32])
{
	time_t now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(text, 32, "%Y-%m-%dT%H:%M:%S+00:00", &utc);
}

static void put_text(struct json_out *out, const char *key, struct answer_text text)
{
	json_out_key(out, key);
	json_out_string(out, text.data, text.length);
}

static void put_line(struct json_out *out, struct answer_text text)
{
	char line[ERROR_TEXT_MAX_BYTES];

	json_out_string(out, line, answer_words_flatten(line, sizeof(line), text));
}

static void put_line_member(struct json_out *out, const char *key, struct answer_text text)
{
	json_out_key(out, key);
	put_line(out, text);
}

static void put_closing(struct json_out *out, const char *request_id)
{
	char timestamp[32];

	answer_timestamp(timestamp);
	json_out_key(out, "timestamp");
	json_out_text(out, timestamp);
	json_out_key(out, "request_id");
	json_out_text(out, request_id);
	json_out_end(out, '}');
}

/* --- after a run --------------------------------------------------------------------------- */

static void put_limit(struct json_out *out, double limit, double used, int decimals,
	const char *unit)
{
	json_out_key(out, "limit");
	json_out_decimal(out, limit, decimals);
	json_out_key(out, "used");
	json_out_decimal(out, used, decimals);
	json_out_key(out, "unit");
	json_out_text(out, unit);
}

static void put_limits(struct json_out *out, const struct verdict *verdict)
{
	switch (verdict->kind) {
	case VERDICT_TIME:
	case VERDICT_CPU:
		put_limit(out, answer_words_ms(verdict->limit), answer_words_ms(verdict->used), 3,
			"s");
		return;
	case VERDICT_MEMORY:
		put_limit(out, (double)verdict->limit / ANSWER_WORDS_MIB,
			(double)verdict->used / ANSWER_WORDS_MIB, 1, "MiB");
		return;
	case VERDICT_RESULT_TOO_LARGE:
		put_limit(out, (double)verdict->limit, (double)verdict->used, 0, "bytes");
		return;
	default:
		return;
	}
}

/*
 * So that "operation not permitted" is never a riddle. A value has no cause: what libraries tried
 * and did without is not worth a warning.
 */
static void put_refused(struct json_out *out, const struct verdict *verdict)
{
	if (!verdict->has_refused)
		return;
	json_out_key(out, "refused");
	json_out_begin(out, '{');
	json_out_key(out, "call");
	json_out_text(out, refusal_name(verdict->refused));
	json_out_key(out, "meaning");
	json_out_text(out, refusal_meaning(verdict->refused));
	json_out_end(out, '}');
}

static void put_cause(struct json_out *out, const struct answer_run *run)
{
	const struct verdict *verdict = &run->verdict;
	char name[32];

	json_out_key(out, "cause");
	json_out_begin(out, '{');
	json_out_key(out, "kind");
	json_out_text(out, verdict_kind_word(verdict->kind));
	if (run->error_type.length)
		put_line_member(out, verdict->kind == VERDICT_BLOCKED_IMPORT ? "module" : "type",
			run->error_type);
	if (verdict->line) {
		json_out_key(out, "line");
		json_out_integer(out, verdict->line);
	}
	if (verdict->kind == VERDICT_EXIT) {
		json_out_key(out, "exit_code");
		json_out_integer(out, verdict->exit_code);
	}
	if (verdict->kind == VERDICT_SIGNAL) {
		json_out_key(out, "signal");
		json_out_text(out, answer_words_signal(verdict->signal, name));
	}
	put_limits(out, verdict);
	put_refused(out, verdict);
	json_out_end(out, '}');
}

static void put_outcome(struct json_out *out, const struct answer_run *run)
{
	char text[ENTRY_MAX_BYTES + 512];

	json_out_key(out, "success");
	json_out_bool(out, run->verdict.kind == VERDICT_OK);
	if (run->verdict.kind == VERDICT_OK) {
		json_out_key(out, "result");
		json_out_raw(out, run->result.data, run->result.length);
		return;
	}
	put_line_member(out, "error", answer_error_line(run, text, sizeof(text)));
	put_cause(out, run);
	if (run->traceback.length)
		put_text(out, "traceback", run->traceback);
}

static void put_cut(struct json_out *out, const char *dropped_key, const char *at_key,
	uint64_t dropped, uint64_t at)
{
	if (!dropped)
		return;
	json_out_key(out, dropped_key);
	json_out_integer(out, (int64_t)dropped);
	json_out_key(out, at_key);
	json_out_integer(out, (int64_t)at);
}

static void put_truncated(struct json_out *out, const struct verdict *verdict)
{
	if (!verdict->stdout_dropped && !verdict->stderr_dropped)
		return;
	json_out_key(out, "truncated");
	json_out_begin(out, '{');
	put_cut(out, "stdout", "stdout_at", verdict->stdout_dropped, verdict->stdout_at);
	put_cut(out, "stderr", "stderr_at", verdict->stderr_dropped, verdict->stderr_at);
	json_out_end(out, '}');
}

static void put_files(struct json_out *out, const struct answer_run *run)
{
	const struct answer_file *file = run->files, *end = file + run->file_count;

	if (!run->file_count)
		return;
	json_out_key(out, "files");
	json_out_begin(out, '[');
	for (; file < end; file++) {
		json_out_begin(out, '{');
		put_text(out, "path", file->path);
		json_out_key(out, "size");
		json_out_integer(out, (int64_t)file->content.length);
		json_out_key(out, "content_base64");
		json_out_base64(out, "", file->content.data, file->content.length);
		json_out_end(out, '}');
	}
	json_out_end(out, ']');
}

static void put_visualizations(struct json_out *out, const struct answer_run *run)
{
	const struct answer_figure *figure = run->figures, *end = figure + run->figure_count;
	struct figure_header header;

	if (!run->figure_count || run->verdict.kind != VERDICT_OK)
		return;
	json_out_key(out, "visualizations");
	json_out_begin(out, '[');
	for (; figure < end; figure++) {
		memcpy(&header, figure->header.data, sizeof(header));
		json_out_begin(out, '{');
		json_out_key(out, "type");
		json_out_text(out, "matplotlib");
		json_out_key(out, "format");
		json_out_text(out, "png");
		json_out_key(out, "figure_number");
		json_out_integer(out, header.number);
		json_out_key(out, "data");
		json_out_base64(out, "data:image/png;base64,", figure->content.data,
			figure->content.length);
		json_out_end(out, '}');
	}
	json_out_end(out, ']');
}

static void put_warnings(struct json_out *out, const struct answer_run *run)
{
	char text[ANSWER_WARNING_BYTES];
	size_t i;

	if (!answer_warning(run, 0, text))
		return;
	json_out_key(out, "warnings");
	json_out_begin(out, '[');
	for (i = 0; answer_warning(run, i, text); i++)
		json_out_text(out, text);
	json_out_end(out, ']');
}

static void put_usage(struct json_out *out, const struct answer_run *run)
{
	const struct verdict *verdict = &run->verdict;

	json_out_key(out, "usage");
	json_out_begin(out, '{');
	json_out_key(out, "queue_ms");
	json_out_decimal(out, answer_words_ms(run->queue_us), 3);
	json_out_key(out, "fork_ms");
	json_out_decimal(out, answer_words_ms(verdict->fork_us), 3);
	json_out_key(out, "wall_ms");
	json_out_decimal(out, answer_words_ms(verdict->wall_us), 3);
	json_out_key(out, "cpu_ms");
	json_out_decimal(out, answer_words_ms(verdict->cpu_us), 3);
	json_out_key(out, "memory_mb");
	json_out_decimal(out, (double)verdict->memory_bytes / ANSWER_WORDS_MIB, 1);
	json_out_key(out, "template");
	json_out_text(out, verdict->template_name);
	json_out_key(out, "parked");
	json_out_bool(out, verdict->parked);
	json_out_end(out, '}');
}

int answer_run(const struct answer_run *run, struct buffer *body)
{
	struct json_out out = {.buffer = body};

	json_out_begin(&out, '{');
	put_outcome(&out, run);
	put_text(&out, "stdout", run->output);
	put_text(&out, "stderr", run->error);
	put_files(&out, run);
	put_visualizations(&out, run);
	put_truncated(&out, &run->verdict);
	put_warnings(&out, run);
	put_usage(&out, run);
	put_closing(&out, run->request_id);
	return out.error ? out.error : verdict_status(run->verdict.kind);
}

void answer_server_timing(const struct answer_run *run, char *text, size_t size)
{
	const struct verdict *verdict = &run->verdict;

	snprintf(text, size, "queue;dur=%.3f, fork;dur=%.3f, wall;dur=%.3f, cpu;dur=%.3f",
		answer_words_ms(run->queue_us), answer_words_ms(verdict->fork_us),
		answer_words_ms(verdict->wall_us), answer_words_ms(verdict->cpu_us));
}

int answer_exit_code(const struct verdict *verdict)
{
	switch (verdict_status(verdict->kind)) {
	case 200:
		return 0;
	case 408:
		return EXIT_STATUS_TIME;
	case 500:
		return EXIT_STATUS_INTERNAL;
	default:
		return 1;
	}
}

/* --- before a run -------------------------------------------------------------------------- */

int answer_refusal(enum refusal kind, const char *error, const struct request_refusal *refusal,
	const char *request_id, struct buffer *body)
{
	struct json_out out = {.buffer = body};

	json_out_begin(&out, '{');
	json_out_key(&out, "success");
	json_out_bool(&out, false);
	json_out_key(&out, "error");
	json_out_text(&out, error);
	json_out_key(&out, "cause");
	json_out_begin(&out, '{');
	json_out_key(&out, "kind");
	json_out_text(&out, refusal_word(kind));
	if (refusal && *refusal->field) {
		json_out_key(&out, "field");
		json_out_text(&out, refusal->field);
	}
	if (refusal && *refusal->allowed) {
		json_out_key(&out, "allowed");
		json_out_text(&out, refusal->allowed);
	}
	if (refusal && *refusal->got) {
		json_out_key(&out, "got");
		json_out_text(&out, refusal->got);
	}
	if (refusal && refusal->unit)
		put_limit(&out, refusal->limit, refusal->used,
			strcmp(refusal->unit, "s") == 0 ? 3 : 0, refusal->unit);
	json_out_end(&out, '}');
	json_out_key(&out, "stdout");
	json_out_text(&out, "");
	put_closing(&out, request_id);
	return out.error ? out.error : refusal_status(kind);
}
