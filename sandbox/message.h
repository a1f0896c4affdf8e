/* Messages with descriptors over unix sockets (unix(7), SCM_RIGHTS). */
#ifndef VIVARIUM_MESSAGE_H
#define VIVARIUM_MESSAGE_H

#include <stddef.h>
#include <sys/types.h>

enum {
	MESSAGE_FDS_MAX = 4,
};

/*
 * Sends one message of size bytes over a SOCK_SEQPACKET socket with count (0 to MESSAGE_FDS_MAX) descriptors, which stay the
 * caller's. Returns 0 or a negative errno (-EAGAIN on a full, non-blocking socket).
 */
int message_send(int socket, const void *message, size_t size, const int *fds, size_t count);

/*
 * Sends up to size bytes over a SOCK_STREAM socket, and with the first of them a descriptor, which
 * stays the caller's. Returns how many bytes went, or -1 and errno, as send(2) does.
 */
ssize_t message_send_some(int socket, const void *data, size_t size, int fd);

/*
 * Receives one message of exactly size bytes and up to *count descriptors, close-on-exec, which
 * become the caller's; *count says how many came.
 * Returns 1, 0 at end of file, -EAGAIN, -EPROTO for another size or more descriptors (which are
 * closed), another negative errno.
 */
int message_receive(int socket, void *message, size_t size, int *fds, size_t *count);

/* A connected pair of close-on-exec sockets of the given type. Returns 0 or a negative errno. */
int message_pair(int type, int pair[2]);

#endif
