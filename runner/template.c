/*
 * vivarium-template: the warm interpreter, and the only parent of cells.
 *
 * An executable of its own, started by the master with an empty environment and a closed list of
 * descriptors, because a fork copies memory: what a template holds, every script can read. So it
 * never sees a byte of a request, and no key or environment of the service; of its configuration
 * what is meant for scripts: library sets and import lists.
 *
 * One process per library set. The first warms the bare interpreter; each other set is forked from
 * the set below it, so that their memory is shared, imports its modules and runs its samples. Each
 * then waits on a socket of its own for requests of workers, and forks a warden for each. A tree that
 * has time begins with two rehearsals of all that, forks that find out what scripts touch, and end.
 *
 * Privilege: its own user id, CAP_SETUID and CAP_SETGID inside the service's user namespace, to
 * give every cell an id of its own and nothing else. One thread, always. The tree of templates
 * lives and dies as a whole: a set that dies takes the first with it, whom the master replaces. One
 * whose place another tree has taken serves what was asked of it, the sets above first, and ends.
 */
#include "runner/confine.h"
#include "runner/heat.h"
#include "runner/heat_survey.h"
#include "runner/image.h"
#include "runner/modules.h"
#include "runner/placing.h"
#include "runner/python.h"
#include "runner/scout.h"
#include "runner/self_check.h"
#include "runner/venv.h"
#include "runner/warden.h"
#include "sandbox/cell_message.h"
#include "sandbox/clock.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"
#include "sandbox/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
	SETS_MAX = 16,
	SETS_AT = 6, /* in the arguments */
	REHEARSAL_MAX_S = 120,
};

_Static_assert((int)SETS_MAX <= (int)HEAT_SETS_MAX, "every library set has a place of its own");

/* One library set, as the command line has it: "NAME:PARENT:MODULE,MODULE". */
struct set {
	char name[32], parent[32];
	char modules[256];
	char *sample; /* run once to warm up; owned; NULL: none */
	size_t sample_bytes;
	char *typical; /* what a scout runs to learn the hot pages; owned; NULL: none */
	size_t typical_bytes;
};

struct template {
	struct set set[SETS_MAX];
	size_t sets;
	size_t self; /* the set this process holds */
	uint64_t started_us;
	struct arrangement arrangement;
	char work[ARRANGEMENT_PATH_BYTES + 16]; /* where libraries may write while they load */
	char *venv; /* of the host, from the command line; "": none */
	const char *denied, *allowed; /* modules, from there, too */
	/*
	 * The first trees of a service start as quickly as they can. One that follows has time: its
	 * sets warm up one after the other, for others need the processors, and what scripts touch
	 * is placed side by side, after two rehearsals that find it out.
	 */
	bool careful;
	int turn; /* open as long as it is this process's turn; -1: none */
	struct heat *heat; /* what scripts touch; NULL: not known */
	struct warden_setup warden;
	int children[SETS_MAX]; /* pidfds of the sets forked from this one */
	size_t child_count;
	bool retired; /* nobody can ask any more: another tree has taken over */
};

static void report(const struct template *template, bool missing, const char *text)
{
	struct template_report report = {.type = TEMPLATE_REPORT_SET,
		.set = (uint32_t)template->self,
		.missing = missing,
		.load_us = clock_now_us() - template->started_us};

	if (heat_survey_is_on())
		return;
	snprintf(report.text, sizeof(report.text), "%s", text);
	message_send(TEMPLATE_FD_CONTROL, &report, sizeof(report), NULL, 0);
}

static _Noreturn void die_of_set(const struct template *template, const struct err *err)
{
	fprintf(stderr, "vivarium-template: library set %s: %s\n",
		template->set[template->self].name, err->text);
	_exit(1); /* what libraries do at the exit of their process is not for a fork */
}

static _Noreturn void die(const struct err *err)
{
	fprintf(stderr, "vivarium-template: %s\n", err->text);
	exit(1);
}

static int parse_set(const char *text, struct set *set)
{
	return sscanf(text, "%31[a-z0-9_-]:%31[a-z0-9_-]:%255[A-Za-z0-9_.,]", set->name, set->parent,
		       set->modules) >= 2
		       ? 0
		       : -EINVAL;
}

