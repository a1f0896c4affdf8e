/*
 * The template's memory as an image: a sealed, anonymous file (memfd_create(2)) that holds what
 * the warm interpreter has written, mapped privately in the place of the memory itself.
 *
 * A fork of ordinary memory copies a page-table entry for each page, and each first write has to
 * take a page away from all who share it. Pages of a privately mapped file that nobody has written
 * to are left out of a fork (the kernel fills them in when they are touched; vma_needs_copy() in
 * mm/memory.c), and a first write is a plain copy out of the page cache. Both are cheaper, in
 * every kernel since 6.1 and the more the larger the interpreter is.
 */
#ifndef VIVARIUM_IMAGE_H
#define VIVARIUM_IMAGE_H

#include "sandbox/err.h"

#include <stdint.h>

/*
 * Called in a template, with one thread, when it is warm: moves all private memory that it has
 * written, its stack excepted, into an image. Contents, addresses and protections stay as they
 * are. A template forked from one that has done so shares what it leaves unwritten. proc: a procfs;
 * *bytes: grows by the size of what was moved. Returns 0 or a negative errno; after a failure the
 * process is to end.
 */
int image_take(int proc, uint64_t *bytes, struct err *err);

#endif
