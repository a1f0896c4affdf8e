/*
 * The output files of an answer, held against what the request asked for. A script that owns its
 * process can send what it likes in place of what the globs find; whoever unpacks an answer, maybe
 * beside a Makefile or a .git, is to get nothing that was not asked for.
 */
#ifndef VIVARIUM_ASKED_FILES_H
#define VIVARIUM_ASKED_FILES_H

#include "fcgi-app/answer.h"
#include "sandbox/buffer.h"

/*
 * Keeps the files with plain paths that one of the globs (request.h) matches, in ascending order of
 * their paths and none twice: of equal ones the first. The rest is dropped without a word, because
 * the execution itself sends nothing of the kind.
 */
void asked_files_keep(struct answer_run *run, const struct buffer *globs);

#endif
