/* The descriptors of a cell and what epoll(7) watches of them. */
#ifndef VIVARIUM_CELL_IO_H
#define VIVARIUM_CELL_IO_H

#include "sandbox/cell.h"

/* Makes fd, from now on the source's own and non-blocking, watched. Returns 0 or -errno. */
int cell_source_open(struct cell *cell, enum cell_source_kind kind, int fd);

/* Stops reading an open source, or goes on. Returns 0 or -errno. */
int cell_source_pause(struct cell *cell, enum cell_source_kind kind, bool is_paused);

/* Closes a source, if it is open. */
void cell_source_close(struct cell *cell, enum cell_source_kind kind);

/*
 * Sends what is in *out over the source, and watches for room while some of it is left.
 * Returns 0, also when some is left, or a negative errno when the peer is gone.
 */
int cell_source_flush(struct cell *cell, enum cell_source_kind kind, struct frame_writer *out);

/*
 * Takes what is there of stdout or stderr into its capture; at most `reads` times 64 KiB, so that
 * a script that never stops talking does not keep the worker. Returns 0 or a negative errno.
 */
int cell_drain_output(struct cell *cell, enum cell_source_kind kind, unsigned reads);

/*
 * The descriptors of a new execution: the worker's ends become sources, the other three go to
 * ends[] (channel, stdout, stderr) and are the caller's. Returns 0 or a negative errno.
 */
int cell_open_execution(struct cell *cell, int ends[3]);

/* Closes channel, stdout and stderr of the execution that was. */
void cell_close_execution(struct cell *cell);

#endif
