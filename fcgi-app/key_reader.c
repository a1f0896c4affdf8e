#include "fcgi-app/key_reader.h"

#include "fcgi-app/key_file.h"
#include "sandbox/descriptors.h"
#include "sandbox/identity.h"
#include "sandbox/message.h"
#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum {
	LOOK_EVERY_MS = 1000,
	SETTLED_S =
		2, /* the clock of files is coarse: a younger one may change and look the same */
};

/* To the reader. */
struct reader_order {
	uint32_t refresh; /* 1 */
};

/* From the reader; with the table when the file is good. */
struct reader_report {
	uint32_t count;
	struct err err; /* code 0: the file is good */
};

struct reader {
	const char *path;
	int control;
	struct stat seen; /* what the file was when it was read */
	struct key_list list; /* the keys that were handed on last */
	struct err complaint; /* what was wrong with the file when it was read last */
};

static bool is_unchanged(struct reader *reader, const struct stat *now)
{
	const struct stat *seen = &reader->seen;

	return now->st_dev == seen->st_dev && now->st_ino == seen->st_ino &&
	       now->st_size == seen->st_size && now->st_mode == seen->st_mode &&
	       now->st_ctim.tv_sec == seen->st_ctim.tv_sec &&
	       now->st_ctim.tv_nsec == seen->st_ctim.tv_nsec &&
	       now->st_ctim.tv_sec + SETTLED_S < time(NULL);
}

static bool is_same_list(const struct key_list *one, const struct key_list *other)
{
	return one->count == other->count &&
	       (!one->count ||
		       memcmp(one->keys, other->keys, one->count * sizeof(one->keys[0])) == 0);
}

static int hand_on(struct reader *reader)
{
	const struct reader_report report = {.count = (uint32_t)reader->list.count};
	SCOPE_FD table = key_list_seal(&reader->list);

	return table < 0 ? table
			 : message_send(reader->control, &report, sizeof(report), &table, 1);
}

/* Reads the file and says what is new in it. Returns 0, or a negative errno when nobody listens. */
static int read_again(struct reader *reader, bool asked)
{
	struct reader_report bad = {0};
	struct key_list list;
	bool is_news;

	if (key_file_read(reader->path, NULL, &list, &bad.err) < 0) {
		is_news = asked || strcmp(bad.err.text, reader->complaint.text) != 0;
		reader->complaint = bad.err;
		return is_news ? message_send(reader->control, &bad, sizeof(bad), NULL, 0) : 0;
	}
	is_news = asked || reader->complaint.code || !is_same_list(&list, &reader->list);
	reader->complaint = (struct err){0};
	key_list_free(&reader->list);
	reader->list = list;
	return is_news ? hand_on(reader) : 0;
}

/* A file that cannot be looked at is a change, too, once. */
static int look(struct reader *reader, bool asked)
{
	struct stat now;

	if (stat(reader->path, &now) < 0)
		now = (struct stat){.st_mode = 0};
	if (!asked && is_unchanged(reader, &now))
		return 0;
	reader->seen = now;
	return read_again(reader, asked);
}

/* Nothing of the one who started it, and no right but to read any file. */
static int confine(int control)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t all;

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
		dup2(null, STDERR_FILENO) < 0)
		return -errno;
	descriptors_keep(&control, 1);
	setsid();
	prctl(PR_SET_NAME, "vivarium-keys");
	prctl(PR_SET_DUMPABLE, 0);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (geteuid() == 0)
		return identity_become(0, CAPABILITY(CAP_DAC_READ_SEARCH), NULL);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static _Noreturn void watch(const char *path, int control)
{
	struct reader reader = {.path = path, .control = control};
	struct pollfd watched = {.fd = control, .events = POLLIN};
	struct reader_order order = {.refresh = 1};
	size_t none = 0;
	int r = confine(control);

	while (!r) {
		r = look(&reader, order.refresh != 0);
		order.refresh = 0;
		if (!r && poll(&watched, 1, LOOK_EVERY_MS) > 0)
			r = message_receive(control, &order, sizeof(order), NULL, &none) != 1;
	}
	_exit(1); /* nobody is left that would want to know */
}

int key_reader_start(const char *path, struct key_source *source, struct err *err)
{
	int pair[2], status = 0, r = message_pair(SOCK_SEQPACKET, pair);
	pid_t child;

	if (r < 0)
		return err_set(err, -r, "make a socket for the key reader");
	child = fork();
	if (!child) {
		child = fork(); /* its parent ends: it is nobody's child that would be waited for */
		if (!child)
			watch(path, pair[1]);
		_exit(child < 0 ? errno : 0);
	}
	close(pair[1]);
	if (child < 0 || waitpid(child, &status, 0) < 0 || status) {
		close(pair[0]);
		return err_set(err, child < 0 ? errno : EAGAIN, "start the key reader");
	}
	*source = (struct key_source){.reader = pair[0], .table = -1};
	r = key_source_hear(source, err);
	if (r < 0)
		fd_close(&source->reader);
	return r < 0 ? r : 0;
}

int key_source_refresh(const struct key_source *source)
{
	const struct reader_order order = {.refresh = 1};

	return message_send(source->reader, &order, sizeof(order), NULL, 0);
}

int key_source_hear(struct key_source *source, struct err *err)
{
	struct reader_report report;
	SCOPE_FD table = -1;
	size_t count = 1;
	int r = message_receive(source->reader, &report, sizeof(report), &table, &count);

	if (r != 1) {
		fd_close(&source->reader);
		return err_set(err, EPIPE, "the key reader has ended");
	}
	if (!report.err.code && count == 1) {
		fd_close(&source->table);
		source->table = fd_take(&table);
		source->count = report.count;
		return 1;
	}
	if (err)
		*err = report.err;
	return err_negative(-report.err.code);
}
