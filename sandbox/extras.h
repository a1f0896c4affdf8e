/*
 * What an execution sends beside its value: output files, figures, warnings. Every byte of it is
 * hostile. What passes is kept as frames in the order they came, ready to go on to the dispatcher,
 * with counts and sizes under their caps; the rest is dropped without a word.
 */
#ifndef VIVARIUM_EXTRAS_H
#define VIVARIUM_EXTRAS_H

#include "sandbox/frame.h"

#include <stdbool.h>

struct extras {
	struct buffer frames; /* that passed; owned */
	size_t files, figures, warnings;
	size_t file_bytes, figure_bytes; /* of their contents */
	size_t last_path; /* offset in frames of the payload of the last FRAME_FILE */
	size_t last_path_length;
	enum frame_type open; /* FRAME_FILE or FRAME_FIGURE: what content belongs to; else 0 */
	size_t last_content; /* offset in frames of its last FRAME_CONTENT; 0: none yet */
};

/*
 * Takes one FRAME_FILE, FRAME_FIGURE, FRAME_CONTENT or FRAME_WARNING of an execution; kind: FRAME_FILE
 * or FRAME_FIGURE, the only one of the two that may be in there, so that however many of these parts
 * are put together later, no cap counts twice. Files must
 * come with plain paths (paths.h) in ascending order of their bytes, none twice; content without
 * an opened file or figure, or over the cap, is dropped. Returns 0 or -ENOMEM.
 */
int extras_take(struct extras *extras, enum frame_type kind, const struct frame *frame);

/* Forgets all, keeping up to keep_bytes of memory for the next use. */
void extras_reset(struct extras *extras, size_t keep_bytes);

#endif
