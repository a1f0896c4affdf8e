/* What is wrong with a body that json_scan has refused, for people and for programs. Pure. */
#ifndef VIVARIUM_JSON_FAULT_H
#define VIVARIUM_JSON_FAULT_H

#include "sandbox/json_scan.h"

enum {
	JSON_FAULT_TEXT_BYTES = 160,
	JSON_FAULT_GOT_BYTES = 64,
};

struct json_fault {
	/* "duplicate key ("a") at line 2, column 7": one line, ASCII */
	char text[JSON_FAULT_TEXT_BYTES];
	/* what does not fit, clipped: a word as it was written, or the name of a byte; UTF-8 */
	char got[JSON_FAULT_GOT_BYTES];
};

/*
 * Describes the length bytes of text that were refused with *result. Of the text no more is told
 * than what stands at the place itself: what is around it may be a secret.
 */
void json_fault_describe(const char *text, size_t length, const struct json_scan_result *result,
	struct json_fault *fault);

#endif
