#include "sandbox/cgroup_place.h"

#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum {
	TEXT_BYTES = 256 * 1024, /* of mountinfo; a longer one is cut, and the rest not looked at */
	LINE_BYTES = 2048,
};

/* Whether `word` is one of the words of a list that are separated by `separator`. */
static bool has_word(const char *list, const char *word, char separator)
{
	size_t length = strlen(word);
	const char *at;

	for (at = list; (at = strstr(at, word)); at++) {
		if ((at == list || at[-1] == separator) &&
			(!at[length] || at[length] == separator || at[length] == '\n'))
			return true;
	}
	return false;
}

/* Copies the next line of *text, without its end, and moves on. False at the end of the text. */
static bool next_line(const char **text, char line[LINE_BYTES])
{
	size_t length = strcspn(*text, "\n");

	if (!**text)
		return false;
	snprintf(line, LINE_BYTES, "%.*s", (int)length, *text);
	*text += length + ((*text)[length] == '\n');
	return true;
}

/* Our path in a hierarchy, as /proc/self/cgroup has it: "number:controllers:path". */
static bool find_membership(const char *membership, const char *controller,
	char path[CGROUP_PATH_BYTES])
{
	char line[LINE_BYTES], *controllers, *own;

	while (next_line(&membership, line)) {
		controllers = strchr(line, ':');
		own = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!own)
			continue;
		*controllers++ = '\0';
		*own++ = '\0';
		if (controller ? !has_word(controllers, controller, ',') : *controllers != '\0')
			continue;
		return snprintf(path, CGROUP_PATH_BYTES, "%s", own) < CGROUP_PATH_BYTES;
	}
	return false;
}

struct mount {
	char root[CGROUP_PATH_BYTES], point[CGROUP_PATH_BYTES]; /* as proc(5) has them */
};

/* One line of mountinfo, if it is the hierarchy that is looked for. */
static bool parse_mount(const char *line, const char *controller, struct mount *mount)
{
	char type[32], options[512];
	const char *rest = strstr(line, " - ");

	return rest && sscanf(line, "%*s %*s %*s %511s %511s", mount->root, mount->point) == 2 &&
	       sscanf(rest, " - %31s %*s %511s", type, options) == 2 &&
	       strcmp(type, controller ? "cgroup" : "cgroup2") == 0 &&
	       (!controller || has_word(options, controller, ',')) &&
	       !strchr(mount->point, '\\'); /* an escaped blank; no system mounts them there */
}

/* Our path as seen from the root of the mount: "" for that root itself; NULL: not below it. */
static const char *below(const char *path, const char *root)
{
	size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);

	if (strncmp(path, root, length) != 0 || (path[length] && path[length] != '/') ||
		strncmp(path, "/..", 3) == 0)
		return NULL;
	return strcmp(path + length, "/") == 0 ? "" : path + length;
}

int cgroup_place_find(const char *mounts, const char *membership, const char *controller,
	struct cgroup_place *place)
{
	char line[LINE_BYTES], own[CGROUP_PATH_BYTES];
	struct mount mount;
	const char *relative;

	if (!find_membership(membership, controller, own))
		return -ENOENT;
	while (next_line(&mounts, line)) {
		if (!parse_mount(line, controller, &mount))
			continue;
		relative = below(own, mount.root);
		if (!relative || snprintf(place->path, sizeof(place->path), "%s%s", mount.point,
					 relative) >= (int)sizeof(place->path))
			continue;
		place->unified = !controller;
		place->is_top = !*relative;
		place->top_bytes = strlen(mount.point);
		return 0;
	}
	return -ENOENT;
}

static char *read_text(const char *path)
{
	SCOPE_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(TEXT_BYTES);
	size_t length = 0;
	ssize_t n;

	while (text && length < TEXT_BYTES - 1 &&
		(n = read(fd, text + length, TEXT_BYTES - 1 - length)) > 0)
		length += (size_t)n;
	if (text)
		text[length] = '\0';
	return text;
}

static bool offers(const struct cgroup_place *place, const char *controller)
{
	char path[CGROUP_PATH_BYTES + 32];
	SCOPE_FREE char *text = NULL;

	snprintf(path, sizeof(path), "%s/cgroup.controllers", place->path);
	text = read_text(path);
	return text && has_word(text, controller, ' ');
}

/* systemd says so in an extended attribute; the one in "user" can be read by everybody. */
static bool is_delegated(const char *path)
{
	char value = '\0';

	return (getxattr(path, "user.delegate", &value, 1) == 1 ||
		       getxattr(path, "trusted.delegate", &value, 1) == 1) &&
	       value == '1';
}

/* An earlier instance may have moved us into a leaf of the group that is ours. */
static void leave_rest(struct cgroup_place *place)
{
	char *last = strrchr(place->path, '/');

	if (place->is_top || !last || strcmp(last + 1, CGROUP_REST) != 0)
		return;
	*last = '\0';
	place->is_top = strlen(place->path) == place->top_bytes;
}

/*
 * In v1 the mark is on the group of the same name in the hierarchy that systemd keeps order with:
 * its own of v1, or v2's, which has no controllers then.
 */
static bool is_delegated_v1(const char *mounts, const char *membership, const char *controller)
{
	static const char *const managers[] = {"name=systemd", NULL};
	char own[CGROUP_PATH_BYTES], managed[CGROUP_PATH_BYTES];
	struct cgroup_place place;
	size_t i;

	if (!find_membership(membership, controller, own))
		return false;
	for (i = 0; i < sizeof(managers) / sizeof(managers[0]); i++) {
		if (find_membership(membership, managers[i], managed) &&
			strcmp(own, managed) == 0 &&
			cgroup_place_find(mounts, membership, managers[i], &place) == 0 &&
			is_delegated(place.path))
			return true;
	}
	return false;
}

static int choose(const char *mounts, const char *membership, const char *controller,
	struct cgroup_place *place, struct err *err)
{
	bool ours;

	if (cgroup_place_find(mounts, membership, NULL, place) == 0 && offers(place, controller)) {
		leave_rest(place);
		ours = place->is_top || is_delegated(place->path);
	} else if (cgroup_place_find(mounts, membership, controller, place) == 0) {
		ours = place->is_top || is_delegated_v1(mounts, membership, controller);
	} else {
		return err_set(err, ENOENT, "no hierarchy of control groups has \"%s\"", controller);
	}
	return ours ? 0 : err_set(err, EPERM, "%.140s is not delegated to us", place->path);
}

int cgroup_place_choose(const char *controller, struct cgroup_place *place, struct err *err)
{
	SCOPE_FREE char *mounts = read_text("/proc/self/mountinfo");
	SCOPE_FREE char *membership = read_text("/proc/self/cgroup");

	if (!mounts || !membership)
		return err_set(err, ENOENT, "read /proc/self/mountinfo and /proc/self/cgroup");
	return choose(mounts, membership, controller, place, err);
}
