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
	uint64_t patience_ms; /* for an order to be taken, and a ping to be answered; 0: for ever */
	uint64_t heard_us, asked_us; /* last news of any kind; last ping that is not answered yet */
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

/*
 * Kills it and closes its socket. Its death is reaped like any other; one that has ended by itself
 * keeps its exit status.
 */
void child_let_go(struct child *child);

/* The same for one that does not do as it should, with a line in the log. */
void child_put_down(struct child *child, const char *name, const char *why);

/*
 * Sends an order, with a descriptor unless fd is NULL. A child that does not take it in time has
 * nobody who reads, and is put down; one that is just dying fails to get it.
 */
void child_tell(
	struct child *child, const char *name, const void *order, size_t size, const int *fd);

/*
 * Takes one report of exactly size bytes. A child at the end of its socket has died, or pretends
 * to; neither that one nor one that breaks the protocol gets to go on. Returns whether *report was
 * filled.
 */
bool child_hear(struct child *child, const char *name, void *report, size_t size);

enum {
	CHILD_PINGS = 4, /* in the time after which a child counts as wedged */
};

/*
 * Asks a child that has been silent for a while with the order given, and puts down one that has
 * been asked for longer than its patience_ms. To be called so often in that time (CHILD_PINGS).
 */
void child_check_pulse(struct child *child, const char *name, const void *order, size_t size);

#endif
