#include "fcgi-app/key_file.h"

#include "fcgi-app/key_digest.h"
#include "fcgi-app/key_line.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void key_list_free(struct key_list *list)
{
	free(list->keys);
	*list = (struct key_list){0};
}

/* --- text ---------------------------------------------------------------------------------- */

static int append(struct key_list *list, const struct key *key, struct err *err)
{
	struct key *keys;
	size_t i;

	for (i = 0; i < list->count; i++) {
		if (strcmp(list->keys[i].name, key->name) == 0)
			return err_set(err, EINVAL, "a name that an earlier line has");
		if (key_digest_is_same(list->keys[i].digest, key->digest))
			return err_set(err, EINVAL, "a digest that an earlier line has");
	}
	if (list->count == KEYS_MAX)
		return err_set(err, E2BIG, "more than %d keys", KEYS_MAX);
	keys = realloc(list->keys, (list->count + 1) * sizeof(*keys));
	if (!keys)
		return err_set(err, ENOMEM, "keep a key");
	list->keys = keys;
	list->keys[list->count++] = *key;
	return 0;
}

static int parse_lines(
	const char *text, size_t length, struct key_list *list, unsigned *line, struct err *err)
{
	const char *end = text + length, *stop;
	struct key key;
	int r = 0;

	for (; r >= 0 && text < end; text = stop + 1) {
		++*line;
		stop = memchr(text, '\n', (size_t)(end - text));
		if (!stop)
			stop = end;
		r = key_line_parse(text, (size_t)(stop - text), &key, err);
		if (r > 0)
			r = append(list, &key, err);
	}
	return r < 0 ? r : 0;
}

int key_file_parse(const char *text, size_t length, struct key_list *list, struct err *err)
{
	struct err inner = {0};
	unsigned line = 0;
	int r;

	*list = (struct key_list){0};
	r = parse_lines(text, length, list, &line, &inner);
	if (r == 0)
		return 0;
	key_list_free(list);
	if (err) { /* inner says already what its code means */
		err->code = inner.code;
		snprintf(err->text, sizeof(err->text), "line %u: %.200s", line, inner.text);
	}
	return r;
}

/* --- files --------------------------------------------------------------------------------- */

/* A pipe in its place would make us wait; what others can write they can give themselves keys in.
 */
static int check_file(int fd, struct err *err)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return err_set(err, errno, "look at it");
	if (!S_ISREG(status.st_mode))
		return err_set(err, EINVAL, "not a regular file");
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(err, EPERM, "others than its owner can write it (chmod go-w)");
	return 0;
}

static int read_text(int fd, struct buffer *text, struct err *err)
{
	char data[16 * 1024];
	ssize_t n;
	int r = 0;

	text->cap = KEY_FILE_MAX_BYTES;
	while (!r && (n = read(fd, data, sizeof(data))) != 0)
		r = n < 0 ? -errno : buffer_append(text, data, (size_t)n);
	return r < 0 ? err_set(err, -r, "read it (%d MiB at the most)", KEY_FILE_MAX_BYTES >> 20)
		     : 0;
}

static int read_file(const char *path, struct buffer *text, struct key_list *list, struct err *err)
{
	SCOPE_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r;

	if (fd < 0)
		return err_set(err, errno, "open it");
	r = check_file(fd, err);
	if (!r)
		r = read_text(fd, text, err);
	if (!r)
		r = key_file_parse(text->data ? text->data : "", text->length, list, err);
	return r;
}

int key_file_read(const char *path, struct buffer *text, struct key_list *list, struct err *err)
{
	struct err inner = {0};
	struct buffer own = {0};
	int r;

	*list = (struct key_list){0};
	r = read_file(path, text ? text : &own, list, &inner);
	buffer_free(&own);
	if (r < 0 && err) {
		err->code = inner.code;
		snprintf(err->text, sizeof(err->text), "key file %.80s: %.140s", path, inner.text);
	}
	return r;
}

/* --- between processes --------------------------------------------------------------------- */

int key_list_seal(const struct key_list *list)
{
	SCOPE_FD fd = memfd_create("vivarium keys", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t size = list->count * sizeof(list->keys[0]);

	if (fd < 0)
		return -errno;
	if (size && write(fd, list->keys, size) != (ssize_t)size)
		return -EIO;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -errno;
	return fd_take(&fd);
}

/* By a mapping, for several read the same memfd, and it has one position. */
int key_list_unseal(int memfd, size_t count, struct key_list *list)
{
	size_t size = count * sizeof(list->keys[0]);
	void *mapped;

	*list = (struct key_list){0};
	if (!count)
		return 0;
	if (count > KEYS_MAX)
		return -E2BIG;
	mapped = mmap(NULL, size, PROT_READ, MAP_PRIVATE, memfd, 0);
	if (mapped == MAP_FAILED)
		return -errno;
	list->keys = malloc(size);
	if (list->keys) {
		memcpy(list->keys, mapped, size);
		list->count = count;
	}
	munmap(mapped, size);
	return list->keys ? 0 : -ENOMEM;
}
