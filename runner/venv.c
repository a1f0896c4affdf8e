#include "runner/venv.h"

#include "runner/python.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
	SETTINGS_BYTES = 16 << 10,
};

static const char REMEDY[] = "make it anew, with /usr/bin/python3 -m venv";

/* The value of "key = value" in pyvenv.cfg; NULL: there is none. Not terminated by itself. */
static const char *find_setting(const char *text, const char *key)
{
	size_t length = strlen(key);

	while (text) {
		text += strspn(text, " \t\r\n");
		if (strncasecmp(text, key, length) == 0 && strchr(" \t=", text[length])) {
			text += length + strspn(text + length, " \t");
			return *text == '=' ? text + 1 + strspn(text + 1, " \t") : NULL;
		}
		text = strchr(text, '\n');
	}
	return NULL;
}

/* "version" is what venv writes, "version_info" what virtualenv and uv do: 3.11.2, or with words. */
static int check_version(const char *text, struct err *err)
{
	const char *wanted = python_name() + strlen("python"), *found = find_setting(text, "version");
	size_t length = strlen(wanted);

	if (!found)
		found = find_setting(text, "version_info");
	if (!found || (strncmp(found, wanted, length) == 0 && strchr(".\r\n", found[length])))
		return 0; /* without a version its directory tells */
	err->code = EINVAL;
	snprintf(err->text, sizeof(err->text),
		"python_venv was made for Python %.*s, and this is Python %s: %s",
		(int)strcspn(found, " \r\n"), found, wanted, REMEDY);
	return -EINVAL;
}

static int read_settings(int directory, const char *path, char *text, struct err *err)
{
	SCOPE_FD fd = openat(directory, "pyvenv.cfg", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, SETTINGS_BYTES - 1);

	if (n < 0)
		return err_set(err, errno, "python_venv: no virtual environment in %s: pyvenv.cfg", path);
	text[n] = '\0';
	return 0;
}

static int open_directory(int directory, const char *path, int *fd, struct err *err)
{
	*fd = openat(directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd >= 0)
		return 0;
	return err_set(err, errno, "python_venv: open %s%s", path,
		errno == EACCES ? ", which everybody has to be able to read" : "");
}

int venv_check(const char *path, bool *has_system, struct err *err)
{
	SCOPE_FD directory = -1, packages = -1;
	char text[SETTINGS_BYTES], name[64];
	const char *system;
	int r = open_directory(AT_FDCWD, path, &directory, err);

	if (!r)
		r = read_settings(directory, path, text, err);
	if (!r)
		r = check_version(text, err);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "lib/%s/site-packages", python_name());
	system = find_setting(text, "include-system-site-packages");
	*has_system = system && strncasecmp(system, "true", 4) == 0;
	return open_directory(directory, name, &packages, err);
}
