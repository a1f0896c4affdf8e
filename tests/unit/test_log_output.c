#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fcgi-app/log_output.h"
#include "sandbox/json_scan.h"

/* The descriptors that stand in for standard error, and where it was. */
static int saved, reader;
static struct config config;

static int keep_stderr(void **state)
{
	(void)state;
	saved = dup(STDERR_FILENO);
	config_default(&config, "vivarium");
	unsetenv("JOURNAL_STREAM");
	return saved < 0;
}

static void begin_at(int fd, const char *format)
{
	char text[64];

	snprintf(text, sizeof(text), "log_format=%s", format);
	assert_int_equal(config_set(&config, text, NULL), 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	close(fd);
	log_output_begin(&config);
}

static void begin_at_pipe(const char *format)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	reader = ends[0];
	/* as it comes: one that waits */
	assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
	begin_at(ends[1], format);
}

/* What was written since, as a string. */
static const char *seen(void)
{
	static char text[1 << 17];
	size_t used = 0;
	ssize_t n;

	while ((n = read(reader, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	return text;
}

static void end(void)
{
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	close(reader);
	reader = -1;
}

static void assert_json(const char *line)
{
	const struct json_scan_options options = {
		.max_bytes = LOG_LINE_BYTES, .max_depth = 1, .ascii_only = true};
	struct json_scan_result result;

	assert_int_equal(json_scan(line, strlen(line), &options, NULL, NULL, &result), 0);
}

static void test_json_line(void **state)
{
	const char *text;

	(void)state;
	begin_at_pipe("json");
	log_warning("master", "cell %d \"is\" down\n{\x1b[31m\xff\xc3\xa9", 3);
	text = seen();
	end();
	assert_json(text);
	assert_int_equal(strncmp(text, "{\"time\": \"20", 12), 0);
	assert_string_equal(strstr(text, ", \"level\""),
		", \"level\": \"warning\", \"role\": \"master\", \"message\": "
		"\"cell 3 \\\"is\\\" down\\n{\\u001b[31m\\ufffd\\u00e9\"}\n");
}

static void test_text_line(void **state)
{
	const char *text;

	(void)state;
	begin_at_pipe("text");
	log_warning("master", "a\nvivarium master: forged\x1b[2J\xc2\x9b");
	log_info("master", "b");
	text = seen();
	end();
	assert_string_equal(strchr(text, 'Z') + 1,
		strstr(text, " vivarium master: warning: a?vivarium master: forged?[2J??\n"));
	assert_non_null(strstr(text, "Z vivarium master: b\n"));
}

static void test_levels(void **state)
{
	(void)state;
	assert_int_equal(config_set(&config, "log_level=warning", NULL), 0);
	begin_at_pipe("text");
	assert_true(log_takes(LOG_LEVEL_ERROR));
	assert_true(log_takes(LOG_LEVEL_WARNING));
	assert_false(log_takes(LOG_LEVEL_INFO));
	log_info("master", "not");
	log_debug("master", "not");
	assert_string_equal(seen(), "");
	log_error("master", "this");
	assert_non_null(strstr(seen(), "error: this\n"));
	end();
	assert_int_equal(config_set(&config, "log_level=info", NULL), 0);
}

/* Whatever a message holds, its line is one, and valid. */
static void test_any_message(void **state)
{
	uint64_t seed = 1;
	char message[1200];
	const char *text;
	size_t i, round;

	(void)state;
	begin_at_pipe("json");
	for (round = 0; round < 500; round++) {
		for (i = 0; i < sizeof(message) - 1; i++)
			message[i] = (char)(1 + unit_random(&seed) % 255);
		message[round % sizeof(message)] = '\0';
		message[sizeof(message) - 1] = '\0';
		log_info("master", "%s", message);
		text = seen();
		assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
		assert_json(text);
	}
	end();
	assert_int_equal(log_output_dropped(), 0);
}

/* Nobody reads: nothing waits, lines stay whole, and what was lost is told. */
static void test_full_pipe(void **state)
{
	uint64_t before = log_output_dropped(), lost;
	char expected[64];
	const char *text;
	size_t i;

	(void)state;
	begin_at_pipe("json");
	for (i = 0; i < 2000; i++)
		log_info("master", "%0*zu", 500, i);
	lost = log_output_dropped() - before;
	assert_in_range(lost, 1500, 1999);
	text = seen();
	assert_int_equal(text[strlen(text) - 1], '\n');
	log_info("master", "again");
	snprintf(expected, sizeof(expected), "\"%d lines were dropped: the log", (int)lost);
	text = seen();
	assert_non_null(strstr(text, "again"));
	unit_assert_contains(text, expected);
	log_info("master", "once");
	assert_null(strstr(seen(), "dropped"));
	end();
}

static void test_closed_pipe(void **state)
{
	uint64_t before = log_output_dropped();

	(void)state;
	begin_at_pipe("json");
	close(reader);
	log_info("master", "to nobody");
	assert_int_equal(log_output_dropped() - before, 1);
	end();
}

static void test_no_descriptor(void **state)
{
	int fd;

	(void)state;
	close(STDERR_FILENO);
	log_output_begin(&config);
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_true(fd > STDERR_FILENO); /* it is not taken for the log */
	log_info("master", "to nobody");
	close(fd);
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
}

/* A file that is emptied while it is written begins anew, without a hole. */
static void test_emptied_file(void **state)
{
	char path[] = "/tmp/test_log_output.XXXXXX";
	int fd = mkstemp(path);
	struct stat stat_of;

	(void)state;
	begin_at(fd, "text");
	log_info("master", "%0500d", 1);
	assert_int_equal(truncate(path, 0), 0);
	log_info("master", "after");
	assert_int_equal(stat(path, &stat_of), 0);
	assert_in_range(stat_of.st_size, 20, 60);
	unlink(path);
	reader = -1;
	end();
}

/* The journal is told how grave a line is; any other socket is not. */
static void test_journal(void **state)
{
	char stream[64];
	struct stat stat_of;
	int pair[2];
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		assert_int_equal(fstat(pair[1], &stat_of), 0);
		snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)stat_of.st_dev,
			(unsigned long long)stat_of.st_ino + i);
		setenv("JOURNAL_STREAM", stream, 1);
		reader = pair[0];
		assert_int_equal(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
		begin_at(pair[1], "json");
		log_warning("master", "a");
		log_info("master", "b");
		if (i == 0) {
			const char *text = seen();

			assert_int_equal(strncmp(text, "<4>{\"time\"", 10), 0);
			assert_int_equal(strncmp(strchr(text, '\n'), "\n<6>{\"time\"", 11), 0);
		} else {
			assert_int_equal(strncmp(seen(), "{\"time\"", 7), 0);
		}
		end();
	}
	unsetenv("JOURNAL_STREAM");
}

/* A socket that nobody reads is not waited for either. */
static void test_full_socket(void **state)
{
	uint64_t before = log_output_dropped();
	int pair[2];
	size_t i;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	reader = pair[0];
	begin_at(pair[1], "json");
	for (i = 0; i < 5000; i++)
		log_info("master", "%0900zu", i);
	assert_true(log_output_dropped() > before);
	end();
}

/* In a process that may not open the pipe again. Returns how many lines it dropped, or 99. */
static int log_to_denied_pipe(int writer)
{
	uint64_t before = log_output_dropped();
	size_t i;

	alarm(20);
	if (fchmod(writer, 0) < 0 || (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0))
		return 99;
	dup2(writer, STDERR_FILENO);
	log_output_begin(&config);
	for (i = 0; i < 20; i++)
		log_info("master", "%0900zu", i);
	return (int)(log_output_dropped() - before);
}

/* It is asked whether it has room, and is not waited for. */
static void test_pipe_of_another_user(void **state)
{
	int ends[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
	pid = fork();
	if (!pid)
		_exit(log_to_denied_pipe(ends[1]));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_in_range(WEXITSTATUS(status), 15, 19);
	assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0); /* others write there, too */
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_line),
		cmocka_unit_test(test_text_line),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_any_message),
		cmocka_unit_test(test_full_pipe),
		cmocka_unit_test(test_closed_pipe),
		cmocka_unit_test(test_no_descriptor),
		cmocka_unit_test(test_emptied_file),
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_full_socket),
		cmocka_unit_test(test_pipe_of_another_user),
	};

	return cmocka_run_group_tests_name("log_output", tests, keep_stderr, NULL);
}
