/*
 * Standard input and files that come with a job, put in their places as their frames arrive: no
 * more of them is in memory than one frame. /tmp is fresh and nobody else runs in the cell yet.
 */
#ifndef VIVARIUM_INPUT_H
#define VIVARIUM_INPUT_H

#include "sandbox/frame.h"

enum {
	INPUT_PATH_BYTES = 256,
};

/* A zeroed struct is ready for use. */
struct input {
	int content; /* descriptor + 1 of the file that content goes to; 0: none */
	int standard; /* likewise, of standard input */
	int error; /* errno of the first failure; 0: none */
	char path[INPUT_PATH_BYTES]; /* of the file that failed, or that was opened last */
};

/*
 * Takes one FRAME_FILE, FRAME_CONTENT or FRAME_STDIN. A failure is remembered in *input, and all
 * that follows ignored: the script is to hear of it.
 */
void input_take(struct input *input, const struct frame *frame);

/* All is here: closes what is open, and lets descriptor 0 read what came for it. */
void input_finish(struct input *input);

#endif
