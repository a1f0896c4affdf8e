/*
 * The answer to POST /execute as a stream of server-sent events (WHATWG HTML, 9.2): what the script
 * prints while it runs, a comment every 10 s, and last the whole ordinary answer. The reader sets
 * the pace, and nobody waits for it but the thread of its request: what it has not taken yet is
 * kept up to a limit, behind which live output is dropped.
 */
#ifndef VIVARIUM_EVENT_STREAM_H
#define VIVARIUM_EVENT_STREAM_H

#include "fcgi-app/fcgi.h"
#include "fcgi-app/job_client.h"

struct event_stream {
	bool is_open; /* status and header are sent: whatever comes now is an event */
	bool is_cut; /* live output was dropped, all from some point on */
	struct fcgi *fcgi;
	struct job_live live; /* what listens to the job */
	struct buffer backlog; /* frames of live output that wait for the reader */
	size_t taken; /* bytes of it that have become events */
	size_t last; /* offset of the last of its frames */
	struct buffer out; /* events on their way */
	size_t sent; /* bytes of it */
	bool heartbeat_due;
	uint64_t stall_us; /* how long its reader may take nothing at the end */
};

/*
 * Begins the answer: status 200 and the header, at once. fcgi and request_id outlive the stream.
 * stream->live is then ready to be given to a job.
 */
void event_stream_open(struct event_stream *stream, struct fcgi *fcgi, const char *request_id);

/*
 * Sends what is left of the live output, and the last event: "result" for status 200 and "error"
 * for any other, with body, the ordinary answer's object, and the status in it. What is in body is
 * lost. Waits for the reader, who has 30 s and one more for each 64 KiB, and may not pause for
 * 20 s (stall_us); a reader that is slower gets no end of its answer. Returns 0, -ETIMEDOUT, or
 * -ECANCELED when the client is gone.
 */
int event_stream_close(struct event_stream *stream, int status, struct buffer *body);

/* Readies a stream for the next request; gives all memory back. */
void event_stream_reset(struct event_stream *stream);

#endif
