#include "sandbox/buffer.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int buffer_reserve(struct buffer *buffer, size_t length)
{
	size_t wanted = buffer->length + length;
	size_t capacity = buffer->capacity ? buffer->capacity : 1024;
	char *data;

	if (wanted < length || (buffer->cap && wanted > buffer->cap))
		return -EMSGSIZE;
	if (wanted <= buffer->capacity)
		return 0;
	while (capacity < wanted && capacity <= SIZE_MAX / 2)
		capacity *= 2;
	if (capacity < wanted)
		return -ENOMEM;
	data = realloc(buffer->data, capacity);
	if (!data)
		return -ENOMEM;
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}

int buffer_append(struct buffer *buffer, const void *data, size_t length)
{
	int r = buffer_reserve(buffer, length);

	if (r < 0)
		return r;
	if (length)
		memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
	return 0;
}

void buffer_consume(struct buffer *buffer, size_t length)
{
	buffer->length -= length;
	if (buffer->length)
		memmove(buffer->data, buffer->data + length, buffer->length);
}

void buffer_reset(struct buffer *buffer, size_t keep_bytes)
{
	buffer->length = 0;
	if (buffer->capacity <= keep_bytes)
		return;
	free(buffer->data);
	buffer->data = NULL;
	buffer->capacity = 0;
}

void buffer_free(struct buffer *buffer)
{
	buffer_reset(buffer, 0);
}
