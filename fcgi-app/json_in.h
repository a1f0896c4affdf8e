/* json-c, behind one file. It is only shown text that json_scan has proven strict. */
#ifndef VIVARIUM_JSON_IN_H
#define VIVARIUM_JSON_IN_H

#include "sandbox/buffer.h"

/*
 * Appends the decoded UTF-8 of a JSON string (quotes included, length bytes) to *out.
 * Returns 0, -ENOMEM, -EMSGSIZE over the buffer's cap, -EINVAL when it is no string.
 */
int json_in_string(const char *json, size_t length, struct buffer *out);

#endif
