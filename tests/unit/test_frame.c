#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "sandbox/frame.h"

enum {
	HEADER = sizeof(struct frame_header),
};

struct line {
	int pair[2]; /* what is written to 0 is read from 1 */
	struct frame_writer writer;
	struct frame_reader reader;
};

static int open_line(void **state)
{
	static struct line line;

	line = (struct line){.reader.in.cap = 1 << 20};
	*state = &line;
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, line.pair);
}

static int close_line(void **state)
{
	struct line *line = *state;

	close(line->pair[0]);
	close(line->pair[1]);
	frame_writer_reset(&line->writer, 0);
	frame_reader_free(&line->reader);
	return 0;
}

static void write_bytes(struct line *line, const void *data, size_t length)
{
	assert_int_equal(write(line->pair[0], data, length), (ssize_t)length);
}

static int fill(struct line *line)
{
	return frame_reader_fill(&line->reader, line->pair[1], NULL);
}

static void expect_frame(struct line *line, uint32_t type, const void *payload, size_t length)
{
	struct frame frame = {0};

	assert_int_equal(frame_reader_next(&line->reader, &frame), 1);
	assert_int_equal(frame.type, type);
	assert_int_equal(frame.length, length);
	if (length)
		assert_memory_equal(frame.payload, payload, length);
}

static void expect_none(struct line *line)
{
	struct frame frame;

	assert_int_equal(frame_reader_next(&line->reader, &frame), 0);
}

static void test_append_layout(void **state)
{
	struct line *line = *state;
	const uint32_t header[2] = {FRAME_SCRIPT, 3};

	assert_int_equal(frame_append(&line->writer.out, FRAME_SCRIPT, "abc", 3), 0);
	assert_int_equal(line->writer.out.length, HEADER + 3);
	assert_memory_equal(line->writer.out.data, header, HEADER);
	assert_memory_equal(line->writer.out.data + HEADER, "abc", 3);
}

static void test_append_refuses_whole(void **state)
{
	struct line *line = *state;

	line->writer.out.cap = HEADER + 3;
	assert_int_equal(frame_append(&line->writer.out, FRAME_SCRIPT, "abcd", 4), -EMSGSIZE);
	assert_int_equal(line->writer.out.length, 0);
	assert_int_equal(frame_append(&line->writer.out, FRAME_SCRIPT, "abc", 3), 0);
	assert_int_equal(frame_append(&line->writer.out, FRAME_GO, NULL, 0), -EMSGSIZE);
	assert_int_equal(line->writer.out.length, HEADER + 3);
	line->writer.out.cap = 0;
	assert_int_equal(
		frame_append(&line->writer.out, FRAME_SCRIPT, "", (size_t)UINT32_MAX + 1), -EMSGSIZE);
	assert_int_equal(line->writer.out.length, HEADER + 3);
}

static void test_many_frames_at_once(void **state)
{
	struct line *line = *state;

	frame_append(&line->writer.out, FRAME_JOB, "limits", 6);
	frame_append(&line->writer.out, FRAME_GO, NULL, 0);
	frame_append(&line->writer.out, FRAME_GO, NULL, 0);
	frame_append(&line->writer.out, (enum frame_type)0xffffffff, "?", 1);
	assert_int_equal(frame_flush(&line->writer, line->pair[0]), 0);
	assert_int_equal(line->writer.out.length, 0);
	assert_int_equal(fill(line), 4 * HEADER + 7);
	expect_frame(line, FRAME_JOB, "limits", 6);
	expect_frame(line, FRAME_GO, NULL, 0);
	expect_frame(line, FRAME_GO, NULL, 0);
	expect_frame(line, 0xffffffff, "?", 1);
	expect_none(line);
	assert_int_equal(fill(line), -EAGAIN);
}

static void test_byte_by_byte(void **state)
{
	struct line *line = *state;
	struct frame_header header;

	frame_append(&line->writer.out, FRAME_STDOUT, "hello", 5);
	frame_append(&line->writer.out, FRAME_DONE, NULL, 0);
	for (size_t i = 0; i < line->writer.out.length; i++) {
		if (i == HEADER + 5)
			expect_frame(line, FRAME_STDOUT, "hello", 5);
		expect_none(line);
		assert_int_equal(
			frame_reader_peek(&line->reader, &header), i >= HEADER && i < HEADER + 5);
		write_bytes(line, line->writer.out.data + i, 1);
		assert_int_equal(fill(line), 1);
	}
	expect_frame(line, FRAME_DONE, NULL, 0);
	expect_none(line);
}

