#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "sandbox/message.h"

struct note {
	uint64_t number;
	char text[24];
};

static const struct note note = {.number = 0x1122334455667788, .text = "to the warden"};

static int open_pair(void **state)
{
	static int pair[2];

	*state = pair;
	return message_pair(SOCK_SEQPACKET | SOCK_NONBLOCK, pair);
}

static int close_pair(void **state)
{
	int *pair = *state;

	close(pair[0]);
	close(pair[1]);
	return 0;
}

static bool same_file(int a, int b)
{
	struct stat first, second;

	return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
	       first.st_ino == second.st_ino;
}

static void test_pair_is_close_on_exec(void **state)
{
	int *pair = *state, wrong[2];

	assert_true(fcntl(pair[0], F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(pair[1], F_GETFD) & FD_CLOEXEC);
	assert_true(message_pair(0x7f, wrong) < 0);
}

static void test_without_descriptors(void **state)
{
	int *pair = *state, fds[MESSAGE_FDS_MAX];
	size_t count = MESSAGE_FDS_MAX;
	struct note got = {0};

	assert_int_equal(message_send(pair[0], &note, sizeof(note), NULL, 0), 0);
	assert_int_equal(message_receive(pair[1], &got, sizeof(got), fds, &count), 1);
	assert_int_equal(count, 0);
	assert_memory_equal(&got, &note, sizeof(note));
	count = MESSAGE_FDS_MAX;
	assert_int_equal(message_receive(pair[1], &got, sizeof(got), fds, &count), -EAGAIN);
	assert_int_equal(count, 0);
}

static void test_messages_stay_apart(void **state)
{
	int *pair = *state;
	size_t count = 0;
	uint32_t number;

	for (number = 1; number <= 3; number++)
		assert_int_equal(message_send(pair[0], &number, sizeof(number), NULL, 0), 0);
	for (uint32_t expected = 1; expected <= 3; expected++) {
		count = 0;
		assert_int_equal(
			message_receive(pair[1], &number, sizeof(number), NULL, &count), 1);
		assert_int_equal(number, expected);
	}
}

/* The sender keeps its own; the receiver's are the same files, in order, and close-on-exec. */
static void test_passes_descriptors(void **state)
{
	int *pair = *state, sent[MESSAGE_FDS_MAX], fds[MESSAGE_FDS_MAX];
	struct note got = {0};
	size_t before = unit_open_descriptors();

	for (size_t i = 0; i < MESSAGE_FDS_MAX; i += 2)
		assert_int_equal(pipe2(sent + i, O_CLOEXEC), 0);
	for (size_t sending = 1; sending <= MESSAGE_FDS_MAX; sending++) {
		size_t count = MESSAGE_FDS_MAX;

		assert_int_equal(message_send(pair[0], &note, sizeof(note), sent, sending), 0);
		assert_int_equal(message_receive(pair[1], &got, sizeof(got), fds, &count), 1);
		assert_int_equal(count, sending);
		assert_memory_equal(&got, &note, sizeof(note));
		for (size_t i = 0; i < count; i++) {
			assert_true(same_file(fds[i], sent[i]));
			assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
			close(fds[i]);
		}
	}
	for (size_t i = 0; i < MESSAGE_FDS_MAX; i++)
		assert_int_equal(close(sent[i]), 0);
	assert_int_equal(unit_open_descriptors(), before);
}

static void test_wrong_sizes(void **state)
{
	static const size_t sizes[] = {1, sizeof(note) - 1, sizeof(note) + 1, 4096};
	int *pair = *state, fds[MESSAGE_FDS_MAX];
	char message[4096] = {0};
	struct note got;
	size_t before = unit_open_descriptors();

	for (size_t i = 0; i < COUNT(sizes); i++) {
		size_t count = MESSAGE_FDS_MAX;

		assert_int_equal(message_send(pair[0], message, sizes[i], pair, 2), 0);
		assert_int_equal(message_receive(pair[1], &got, sizeof(got), fds, &count), -EPROTO);
		assert_int_equal(count, 0);
		assert_int_equal(unit_open_descriptors(), before);
	}
}

/* A message of no bytes is not the end of the file if it brings descriptors. */
static void test_empty_with_descriptors(void **state)
{
	int *pair = *state, fds[MESSAGE_FDS_MAX];
	size_t before = unit_open_descriptors(), count = MESSAGE_FDS_MAX;
	struct note got;

	assert_int_equal(message_send(pair[0], "", 0, pair, 2), 0);
	assert_int_equal(message_receive(pair[1], &got, sizeof(got), fds, &count), -EPROTO);
	assert_int_equal(count, 0);
	assert_int_equal(unit_open_descriptors(), before);
}

static void test_more_than_expected_are_closed(void **state)
{
	int *pair = *state, sent[MESSAGE_FDS_MAX], fds[MESSAGE_FDS_MAX];
	size_t before = unit_open_descriptors();
	struct note got;

	for (size_t i = 0; i < MESSAGE_FDS_MAX; i++)
		sent[i] = pair[0];
	for (size_t expected = 0; expected < MESSAGE_FDS_MAX; expected++)
		for (size_t sending = expected + 1; sending <= MESSAGE_FDS_MAX; sending++) {
			size_t count = expected;

			assert_int_equal(
				message_send(pair[0], &note, sizeof(note), sent, sending), 0);
			assert_int_equal(
				message_receive(pair[1], &got, sizeof(got), fds, &count), -EPROTO);
			assert_int_equal(count, 0);
			assert_int_equal(unit_open_descriptors(), before);
		}
}

/* More than fit the receiver's control buffer: the kernel cuts, and the message is refused. */
static void test_more_than_any_message_may_have(void **state)
{
	int *pair = *state, fds[MESSAGE_FDS_MAX];
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int) * 64)];
	} control = {0};
	struct iovec part = {.iov_base = (void *)&note, .iov_len = sizeof(note)};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	size_t before = unit_open_descriptors(), count = MESSAGE_FDS_MAX;
	struct note got;

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int) * 64);
	for (size_t i = 0; i < 64; i++)
		memcpy(CMSG_DATA(rights) + i * sizeof(int), &pair[0], sizeof(int));
	assert_int_equal(sendmsg(pair[0], &message, 0), sizeof(note));
	assert_int_equal(message_receive(pair[1], &got, sizeof(got), fds, &count), -EPROTO);
	assert_int_equal(count, 0);
	assert_int_equal(unit_open_descriptors(), before);
}

