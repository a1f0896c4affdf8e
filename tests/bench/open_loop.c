/*
 * An open loop: requests at a fixed rate, whatever becomes of the ones before.
 *
 * open_loop ADDRESS PORT BODY_FILE RATE COUNT TIMEOUT_S
 *
 * Request i is due at start + i / RATE, on a connection of its own, and its latency counts from
 * that moment: a service that stalls is charged for all the requests that were due meanwhile (no
 * coordinated omission). One process that sleeps until shortly before a request is due and polls
 * for the rest, because waking up late would be charged to the service.
 *
 * Prints one JSON object: the latencies of the good answers (status 200) in microseconds, in the
 * order of the requests; how many failed; how late the requests were sent; CPU microseconds used.
 */
#include "sandbox/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
	REQUEST_MAX_BYTES = 1 << 20,
	ANSWER_MAX_BYTES = 64 << 10,
	COUNT_MAX = 1000000,
	POLL_US = 150, /* so long before a request is due there is no more sleep */
	EVENTS = 64,
};

enum outcome {
	PENDING = 0,
	GOOD,
	FAILED,
};

struct request {
	uint64_t due_us, sent_us, done_us;
	char *answer; /* while under way */
	size_t length;
	int fd;
	enum outcome outcome;
};

struct loop {
	struct sockaddr_in address;
	char *text; /* what is sent, every time */
	size_t text_bytes;
	struct request *requests;
	long count, launched, ended;
	uint64_t start_us, timeout_us;
	int epoll, timer;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "open_loop: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void make_request(struct loop *loop, const char *body_path)
{
	FILE *file = fopen(body_path, "re");
	char *body = malloc(REQUEST_MAX_BYTES);
	size_t length;
	int head;

	loop->text = malloc(REQUEST_MAX_BYTES + 512);
	if (!file || !body || !loop->text)
		die(body_path);
	length = fread(body, 1, REQUEST_MAX_BYTES, file);
	fclose(file);
	head = snprintf(loop->text, 512,
		"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		"Content-Length: %zu\r\nConnection: close\r\n\r\n",
		length);
	memcpy(loop->text + head, body, length);
	loop->text_bytes = (size_t)head + length;
	free(body);
}

static void end_request(struct loop *loop, struct request *request, enum outcome outcome)
{
	request->done_us = clock_now_us();
	request->outcome = outcome;
	if (request->fd >= 0)
		close(request->fd);
	request->fd = -1;
	free(request->answer);
	request->answer = NULL;
	loop->ended++;
}

/* Whether the answer is whole, by its Content-Length. Both kinds of service send one. */
static bool is_whole(const struct request *request)
{
	const char *end = strstr(request->answer, "\r\n\r\n"), *line = request->answer;

	for (; end && line < end; line = strstr(line, "\r\n") + 2) {
		if (strncasecmp(line, "Content-Length:", 15) == 0)
			return request->length >=
			       (size_t)(end + 4 - request->answer) + strtoul(line + 15, NULL, 10);
	}
	return false;
}

static void receive(struct loop *loop, struct request *request)
{
	ssize_t n;

	for (;;) {
		n = recv(request->fd, request->answer + request->length,
			ANSWER_MAX_BYTES - 1 - request->length, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			end_request(loop, request, FAILED);
			return;
		}
		request->length += (size_t)n;
		request->answer[request->length] = '\0';
		if (!is_whole(request))
			continue;
		end_request(loop, request,
			strncmp(request->answer + strcspn(request->answer, " "), " 200 ", 5) == 0
				? GOOD
				: FAILED);
		return;
	}
}

static void watch(struct loop *loop, struct request *request, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = request};

	if (epoll_ctl(loop->epoll, operation, request->fd, &event) < 0)
		die("epoll");
}

static void send_request(struct loop *loop, struct request *request)
{
	ssize_t n = send(request->fd, loop->text, loop->text_bytes, MSG_NOSIGNAL);

	request->sent_us = clock_now_us();
	if (n != (ssize_t)loop->text_bytes)
		end_request(loop, request, FAILED); /* it fits any socket's buffer */
}

static void launch(struct loop *loop, struct request *request)
{
	int on = 1;

	request->answer = calloc(1, ANSWER_MAX_BYTES);
	request->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (!request->answer || request->fd < 0)
		die("another connection");
	setsockopt(request->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(request->fd, (struct sockaddr *)&loop->address, sizeof(loop->address)) == 0) {
		watch(loop, request, EPOLL_CTL_ADD, EPOLLIN);
		send_request(loop, request);
	} else if (errno == EINPROGRESS) {
		watch(loop, request, EPOLL_CTL_ADD, EPOLLOUT);
	} else {
		end_request(loop, request, FAILED);
	}
}