static void test_peek_before_the_payload(void **state)
{
	struct line *line = *state;
	const struct frame_header huge = {.type = FRAME_RESULT, .length = UINT32_MAX};
	struct frame_header header = {0};

	assert_int_equal(frame_reader_peek(&line->reader, &header), 0);
	frame_append(&line->writer.out, FRAME_STDERR, "x", 1);
	buffer_append(&line->writer.out, &huge, sizeof(huge));
	frame_flush(&line->writer, line->pair[0]);
	assert_int_equal(fill(line), 2 * HEADER + 1);
	assert_int_equal(frame_reader_peek(&line->reader, &header), 1);
	assert_int_equal(header.type, FRAME_STDERR);
	expect_frame(line, FRAME_STDERR, "x", 1);
	assert_int_equal(frame_reader_peek(&line->reader, &header), 1);
	assert_int_equal(header.type, FRAME_RESULT);
	assert_int_equal(header.length, UINT32_MAX);
	expect_none(line);
}

/* A frame of exactly the cap passes; one byte more is refused once the cap is full. */
static void test_cap(void **state)
{
	struct line *line = *state;
	char payload[93] = {0};

	line->reader.in.cap = 100;
	memset(payload, 'p', sizeof(payload));
	frame_append(&line->writer.out, FRAME_RESULT, payload, 92);
	frame_append(&line->writer.out, FRAME_RESULT, payload, 93);
	frame_flush(&line->writer, line->pair[0]);
	assert_int_equal(fill(line), 100);
	assert_int_equal(fill(line), -EMSGSIZE);
	expect_frame(line, FRAME_RESULT, payload, 92);
	assert_int_equal(fill(line), 100);
	expect_none(line);
	assert_int_equal(fill(line), -EMSGSIZE);
	assert_int_equal(line->reader.in.length, 100);
}

/* What is there already counts against the cap, and only that. */
static void test_cap_in_pieces(void **state)
{
	struct line *line = *state;
	char payload[92];

	line->reader.in.cap = 100;
	memset(payload, 'p', sizeof(payload));
	frame_append(&line->writer.out, FRAME_RESULT, payload, sizeof(payload));
	write_bytes(line, line->writer.out.data, 60);
	assert_int_equal(fill(line), 60);
	write_bytes(line, line->writer.out.data + 60, 40);
	assert_int_equal(fill(line), 40);
	expect_frame(line, FRAME_RESULT, payload, sizeof(payload));
}

static void test_length_that_wraps(void **state)
{
	struct line *line = *state;
	struct frame_header header = {.type = FRAME_RESULT, .length = UINT32_MAX - 7};

	write_bytes(line, &header, sizeof(header));
	write_bytes(line, "abc", 3);
	assert_int_equal(fill(line), HEADER + 3);
	expect_none(line);
}

static void test_end_of_file(void **state)
{
	struct line *line = *state;

	write_bytes(line, "half", 4);
	shutdown(line->pair[0], SHUT_WR);
	assert_int_equal(fill(line), 4);
	assert_int_equal(fill(line), 0);
	expect_none(line);
	assert_int_equal(frame_reader_fill(&line->reader, -1, NULL), -EBADF);
}

static void test_reset_forgets(void **state)
{
	struct line *line = *state;

	frame_append(&line->writer.out, FRAME_GO, NULL, 0);
	buffer_append(&line->writer.out, "garbage", 7);
	frame_flush(&line->writer, line->pair[0]);
	fill(line);
	expect_frame(line, FRAME_GO, NULL, 0);
	frame_reader_reset(&line->reader, 1 << 20);
	expect_none(line);
	frame_append(&line->writer.out, FRAME_DONE, "d", 1);
	frame_flush(&line->writer, line->pair[0]);
	fill(line);
	expect_frame(line, FRAME_DONE, "d", 1);
	frame_reader_reset(&line->reader, 0);
	assert_null(line->reader.in.data);
}

static void test_wait(void **state)
{
	struct line *line = *state;
	struct frame frame;

	assert_int_equal(frame_reader_wait(&line->reader, line->pair[1], &frame), -EAGAIN);
	frame_append(&line->writer.out, FRAME_JOB, "a", 1);
	frame_append(&line->writer.out, FRAME_GO, NULL, 0);
	frame_flush(&line->writer, line->pair[0]);
	assert_int_equal(frame_reader_wait(&line->reader, line->pair[1], &frame), 1);
	assert_int_equal(frame.type, FRAME_JOB);
	assert_int_equal(frame_reader_wait(&line->reader, line->pair[1], &frame), 1);
	assert_int_equal(frame.type, FRAME_GO);
	shutdown(line->pair[0], SHUT_WR);
	assert_int_equal(frame_reader_wait(&line->reader, line->pair[1], &frame), 0);
}