static void test_end_of_file(void **state)
{
	int *pair = *state, fds[MESSAGE_FDS_MAX];
	size_t count = MESSAGE_FDS_MAX;
	struct note got;

	shutdown(pair[0], SHUT_WR);
	assert_int_equal(message_receive(pair[1], &got, sizeof(got), fds, &count), 0);
	assert_int_equal(count, 0);
}

static void test_failures(void **state)
{
	int *pair = *state, fds[MESSAGE_FDS_MAX], r;
	size_t count = MESSAGE_FDS_MAX;
	struct note got;

	do
		r = message_send(pair[0], &note, sizeof(note), NULL, 0);
	while (!r);
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(message_receive(-1, &got, sizeof(got), fds, &count), -EBADF);
	assert_int_equal(count, 0);
	assert_int_equal(message_send(-1, &note, sizeof(note), NULL, 0), -EBADF);
	shutdown(pair[1], SHUT_RD);
	assert_int_equal(message_send(pair[0], &note, sizeof(note), NULL, 0), -EPIPE);
}

#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAIR_TEST(test_pair_is_close_on_exec),
		PAIR_TEST(test_without_descriptors),
		PAIR_TEST(test_messages_stay_apart),
		PAIR_TEST(test_passes_descriptors),
		PAIR_TEST(test_wrong_sizes),
		PAIR_TEST(test_empty_with_descriptors),
		PAIR_TEST(test_more_than_expected_are_closed),
		PAIR_TEST(test_more_than_any_message_may_have),
		PAIR_TEST(test_end_of_file),
		PAIR_TEST(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
