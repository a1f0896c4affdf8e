#include "sandbox/proc_status.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number of a line such as "\nVmHWM:\t 123 kB"; 0 without such a line. */
static uint64_t number(const char *text, const char *key)
{
	const char *line = strstr(text, key);
	unsigned long long value = 0;

	if (line)
		sscanf(line + strlen(key), "%llu", &value);
	return value;
}

/* The letter of a line such as "\nState:\tS (sleeping)". */
static char letter(const char *text, const char *key)
{
	const char *line = strstr(text, key);
	char value = '\0';

	if (line)
		sscanf(line + strlen(key), " %c", &value);
	return value;
}

/* The hexadecimal number of a line such as "\nShdPnd:\t0000000000040000". */
static uint64_t bits(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line ? strtoull(line + strlen(key), NULL, 16) : 0;
}

int proc_status_read(int fd, struct proc_status *status)
{
	char text[4096];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return n < 0 ? -errno : -ESRCH;
	text[n] = '\0';
	*status = (struct proc_status){.parent = (pid_t)number(text, "\nPPid:"),
		.state = letter(text, "\nState:"),
		.pending = bits(text, "\nShdPnd:"),
		.threads = (unsigned)number(text, "\nThreads:"),
		.peak_kib = number(text, "\nVmHWM:"),
		.anon_kib = number(text, "\nRssAnon:"),
		.file_kib = number(text, "\nRssFile:"),
		.shmem_kib = number(text, "\nRssShmem:"),
		.swap_kib = number(text, "\nVmSwap:"),
		.tables_kib = number(text, "\nVmPTE:")};
	return 0;
}

bool proc_status_is_dead(const struct proc_status *status)
{
	return status->state == 'Z' || status->state == 'X';
}

bool proc_status_is_stopped(const struct proc_status *status)
{
	return status->state == 'T';
}

bool proc_status_is_standing(const struct proc_status *status)
{
	return proc_status_is_stopped(status) || status->state == 'D' || proc_status_is_dead(status) ||
	       (status->pending & UINT64_C(1) << (SIGSTOP - 1));
}
