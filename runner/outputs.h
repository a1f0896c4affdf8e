/* Files of the working directory on their way to the client. */
#ifndef VIVARIUM_OUTPUTS_H
#define VIVARIUM_OUTPUTS_H

#include <stdint.h>

/*
 * Sends the regular file at path, relative to /tmp, as FRAME_FILE and FRAME_CONTENT, unless it has
 * more than most bytes: *size, which is always set then, tells. Neither the path nor any part of
 * it may be a link or lead out of /tmp; what the script does to it meanwhile is its own loss.
 * Returns 0, -EINVAL for what is no regular file, or another negative errno of openat2(2), fstat(2)
 * or the channel.
 */
int outputs_send_file(int channel, const char *path, uint64_t most, uint64_t *size);

#endif
