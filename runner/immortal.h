/*
 * Objects of the warm interpreter whose references are not counted any more, so that a script
 * that uses them does not write to their pages, each of which a fork would have to copy.
 */
#ifndef VIVARIUM_IMMORTAL_H
#define VIVARIUM_IMMORTAL_H

#include "sandbox/err.h"

/*
 * In a template that is warm: makes all objects that Python's collector knows, and what they refer
 * to, immortal (PEP 683). They are never freed, which a template's are not anyway. Needs Python
 * 3.12 or 3.13; does nothing with another one. Returns 0 or a negative errno; after a failure some
 * objects are immortal, which does no harm.
 */
int immortal_make_all(struct err *err);

#endif
