/* Shared objects that lie in /usr/lib itself: some of Debian's packages do not sort theirs by machine. */
#ifndef VIVARIUM_TREE_OBJECTS_H
#define VIVARIUM_TREE_OBJECTS_H

#include "sandbox/err.h"

#include <stddef.h>

enum {
	TREE_OBJECTS_MAX = 128,
	TREE_OBJECT_BYTES = 96,
};

struct tree_objects {
	size_t count;
	struct tree_object {
		char path[TREE_OBJECT_BYTES]; /* absolute */
		char target[TREE_OBJECT_BYTES]; /* of a link, beside it; "": it is the file */
	} object[TREE_OBJECTS_MAX];
};

/* Finds them, links that lead elsewhere left out. Returns 0 or a negative errno. */
int tree_objects_find(struct tree_objects *objects, struct err *err);

#endif
