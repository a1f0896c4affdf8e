#include "fcgi-app/check_attacks.h"

#include "fcgi-app/answer.h"
#include "fcgi-app/exit_status.h"
#include "fcgi-app/job_client.h"
#include "fcgi-app/json_out.h"
#include "sandbox/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	MEMORY_BYTES = 256 << 20,
	ANSWER_MAX_BYTES = 8 << 20,
	FLOOD_MS = 1000, /* for what ends by its time only */
	TIMEOUT_MS = 20 * 1000, /* for what ends by itself, however busy the machine */
	CPU_S = 41,
	MEMORY_MIB = 128,
	NAME_BYTES = 64,
	TEXT_BYTES = 128,
};

static const char ENDS_IN[] = "# ends in: ", DEFINITION[] = "\ndef attack_";

/* One attack, as it stands in the text. */
struct attack {
	char entry[NAME_BYTES];
	char title[TEXT_BYTES];
	/* Verdicts that are right beside an empty list, separated by blanks; "ok": any value. */
	char kinds[TEXT_BYTES];
};

struct checking {
	const struct front_setup *setup;
	const struct check_job *job;
	int lane;
	struct frame_reader reader;
	struct job_client client;
	size_t count, escaped;
};

/* stdio would ask of the kernel what the filter refuses. */
static void __attribute__((format(printf, 1, 2))) print(const char *format, ...)
{
	char text[1024];
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (n >= (int)sizeof(text))
		n = sizeof(text) - 1;
	if (n > 0 && write(STDOUT_FILENO, text, (size_t)n) < 0)
		return; /* nobody listens: the exit status says it all */
}

static void copy(char *to, size_t size, const char *from, size_t length)
{
	snprintf(to, size, "%.*s", (int)(length < size ? length : size - 1), from);
}

/* Between the first three quotes after the definition and the next three. */
static void read_title(const char *definition, struct attack *attack)
{
	const char *begin = strstr(definition, "\"\"\""), *end = NULL;

	if (begin)
		end = strstr(begin + 3, "\"\"\"");
	if (end)
		copy(attack->title, sizeof(attack->title), begin + 3, (size_t)(end - begin - 3));
}

/* The comment in the line above the definition, which begins with its line break. */
static void read_kinds(const char *text, const char *definition, struct attack *attack)
{
	const char *line = definition;

	while (line > text && line[-1] != '\n')
		line--;
	if (strncmp(line, ENDS_IN, strlen(ENDS_IN)) == 0)
		copy(attack->kinds, sizeof(attack->kinds), line + strlen(ENDS_IN),
			(size_t)(definition - line) - strlen(ENDS_IN));
}

/* The next attack after *from, which is moved behind its definition. */
static bool next_attack(const char *text, const char **from, struct attack *attack)
{
	const char *definition = strstr(*from, DEFINITION), *name;

	if (!definition)
		return false;
	*attack = (struct attack){0};
	name = definition + strlen("\ndef ");
	copy(attack->entry, sizeof(attack->entry), name, strcspn(name, "("));
	read_title(name, attack);
	read_kinds(text, definition, attack);
	*from = name;
	return true;
}

static bool is_among(const char *kinds, const char *kind)
{
	size_t length = strlen(kind);
	const char *at;

	for (at = strstr(kinds, kind); at; at = strstr(at + 1, kind)) {
		if ((at == kinds || at[-1] == ' ') && (!at[length] || at[length] == ' '))
			return true;
	}
	return false;
}

/* What came of it, in few words; whether that is how it should be. */
static bool judge(
	const struct attack *attack, const struct answer_run *run, char *text, size_t size)
{
	const char *kind = verdict_kind_word(run->verdict.kind);
	bool empty = run->result.length == 2 && memcmp(run->result.data, "[]", 2) == 0;

	if (run->verdict.kind == VERDICT_OK) {
		snprintf(text, size, "%.*s",
			(int)(run->result.length < 200 ? run->result.length : 200),
			run->result.data);
		return empty || is_among(attack->kinds, kind);
	}
	snprintf(text, size, "%s%s%.*s", kind, run->error_text.length ? ": " : "",
		(int)(run->error_text.length < 160 ? run->error_text.length : 160),
		run->error_text.length ? run->error_text.data : "");
	return is_among(attack->kinds, kind);
}

static void print_row(
	struct checking *checking, const struct attack *attack, bool contained, const char *came)
{
	struct buffer text = {0};
	struct json_out out = {.buffer = &text};

	if (!checking->job->json) {
		print("%-9s %s%s%s\n", contained ? "contained" : "ESCAPED", attack->title,
			contained ? "" : ": ", contained ? "" : came);
		return;
	}
	json_out_begin(&out, '{');
	json_out_key(&out, "attack");
	json_out_text(&out, attack->title);
	json_out_key(&out, "contained");
	json_out_bool(&out, contained);
	json_out_key(&out, "came");
	json_out_text(&out, came);
	json_out_end(&out, '}');
	if (!out.error)
		print("%s%.*s", checking->count ? ", " : ", \"attacks\": [", (int)text.length,
			text.data);
	buffer_free(&text);
}

static int run_attack(struct checking *checking, const struct attack *attack)
{
	struct request request = {.script = checking->job->attacks,
		.has_entry = true,
		.entry = {.data = (char *)attack->entry, .length = strlen(attack->entry)},
		.limits = {.timeout_ms = is_among(attack->kinds, "time") ? FLOOD_MS : TIMEOUT_MS,
			.memory_mib = MEMORY_MIB,
			.cpu_s = CPU_S}};
	struct answer_run run = {.request = &request, .request_id = "check"};
	char came[256];
	bool contained;
	int r = job_client_await_ready(checking->lane, &checking->reader);

	if (!r)
		r = job_client_run(
			&checking->client, checking->lane, &checking->reader, -1, NULL, &request,
			&run);
	if (r < 0)
		return r;
	contained = judge(attack, &run, came, sizeof(came));
	print_row(checking, attack, contained, came);
	checking->count++;
	checking->escaped += !contained;
	return 0;
}

static int run_attacks(struct checking *checking)
{
	const char *text = checking->job->attacks.data, *from = text;
	struct attack attack;
	int r = 0;

	while (!r && next_attack(text, &from, &attack))
		r = run_attack(checking, &attack);
	return r;
}

static int conclude(const struct checking *checking, int r)
{
	if (checking->job->json)
		print("%s, \"contained\": %s}\n", checking->count ? "]" : ", \"attacks\": []",
			!r && checking->count && !checking->escaped ? "true" : "false");
	else
		print("%zu attacks, %zu escaped\n", checking->count, checking->escaped);
	if (r < 0)
		log_error("check", "the cell did not come back: %s", strerror(-r));
	return r < 0 || !checking->count ? EXIT_STATUS_INTERNAL : checking->escaped ? 1 : 0;
}

int check_attacks_front(const struct front_setup *setup)
{
	struct checking checking = {
		.setup = setup, .job = setup->job, .reader = {.in = {.cap = ANSWER_MAX_BYTES}}};
	struct err err = {0};
	int r = front_confine(setup, MEMORY_BYTES, &err);

	if (r < 0) {
		log_error("check", "%s", err.text);
		return EXIT_STATUS_INTERNAL;
	}
	r = front_wait_for_lane(setup, &checking.lane);
	if (!r)
		r = run_attacks(&checking);
	return conclude(&checking, r);
}
