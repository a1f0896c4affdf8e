/* One job over a lane: sends it, collects the answer. For dispatcher threads and `vivarium run`. */
#ifndef VIVARIUM_JOB_CLIENT_H
#define VIVARIUM_JOB_CLIENT_H

#include "fcgi-app/answer.h"
#include "fcgi-app/request.h"
#include "sandbox/frame.h"

#include <stdbool.h>

struct job_client {
	struct frame_writer out; /* the job's frames */
	struct buffer body; /* those of a large job, until there is room for them */
	struct buffer texts; /* what the answer's texts point into */
	bool cell_leaves; /* the cell said that it is built anew after this job */
};

/* Who hears what a job prints while it runs; called by the thread that runs it. */
struct job_live {
	void *context;
	/* Takes text of FRAME_LIVE_STDOUT or _STDERR: whole characters, LIVE_MAX_BYTES at the most. */
	void (*take)(void *context, enum frame_type stream, const char *text, size_t length);
	/* After each wait, whether the client's connection has room; NULL: it is not asked for. */
	void (*go_on)(void *context, bool has_room);
	bool wants_room; /* a wait ends when the client's connection has room */
	uint64_t wake_us; /* CLOCK_MONOTONIC: a wait ends then at the latest; 0: it need not */
};

/*
 * Sends the request's job over a lane whose cell is ready, reads the answer through reader, and
 * fills run->verdict and run's texts, which live in *client until its next use. Of output files it
 * keeps those that the request asked for (asked_files.h). client_fd (-1:
 * none) is watched: when it hangs up the execution is cancelled. live: NULL when nobody listens.
 * Returns 0; -ECANCELED when the client went (the lane stays good); another negative errno when
 * the lane is broken.
 */
int job_client_run(struct job_client *client, int lane, struct frame_reader *reader, int client_fd,
	struct job_live *live, const struct request *request, struct answer_run *run);

/* Reads the lane until its cell takes a job. Returns 0 or a negative errno. */
int job_client_await_ready(int lane, struct frame_reader *reader);

/* Ends the life of the last answer's texts; keeps small buffers for the next job. */
void job_client_reset(struct job_client *client);
void job_client_free(struct job_client *client);

#endif
