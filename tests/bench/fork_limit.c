/*
 * The physical limit: what a bare fork, exit and wait of the warm interpreter costs, with no jail,
 * no script and nobody to answer to.
 *
 * fork_limit RUNNER SAMPLE MODULES COUNT: warms the interpreter as the template does, with the
 * folder runner/ and a sample in it, forks COUNT times, one after the other, and prints wall-clock
 * and CPU microseconds of each as JSON lists.
 */
#include "runner/modules.h"
#include "runner/python.h"
#include "sandbox/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	COUNT_MAX = 100000,
};

static uint64_t cpu_us(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void warm(char **argv)
{
	struct err err = {0};
	size_t sample_bytes;
	int runner = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *sample = modules_read_text(runner, argv[2], &sample_bytes);
	int r = sample ? modules_load(runner, &err) : err_set(&err, errno, "read %s", argv[2]);

	if (!r)
		r = python_import(argv[3], &err);
	if (!r)
		r = python_warm(sample, sample_bytes, &err);
	if (!r)
		r = python_settle(&err);
	if (r < 0) {
		fprintf(stderr, "fork_limit: %s\n", err.text);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	long count = argc == 5 ? atol(argv[4]) : 0, i;
	uint64_t begun, cpu;
	pid_t pid;

	if (count < 1 || count > COUNT_MAX) {
		fprintf(stderr, "usage: fork_limit RUNNER SAMPLE MODULES COUNT\n");
		return 2;
	}
	warm(argv);
	begun = clock_now_us();
	cpu = cpu_us(RUSAGE_SELF) + cpu_us(RUSAGE_CHILDREN);
	for (i = 0; i < count; i++) {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
			perror("fork_limit: fork");
			return 1;
		}
	}
	printf("{\"count\": %ld, \"wall_us\": %.1f, \"cpu_us\": %.1f}\n", count,
		(double)(clock_now_us() - begun) / (double)count,
		(double)(cpu_us(RUSAGE_SELF) + cpu_us(RUSAGE_CHILDREN) - cpu) / (double)count);
	return 0;
}
