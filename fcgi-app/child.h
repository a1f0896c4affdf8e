/* A child of the master: its process, its control socket, and when it is started again. */
#ifndef VIVARIUM_CHILD_H
#define VIVARIUM_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct child {
	pid_t pid; /* 0: not running */
	int control; /* ours; owned; -1: none */
	unsigned failures;
	uint64_t started_us, retry_us; /* retry_us: when to start it again; 0: not to */
	uint64_t retry_last_us; /* the longest wait before it is started again */
};

/* A child that does not run and is not due. */
void child_init(struct child *child);

/*
 * Forks a child with a control socket (SOCK_SEQPACKET) between it and the master; there `run` gets
 * the child's end and must not return. own_pid_namespace: -1, or a descriptor of the caller's PID
 * namespace when the child is to be process 1 of a new one. Returns 0 or a negative errno.
 */
int child_start(struct child *child, int own_pid_namespace,
	void (*run)(const void *context, int control), const void *context);

/*
 * In the child, first of all: a session of its own, because a Ctrl-C is the launcher's to hear, and
 * no descriptors but those in keep (-1 is passed over). Standard error is the log; standard output
 * stays for a child that speaks: the front of `vivarium run`.
 */
void child_confine_descriptors(bool speaks, const int *keep, size_t count);

/*
 * Notes and logs that the child was reaped, with its wait(2) status: it is due again after a
 * back-off that doubles with each death and is forgotten when it has lived long enough. restarts:
 * false when nothing is started again, because the service does not start.
 */
void child_note_death(struct child *child, const char *name, int status, bool restarts);

/* It could not be started, for -r: notes the next attempt and logs. Nothing to do when r is 0. */
void child_note_attempt(struct child *child, int r, const char *name);

/* Whether it is to be started now (CLOCK_MONOTONIC). */
bool child_is_due(const struct child *child, uint64_t now_us);

/* Ends it at once; it has to be reaped all the same. */
void child_kill(const struct child *child);

#endif
