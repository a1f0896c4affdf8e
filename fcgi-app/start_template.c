#include "fcgi-app/start.h"

#include "sandbox/cell_message.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	HIGH_FD = 64, /* above every number that the template's descriptors get */
	SETS_AT = 6, /* in the arguments */
};

struct template_context {
	const struct start_base *base;
	const int *requests;
	bool careful;
};

/* What whoever started the service ignores (nohup does that) would be ignored by scripts as well. */
static void reset_signals(void)
{
	sigset_t none;
	int number;

	for (number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Puts the descriptors where the template looks for them, and nothing else (cell_message.h). */
static void exec_template(const void *context, int control)
{
	const struct template_context *template = context;
	const struct master_setup *setup = template->base->setup;
	const struct library_sets *sets = setup->sets;
	char arrangement[ARRANGEMENT_TEXT_BYTES];
	const char *arguments[SETS_AT + WORKER_SETS_MAX + 1] = {"vivarium-template", arrangement,
		template->careful ? "careful" : "quick", setup->config->import_denylist,
		setup->config->import_allowlist, setup->venv};
	int keep[TEMPLATE_FD_REQUESTS + WORKER_SETS_MAX + 1], from[sizeof(keep) / sizeof(keep[0])];
	int last = TEMPLATE_FD_REQUESTS + (int)sets->count - 1, i;
	/* symbols bound once, before all forks, and not by every execution; scripts do not see it
	 */
	const char *environment[] = {"LD_BIND_NOW=1", NULL};

	dup2(template->base->template_stderr, STDERR_FILENO);
	arrangement_print(&setup->arrangement, arrangement);
	from[TEMPLATE_FD_CONTROL] = control;
	from[TEMPLATE_FD_PROC] = template->base->proc;
	from[TEMPLATE_FD_POLICY] = setup->policy;
	from[TEMPLATE_FD_HARNESS] = setup->harness;
	for (i = 0; i < (int)sets->count; i++) {
		arguments[SETS_AT + i] = sets->set[i].text;
		from[TEMPLATE_FD_REQUESTS + i] = template->requests[i];
	}
	for (i = TEMPLATE_FD_CONTROL; i <= last; i++)
		from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, HIGH_FD);
	keep[0] = fcntl(setup->program, F_DUPFD_CLOEXEC, HIGH_FD);
	for (i = TEMPLATE_FD_CONTROL; i <= last; i++)
		keep[i - TEMPLATE_FD_CONTROL + 1] = dup2(from[i], i);
	child_confine_descriptors(false, keep, (size_t)last - TEMPLATE_FD_CONTROL + 2);
	reset_signals();
	execveat(keep[0], "", (char *const *)arguments, (char *const *)environment, AT_EMPTY_PATH);
	dprintf(STDERR_FILENO, "exec %s: %s\n", setup->config->template_program, strerror(errno));
	_exit(1);
}

int start_template(const struct start_base *base, struct child *child, const int *requests,
	bool careful)
{
	const struct template_context context = {
		.base = base, .requests = requests, .careful = careful};

	return child_start(child, -1, exec_template, &context);
}
