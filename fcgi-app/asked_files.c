#include "fcgi-app/asked_files.h"

#include "sandbox/globs.h"
#include "sandbox/paths.h"

#include <string.h>

static bool follows(const struct answer_text *path, const struct answer_text *last)
{
	size_t shared = path->length < last->length ? path->length : last->length;
	int order = memcmp(path->data, last->data, shared);

	return order > 0 || (order == 0 && path->length > last->length);
}

void asked_files_keep(struct answer_run *run, const struct buffer *globs)
{
	const struct answer_file *file = run->files, *end = file + run->file_count;
	size_t kept = 0;

	for (; file < end; file++) {
		if (!paths_is_plain(file->path.data, file->path.length) ||
			(kept && !follows(&file->path, &run->files[kept - 1].path)) ||
			!globs_match(globs->data, globs->length, file->path.data,
				file->path.length))
			continue;
		run->files[kept++] = *file;
	}
	run->file_count = kept;
}
