/*
 * What the configuration has for nginx (deploy/render-nginx.sh), checked: no value can end a word,
 * a quotation or a directive there, and what nginx would refuse is refused here, in plain words.
 */
#ifndef VIVARIUM_EDGE_H
#define VIVARIUM_EDGE_H

#include "sandbox/err.h"

/*
 * Each checks the text of one value, key being its name; an empty text is always fine. Returns 0,
 * or -EINVAL with the word at fault in *err.
 */

/* "*", or origins as browsers send them, separated by blanks: https://app.example.com */
int edge_check_origins(const char *key, const char *text, struct err *err);

/* IPv4 and IPv6 addresses and networks, separated by blanks: 10.0.0.0/8 ::1 */
int edge_check_networks(const char *key, const char *text, struct err *err);

/* How many in a second or in a minute: 10/s 30/m */
int edge_check_rate(const char *key, const char *text, struct err *err);

/* A path without characters that mean something in nginx's configuration or in a shell. */
int edge_check_path(const char *key, const char *text, struct err *err);

#endif
