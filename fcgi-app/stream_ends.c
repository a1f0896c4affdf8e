#include "fcgi-app/stream_ends.h"

void stream_ends_init(struct stream_ends *ends)
{
	ends->whole = ends->partial = (struct stream_end_list){.first = NULL};
	ends->count = ends->bytes = 0;
	pthread_mutex_init(&ends->mutex, NULL);
}

static struct stream_end_list *list_of(struct stream_ends *ends, const struct stream_end *end)
{
	return end->is_whole ? &ends->whole : &ends->partial;
}

static void append(struct stream_ends *ends, struct stream_end *end)
{
	struct stream_end_list *list = list_of(ends, end);

	end->next = NULL;
	end->previous = list->last;
	if (list->last)
		list->last->next = end;
	else
		list->first = end;
	list->last = end;
	ends->count++;
	ends->bytes += end->bytes;
}

static void take_out(struct stream_ends *ends, struct stream_end *end)
{
	struct stream_end_list *list = list_of(ends, end);

	if (end->next)
		end->next->previous = end->previous;
	else
		list->last = end->previous;
	if (end->previous)
		end->previous->next = end->next;
	else
		list->first = end->next;
	ends->count--;
	ends->bytes -= end->bytes;
}

/* Its thread notices at once, and gives back what it keeps. */
static void cut(struct stream_ends *ends, struct stream_end *end)
{
	take_out(ends, end);
	end->is_cut = true;
	fcgi_cut(end->fcgi);
}

static void make_room(struct stream_ends *ends, const struct stream_end *end)
{
	while (ends->whole.first && ends->count >= ends->most)
		cut(ends, ends->whole.first);
	if (end->is_whole)
		return;
	while (ends->partial.first &&
		(ends->count >= ends->most || ends->bytes + end->bytes > ends->most_bytes))
		cut(ends, ends->partial.first);
}

void stream_ends_enter(struct stream_ends *ends, struct stream_end *end)
{
	end->is_cut = false;
	pthread_mutex_lock(&ends->mutex);
	make_room(ends, end);
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
