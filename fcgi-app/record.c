#include "fcgi-app/record.h"

#include "fcgi-app/log_output.h"
#include "sandbox/clock.h"
#include "sandbox/refusal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	PATH_BYTES = 330, /* with its escapes */
	WORD_BYTES = 130,
};

const char *record_kind_word(unsigned kind)
{
	if (kind < RECORD_REFUSALS)
		return verdict_kind_word(kind);
	if (kind < RECORD_CANCELLED)
		return refusal_word((enum refusal)(kind - RECORD_REFUSALS));
	return kind == RECORD_CANCELLED ? "cancelled" : "unhealthy";
}

unsigned record_kind_of_refusal(enum refusal refusal)
{
	return refusal == REFUSAL_INTERNAL ? (unsigned)VERDICT_INTERNAL
					   : RECORD_REFUSALS + (unsigned)refusal;
}

/* --- keeping ------------------------------------------------------------------------------- */

static void copy(char *to, size_t size, const char *from)
{
	size_t length = strnlen(from, size - 1);

	memcpy(to, from, length);
	to[length] = '\0';
}

void record_begin(struct record *record, const char *request_id, const char *client,
	const char *method, const char *path)
{
	memset(record, 0, offsetof(struct record, texts));
	record->begun_us = clock_now_us();
	copy(record->request_id, sizeof(record->request_id), request_id);
	copy(record->client, sizeof(record->client), client);
	copy(record->method, sizeof(record->method), method);
	copy(record->path, sizeof(record->path), path);
}

static uint16_t keep_text(char *to, size_t most, const char *text, size_t length)
{
	length = json_out_fitting(text, length, most);
	if (length)
		memcpy(to, text, length);
	return (uint16_t)length;
}

void record_take_run(struct record *record, const struct answer_run *run, bool with_texts)
{
	const struct buffer *script = &run->request->script;

	record->ran = true;
	record->verdict = run->verdict;
	record->queue_us = run->queue_us;
	record->kind = run->verdict.kind < VERDICT_COUNT ? run->verdict.kind
							 : (unsigned)VERDICT_INTERNAL;
	if (!with_texts)
		return;
	record->script_length =
		keep_text(record->texts, RECORD_SCRIPT_BYTES, script->data, script->length);
	record->output_length = keep_text(record->texts + RECORD_SCRIPT_BYTES, RECORD_STREAM_BYTES,
		run->output.data, run->output.length);
	record->error_length =
		keep_text(record->texts + RECORD_SCRIPT_BYTES + RECORD_STREAM_BYTES,
			RECORD_STREAM_BYTES, run->error.data, run->error.length);
}

void record_end(struct record *record)
{
	record->total_us = clock_now_us() - record->begun_us;
	if (record->status)
		return;
	record->status = HTTP_CLIENT_GONE;
	record->kind = RECORD_CANCELLED;
}

/* --- the line ------------------------------------------------------------------------------ */

static double milliseconds(uint64_t us)
{
	return (double)us / 1000;
}

static void put_word(struct log_output_line *line, const char *key, const char *word)
{
	log_output_clip(line, key, word, strlen(word), WORD_BYTES);
}

static void put_number(struct log_output_line *line, const char *key, uint64_t value)
{
	json_out_key(&line->json, key);
	json_out_integer(&line->json, (int64_t)value);
}

static void put_time(struct log_output_line *line, const char *key, uint64_t us)
{
	json_out_key(&line->json, key);
	json_out_decimal(&line->json, milliseconds(us), 3);
}

static void put_flag(struct log_output_line *line, const char *key)
{
	json_out_key(&line->json, key);
	json_out_bool(&line->json, true);
}

static void put_run(struct log_output_line *line, const struct record *record)
{
	const struct verdict *verdict = &record->verdict;

	put_time(line, "queue_ms", record->queue_us);
	put_time(line, "fork_ms", verdict->fork_us);
	put_time(line, "wall_ms", verdict->wall_us);
	put_time(line, "cpu_ms", verdict->cpu_us);
	json_out_key(&line->json, "memory_mb");
	json_out_decimal(&line->json, (double)verdict->memory_bytes / (1024 * 1024), 1);
	put_word(line, "template", verdict->template_name);
	json_out_key(&line->json, "parked");
	json_out_bool(&line->json, verdict->parked);
	if (verdict->has_refused)
		put_word(line, "refused", refusal_name(verdict->refused));
}

static void put_texts(struct log_output_line *line, const struct record *record)
{
	if (!record->script_length)
		return;
	log_output_clip(line, "script", record->texts, record->script_length, RECORD_SCRIPT_BYTES);
	log_output_clip(line, "stdout", record->texts + RECORD_SCRIPT_BYTES, record->output_length,
		RECORD_STREAM_BYTES);
	log_output_clip(line, "stderr", record->texts + RECORD_SCRIPT_BYTES + RECORD_STREAM_BYTES,
		record->error_length, RECORD_STREAM_BYTES);
}

static void put_json(struct log_output_line *line, const struct record *record)
{
	put_word(line, "request_id", record->request_id);
	if (*record->key)
		put_word(line, "key", record->key);
	put_word(line, "client", record->client);
	put_word(line, "method", record->method);
	log_output_clip(line, "path", record->path, strlen(record->path), PATH_BYTES);
	put_number(line, "status", (uint64_t)record->status);
	put_word(line, "kind", record_kind_word(record->kind));
	put_time(line, "total_ms", record->total_us);
	put_number(line, "request_bytes", record->request_bytes);
	put_number(line, "answer_bytes", record->answer_bytes);
	if (record->ran)
		put_run(line, record);
	if (record->streamed)
		put_flag(line, "streamed");
	if (*record->detail)
		put_word(line, "message", record->detail);
	put_texts(line, record);
}

/* "POST /execute 400 exception 3.4 ms (queue 0.1, run 3.1; base) 127.0.0.1 5f3a" */
static void put_plain(struct log_output_line *line, const struct record *record)
{
	const struct verdict *verdict = &record->verdict;
	char text[1024], run[160] = "";

	if (record->ran)
		snprintf(run, sizeof(run), " (queue %.1f, run %.1f; %s%s)",
			milliseconds(record->queue_us), milliseconds(verdict->wall_us),
			verdict->template_name, verdict->parked ? "" : ", not parked");
	snprintf(text, sizeof(text), "%s %s %d %s %.1f ms%s %s%s%s %s%s%s%s%s", record->method,
		record->path, record->status, record_kind_word(record->kind),
		milliseconds(record->total_us), run, *record->key ? record->key : "",
		*record->key ? "@" : "", record->client, record->request_id,
		verdict->has_refused ? " refused: " : "",
		verdict->has_refused ? refusal_name(verdict->refused) : "",
		*record->detail ? " " : "", record->detail);
	log_clean(text);
	buffer_append(&line->buffer, text, strlen(text));
}

static enum log_level level_of(const struct record *record)
{
	return record->kind == VERDICT_INTERNAL ? LOG_LEVEL_ERROR
	       : record->status >= 500		? LOG_LEVEL_WARNING
						: LOG_LEVEL_INFO;
}

void record_write(const struct record *record, bool requests)
{
	enum log_level level = level_of(record);
	struct log_output_line line;

	if (!log_takes(level) || (!requests && level >= LOG_LEVEL_INFO))
		return;
	log_output_open(&line, level, "dispatcher");
	if (line.is_json)
		put_json(&line, record);
	else
		put_plain(&line, record);
	log_output_close(&line);
}
