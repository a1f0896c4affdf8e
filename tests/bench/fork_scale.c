/*
 * How forks scale with processors and with template trees: bare forks of warm interpreters by
 * several processes at once, which stand for wardens, forked from one tree or from several.
 *
 * fork_scale RUNNER SAMPLE MODULES PROCESSES ROUNDS: warms as many trees as there are processes,
 * each in a process of its own (forked before there is an interpreter), and lets PROCESSES wardens
 * fork for a quarter of a second: one alone, then all, spread over 1, 2, 4... trees, and so on for
 * ROUNDS rounds, so that a change of the machine's mood meets all alike. Two kinds of children:
 * those that end at once, and those that first wake the interpreter, as an execution does, which
 * writes to some hundred pages. Prints a line of JSON for each: forks a second of all together.
 */
#include "runner/modules.h"
#include "runner/python.h"
#include "sandbox/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PROCESSES_MAX = 256,
	ROUNDS_MAX = 1000,
	SPREADS_MAX = 10, /* 1 alone, and powers of 2 up to PROCESSES_MAX trees */
	ROUND_US = 250 * 1000,
	HEAD_START_US = 10 * 1000,
};

/* What a warden is asked. */
struct order {
	uint64_t from_us, until_us;
	int wakes; /* its children wake the interpreter */
};

struct warden {
	int socket;
};

struct spread {
	int trees, processes;
	double rates[2][ROUNDS_MAX]; /* without and with waking */
};

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void warm(char **argv)
{
	struct err err = {0};
	size_t sample_bytes;
	int runner = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *sample = modules_read_text(AT_FDCWD, argv[2], &sample_bytes);
	int r = sample ? modules_load(runner, &err) : err_set(&err, errno, "read %s", argv[2]);

	if (!r)
		r = python_import(argv[3], &err);
	if (!r)
		r = python_warm(sample, sample_bytes, &err);
	if (!r)
		r = python_settle(&err);
	if (r < 0) {
		fprintf(stderr, "fork_scale: %s\n", err.text);
		exit(1);
	}
}

static void fork_one(bool wakes)
{
	struct err err = {0};
	pid_t pid = fork();

	if (!pid)
		_exit(wakes && python_wake(&err) < 0);
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		fail("fork_scale: fork");
}

static _Noreturn void run_warden(int socket)
{
	struct order order;
	uint64_t forks;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	python_before_fork();
	while (read(socket, &order, sizeof(order)) == sizeof(order)) {
		while (clock_now_us() < order.from_us)
			;
		for (forks = 0; clock_now_us() < order.until_us; forks++)
			fork_one(order.wakes);
		if (write(socket, &forks, sizeof(forks)) != sizeof(forks))
			break;
	}
	exit(0);
}

/* A tree: warms up, forks its wardens, and stands behind them. */
static _Noreturn void run_tree(char **argv, const int *sockets, int count)
{
	char ready = 1;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	warm(argv);
	for (i = 0; i < count; i++) {
		if (fork() == 0)
			run_warden(sockets[i]);
		if (write(sockets[i], &ready, 1) != 1)
			fail("fork_scale: ready");
	}
	for (;;)
		pause();
}

/* Tree t takes part when there are 2^k trees, t < 2^k, and has then PROCESSES / 2^k wardens. */
static int wardens_of(int tree, int processes)
{
	int trees = 1;

	while (trees <= tree)
		trees *= 2;
	return (processes + trees - 1) / trees;
}

static void start_tree(char **argv, struct warden *wardens, int count)
{
	int pair[2], ends[PROCESSES_MAX], i;
	char ready;
	pid_t pid;

	for (i = 0; i < count; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			fail("fork_scale: socketpair");
		wardens[i].socket = pair[0];
		ends[i] = pair[1];
	}
	pid = fork();
	if (pid < 0)
		fail("fork_scale: fork");
	if (!pid)
		run_tree(argv, ends, count);
	for (i = 0; i < count; i++) {
		close(ends[i]);
		if (read(wardens[i].socket, &ready, 1) != 1)
			fail("fork_scale: a tree");
	}
}

/* Warden i of the spread is number i / trees of tree i % trees. */
static double measure(struct warden (*trees)[PROCESSES_MAX], const struct spread *spread, int wakes)
{
	struct order order = {.from_us = clock_now_us() + HEAD_START_US, .wakes = wakes};
	uint64_t forks, all = 0;
	int i, socket;

	order.until_us = order.from_us + ROUND_US;
	for (i = 0; i < spread->processes; i++) {
		socket = trees[i % spread->trees][i / spread->trees].socket;
		if (write(socket, &order, sizeof(order)) != sizeof(order))
			fail("fork_scale: order");
	}
	for (i = 0; i < spread->processes; i++) {
		socket = trees[i % spread->trees][i / spread->trees].socket;
		if (read(socket, &forks, sizeof(forks)) != sizeof(forks))
			fail("fork_scale: a warden");
		all += forks;
	}
	return (double)all * 1e6 / ROUND_US;
}

static int compare(const void *a, const void *b)
{
	double first = *(const double *)a, second = *(const double *)b;

	return (first > second) - (first < second);
}

static void print(struct spread *spread, int rounds)
{
	double *rates;
	int wakes;

	for (wakes = 0; wakes < 2; wakes++) {
		rates = spread->rates[wakes];
		qsort(rates, (size_t)rounds, sizeof(*rates), compare);
		printf("{\"processes\": %d, \"trees\": %d, \"wakes\": %s, \"forks_per_s\": "
		       "{\"min\": %.0f, \"median\": %.0f, \"max\": %.0f}}\n",
			spread->processes, spread->trees, wakes ? "true" : "false", rates[0],
			rates[rounds / 2], rates[rounds - 1]);
	}
}

int main(int argc, char **argv)
{
	static struct warden trees[PROCESSES_MAX][PROCESSES_MAX];
	static struct spread spreads[SPREADS_MAX];
	int processes = argc == 6 ? atoi(argv[4]) : 0, rounds = argc == 6 ? atoi(argv[5]) : 0;
	int count = 0, tree_count = 1, i, round;

	if (processes < 1 || processes > PROCESSES_MAX || rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: fork_scale RUNNER SAMPLE MODULES PROCESSES ROUNDS\n");
		return 2;
	}
	spreads[count++] = (struct spread){.trees = 1, .processes = 1};
	for (; processes > 1 && tree_count <= processes; tree_count *= 2)
		spreads[count++] = (struct spread){.trees = tree_count, .processes = processes};
	for (i = 0; i < spreads[count - 1].trees; i++)
		start_tree(argv, trees[i], wardens_of(i, processes));
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < count; i++) {
			spreads[i].rates[0][round] = measure(trees, &spreads[i], 0);
			spreads[i].rates[1][round] = measure(trees, &spreads[i], 1);
		}
	}
	for (i = 0; i < count; i++)
		print(&spreads[i], rounds);
	return 0;
}
