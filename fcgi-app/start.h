/* How each role is started: what the fork of the master becomes, and with which descriptors. */
#ifndef VIVARIUM_START_H
#define VIVARIUM_START_H

#include "fcgi-app/child.h"
#include "fcgi-app/master.h"

/* What all of them are made from; outlives them. */
struct start_base {
	const struct master_setup *setup;
	int proc; /* procfs of the service's PID namespace */
	int own_pid_namespace; /* the master's */
	int template_stderr; /* standard error of templates */
	uint64_t begun_us; /* when the master began, for start_tell */
	struct key_source keys; /* as the file has them now */
};

/* Logs a line about the start, and how long it has taken so far. Not for a quiet service. */
void start_tell(const struct start_base *base, const char *text);

/*
 * Starts a tree of templates: the program, which forks the sets. requests: for each library set
 * the receiving end of its requests; stay the caller's. careful: it first finds out what scripts
 * touch, and its sets warm up one after the other, which leaves processors to others; a quick one is
 * warm in a fifth of the time. Returns 0 or a negative errno.
 */
int start_template(const struct start_base *base, struct child *child, const int *requests,
	bool careful);

/*
 * Starts worker `number`. requests: for each library set the end where its template is asked; stay
 * the caller's. Returns 0 or a negative errno.
 */
int start_worker(
	const struct start_base *base, struct child *child, size_t number, const int *requests);

/* Starts the front in a PID namespace of its own. Returns 0 or a negative errno. */
int start_front(const struct start_base *base, struct child *child);

#endif
