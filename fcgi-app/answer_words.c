/* The words of an answer for people: the error line, and the warnings. */
#include "fcgi-app/answer_words.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

size_t answer_words_flatten(char *line, size_t size, struct answer_text text)
{
	const unsigned char *at = (const unsigned char *)text.data, *end = at + text.length;
	size_t used = 0;

	for (; at < end && used < size; at++, used++) {
		line[used] = *at < 0x20 || *at == 0x7f ? ' ' : (char)*at;
		if (end - at > 1 && at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) {
			line[used] = ' '; /* U+0080 to U+009F */
			at++;
		}
	}
	return used;
}

const char *answer_words_signal(int number, char text[32])
{
	const char *name = sigabbrev_np(number);

	if (name)
		snprintf(text, 32, "SIG%s", name);
	else
		snprintf(text, 32, "signal %d", number);
	return text;
}

static struct answer_text literal(const char *text)
{
	return (struct answer_text){.data = text, .length = strlen(text)};
}

/* What the value was: the entry's, or the last expression's. */
static void name_value(const struct request *request, char *text, size_t size)
{
	if (request->limits.flags & JOB_ENTRY_IF_DEFINED)
		snprintf(text, size, "The script's value");
	else if (request->has_entry)
		snprintf(text, size, "Return value of '%.*s'", (int)request->entry.length,
			request->entry.data);
	else
		snprintf(text, size, "Value of the last expression");
}

/* The line for people, where the worker decided; the script's own words elsewhere. */
struct answer_text answer_error_line(const struct answer_run *run, char *text, size_t size)
{
	const struct verdict *verdict = &run->verdict;
	char name[32], value[ENTRY_MAX_BYTES + 32];

	name_value(run->request, value, sizeof(value));
	switch ((enum verdict_kind)verdict->kind) {
	case VERDICT_EXIT:
		if (run->error_text.length)
			return run->error_text;
		if (run->request->has_entry && !(run->request->limits.flags & JOB_ENTRY_IF_DEFINED))
			snprintf(text, size,
				"Script ended without returning from %.*s() (exit code %d)",
				(int)run->request->entry.length, run->request->entry.data,
				verdict->exit_code);
		else
			snprintf(text, size, "Script ended without reaching its end (exit code %d)",
				verdict->exit_code);
		break;
	case VERDICT_NOT_JSON:
		if (run->error_type.length)
			return run->error_text;
		snprintf(text, size, "ValueError: %s is not JSON serializable: %.*s", value,
			(int)run->error_text.length, run->error_text.data);
		break;
	case VERDICT_RESULT_TOO_LARGE:
		snprintf(text, size, "%s is %" PRIu64 " bytes of JSON, over the limit of %" PRIu64,
			value, verdict->used, verdict->limit);
		break;
	case VERDICT_MEMORY:
		snprintf(text, size, "Script execution failed: memory limit exceeded (%g MiB)",
			(double)verdict->limit / ANSWER_WORDS_MIB);
		break;
	case VERDICT_SIGNAL:
		snprintf(text, size, "Script was killed by %s",
			answer_words_signal(verdict->signal, name));
		break;
	case VERDICT_TIME:
		snprintf(text, size, "Script execution timed out after %g seconds",
			answer_words_ms(verdict->limit));
		break;
	case VERDICT_CPU:
		snprintf(text, size, "Script execution timed out: %g seconds of CPU time used",
			answer_words_ms(verdict->limit));
		break;
	case VERDICT_EXCEPTION:
	case VERDICT_SYNTAX:
	case VERDICT_NO_MAIN:
	case VERDICT_BLOCKED_IMPORT:
		return run->error_text;
	case VERDICT_OK:
	case VERDICT_INTERNAL:
	case VERDICT_COUNT:
	default:
		snprintf(text, size, "Internal error");
		break;
	}
	return literal(text);
}

/* The warning that a process came to another end than its own after its value, or "". */
static void name_after_value(const struct verdict *verdict, char *text, size_t size)
{
	char name[32];

	*text = '\0';
	if (verdict->kind != VERDICT_OK)
		return;
	if (verdict->after_value == VERDICT_TIME)
		snprintf(text, size,
			"threads or atexit handlers were still running after the value "
			"was there, and were ended");
	else if (verdict->after_value == VERDICT_SIGNAL)
		snprintf(text, size, "the script was killed by %s after the value was there",
			answer_words_signal(verdict->signal, name));
	else if (verdict->after_value == VERDICT_CPU)
		snprintf(text, size,
			"the script was ended after the value was there: %g seconds of CPU time "
			"used",
			answer_words_ms(verdict->limit));
	else if (verdict->after_value == VERDICT_MEMORY)
		snprintf(text, size,
			"the script was ended after the value was there: memory limit exceeded (%g "
			"MiB)",
			(double)verdict->limit / ANSWER_WORDS_MIB);
	else if (verdict->after_value == VERDICT_EXIT && verdict->exit_code)
		snprintf(text, size, "the script ended with exit code %d after the value was there",
			verdict->exit_code);
}

/* Those that are not words of the execution, by their number among themselves; "": no more. */
static void own_warning(const struct answer_run *run, size_t index, char text[ANSWER_WARNING_BYTES])
{
	name_after_value(&run->verdict, text, ANSWER_WARNING_BYTES);
	if (*text && index == 0)
		return;
	if (run->live_is_cut && index == (*text ? 1 : 0))
		snprintf(text, ANSWER_WARNING_BYTES,
			"live output was not read in time, and is not complete");
	else
		*text = '\0';
}

bool answer_warning(const struct answer_run *run, size_t index, char text[ANSWER_WARNING_BYTES])
{
	static const char unknown[] = "unknown field: ";
	size_t unknown_fields = run->request->unknown_fields, length = 0;
	struct answer_text warning;

	if (index < unknown_fields) {
		length = strlen(unknown);
		memcpy(text, unknown, length);
		warning = literal(run->request->unknown_field[index]);
	} else if (index - unknown_fields < run->warning_count) {
		warning = run->warnings[index - unknown_fields];
	} else {
		own_warning(run, index - unknown_fields - run->warning_count, text);
		return *text;
	}
	length += answer_words_flatten(text + length, ANSWER_WARNING_BYTES - 1 - length, warning);
	text[length] = '\0';
	return true;
}
