#include "sandbox/tree_objects.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char DIRECTORY[] = "/usr/lib";

/* Whether *object was filled from the entry. */
static bool take(int directory, const struct dirent *entry, struct tree_object *object)
{
	ssize_t n;

	if (strncmp(entry->d_name, "lib", 3) != 0 || !strstr(entry->d_name, ".so.") ||
		(entry->d_type != DT_REG && entry->d_type != DT_LNK))
		return false;
	*object = (struct tree_object){0};
	if (entry->d_type == DT_LNK) {
		n = readlinkat(directory, entry->d_name, object->target, TREE_OBJECT_BYTES);
		if (n <= 0 || n == TREE_OBJECT_BYTES || memchr(object->target, '/', (size_t)n))
			return false;
	}
	return snprintf(object->path, TREE_OBJECT_BYTES, "%s/%s", DIRECTORY, entry->d_name) <
	       TREE_OBJECT_BYTES;
}

int tree_objects_find(struct tree_objects *objects, struct err *err)
{
	DIR *directory = opendir(DIRECTORY);
	struct dirent *entry;
	struct tree_object object;
	int r = 0;

	objects->count = 0;
	if (!directory)
		return err_set(err, errno, "open %s", DIRECTORY);
	while (!r && (entry = readdir(directory))) {
		if (!take(dirfd(directory), entry, &object))
			continue;
		if (objects->count == TREE_OBJECTS_MAX)
			r = err_set(err, E2BIG, "more than %d shared objects in %s",
				TREE_OBJECTS_MAX, DIRECTORY);
		else
			objects->object[objects->count++] = object;
	}
	closedir(directory);
	return r;
}
