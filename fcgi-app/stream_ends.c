#include "fcgi-app/stream_ends.h"

void stream_ends_init(struct stream_ends *ends)
{
	ends->first = ends->last = NULL;
	ends->count = ends->bytes = 0;
	pthread_mutex_init(&ends->mutex, NULL);
}

static void append(struct stream_ends *ends, struct stream_end *end)
{
	end->next = NULL;
	end->previous = ends->last;
	if (ends->last)
		ends->last->next = end;
	else
		ends->first = end;
	ends->last = end;
	ends->count++;
	ends->bytes += end->bytes;
}

static void take_out(struct stream_ends *ends, struct stream_end *end)
{
	if (end->next)
		end->next->previous = end->previous;
	else
		ends->last = end->previous;
	if (end->previous)
		end->previous->next = end->next;
	else
		ends->first = end->next;
	ends->count--;
	ends->bytes -= end->bytes;
}

/* Its thread notices at once, and gives back what it keeps. */
static void cut_first(struct stream_ends *ends)
{
	struct stream_end *end = ends->first;

	take_out(ends, end);
	end->is_cut = true;
	fcgi_cut(end->fcgi);
}

void stream_ends_enter(struct stream_ends *ends, struct stream_end *end)
{
	end->is_cut = false;
	pthread_mutex_lock(&ends->mutex);
	while (ends->first &&
		(ends->count >= ends->most || ends->bytes + end->bytes > ends->most_bytes))
		cut_first(ends);
	append(ends, end);
	pthread_mutex_unlock(&ends->mutex);
	ends->entered(ends->context);
}

bool stream_ends_leave(struct stream_ends *ends, struct stream_end *end)
{
	bool is_cut;

	pthread_mutex_lock(&ends->mutex);
	is_cut = end->is_cut;
	if (!is_cut)
		take_out(ends, end);
	pthread_mutex_unlock(&ends->mutex);
	return is_cut;
}

size_t stream_ends_count(struct stream_ends *ends)
{
	size_t count;

	pthread_mutex_lock(&ends->mutex);
	count = ends->count;
	pthread_mutex_unlock(&ends->mutex);
	return count;
}