/* A writer that stops after every byte does not end the wait. */
static void test_wait_for_bytes(void **state)
{
	struct line *line = *state;
	struct frame frame;
	pid_t child;
	int status;

	frame_append(&line->writer.out, FRAME_GO, "ok", 2);
	fcntl(line->pair[1], F_SETFL, 0);
	child = fork();
	if (!child) {
		for (size_t i = 0; i < line->writer.out.length; i++) {
			usleep(2000);
			if (write(line->pair[0], line->writer.out.data + i, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(frame_reader_wait(&line->reader, line->pair[1], &frame), 1);
	assert_int_equal(frame.type, FRAME_GO);
	assert_memory_equal(frame.payload, "ok", 2);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_flush_keeps_what_is_left(void **state)
{
	struct line *line = *state;
	char *payload = malloc(700000);
	struct frame frame;
	int r;

	assert_non_null(payload);
	for (size_t i = 0; i < 700000; i++)
		payload[i] = (char)(i * 7);
	frame_append(&line->writer.out, FRAME_RESULT, payload, 700000);
	r = frame_flush(&line->writer, line->pair[0]);
	assert_int_equal(r, -EAGAIN);
	assert_true(line->writer.sent > 0 && line->writer.sent < line->writer.out.length);
	while (!frame_reader_next(&line->reader, &frame)) {
		r = fill(line);
		assert_true(r > 0 || r == -EAGAIN);
		r = frame_flush(&line->writer, line->pair[0]);
		assert_true(r == 0 || r == -EAGAIN);
	}
	assert_int_equal(frame.length, 700000);
	assert_memory_equal(frame.payload, payload, 700000);
	assert_int_equal(line->writer.out.length, 0);
	free(payload);
}

static void test_flush_to_nobody(void **state)
{
	struct line *line = *state;

	close(line->pair[1]);
	frame_append(&line->writer.out, FRAME_GO, NULL, 0);
	assert_int_equal(frame_flush(&line->writer, line->pair[0]), -EPIPE);
	assert_int_equal(line->writer.out.length, HEADER);
	line->pair[1] = dup(line->pair[0]);
}

/* --- descriptors that come along ----------------------------------------------------------- */

static size_t open_descriptors(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 64; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void send_with_descriptor(struct line *line)
{
	line->writer.descriptor = memfd_create("body", MFD_CLOEXEC) + 1;
	assert_true(line->writer.descriptor > 0);
	assert_int_equal(write(line->writer.descriptor - 1, "body", 4), 4);
	frame_append(&line->writer.out, FRAME_BODY, NULL, 0);
	assert_int_equal(frame_flush(&line->writer, line->pair[0]), 0);
	assert_int_equal(line->writer.descriptor, 0);
}

static void test_descriptor_arrives(void **state)
{
	struct line *line = *state;
	size_t before = open_descriptors();
	char text[4] = "";
	int fd;

	line->reader.takes_descriptor = true;
	send_with_descriptor(line);
	assert_int_equal(fill(line), HEADER);
	expect_frame(line, FRAME_BODY, NULL, 0);
	fd = frame_reader_take_descriptor(&line->reader);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 4);
	assert_memory_equal(text, "body", 4);
	assert_int_equal(frame_reader_take_descriptor(&line->reader), -1);
	close(fd);
	assert_int_equal(open_descriptors(), before);
}

static void test_descriptor_that_nobody_takes(void **state)
{
	struct line *line = *state;
	size_t before = open_descriptors();

	send_with_descriptor(line);
	assert_int_equal(fill(line), HEADER); /* a reader that is sent none: the kernel drops it */
	assert_int_equal(frame_reader_take_descriptor(&line->reader), -1);
	line->reader.takes_descriptor = true;
	send_with_descriptor(line);
	send_with_descriptor(line);
	assert_int_equal(fill(line), HEADER); /* one read ends where a descriptor comes along */
	assert_int_equal(fill(line), HEADER);
	assert_int_equal(open_descriptors(), before + 1);
	frame_reader_reset(&line->reader, 0);
	assert_int_equal(open_descriptors(), before);
}

static void test_descriptor_that_is_not_sent(void **state)
{
	struct line *line = *state;
	size_t before = open_descriptors();

	line->writer.descriptor = memfd_create("body", MFD_CLOEXEC) + 1;
	frame_writer_reset(&line->writer, 0);
	assert_int_equal(line->writer.descriptor, 0);
	assert_int_equal(open_descriptors(), before);
}

/* Each write keeps its own author, and one read never mixes two. */
static void test_sender(void **state)
{
	struct line *line = *state;
	const int on = 1;
	pid_t child, sender = -1;
	int status;

	assert_int_equal(setsockopt(line->pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	write_bytes(line, "mine", 4);
	child = fork();
	if (!child)
		_exit(write(line->pair[0], "child", 5) != 5);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	write_bytes(line, "mine2", 5);
	assert_int_equal(frame_reader_fill(&line->reader, line->pair[1], &sender), 4);
	assert_int_equal(sender, getpid());
	assert_int_equal(frame_reader_fill(&line->reader, line->pair[1], &sender), 5);
	assert_int_equal(sender, child);
	assert_int_equal(frame_reader_fill(&line->reader, line->pair[1], &sender), 5);
	assert_int_equal(sender, getpid());
	sender = -1;
	assert_int_equal(frame_reader_fill(&line->reader, line->pair[1], &sender), -EAGAIN);
	assert_int_equal(sender, 0);
}

static void send_descriptors(int socket, size_t count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int) * 8)];
	} control = {0};
	char byte = 'x';
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * count)};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
	for (size_t i = 0; i < count; i++)
		memcpy(CMSG_DATA(rights) + i * sizeof(int), &socket, sizeof(int));
	assert_int_equal(sendmsg(socket, &message, 0), 1);
}

/* An execution can send descriptors along with its bytes; none may stay in the reader. */
static void test_descriptors_are_not_taken(void **state)
{
	struct line *line = *state;
	const int on = 1;
	pid_t sender = -1;
	size_t before = unit_open_descriptors();

	send_descriptors(line->pair[0], 8);
	assert_int_equal(fill(line), 1);
	assert_int_equal(unit_open_descriptors(), before);
	assert_int_equal(setsockopt(line->pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	for (size_t count = 1; count <= 8; count++) {
		send_descriptors(line->pair[0], count);
		assert_int_equal(frame_reader_fill(&line->reader, line->pair[1], &sender), 1);
		assert_int_equal(sender, getpid());
		assert_int_equal(unit_open_descriptors(), before);
	}
}

/* Whatever the pieces in which a stream arrives, its frames are the same. */
static void test_random_pieces(void **state)
{
	struct line *line = *state;
	uint64_t seed = 7;
	char payload[3000];
	size_t next = 0, seen = 0;
	struct frame frame;

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (char)i;
	for (uint32_t i = 0; i < 200; i++)
		frame_append(&line->writer.out, (enum frame_type)i, payload, i * 13 % sizeof(payload));
	while (next < line->writer.out.length) {
		size_t length = 1 + unit_random(&seed) % 2000;

		if (length > line->writer.out.length - next)
			length = line->writer.out.length - next;
		write_bytes(line, line->writer.out.data + next, length);
		next += length;
		assert_int_equal(fill(line), (int)length);
		while (unit_random(&seed) % 8 && frame_reader_next(&line->reader, &frame)) {
			assert_int_equal(frame.type, seen);
			assert_int_equal(frame.length, seen * 13 % sizeof(payload));
			assert_memory_equal(frame.payload, payload, frame.length);
			seen++;
		}
	}
	for (; seen < 200; seen++)
		expect_frame(line, (uint32_t)seen, payload, seen * 13 % sizeof(payload));
	expect_none(line);
}

#define LINE_TEST(name) cmocka_unit_test_setup_teardown(name, open_line, close_line)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LINE_TEST(test_append_layout),
		LINE_TEST(test_append_refuses_whole),
		LINE_TEST(test_many_frames_at_once),
		LINE_TEST(test_byte_by_byte),
		LINE_TEST(test_peek_before_the_payload),
		LINE_TEST(test_cap),
		LINE_TEST(test_cap_in_pieces),
		LINE_TEST(test_length_that_wraps),
		LINE_TEST(test_end_of_file),
		LINE_TEST(test_reset_forgets),
		LINE_TEST(test_wait),
		LINE_TEST(test_wait_for_bytes),
		LINE_TEST(test_flush_keeps_what_is_left),
		LINE_TEST(test_flush_to_nobody),
		LINE_TEST(test_descriptor_arrives),
		LINE_TEST(test_descriptor_that_nobody_takes),
		LINE_TEST(test_descriptor_that_is_not_sent),
		LINE_TEST(test_sender),
		LINE_TEST(test_descriptors_are_not_taken),
		LINE_TEST(test_random_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