static void handle(struct loop *loop, struct request *request, uint32_t events)
{
	if (request->outcome != PENDING)
		return;
	if (request->sent_us) {
		receive(loop, request);
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		end_request(loop, request, FAILED);
	} else {
		watch(loop, request, EPOLL_CTL_MOD, EPOLLIN);
		send_request(loop, request);
	}
}

static void launch_due(struct loop *loop)
{
	while (loop->launched < loop->count &&
		clock_now_us() >= loop->requests[loop->launched].due_us)
		launch(loop, &loop->requests[loop->launched++]);
}

/* Milliseconds that epoll may sleep: 0 shortly before a request is due. Sets the timer for that. */
static int patience_ms(struct loop *loop)
{
	struct itimerspec at = {0};
	uint64_t wake_us;

	if (loop->launched == loop->count)
		return 100;
	wake_us = loop->requests[loop->launched].due_us - POLL_US;
	if (clock_now_us() >= wake_us)
		return 0;
	at.it_value.tv_sec = (time_t)(wake_us / 1000000);
	at.it_value.tv_nsec = (long)(wake_us % 1000000) * 1000;
	if (timerfd_settime(loop->timer, TFD_TIMER_ABSTIME, &at, NULL) < 0)
		die("timer");
	return -1;
}

static void run(struct loop *loop)
{
	uint64_t end_us = loop->requests[loop->count - 1].due_us + loop->timeout_us, fired;
	struct epoll_event events[EVENTS];
	int i, n;

	while (loop->ended < loop->count && clock_now_us() < end_us) {
		n = epoll_wait(loop->epoll, events, EVENTS, patience_ms(loop));
		for (i = 0; i < n; i++) {
			if (events[i].data.ptr)
				handle(loop, events[i].data.ptr, events[i].events);
			else if (read(loop->timer, &fired, sizeof(fired)) < 0 && errno != EAGAIN)
				die("timer");
		}
		launch_due(loop);
	}
}

static void print_outcome(const struct loop *loop)
{
	const struct request *request;
	const char *separator = "";
	struct rusage usage;
	long good = 0, i;

	printf("{\"latencies_us\": [");
	for (i = 0; i < loop->count; i++) {
		request = &loop->requests[i];
		if (request->outcome != GOOD)
			continue;
		good++;
		printf("%s%llu", separator,
			(unsigned long long)(request->done_us - request->due_us));
		separator = ", ";
	}
	printf("], \"late_us\": [");
	for (i = 0, separator = ""; i < loop->count; i++) {
		request = &loop->requests[i];
		if (!request->sent_us)
			continue;
		printf("%s%llu", separator,
			(unsigned long long)(request->sent_us - request->due_us));
		separator = ", ";
	}
	getrusage(RUSAGE_SELF, &usage);
	printf("], \"failed\": %ld, \"cpu_us\": %ld}\n", loop->count - good,
		(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
			usage.ru_stime.tv_usec);
}

static void prepare(struct loop *loop, double rate)
{
	struct epoll_event event = {.events = EPOLLIN};
	long i;

	loop->requests = calloc((size_t)loop->count, sizeof(*loop->requests));
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!loop->requests || loop->epoll < 0 || loop->timer < 0 ||
		epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->timer, &event) < 0)
		die("prepare");
	loop->start_us = clock_now_us() + 10000;
	for (i = 0; i < loop->count; i++) {
		loop->requests[i].due_us = loop->start_us + (uint64_t)((double)i * 1e6 / rate);
		loop->requests[i].fd = -1;
	}
}

int main(int argc, char **argv)
{
	struct loop loop = {.address = {.sin_family = AF_INET}};
	double rate;

	loop.count = argc == 7 ? atol(argv[5]) : 0;
	rate = argc == 7 ? atof(argv[4]) : 0;
	if (loop.count < 1 || loop.count > COUNT_MAX || rate <= 0 || atol(argv[6]) < 1 ||
		inet_pton(AF_INET, argv[1], &loop.address.sin_addr) != 1) {
		fprintf(stderr, "usage: open_loop ADDRESS PORT BODY_FILE RATE COUNT TIMEOUT_S\n");
		return 2;
	}
	loop.address.sin_port = htons((uint16_t)atoi(argv[2]));
	loop.timeout_us = (uint64_t)atol(argv[6]) * 1000000;
	make_request(&loop, argv[3]);
	prepare(&loop, rate);
	run(&loop);
	print_outcome(&loop);
	return 0;
}
