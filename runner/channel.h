/* The execution's side of its channel: a blocking socket, always drained by the worker. */
#ifndef VIVARIUM_CHANNEL_H
#define VIVARIUM_CHANNEL_H

#include "sandbox/frame.h"

#include <stdbool.h>

/*
 * Writes one whole frame; is_last: and FRAME_DONE behind it, for the worker to wake up once. Returns
 * 0 or a negative errno.
 */
int channel_send(int channel, enum frame_type type, const void *payload, size_t length, bool is_last);

#endif
