#include "fcgi-app/log_output.h"

#include "sandbox/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	MESSAGE_MOST_BYTES = 3000, /* with its escapes */
};

/* How a line gets out without waiting. */
enum way {
	WAY_OPENED, /* the descriptor does not wait: it was opened for that */
	WAY_SOCKET, /* a flag of each call says so */
	WAY_SHARED, /* it may wait, and is not ours to change: asked first */
};

/* Set once, and inherited by what is forked; the counts are each process' own. */
static bool writes_json, to_journal;
static enum way way = WAY_SHARED;
static atomic_uint_least64_t dropped, untold;
static atomic_bool torn; /* the last line ended before its end */

/* --- the descriptor ------------------------------------------------------------------------ */

/* systemd names the journal's socket by device and inode (systemd.exec(5), JOURNAL_STREAM). */
static bool is_journal(const struct stat *stat)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;

	return S_ISSOCK(stat->st_mode) && stream &&
	       sscanf(stream, "%llu:%llu", &device, &inode) == 2 && device == stat->st_dev &&
	       inode == stat->st_ino;
}

/*
 * Whether a descriptor waits belongs to all who share it: the shell of the terminal, nginx. So it is
 * opened once more. Where that is denied (a pipe that another user made) it has to be asked before
 * each line; then somebody else may fill it in between.
 */
static enum way choose_way(const struct stat *stat)
{
	SCOPE_FD fd = -1;
	int flags;

	if (S_ISSOCK(stat->st_mode))
		return WAY_SOCKET;
	fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0 && dup2(fd, STDERR_FILENO) >= 0)
		return WAY_OPENED;
	flags = fcntl(STDERR_FILENO, F_GETFL);
	if (S_ISREG(stat->st_mode) && flags >= 0) /* whoever empties it finds no hole before new lines */
		fcntl(STDERR_FILENO, F_SETFL, flags | O_APPEND);
	return WAY_SHARED;
}

static bool can_take(void)
{
	struct pollfd watched = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&watched, 1, 0) == 1 && watched.revents == POLLOUT;
}

static ssize_t put(const char *text, size_t length)
{
	switch (way) {
	case WAY_OPENED:
		return write(STDERR_FILENO, text, length);
	case WAY_SOCKET:
		return send(STDERR_FILENO, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	case WAY_SHARED:
	default:
		return can_take() ? write(STDERR_FILENO, text, length) : -1;
	}
}

/* Returns whether all of it is out. */
static bool put_line(const char *text, size_t length)
{
	ssize_t n;

	if (atomic_load(&torn) && put("\n", 1) == 1)
		atomic_store(&torn, false);
	n = put(text, length);
	if (n > 0 && (size_t)n < length)
		atomic_store(&torn, true);
	return n == (ssize_t)length;
}

/* --- lines --------------------------------------------------------------------------------- */

static void put_time(struct log_output_line *line)
{
	struct timespec now;
	struct tm utc;
	char text[64];
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	if (line->is_json)
		n = snprintf(text, sizeof(text), "{\"time\": \"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\"",
			utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
			utc.tm_sec, now.tv_nsec / 1000000);
	else
		n = snprintf(text, sizeof(text), "%02d:%02d:%02dZ ", utc.tm_hour, utc.tm_min,
			utc.tm_sec);
	buffer_append(&line->buffer, text, (size_t)n);
}

void log_output_open(struct log_output_line *line, enum log_level level, const char *role)
{
	static const char *const words[] = {"error", "warning", "info", "debug"};
	static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"}; /* sd-daemon(3) */

	line->level = level;
	line->is_json = writes_json;
	line->buffer = (struct buffer){.data = line->text,
		.capacity = sizeof(line->text) - 1, /* and the line break */
		.cap = sizeof(line->text) - 1};
	line->json = (struct json_out){.buffer = &line->buffer, .comma = true};
	if (to_journal)
		buffer_append(&line->buffer, priorities[level], 3);
	put_time(line);
	if (!line->is_json)
		return;
	json_out_key(&line->json, "level");
	json_out_text(&line->json, words[level]);
	json_out_key(&line->json, "role");
	json_out_text(&line->json, role);
}

void log_output_clip(struct log_output_line *line, const char *key, const char *text, size_t length,
	size_t most_bytes)
{
	json_out_key(&line->json, key);
	json_out_string(&line->json, text, json_out_fitting(text, length, most_bytes));
}

static void tell_dropped(void)
{
	uint64_t count = atomic_exchange(&untold, 0);
	struct log_output_line line;
	char text[96];
	int n;

	if (!count)
		return;
	n = snprintf(text, sizeof(text), "%" PRIu64 " lines were dropped: the log did not take them",
		count);
	log_output_open(&line, LOG_LEVEL_WARNING, "log");
	if (line.is_json) {
		log_output_clip(&line, "message", text, (size_t)n, sizeof(text));
		json_out_end(&line.json, '}');
	} else {
		buffer_append(&line.buffer, text, (size_t)n);
	}
	line.text[line.buffer.length++] = '\n';
	if (!put_line(line.text, line.buffer.length))
		atomic_fetch_add(&untold, count);
}

void log_output_close(struct log_output_line *line)
{
	if (line->is_json)
		json_out_end(&line->json, '}');
	line->text[line->buffer.length++] = '\n';
	if (!line->json.error && put_line(line->text, line->buffer.length)) {
		tell_dropped();
		return;
	}
	atomic_fetch_add(&dropped, 1);
	atomic_fetch_add(&untold, 1);
}

uint64_t log_output_dropped(void)
{
	return atomic_load(&dropped);
}

void log_output_forget_dropped(void)
{
	atomic_store(&dropped, 0);
	atomic_store(&untold, 0);
}

/* What log_line says. */
static void take(enum log_level level, const char *role, const char *text)
{
	static const char *const words[] = {"error: ", "warning: ", "", ""};
	struct log_output_line line;
	char plain[1200];

	log_output_open(&line, level, role);
	if (line.is_json) {
		log_output_clip(&line, "message", text, strlen(text), MESSAGE_MOST_BYTES);
	} else {
		snprintf(plain, sizeof(plain), "vivarium %s: %s%s", role, words[level], text);
		log_clean(plain);
		buffer_append(&line.buffer, plain, strlen(plain));
	}
	log_output_close(&line);
}

/* Where there is no descriptor the next one that is opened must not be taken for it. */
static void open_nothing(void)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (fd == STDERR_FILENO) {
		fcntl(fd, F_SETFD, 0); /* programs that are started have it as well */
	} else if (fd >= 0) {
		dup2(fd, STDERR_FILENO);
		close(fd);
	}
}

/* A reader that has gone is no reason to end. */
static void block_pipe_signal(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGPIPE);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

void log_output_begin(const struct config *config)
{
	struct stat stat = {0};

	block_pipe_signal();
	if (fstat(STDERR_FILENO, &stat) < 0)
		open_nothing();
	else
		way = choose_way(&stat);
	to_journal = is_journal(&stat);
	writes_json = config->log_format == LOG_FORMAT_AUTO ? !isatty(STDERR_FILENO)
							    : config->log_format == LOG_FORMAT_JSON;
	log_direct((enum log_level)config->log_level, take);
}
