#include "fcgi-app/exchange.h"

#include <stdio.h>

void exchange_forget(struct exchange *exchange)
{
	buffer_reset(&exchange->body, EXCHANGE_KEEP_BYTES);
	buffer_reset(&exchange->answer, EXCHANGE_KEEP_BYTES);
	request_reset(&exchange->request);
	job_client_reset(&exchange->client);
}

void exchange_respond(struct exchange *exchange, int status, const char *extra_headers)
{
	const struct buffer *answer = &exchange->answer;
	char header[1024], content[96] = "";
	int n;

	if (status != 204) /* which has no content, and no length of it either (RFC 9110, 8.6) */
		snprintf(content, sizeof(content),
			"Content-Type: application/json\r\nContent-Length: %zu\r\n",
			answer->length);
	n = snprintf(header, sizeof(header),
		"Status: %d %s\r\n"
		"%s"
		"X-Request-Id: %s\r\n"
		"Cache-Control: no-store\r\n"
		"X-Content-Type-Options: nosniff\r\n"
		"%s\r\n",
		status, http_reason(status), content, exchange->request_id, extra_headers);
	fcgi_write(exchange->fcgi, header, (size_t)n);
	fcgi_write(exchange->fcgi, answer->data, answer->length);
}

void exchange_refuse(struct exchange *exchange, enum refusal kind, const char *error,
	const struct request_refusal *refusal, const char *extra_headers)
{
	int status;

	buffer_reset(&exchange->answer, EXCHANGE_KEEP_BYTES);
	status = answer_refusal(kind, error, refusal, exchange->request_id, &exchange->answer);
	if (status < 0)
		exchange->answer.length = 0;
	exchange_respond(exchange, refusal_status(kind), extra_headers);
}
