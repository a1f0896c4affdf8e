/*
 * The physical limit: what a bare fork, exit and wait of the warm interpreter costs, with no jail,
 * no script and nobody to answer to.
 *
 * fork_limit RUNNER COUNT LOOPS MODULES=SAMPLE...
 *
 * Warms the interpreter as the service's templates do, with the modules of the folder RUNNER: each
 * MODULES=SAMPLE (modules separated by commas, may be empty; a sample script) is a process forked
 * from the one before. LOOPS forks of the last one, in the place of wardens, then each fork COUNT
 * times, one after the other. Prints one JSON object: forks a second of all, microseconds of
 * wall-clock and CPU time of each fork, and what the first write to a page costs on this machine.
 */
#include "runner/modules.h"
#include "runner/python.h"
#include "sandbox/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

enum {
	COUNT_MAX = 100000,
	LOOPS_MAX = 64,
	TOUCH_BYTES = 16 << 20,
};

/* What one loop came to; shared with the process that prints. */
struct loop {
	uint64_t begun_us, ended_us, cpu_us;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "fork_limit: %s\n", what);
	exit(1);
}

static uint64_t cpu_us(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Microseconds of the first write to a page of fresh anonymous memory. */
static double first_touch_us(void)
{
	long page = sysconf(_SC_PAGESIZE), i;
	volatile char *memory =
		mmap(NULL, TOUCH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t begun;

	if (memory == MAP_FAILED || madvise((void *)memory, TOUCH_BYTES, MADV_NOHUGEPAGE) < 0)
		die("map memory");
	begun = clock_now_us();
	for (i = 0; i < TOUCH_BYTES; i += page)
		memory[i] = 1;
	begun = clock_now_us() - begun;
	munmap((void *)memory, TOUCH_BYTES);
	return (double)begun / (double)(TOUCH_BYTES / page);
}

static void warm(const char *set)
{
	const char *sample_path = strchr(set, '=');
	char modules[256] = "";
	struct err err = {0};
	size_t length;
	char *sample;
	int r;

	if (!sample_path || (size_t)(sample_path - set) >= sizeof(modules))
		die("MODULES=SAMPLE is expected");
	memcpy(modules, set, (size_t)(sample_path - set));
	sample = modules_read_text(AT_FDCWD, sample_path + 1, &length);
	if (!sample)
		die(sample_path + 1);
	r = python_import(modules, &err);
	if (!r)
		r = python_warm(sample, length, &err);
	if (!r)
		r = python_settle(&err);
	if (r < 0)
		die(err.text);
	free(sample);
}

/* The next set is a process of its own; this one passes on how it ended. */
static void become_next_set(void)
{
	pid_t pid = python_fork();
	int status;

	if (pid < 0)
		die("fork the next set");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static _Noreturn void run_loop(struct loop *loop, long count, int gate)
{
	char byte;
	pid_t pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(gate, &byte, 1) != 0) /* end of file: all loops are there */
		_exit(1);
	loop->begun_us = clock_now_us();
	loop->cpu_us = cpu_us(RUSAGE_SELF);
	while (count--) {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			_exit(1);
	}
	loop->cpu_us = cpu_us(RUSAGE_SELF) - loop->cpu_us + cpu_us(RUSAGE_CHILDREN);
	loop->ended_us = clock_now_us();
	_exit(0);
}

static void run_loops(struct loop *loops, long count, long number)
{
	int gate[2], status;
	long i;
	pid_t pid;

	if (pipe(gate) < 0)
		die("make a pipe");
	python_before_fork();
	for (i = 0; i < number; i++) {
		pid = fork();
		if (pid < 0)
			die("fork a loop");
		if (!pid) {
			close(gate[1]);
			run_loop(&loops[i], count, gate[0]);
		}
	}
	close(gate[1]);
	for (i = 0; i < number; i++) {
		if (wait(&status) < 0 || status != 0)
			die("a loop failed");
	}
}

static void print_loops(const struct loop *loops, long count, long number, double touch_us)
{
	uint64_t begun = UINT64_MAX, ended = 0, wall = 0, cpu = 0;
	double forks = (double)count * (double)number;
	long i;

	for (i = 0; i < number; i++) {
		begun = loops[i].begun_us < begun ? loops[i].begun_us : begun;
		ended = loops[i].ended_us > ended ? loops[i].ended_us : ended;
		wall += loops[i].ended_us - loops[i].begun_us;
		cpu += loops[i].cpu_us;
	}
	printf("{\"forks_per_s\": %.1f, \"wall_us\": %.1f, \"cpu_us\": %.1f, \"touch_us\": %.3f}\n",
		forks * 1e6 / (double)(ended - begun), (double)wall / forks, (double)cpu / forks,
		touch_us);
}

int main(int argc, char **argv)
{
	long count = argc > 4 ? atol(argv[2]) : 0, number = argc > 4 ? atol(argv[3]) : 0;
	struct loop *loops;
	struct err err = {0};
	double touch_us;
	int runner = argc > 4 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, i;

	if (count < 1 || count > COUNT_MAX || number < 1 || number > LOOPS_MAX) {
		fprintf(stderr, "usage: fork_limit RUNNER COUNT LOOPS MODULES=SAMPLE...\n");
		return 2;
	}
	touch_us = first_touch_us();
	loops = mmap(NULL, LOOPS_MAX * sizeof(*loops), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	mallopt(M_ARENA_MAX, 1); /* as the template does */
	if (loops == MAP_FAILED || modules_load(runner, &err) < 0)
		die(*err.text ? err.text : "map memory");
	for (i = 4; i < argc; i++) {
		if (i > 4)
			become_next_set();
		warm(argv[i]);
	}
	run_loops(loops, count, number);
	print_loops(loops, count, number, touch_us);
	return 0;
}
