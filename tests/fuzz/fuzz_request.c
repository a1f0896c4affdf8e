/* Feeds arbitrary bodies of POST /execute to the parser; what is refused becomes an answer. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "fcgi-app/answer.h"
#include "fcgi-app/request.h"
#include "sandbox/frame.h"
#include "sandbox/json_scan.h"
#include "sandbox/paths.h"

static struct config config;
static struct request_rules rules;
static struct request request;
static struct buffer body;

/* Whole frames, of types that a worker lets through, under the limits of the contract. */
static void check_parts(void)
{
	struct frame_reader reader = {.in = request.parts};
	size_t files = 0, bytes = 0;
	struct frame frame;

	while (frame_reader_next(&reader, &frame)) {
		CHECK(frame.type >= FRAME_ARGS && frame.type <= FRAME_CONTENT);
		if (frame.type == FRAME_FILE) {
			files++;
			CHECK(frame.length <= INPUT_PATH_MAX_BYTES);
			CHECK(paths_is_plain(frame.payload, frame.length));
		}
		if (frame.type == FRAME_STDIN || frame.type == FRAME_CONTENT) {
			CHECK(frame.length && frame.length <= CONTENT_MAX_BYTES);
			CHECK(frame.type == FRAME_STDIN || files);
			bytes += frame.length;
		}
	}
	CHECK(reader.start == request.parts.length);
	CHECK(request.globs.length <= OUTPUTS_MAX * (INPUT_PATH_MAX_BYTES + 1));
	CHECK(!request.globs.length || !request.globs.data[request.globs.length - 1]);
	CHECK(files <= FILES_MAX && bytes <= FILES_MAX_BYTES);
}

static void check_job(const struct request_refusal *refusal)
{
	const struct job_limits *limits = &request.limits;

	CHECK(!*refusal->error && !*refusal->field);
	CHECK(request.script.length > 0 && request.script.length <= SCRIPT_MAX_BYTES);
	CHECK(request.entry.length > 0 && request.entry.length <= ENTRY_MAX_BYTES);
	CHECK(!memchr(request.entry.data, '\0', request.entry.length));
	CHECK(limits->timeout_ms >= 10 && limits->timeout_ms <= config.max_timeout_ms);
	CHECK(limits->memory_mib >= 16 && limits->memory_mib <= config.max_memory_mib);
	CHECK(!(limits->flags & ~(uint32_t)(JOB_FIGURES | JOB_RICH)));
	check_parts();
	CHECK(limits->cpu_s * 1000 >= limits->timeout_ms * 2 + 1000);
	CHECK(request.unknown_fields <= UNKNOWN_FIELDS_MAX);
	for (size_t i = 0; i < request.unknown_fields; i++)
		CHECK(memchr(request.unknown_field[i], '\0', CLIP_BYTES));
}

static void check_refusal(const struct request_refusal *refusal)
{
	const struct json_scan_options strict = {
		.max_bytes = SIZE_MAX, .max_depth = 2, .ascii_only = true, .hash_seed = 1};
	struct json_scan_result result;

	CHECK(*refusal->error && memchr(refusal->error, '\0', sizeof(refusal->error)));
	CHECK(*refusal->allowed && memchr(refusal->allowed, '\0', sizeof(refusal->allowed)));
	CHECK(*refusal->got && memchr(refusal->got, '\0', sizeof(refusal->got)));
	CHECK(*refusal->field && memchr(refusal->field, '\0', sizeof(refusal->field)));
	buffer_reset(&body, 1 << 20);
	CHECK(answer_refusal(REFUSAL_INVALID_REQUEST, refusal->error, refusal, "id", &body) == 400);
	CHECK(json_scan(body.data, body.length, &strict, NULL, NULL, &result) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request_refusal refusal, again;
	int r;

	if (!config.max_timeout_ms) {
		config_default(&config, "/bin/vivarium");
		request_rules_init(&rules, &config);
	}
	memset(&refusal, 0xA5, sizeof(refusal));
	request_reset(&request);
	r = request_parse((const char *)data, size, &rules, UINT64_MAX, &request, &refusal);
	CHECK(r == 0 || r == -EINVAL);
	if (r)
		check_refusal(&refusal);
	else
		check_job(&refusal);
	request_reset(&request);
	CHECK(request_parse((const char *)data, size, &rules, 1, &request, &again) == r);
	CHECK(strcmp(again.error, refusal.error) == 0);
	return 0;
}
