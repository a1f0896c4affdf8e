#include "fcgi-app/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int text_file_read(const char *path, size_t most, struct buffer *text, struct err *err)
{
	int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	char data[16 * 1024];
	ssize_t n = 0;
	int r = 0;

	if (fd < 0)
		return err_set(err, errno, "open %s", path);
	text->cap = most;
	while (!r && (n = read(fd, data, sizeof(data))) > 0)
		r = buffer_append(text, data, (size_t)n);
	if (n < 0)
		err_set(err, errno, "read %s", path);
	else if (r < 0)
		err_set(err, -r, "%s (%zu MiB at the most)", path, most >> 20);
	if (fd != STDIN_FILENO)
		close(fd);
	return n < 0 ? -err->code : r;
}
