/*
 * What a worker sends about one execution, read by the dispatcher, made into an answer. The input
 * is what comes over the lane; whatever it is, what leaves is strict ASCII JSON or an error, and so
 * does what is said to go live.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi-app/answer.h"
#include "fcgi-app/job_client.h"
#include "fcgi-app/json_out.h"
#include "sandbox/globs.h"
#include "sandbox/json_scan.h"
#include "sandbox/paths.h"

#define GLOBS "**\0**/.*/[!b-d]*"

static void fill_request(struct request *request)
{
	CHECK(buffer_append(&request->script, "def main(): pass", 16) == 0);
	CHECK(buffer_append(&request->entry, "main", 4) == 0);
	CHECK(buffer_append(&request->globs, GLOBS, sizeof(GLOBS)) == 0);
	request->has_entry = true;
	request->limits = (struct job_limits){.timeout_ms = 1000, .memory_mib = 64, .cpu_s = 3};
}

/* Whatever a worker says of files: nothing that was not asked for, and nothing twice. */
static void check_files(const struct answer_run *run)
{
	const struct answer_file *file = run->files, *end = file + run->file_count;

	for (; file < end; file++) {
		CHECK(paths_is_plain(file->path.data, file->path.length));
		CHECK(globs_match(GLOBS, sizeof(GLOBS), file->path.data, file->path.length));
		CHECK(file == run->files || file[-1].path.length != file->path.length ||
			memcmp(file[-1].path.data, file->path.data, file->path.length) < 0);
	}
}

static void check_answer(struct answer_run *run)
{
	const struct json_scan_options strict = {
		.max_bytes = SIZE_MAX, .max_depth = 1200, .ascii_only = true, .hash_seed = 1};
	struct json_scan_result result;
	struct buffer body = {0};
	char timing[256];
	int status = answer_run(run, &body);

	CHECK(status >= 200 && status <= 599);
	check_files(run);
	/* the value itself was proven by the worker, which is the one that may be believed here */
	if (run->verdict.kind != VERDICT_OK)
		CHECK(json_scan(body.data, body.length, &strict, NULL, NULL, &result) == 0);
	answer_server_timing(run, timing, sizeof(timing));
	CHECK(memchr(timing, '\0', sizeof(timing)) && !strpbrk(timing, "\r\n"));
	CHECK(answer_exit_code(&run->verdict) >= 0 && answer_exit_code(&run->verdict) <= 255);
	buffer_free(&body);
}

static void take(void *context, enum frame_type stream, const char *text, size_t length)
{
	const struct json_scan_options strict = {
		.max_bytes = SIZE_MAX, .max_depth = 1, .ascii_only = true, .hash_seed = 1};
	struct json_scan_result result;
	struct buffer *event = context;
	struct json_out out = {.buffer = event};

	CHECK(stream == FRAME_LIVE_STDOUT || stream == FRAME_LIVE_STDERR);
	event->length = 0;
	json_out_string(&out, text, length);
	CHECK(!out.error && !memchr(event->data, '\n', event->length));
	CHECK(json_scan(event->data, event->length, &strict, NULL, NULL, &result) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame_reader reader = {.in.cap = 1 << 20};
	struct job_client client = {0};
	struct buffer event = {0};
	struct job_live live = {.context = &event, .take = take};
	struct request request = {0};
	struct answer_run run = {.request = &request, .request_id = "id", .queue_us = 1};
	int pair[2], room = 1 << 20;

	if (size > 64 * 1024)
		return 0;
	fill_request(&request);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
	CHECK(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0);
	CHECK(write(pair[1], data, size) == (ssize_t)size);
	CHECK(shutdown(pair[1], SHUT_WR) == 0);
	if (job_client_run(&client, pair[0], &reader, -1, size & 1 ? &live : NULL, &request,
		    &run) == 0)
		check_answer(&run);
	job_client_free(&client);
	buffer_free(&event);
	request_free(&request);
	frame_reader_free(&reader);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
