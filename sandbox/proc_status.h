/* What /proc/PID/status says of a process, also of one that is not dumpable (proc(5)). */
#ifndef VIVARIUM_PROC_STATUS_H
#define VIVARIUM_PROC_STATUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_status {
	pid_t parent;
	unsigned threads;
	char state; /* a letter, as proc(5) has them */
	uint64_t pending; /* signals of the whole process, a bit each from SIGHUP on */
	uint64_t peak_kib; /* of the resident set; 0 once the process has let go of its memory */
	uint64_t anon_kib, file_kib; /* resident: own memory; files */
	uint64_t shmem_kib; /* shared mappings, files of a tmpfs, the template's image */
	uint64_t swap_kib;
	uint64_t tables_kib; /* page tables */
};

/* Reads an open status file from its start. Returns 0, or a negative errno when it has ended. */
int proc_status_read(int fd, struct proc_status *status);

/* Whether it, or its first thread, has ended, and only its parent's wait is left. */
bool proc_status_is_dead(const struct proc_status *status);

/* Whether a signal has stopped it. */
bool proc_status_is_stopped(const struct proc_status *status);

/*
 * Whether it runs no code of its own: it is stopped or dead, waits in the kernel undisturbed, or is
 * to stop as soon as the kernel has done what it was asked for.
 */
bool proc_status_is_standing(const struct proc_status *status);

#endif