/* The samples are read before the host's files go out of sight. */
static void read_sets(struct template *template, int count, char **texts)
{
	struct err err = {0};
	char path[64];
	struct set *set;
	int i;

	for (i = 0; i < count && i < SETS_MAX; i++) {
		set = &template->set[i];
		if (parse_set(texts[i], set) < 0) {
			err_set(&err, EINVAL, "library set \"%s\"", texts[i]);
			die(&err);
		}
		snprintf(path, sizeof(path), "samples/%s.py", set->name);
		set->sample = modules_read_text(TEMPLATE_FD_HARNESS, path, &set->sample_bytes);
		snprintf(path, sizeof(path), "typical/%s.py", set->name);
		set->typical = modules_read_text(TEMPLATE_FD_HARNESS, path, &set->typical_bytes);
		template->sets++;
	}
}

static int start_interpreter(struct err *err)
{
	mallopt(M_ARENA_MAX, 1); /* further arenas would eat the address space of small jobs */
	return modules_load(TEMPLATE_FD_HARNESS, err);
}

static int load_set(struct template *template, struct err *err)
{
	struct set *set = &template->set[template->self];
	int r = python_import(set->modules, err);

	if (!r && set->sample)
		r = python_warm(set->sample, set->sample_bytes, err);
	return r;
}

static _Noreturn void serve(struct template *template);

/* --- the tree of sets ---------------------------------------------------------------------- */

/* A set that is not installed takes those that lie on it along. */
static void report_missing(struct template *template, const char *text)
{
	size_t self = template->self, i;
	char above[64];

	report(template, true, text);
	snprintf(above, sizeof(above), "it lies on %s", template->set[self].name);
	for (i = 0; i < template->sets; i++) {
		if (i != self && strcmp(template->set[i].parent, template->set[self].name) == 0) {
			template->self = i;
			report_missing(template, above);
		}
	}
	template->self = self;
}

/* Life of a forked set up to its first request. */
static _Noreturn void run_set(struct template *template)
{
	struct err err = {0};
	int r;

	while (template->child_count) /* the parent's, not ours */
		close(template->children[--template->child_count]);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	template->started_us = clock_now_us();
	r = load_set(template, &err);
	if (r == -ENOENT) {
		report_missing(template, err.text);
		exit(0);
	}
	if (r < 0)
		die_of_set(template, &err);
	serve(template);
}

/* Forks; where sets take turns the parent comes back when the child, and who lies on it, serve. */
static pid_t fork_set(struct template *template)
{
	int turn[2] = {-1, -1};
	char none;
	pid_t pid;

	if (template->careful && pipe2(turn, O_CLOEXEC) < 0)
		return -1;
	pid = python_fork();
	if (!pid) {
		fd_close(&turn[0]);
		fd_close(&template->turn);
		template->turn = turn[1];
		return 0;
	}
	fd_close(&turn[1]);
	if (pid > 0 && template->careful && read(turn[0], &none, 1) < 0)
		pid = -1;
	fd_close(&turn[0]);
	return pid;
}

static int fork_children(struct template *template, struct err *err)
{
	size_t i;
	pid_t pid;
	int watch;

	for (i = 0; i < template->sets; i++) {
		if (i == template->self ||
			strcmp(template->set[i].parent, template->set[template->self].name) != 0)
			continue;
		pid = fork_set(template);
		if (pid < 0)
			return err_set(err, errno, "fork the set %s", template->set[i].name);
		if (!pid) {
			template->self = i;
			run_set(template);
		}
		watch = (int)syscall(SYS_pidfd_open, pid, 0);
		if (watch < 0)
			return err_set(err, errno, "watch the set %s", template->set[i].name);
		template->children[template->child_count++] = watch;
	}
	return 0;
}

static void close_other_requests(const struct template *template)
{
	size_t i;

	for (i = 0; i < template->sets; i++) {
		if (i != template->self)
			close(TEMPLATE_FD_REQUESTS + (int)i);
	}
}

/* A child that left because its library is missing is forgotten; any other end is ours too. */
static void handle_child_exit(struct template *template, size_t child)
{
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)template->children[child], &info, WEXITED) < 0 ||
		info.si_code != CLD_EXITED || info.si_status != 0) {
		fprintf(stderr, "vivarium-template: a library set died\n");
		exit(1);
	}
	close(template->children[child]);
	template->children[child] = template->children[--template->child_count];
}

