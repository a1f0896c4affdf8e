#include "runner/modules.h"

#include "runner/python.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

/* Each may import those before it. */
static const char *const names[] = {
	"fork_hooks", /* before all that asks for such hooks */
	"failures", "imports", "processes", "rich", "inputs", "leavings", "places",
	"encoding",
	"harness", /* what python.c calls */
};

char *modules_read_text(int directory, const char *path, size_t *length)
{
	SCOPE_FD fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(MODULES_TEXT_MAX_BYTES);
	ssize_t n;

	*length = 0;
	while (text && *length < MODULES_TEXT_MAX_BYTES - 1 &&
		(n = read(fd, text + *length, MODULES_TEXT_MAX_BYTES - 1 - *length)) > 0)
		*length += (size_t)n;
	if (text)
		text[*length] = '\0';
	return text;
}

static int load(int directory, const char *name, struct err *err)
{
	SCOPE_FREE char *source = NULL;
	char path[64];
	size_t length;

	snprintf(path, sizeof(path), "%s.py", name);
	source = modules_read_text(directory, path, &length);
	return source ? python_load(name, source, err) : err_set(err, errno, "read %s", path);
}

int modules_load(int directory, struct err *err)
{
	size_t i;
	int r = python_start(err);

	for (i = 0; !r && i < sizeof(names) / sizeof(names[0]); i++)
		r = load(directory, names[i], err);
	return r;
}
