/* GET /openapi.json: the description of the interface, with the limits in force. */
#ifndef VIVARIUM_OPENAPI_H
#define VIVARIUM_OPENAPI_H

#include "fcgi-app/request_rules.h"
#include "sandbox/buffer.h"

/*
 * Appends the document for a service with these rules to *text, the caller's to free; once, at the
 * start. Returns 0 or a negative errno with the reason in *err.
 */
int openapi_make(const struct request_rules *rules, struct buffer *text, struct err *err);

#endif