static void report_fork(const struct template *template)
{
	const struct template_report forked = {
		.type = TEMPLATE_REPORT_FORKED, .set = (uint32_t)template->self};

	message_send(TEMPLATE_FD_CONTROL, &forked, sizeof(forked), NULL, 0);
}

static void handle_request(struct template *template)
{
	struct template_request request;
	int fds[TEMPLATE_REQUEST_FDS_MAX];
	size_t count = TEMPLATE_REQUEST_FDS_MAX;
	int r = message_receive(TEMPLATE_FD_REQUESTS + (int)template->self, &request,
		sizeof(request), fds, &count);

	if (r == 0)
		template->retired = true; /* the master and all workers have closed their ends */
	if (r == 1 && count) {
		warden_spawn(&template->warden, &request, fds, count);
		report_fork(template);
	}
	while (count)
		close(fds[--count]);
}

static _Noreturn void serve_requests(struct template *template)
{
	const int requests = TEMPLATE_FD_REQUESTS + (int)template->self;
	struct pollfd watched[SETS_MAX + 2];
	size_t i;

	while (!template->retired || template->child_count) { /* who still serve: they die with us */
		watched[0] = (struct pollfd){.fd = TEMPLATE_FD_CONTROL, .events = POLLIN};
		watched[1] = (struct pollfd){.fd = template->retired ? -1 : requests, .events = POLLIN};
		for (i = 0; i < template->child_count; i++)
			watched[2 + i] = (struct pollfd){
				.fd = template->children[i], .events = POLLIN};
		if (poll(watched, 2 + template->child_count, -1) < 0 && errno != EINTR)
			exit(1);
		if (watched[0].revents)
			exit(0); /* the master is gone, or wants us gone */
		if (watched[1].revents)
			handle_request(template);
		for (i = template->child_count; i-- > 0;) {
			if (watched[2 + i].revents)
				handle_child_exit(template, i);
		}
	}
	exit(0);
}

/* --- what scripts touch -------------------------------------------------------------------- */

/* Without what a scout finds, executions are slower and nothing else: its failure is told. */
static int send_scout(struct template *template, struct err *err)
{
	const struct set *set = &template->set[template->self];
	struct hot_pages *hot = &template->warden.hot;

	if (!set->typical)
		return 0;
	if (scout_hot_pages(TEMPLATE_FD_PROC, set->typical, set->typical_bytes, template->careful,
		    hot) < 0) {
		fprintf(stderr, "vivarium-template: library set %s: no hot pages learnt\n",
			set->name);
		return 0;
	}
	return hot_pages_arrange(TEMPLATE_FD_PROC, hot, err);
}

/* A finding that lacks a set would be held for a whole one. */
static int await_children(struct template *template, struct err *err)
{
	siginfo_t info = {0};
	bool all_well = true;

	while (template->child_count) {
		if (waitid(P_PIDFD, (id_t)template->children[--template->child_count], &info,
			    WEXITED) < 0)
			return err_set(err, errno, "wait for a library set");
		all_well = all_well && info.si_code == CLD_EXITED && info.si_status == 0;
	}
	return all_well ? 0 : err_set(err, ECHILD, "a set above it failed");
}

/* What a set does in a rehearsal instead of serving; the sets above it come first. */
static _Noreturn void rehearse(struct template *template)
{
	const struct set *set = &template->set[template->self];
	struct err err = {0};
	int r = python_settle(&err);

	if (!r)
		r = fork_children(template, &err);
	if (!r)
		r = await_children(template, &err);
	python_end_placing();
	if (!r && set->typical &&
		scout_heat(TEMPLATE_FD_PROC, set->typical, set->typical_bytes, template->self) < 0)
		r = err_set(&err, EIO, "run the typical script");
	if (r < 0)
		die_of_set(template, &err);
	_exit(0);
}

static _Noreturn void start_tree(struct template *template);

/* Returns what it has found, NULL on failure. */
static struct heat *run_rehearsal(struct template *template, const struct heat *known)
{
	struct heat *found = heat_new();
	int status = 0;
	pid_t pid = found ? fork() : -1;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(REHEARSAL_MAX_S);
		heat_survey_begin(known, found);
		start_tree(template);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid > 0 && status == 0)
		return found;
	heat_free(found);
	return NULL;
}

