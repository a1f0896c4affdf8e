/*
 * Typed, length-prefixed frames on a stream socket: between dispatcher and worker (a "lane") and
 * between worker and execution (a "channel"). Every frame may repeat, so that streams, files and
 * events need no second protocol. Lengths are capped by the reader, who trusts nothing.
 */
#ifndef VIVARIUM_FRAME_H
#define VIVARIUM_FRAME_H

#include "sandbox/buffer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum frame_type {
	/* a job, from dispatcher to worker to execution */
	FRAME_JOB = 1, /* struct job_limits; opens a job */
	FRAME_SCRIPT, /* Python source, UTF-8 */
	FRAME_ENTRY, /* name of the function to call; absent: the script runs as __main__ */
	FRAME_GO, /* empty; the job is complete */
	FRAME_BODY, /* empty; the job's other frames lie in a sealed memfd, which comes along */
	FRAME_CHANGE, /* uint32_t: the library set that an idle cell is to hold from now on */
	FRAME_CANCEL, /* empty; nobody waits for the answer any more: FRAME_CANCELLED follows */
	/* parts of a job that it may do without; JSON is the client's own text, proven strict */
	FRAME_ARGS = 16, /* JSON array: what the entry is called with */
	FRAME_KWARGS, /* JSON object: likewise, by name */
	FRAME_ARGV, /* JSON array of strings: sys.argv after the script's name */
	FRAME_ENV, /* JSON object of strings: added to the environment */
	FRAME_OUTPUTS, /* globs, each with a NUL behind it: files to send back */
	FRAME_STDIN, /* bytes of standard input; repeats, in order */
	/* both ways: files */
	FRAME_FILE = 24, /* path beneath the working directory; opens a file */
	FRAME_CONTENT, /* bytes of what was opened last, file or figure; repeats */
	/* from an execution, every byte of it hostile */
	FRAME_PARKED = 32, /* uint32_t: LAYER_BITs in force; ready for a job */
	FRAME_STEP_FAILED, /* struct step_failure; then the execution ends */
	FRAME_RESULT, /* the value as JSON; from a worker: proven strict, ASCII JSON */
	FRAME_FAILURE, /* struct failure_header and its texts */
	FRAME_TRACEBACK, /* where the main thread stood when time was up */
	FRAME_DONE, /* empty; threads and atexit handlers have ended, output is flushed */
	FRAME_FIGURE = 48, /* struct figure_header; opens an image in PNG */
	FRAME_WARNING, /* one line for "warnings" */
	FRAME_FILES, /* empty; output files follow, in place of any before */
	/* an answer, from worker to dispatcher */
	FRAME_READY = 64, /* uint32_t: its library set; the cell takes a job */
	FRAME_DOWN, /* empty; the cell takes none until it is ready again */
	FRAME_STDOUT, /* bytes kept of a stream */
	FRAME_STDERR,
	FRAME_ERROR_TYPE, /* name of the exception's class */
	FRAME_ERROR_TEXT, /* one line for people */
	FRAME_VERDICT, /* struct verdict; the answer is complete */
	FRAME_ROOM, /* empty; along comes a memfd for the body of the job that is on its way */
	FRAME_LEAVING, /* empty; the cell is built anew after this answer, or once told to change */
	FRAME_CANCELLED, /* empty; what came before belongs to a job that was cancelled */
	FRAME_LIVE_STDOUT, /* of a JOB_LIVE, while it runs: whole characters, LIVE_MAX_BYTES a frame */
	FRAME_LIVE_STDERR,
};

struct frame_header {
	uint32_t type;
	uint32_t length; /* bytes of payload that follow */
};

struct frame {
	uint32_t type;
	uint32_t length;
	const char *payload; /* inside the reader's buffer; valid until its next call */
};

/* Appends one frame. Returns 0, -EMSGSIZE, -ENOMEM. */
int frame_append(struct buffer *out, enum frame_type type, const void *payload, size_t length);

/*
 * Takes frames out of a byte stream. `in.cap` bounds what is held; a zeroed struct with a cap is
 * ready for use, frame_reader_free gives its memory back.
 */
struct frame_reader {
	struct buffer in;
	size_t start; /* bytes of `in` that were already returned */
	bool takes_descriptor; /* else none is ever received */
	int descriptor; /* 1 more than the first one that came along; owned; 0: none */
};

/*
 * Reads once from fd into the buffer. sender: if not NULL, gets the writer's process id as the
 * kernel vouches for it (unix(7); SO_PASSCRED must be on), or 0.
 * Returns the number of bytes, 0 at end of file, -EAGAIN when nothing is there now, -EMSGSIZE
 * when the peer's frame exceeds the cap, another negative errno.
 */
int frame_reader_fill(struct frame_reader *reader, int fd, pid_t *sender);

/* Returns 1 and the next whole frame, or 0 when more bytes are needed. */
int frame_reader_next(struct frame_reader *reader, struct frame *frame);

/*
 * The header of a frame that has begun to arrive, before its payload is complete.
 * Returns 1 and *header, or 0.
 */
int frame_reader_peek(const struct frame_reader *reader, struct frame_header *header);

/* The descriptor that came along, now the caller's, or -1. */
int frame_reader_take_descriptor(struct frame_reader *reader);

/* Forgets what is held, keeping up to keep_bytes of memory for the next use. */
void frame_reader_reset(struct frame_reader *reader, size_t keep_bytes);
void frame_reader_free(struct frame_reader *reader);

/*
 * Blocking counterpart for a peer with nothing else to do: fills until a frame is whole.
 * Returns 1 and the frame, 0 at end of file, a negative errno.
 */
int frame_reader_wait(struct frame_reader *reader, int fd, struct frame *frame);

/*
 * Frames on their way out, appended to `out`. What was sent is not moved up: a large answer goes
 * in many pieces. A zeroed struct is ready for use, frame_writer_reset gives its memory back.
 */
struct frame_writer {
	struct buffer out;
	size_t sent; /* bytes of `out` that have gone */
	int descriptor; /* 1 more than one that goes along with the next bytes; owned; 0: none */
};

/*
 * Sends as much as the socket takes; never SIGPIPE. What has gone along is closed.
 * Returns 0 when all has gone, -EAGAIN when some is left, another negative errno.
 */
int frame_flush(struct frame_writer *writer, int fd);

/* Forgets what is left, keeping up to keep_bytes of memory for the next use. */
void frame_writer_reset(struct frame_writer *writer, size_t keep_bytes);

#endif
