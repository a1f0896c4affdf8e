/*
 * The system-call policy as text: conf/seccomp.policy. Pure parsing; seccomp.c makes filters of it.
 *
 *   [allow]            section: what happens to the calls below it
 *   read write         system calls by name, any number a line; "name?" may be unknown here
 *   ioctl: arg1 == 0x5401                       a call with conditions, all of which must hold,
 *   prctl: arg0 == 1, arg1 & ~0xff == 0         one alternative a line
 *   mmap: arg2 & ~PROT_READ|PROT_WRITE == 0     "|" joins bits, a "~" before them takes all others
 *   # a comment
 *
 * Sections: [allow]; [warden], allowed until a script may run; [errno NAME], answered with that
 * error by the kernel itself, without a word ("[errno 0]": as if it had been done). Whatever is
 * not named is refused with EPERM and told to the worker, who explains it (refusal.h).
 */
#ifndef VIVARIUM_POLICY_H
#define VIVARIUM_POLICY_H

#include "sandbox/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	POLICY_RULES_MAX = 512,
	POLICY_CONDITIONS_MAX = 4,
	POLICY_NAME_BYTES = 40,
};

enum policy_section {
	POLICY_ALLOW,
	POLICY_WARDEN,
	POLICY_ERRNO,
};

struct policy_condition {
	unsigned argument; /* 0 to 5 */
	bool equal; /* ==, else != */
	uint64_t mask; /* all ones without "&"; 32-bit values only compare their low half */
	uint64_t value;
};

struct policy_rule {
	char name[POLICY_NAME_BYTES];
	enum policy_section section;
	int error; /* of POLICY_ERRNO */
	bool optional; /* "?": skipped where libseccomp does not know the name */
	unsigned line;
	size_t conditions;
	struct policy_condition condition[POLICY_CONDITIONS_MAX];
};

struct policy {
	size_t rules;
	struct policy_rule rule[POLICY_RULES_MAX];
};

/*
 * Parses length bytes of text into *policy. Returns 0, or -EINVAL with the line in *err.
 */
int policy_parse(const char *text, size_t length, struct policy *policy, struct err *err);

/* How many different calls [allow] names; *conditional: those with certain arguments only. */
size_t policy_count_allowed(const struct policy *policy, size_t *conditional);

#endif