/* Without it executions copy more pages, and nothing else is lost. */
static void learn_heat(struct template *template)
{
	struct heat *pages = run_rehearsal(template, NULL);

	template->heat = pages ? run_rehearsal(template, pages) : NULL;
	heat_free(pages);
	if (!template->heat || placing_begin(template->heat) < 0)
		fprintf(stderr, "vivarium-template: what scripts touch is not known\n");
}

static int check_oneself(const struct template *template, struct err *err)
{
	int expected[SETS_MAX + 3] = {TEMPLATE_FD_CONTROL, TEMPLATE_FD_PROC,
		TEMPLATE_FD_REQUESTS + (int)template->self};

	memcpy(expected + 3, template->children, template->child_count * sizeof(expected[0]));
	return self_check_forkable(TEMPLATE_FD_PROC, expected, 3 + template->child_count, err);
}

static _Noreturn void serve(struct template *template)
{
	struct err err = {0};
	int r;

	if (heat_survey_is_on())
		rehearse(template);
	r = python_settle(&err);
	if (!r)
		r = image_take(TEMPLATE_FD_PROC, &template->warden.image_bytes, &err);
	if (!r)
		r = fork_children(template, &err);
	python_end_placing();
	heat_free(template->heat);
	close_other_requests(template);
	if (!r)
		r = send_scout(template, &err);
	if (!r)
		r = self_check_measure(TEMPLATE_FD_PROC, &template->warden.data_bytes,
			&template->warden.address_bytes, &err);
	fd_close(&template->turn);
	if (!r)
		r = check_oneself(template, &err);
	if (r < 0)
		die_of_set(template, &err);
	report(template, false, "");
	serve_requests(template);
}

/* "/tmp", or what stands in for it. */
static void choose_work(struct template *template)
{
	const char *base = template->arrangement.work;

	snprintf(template->work, sizeof(template->work), "%s%s", *base ? base : "/tmp",
		*base ? "/template" : "");
	python_set_directory(template->work);
}

/* The host's name for the virtual environment is nothing that scripts need to find. */
static int choose_venv(struct template *template, struct err *err)
{
	bool has_system = false;
	int r = *template->venv ? venv_check(template->venv, &has_system, err) : 0;

	template->warden.venv = template->venv;
	if (r < 0 || !*template->venv)
		return r;
	python_set_venv(LAYER_HAS(template->arrangement.layers, LAYER_MOUNT) ? TREE_VENV
									     : template->venv,
		has_system);
	return 0;
}

static void forget_venv(struct template *template)
{
	if (LAYER_HAS(template->arrangement.layers, LAYER_MOUNT))
		explicit_bzero(template->venv, strlen(template->venv));
}

/* The life of the first set, from which all others are forked. */
static _Noreturn void start_tree(struct template *template)
{
	struct err err = {0};
	int r = start_interpreter(&err);

	if (!r)
		r = python_restrict_imports(template->denied, template->allowed, &err);
	if (r < 0)
		die(&err);
	r = load_set(template, &err);
	if (r < 0)
		die_of_set(template, &err);
	close(TEMPLATE_FD_POLICY);
	close(TEMPLATE_FD_HARNESS);
	serve(template);
}

/*
 * vivarium-template ARRANGEMENT quick|careful DENIED ALLOWED VENV SET... ; started by the master, by
 * nobody else. quick: a first tree; careful: one that follows. DENIED and ALLOWED: import_denylist and
 * import_allowlist of the configuration; VENV: python_venv.
 */
int main(int argc, char **argv)
{
	struct template template = {.started_us = clock_now_us(), .turn = -1};
	struct err err = {0};
	int r;

	if (argc <= SETS_AT || arrangement_parse(argv[1], &template.arrangement) < 0 ||
		(strcmp(argv[2], "quick") != 0 && strcmp(argv[2], "careful") != 0)) {
		fprintf(stderr, "vivarium-template is started by vivarium\n");
		return 2;
	}
	template.warden.arrangement = &template.arrangement;
	choose_work(&template);
	template.careful = strcmp(argv[2], "careful") == 0;
	template.denied = argv[3];
	template.allowed = argv[4];
	template.venv = argv[5];
	read_sets(&template, argc - SETS_AT, argv + SETS_AT);
	r = choose_venv(&template, &err);
	if (!r)
		r = confine_template(&template.warden, template.venv, &err);
	forget_venv(&template);
	if (r < 0)
		die(&err);
	if (template.careful)
		learn_heat(&template);
	start_tree(&template);
}
