/*
 * Changes a key file as a whole: locked against others who do, replaced in one step. Owner and
 * group stay, and whether they may read and write it (0640 at the most; 0600 where it is new). What
 * is not changed stays as it is, comments too.
 */
#ifndef VIVARIUM_KEY_EDIT_H
#define VIVARIUM_KEY_EDIT_H

#include "fcgi-app/key_file.h"

#include <stdbool.h>

struct key_edit {
	char *path; /* owned; no link */
	int directory; /* owned; locked */
	struct buffer text; /* owned; what the file has, and what it is to have */
	struct key_list list; /* owned; of the former text */
};

/*
 * Begins: locks (-EBUSY after 10 s), reads, and checks. may_be_new: a file that is not there yet is
 * an empty one. Returns 0, or a negative errno; either way key_edit_end is to be called.
 */
int key_edit_begin(struct key_edit *edit, const char *path, bool may_be_new, struct err *err);

/* Checks edit->text and puts it in the place of the file. Returns 0 or a negative errno. */
int key_edit_write(struct key_edit *edit, struct err *err);

/* Unlocks and frees. */
void key_edit_end(struct key_edit *edit);

#endif
