#include "fcgi-app/exchange.h"

#include "fcgi-app/accept.h"
#include "fcgi-app/gzip.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void exchange_forget(struct exchange *exchange)
{
	buffer_reset(&exchange->body, EXCHANGE_KEEP_BYTES);
	buffer_reset(&exchange->answer, EXCHANGE_KEEP_BYTES);
	request_reset(&exchange->request);
	exchange->form = NULL;
	job_client_reset(&exchange->client);
	event_stream_reset(&exchange->stream);
}

bool exchange_hold(struct exchange *exchange, size_t bytes)
{
	struct holdings *holdings = &exchange->dispatcher->holdings;

	holdings_give(holdings, exchange->held_bytes);
	exchange->held_bytes = holdings_take(holdings, bytes) ? bytes : 0;
	return exchange->held_bytes == bytes;
}

/* Whoever was cut for the sake of others has no end, however far it got. */
static int close_stream(struct exchange *exchange, int status)
{
	struct event_stream *stream = &exchange->stream;
	struct stream_ends *ends = &exchange->dispatcher->ends;
	struct stream_end end = {.fcgi = exchange->fcgi,
		.bytes = exchange->answer.capacity + stream->backlog.capacity};
	int r;

	buffer_reset(&exchange->body, EXCHANGE_KEEP_BYTES);
	request_reset(&exchange->request);
	job_client_reset(&exchange->client);
	exchange_hold(exchange, 0);
	stream_ends_enter(ends, &end);
	r = event_stream_close(stream, status, &exchange->answer);
	return stream_ends_leave(ends, &end) ? -ENOBUFS : r;
}

/* A client that left before the end of its stream has had no answer. */
static void respond_in_stream(struct exchange *exchange, int status)
{
	struct record *record = &exchange->record;
	int r;

	record->streamed = true;
	record->answer_bytes = exchange->answer.length;
	r = close_stream(exchange, status);
	if (r == -ECANCELED)
		return;
	record->status = status;
	if (r < 0)
		snprintf(record->detail, sizeof(record->detail),
			"the end of its stream was not taken: %s", strerror(-r));
}

/* The status line and all headers. content: those that tell what the body is, ended by CR LF. */
static void write_head(
	struct exchange *exchange, int status, const char *content, const char *extra_headers)
{
	char header[1024];
	int n = snprintf(header, sizeof(header),
		"Status: %d %s\r\n"
		"%s"
		"X-Request-Id: %s\r\n"
		"Cache-Control: no-store\r\n"
		"X-Content-Type-Options: nosniff\r\n"
		"%s\r\n",
		status, http_reason(status), content, exchange->request_id, extra_headers);

	exchange->record.status = status;
	exchange->record.answer_bytes = exchange->answer.length;
	fcgi_write(exchange->fcgi, header, (size_t)n);
}

static void write_plain(struct exchange *exchange, int status, const char *content_type,
	const char *vary, const char *extra_headers)
{
	const struct buffer *answer = &exchange->answer;
	char content[256] = "";

	if (status == 202) /* all there is to say */
		snprintf(content, sizeof(content), "Content-Length: 0\r\n");
	else if (status != 204) /* no content, and no length of it either (RFC 9110, 8.6) */
		snprintf(content, sizeof(content), "Content-Type: %s\r\nContent-Length: %zu\r\n%s",
			content_type, answer->length, vary);
	write_head(exchange, status, content, extra_headers);
	fcgi_write(exchange->fcgi, answer->data, answer->length);
}

static void write_packed_part(void *fcgi, const char *data, size_t length)
{
	fcgi_write(fcgi, data, length);
}

/* Returns whether it was packed: there may be no memory. How long it is shows at its end. */
static bool write_packed(struct exchange *exchange, int status, const char *content_type,
	const char *vary, const char *extra_headers)
{
	struct holdings *holdings = &exchange->dispatcher->holdings;
	struct gzip *gzip;
	char content[256];

	if (!holdings_take(holdings, GZIP_MEMORY_BYTES))
		return false;
	gzip = gzip_new();
	if (gzip) {
		snprintf(content, sizeof(content),
			"Content-Type: %s\r\nContent-Encoding: gzip\r\n%s", content_type, vary);
		write_head(exchange, status, content, extra_headers);
		gzip_pack(gzip, exchange->answer.data, exchange->answer.length, write_packed_part,
			exchange->fcgi);
		gzip_free(gzip);
	}
	holdings_give(holdings, GZIP_MEMORY_BYTES);
	return gzip;
}

void exchange_respond_as(
	struct exchange *exchange, int status, const char *content_type, const char *extra_headers)
{
	bool may_be_packed =
		exchange->answer.length >= EXCHANGE_PACKED_BYTES && !http_status_is_packed(status);
	const char *vary = may_be_packed ? "Vary: Accept-Encoding\r\n" : "";

	if (exchange->stream.is_open) {
		respond_in_stream(exchange, status);
		return;
	}
	if (may_be_packed &&
		accept_takes_gzip(fcgi_parameter(exchange->fcgi, "HTTP_ACCEPT_ENCODING")) &&
		write_packed(exchange, status, content_type, vary, extra_headers))
		return;
	write_plain(exchange, status, content_type, vary, extra_headers);
}

void exchange_respond(struct exchange *exchange, int status, const char *extra_headers)
{
	exchange_respond_as(exchange, status, "application/json", extra_headers);
}

void exchange_refuse(struct exchange *exchange, enum refusal kind, const char *error,
	const struct request_refusal *refusal, const char *extra_headers)
{
	int status;

	buffer_reset(&exchange->answer, EXCHANGE_KEEP_BYTES);
	status = exchange->form ? exchange->form->refusal(exchange->form->context, kind, error,
					  refusal, exchange->request_id, &exchange->answer)
				: answer_refusal(kind, error, refusal, exchange->request_id,
					  &exchange->answer);
	if (status < 0)
		exchange->answer.length = 0;
	exchange->record.kind = record_kind_of_refusal(kind);
	exchange_respond(exchange, status < 0 ? refusal_status(kind) : status, extra_headers);
}

void exchange_fail(struct exchange *exchange, const char *what, int code)
{
	snprintf(exchange->record.detail, sizeof(exchange->record.detail), "%s: %s", what,
		strerror(code));
	exchange_refuse(exchange, REFUSAL_INTERNAL, "Internal error", NULL, "");
}
