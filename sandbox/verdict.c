#include "sandbox/verdict.h"

#include <signal.h>
#include <sys/wait.h>

enum {
	CPU_SLACK_US = 20 * 1000, /* the kernel looks at CPU time once a tick */
};

static void set_limit(struct verdict *verdict, enum verdict_kind kind, uint64_t limit, uint64_t used)
{
	verdict->kind = kind;
	verdict->limit = limit;
	verdict->used = used;
}

static void set_struck(const struct verdict_facts *facts, struct verdict *verdict)
{
	set_limit(verdict, VERDICT_MEMORY, (uint64_t)facts->limits->memory_mib << 20,
		facts->struck_bytes);
}

static void decide_by_claim(const struct verdict_facts *facts, struct verdict *verdict)
{
	const struct failure *claim = facts->claim;

	verdict->kind = claim->header.kind;
	verdict->line = claim->header.line > 0 ? claim->header.line : 0;
	verdict->exit_code = claim->header.exit_code & 0xff;
	if (verdict->kind == VERDICT_MEMORY)
		set_limit(verdict, VERDICT_MEMORY, (uint64_t)facts->limits->memory_mib << 20,
			claim->header.asked_bytes > facts->memory_bytes ? claim->header.asked_bytes
									: facts->memory_bytes);
}

static void decide_by_exit(const struct verdict_facts *facts, struct verdict *verdict)
{
	uint64_t limit_us = facts->limits->cpu_s * UINT64_C(1000000);

	if (!WIFSIGNALED(facts->status)) {
		verdict->kind = VERDICT_EXIT;
		verdict->exit_code = WEXITSTATUS(facts->status);
		return;
	}
	verdict->kind = VERDICT_SIGNAL;
	verdict->signal = WTERMSIG(facts->status);
	if (verdict->signal == SIGKILL && facts->cpu_us + CPU_SLACK_US >= limit_us)
		set_limit(verdict, VERDICT_CPU, limit_us / 1000, facts->cpu_us / 1000);
}

/*
 * A value stays one, whatever becomes of the threads and atexit handlers that the script left: how
 * they ended is told beside it.
 */
static void decide_by_value(const struct verdict_facts *facts, struct verdict *verdict)
{
	if (facts->struck_bytes)
		set_struck(facts, verdict);
	else if (facts->unfinished)
		verdict->kind = VERDICT_TIME;
	else if (facts->exited)
		decide_by_exit(facts, verdict);
	else
		verdict->kind = VERDICT_OK;
	verdict->after_value = verdict->kind;
	verdict->kind = VERDICT_OK;
}

void verdict_decide(const struct verdict_facts *facts, struct verdict *verdict)
{
	verdict->wall_us = facts->wall_us;
	verdict->cpu_us = facts->cpu_us;
	verdict->memory_bytes = facts->memory_bytes;
	if (facts->oversize_bytes)
		set_limit(verdict, VERDICT_RESULT_TOO_LARGE, RESULT_MAX_BYTES, facts->oversize_bytes);
	else if (facts->has_value)
		decide_by_value(facts, verdict);
	else if (facts->bad_value)
		verdict->kind = VERDICT_NOT_JSON;
	else if (facts->struck_bytes)
		set_struck(facts, verdict);
	else if (facts->timed_out)
		set_limit(verdict, VERDICT_TIME, facts->limits->timeout_ms, facts->wall_us / 1000);
	else if (facts->claim)
		decide_by_claim(facts, verdict);
	else if (facts->exited)
		decide_by_exit(facts, verdict);
	else
		verdict->kind = VERDICT_INTERNAL;
}
