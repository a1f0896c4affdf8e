#include "sandbox/proc_status.h"

#include <errno.h>
#include <stdio.h>
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

int proc_status_read(int fd, struct proc_status *status)
{
	char text[4096];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return n < 0 ? -errno : -ESRCH;
	text[n] = '\0';
	*status = (struct proc_status){.parent = (pid_t)number(text, "\nPPid:"),
		.threads = (unsigned)number(text, "\nThreads:"),
		.peak_kib = number(text, "\nVmHWM:"),
		.anon_kib = number(text, "\nRssAnon:"),
		.file_kib = number(text, "\nRssFile:"),
		.shmem_kib = number(text, "\nRssShmem:"),
		.swap_kib = number(text, "\nVmSwap:"),
		.tables_kib = number(text, "\nVmPTE:")};
	return 0;
}
