/* Files that the command line names: scripts, inputs, policies. */
#ifndef VIVARIUM_TEXT_FILE_H
#define VIVARIUM_TEXT_FILE_H

#include "sandbox/buffer.h"
#include "sandbox/err.h"

/*
 * Reads a whole file ("-": standard input) of up to most bytes into *text, the caller's to free.
 * Returns 0 or a negative errno with the reason in *err: -EMSGSIZE when it is larger.
 */
int text_file_read(const char *path, size_t most, struct buffer *text, struct err *err);

#endif
