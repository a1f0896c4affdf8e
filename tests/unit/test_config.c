#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/stat.h>

#include "fcgi-app/config.h"
#include "sandbox/log.h"

#define PROGRAM "/opt/vivarium/bin/vivarium"

static char directory[64];
static char path[128];

static int make_directory(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/test_config.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/test.conf", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static void write_file(const void *text, size_t length)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

static int load(const char *text, size_t length, struct config *config, struct err *err)
{
	write_file(text, length);
	config_default(config, PROGRAM);
	return config_load(config, path, err);
}

static void expect_valid(const char *text, size_t length, struct config *config)
{
	struct err err = {0};

	if (load(text, length, config, &err))
		fail_msg("refused: %s", err.text);
	assert_int_equal(err.code, 0);
}

static void expect_refused(const char *text, size_t length, const char *why)
{
	struct config config;
	struct err err = {0};

	if (load(text, length, &config, &err) != -EINVAL)
		fail_msg("not refused: %s", text);
	assert_int_equal(err.code, EINVAL);
	unit_assert_contains(err.text, why);
	unit_assert_contains(err.text, path);
	assert_int_equal(load(text, length, &config, NULL), -EINVAL);
}

static void test_defaults(void **state)
{
	struct config config;
	struct err err;

	(void)state;
	memset(&config, 0xA5, sizeof(config));
	config_default(&config, PROGRAM);
	assert_string_equal(config.runtime_dir, "/run/vivarium");
	assert_string_equal(config.template_program, "/opt/vivarium/bin/vivarium-template");
	assert_string_equal(config.socket_group, "");
	assert_string_equal(config.cgroup, "auto");
	assert_int_equal(config.workers, 0);
	assert_int_equal(config.queue, 1024);
	assert_int_equal(config.queue_timeout_ms, 10000);
	assert_int_equal(config.default_timeout_ms, 15000);
	assert_int_equal(config.max_timeout_ms, 300000);
	assert_int_equal(config.default_memory_mib, 512);
	assert_int_equal(config.max_memory_mib, 2048);
	assert_int_equal(config.cell_age_ms, 3600000);
	assert_int_equal(config_check(&config, &err), 0);
}

static void test_program_beside(void **state)
{
	static const char *const programs[][2] = {
		{"vivarium", "./vivarium-template"},
		{"./vivarium", "./vivarium-template"},
		{"build/release/vivarium", "build/release/vivarium-template"},
		{"", "./vivarium-template"},
	};
	struct config config;
	char long_program[800];

	(void)state;
	for (size_t i = 0; i < COUNT(programs); i++) {
		config_default(&config, programs[i][0]);
		assert_string_equal(config.template_program, programs[i][1]);
	}
	/* one that does not fit becomes none, not another path */
	memset(long_program, 'd', sizeof(long_program));
	long_program[0] = '/';
	for (size_t length = 480; length < 700; length += 7) {
		snprintf(long_program + length, 10, "/vivarium");
		config_default(&config, long_program);
		if (length + strlen("/vivarium-template") < CONFIG_TEXT_BYTES)
			assert_int_equal(strlen(config.template_program),
				length + strlen("/vivarium-template"));
		else
			assert_string_equal(config.template_program, "");
		memset(long_program + length, 'd', 10);
	}
}

static void test_file(void **state)
{
	struct config config;

	(void)state;
	expect_valid(TEXT("# comment = 1\n"
			  "\n"
			  "workers=3\n"
			  "  \tqueue \t =\t 17 \t\r\n"
			  "runtime_dir = /some where\n"
			  "socket_group = a = b # c\n"
			  "  # workers = 9\n"
			  "max_timeout = 0.25\n"
			  "default_timeout = 0.01\n"
			  "drain_timeout = 0\n"
			  "cell_age = 1.5"),
		&config);
	assert_int_equal(config.workers, 3);
	assert_int_equal(config.queue, 17);
	assert_string_equal(config.runtime_dir, "/some where");
	assert_string_equal(config.socket_group, "a = b # c");
	assert_int_equal(config.max_timeout_ms, 250);
	assert_int_equal(config.default_timeout_ms, 10);
	assert_int_equal(config.drain_timeout_ms, 0);
	assert_int_equal(config.cell_age_ms, 1500);
	assert_int_equal(config.max_processes, 128);
	expect_valid("", 0, &config);
	expect_valid(TEXT("\n"), &config);
}

static void test_relative_paths(void **state)
{
	struct config config;
	char expected[200];

	(void)state;
	expect_valid(TEXT("runtime_dir = run\ntemplate_program = /abs\n"), &config);
	snprintf(expected, sizeof(expected), "%s/run", directory);
	assert_string_equal(config.runtime_dir, expected);
	assert_string_equal(config.template_program, "/abs");
	snprintf(expected, sizeof(expected), "%s/seccomp.policy", directory);
	assert_string_equal(config.seccomp_policy, expected);
	snprintf(expected, sizeof(expected), "%s/../runner", directory);
	assert_string_equal(config.harness_dir, expected);
	expect_valid(TEXT("harness_dir = h\nseccomp_policy = ../p\n"), &config);
	snprintf(expected, sizeof(expected), "%s/h", directory);
	assert_string_equal(config.harness_dir, expected);
	snprintf(expected, sizeof(expected), "%s/../p", directory);
	assert_string_equal(config.seccomp_policy, expected);
	assert_string_equal(config.template_program, PROGRAM "-template");
}

static void test_errors_in_files(void **state)
{
	static const struct {
		const char *text;
		const char *why;
	} cases[] = {
		{"workers\n", "line 1: not \"key = value\""},
		{"\n\nworkers 3\n", "line 3: not \"key = value\""},
		{"workerz = 3", "line 1: unknown key \"workerz\""},
		{"Workers = 3", "line 1: unknown key \"Workers\""},
		{" = 3", "line 1: unknown key \"\""},
		{"=", "line 1: unknown key"},
		{"\xEF\xBB\xBFworkers = 3", "line 1: unknown key"},
		{"timeout = 3", "line 1: unknown key"},
		{"queue_timeout_ms = 3", "line 1: unknown key"},
		{"workers = 3\n#\nworkers = 3\n", "line 3: workers is there twice"},
		{"workers = 3 4", "line 1: workers takes a whole number from 0 to 64, not \"3 4\""},
		{"workers = 3 # three", "line 1: workers takes a whole number"},
		{"workers = 3x", "line 1: workers takes a whole number"},
		{"workers = 0x3", "line 1: workers takes a whole number"},
		{"workers = 3.0", "line 1: workers takes a whole number"},
		{"workers = -1", "line 1: workers takes a whole number"},
		{"workers = +1", "line 1: workers takes a whole number"},
		{"workers =", "line 1: workers takes a whole number"},
		{"workers = three", "line 1: workers takes a whole number"},
		{"workers = 65", "line 1: workers takes a whole number"},
		{"workers = 18446744073709551616", "line 1: workers takes a whole number"},
		{"workers = 18446744073709551619", "line 1: workers takes a whole number"},
		{"cells_per_worker = 0", "from 1 to 64"},
		{"queue_timeout = 0", "line 1: queue_timeout takes seconds from 0.001 to 600"},
		{"queue_timeout = 600.001", "takes seconds"},
		{"queue_timeout = 1s", "takes seconds"},
		{"queue_timeout = nan", "takes seconds"},
		{"queue_timeout = inf", "takes seconds"},
		{"queue_timeout = -1", "takes seconds"},
		{"queue_timeout = .5", "takes seconds"},
		{"queue_timeout = 1,5", "takes seconds"},
		{"queue_timeout = 0x1p3", "takes seconds"},
		{"queue_timeout = 0X10", "takes seconds"},
		{"queue_timeout = 1e999", "takes seconds"},
		{"cell_age = 4294967.296", "takes seconds from 1 to 4294967.295, not"},
		{"cors_origins = https://a.example/", "not \"https://a.example/\""},
		{"trusted_proxies = 10.0.0.1/8", "bits of \"10.0.0.1/8\" are set beyond its prefix"},
		{"metrics_allow = localhost", "metrics_allow takes addresses and networks"},
		{"rate_limit = 10", "rate_limit takes a number from 1 to 100000 and /s or /m"},
		{"tls_certificate = a;b", "\";b\" in a path cannot"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		expect_refused(cases[i].text, strlen(cases[i].text), cases[i].why);
}

/* Each number at both ends of its range, as the delivered file has them. */
static void test_ranges(void **state)
{
	static const struct {
		const char *key, *least, *most, *below, *above;
	} rows[] = {
		{"workers", "0", "64", "-1", "65"},
		{"cells_per_worker", "1", "64", "0", "65"},
		{"queue", "0", "16384", "-1", "16385"},
		{"queue_timeout", "0.001", "600", "0", "600.001"},
		{"default_timeout", "0.01", "3600", "0.009", "3600.001"},
		{"max_timeout", "0.01", "3600", "0.009", "3600.001"},
		{"drain_timeout", "0", "3600", "-0.001", "3600.001"},
		{"default_memory", "16", "1048576", "15", "1048577"},
		{"max_memory", "16", "1048576", "15", "1048577"},
		{"max_processes", "1", "4096", "0", "4097"},
		{"max_open_files", "16", "900", "15", "901"},
		{"max_file", "1", "1048576", "0", "1048577"},
		{"stack", "1", "1024", "0", "1025"},
		{"tmp_size", "1", "1048576", "0", "1048577"},
		{"tmp_inodes", "16", "1048576", "15", "1048577"},
		{"cell_executions", "1", "4294967295", "0", "4294967296"},
		{"cell_age", "1", "4294967.295", "0.999", "4294967.296"},
		{"template_trees", "0", "16", "-1", "17"},
		{"template_max_forks", "0", "4294967295", "-1", "4294967296"},
		{"template_max_age", "0", "4294967.295", "-0.001", "4294967.296"},
		{"template_quick_age", "0", "4294967.295", "-0.001", "4294967.296"},
		{"tls_redirect_port", "0", "65535", "-1", "65536"},
		{"tls_hsts", "0", "63072000", "-1", "63072001"},
		{"rate_limit", "1/m", "100000/s", "0/s", "100001/m"},
		{"rate_limit_burst", "0", "100000", "-1", "100001"},
		{"connections_per_address", "0", "65535", "-1", "65536"},
	};
	struct config config;
	char text[80];

	(void)state;
	config_default(&config, PROGRAM);
	for (size_t i = 0; i < COUNT(rows); i++) {
		snprintf(text, sizeof(text), "%s=%s", rows[i].key, rows[i].least);
		assert_int_equal(config_set(&config, text, NULL), 0);
		snprintf(text, sizeof(text), "%s=%s", rows[i].key, rows[i].most);
		assert_int_equal(config_set(&config, text, NULL), 0);
		snprintf(text, sizeof(text), "%s=%s", rows[i].key, rows[i].below);
		assert_int_equal(config_set(&config, text, NULL), -EINVAL);
		snprintf(text, sizeof(text), "%s=%s", rows[i].key, rows[i].above);
		assert_int_equal(config_set(&config, text, NULL), -EINVAL);
	}
}

static void test_long_lines_and_nul(void **state)
{
	char text[3000];
	struct config config;

	(void)state;
	memset(text, '#', sizeof(text));
	text[1023] = '\n';
	expect_valid(text, 1024, &config);
	expect_valid(text, 1023, &config);
	text[1023] = '#';
	expect_refused(text, 1024, "line 1: too long");
	text[1024] = '\n';
	expect_refused(text, 1025, "line 1: too long");
	expect_refused(text, sizeof(text), "line 1: too long");
	expect_refused(TEXT("workers = 3\0 and more"), "line 1: too long, or with a NUL");
	expect_refused(TEXT("#\nworkers = 3\0\n"), "line 2: too long, or with a NUL");
}

static void test_long_values(void **state)
{
	struct config config;
	char text[900] = "socket_group = ";
	size_t start = strlen(text);

	(void)state;
	memset(text + start, 'g', sizeof(text) - start);
	expect_valid(text, start + CONFIG_TEXT_BYTES - 1, &config);
	assert_int_equal(strlen(config.socket_group), CONFIG_TEXT_BYTES - 1);
	expect_refused(text, start + CONFIG_TEXT_BYTES, "socket_group is longer than 511 bytes");
	memcpy(text, "runtime_dir =  ", start);
	expect_refused(text, start + CONFIG_TEXT_BYTES - 1, "runtime_dir is longer");
}

/* A path that does not fit is an error, also one that nobody wrote; it is never cut short. */
static void test_deep_directory(void **state)
{
	char deep[1000], step[210];
	struct config config;
	struct err err;
	size_t depth;

	(void)state;
	memset(step, 'd', sizeof(step));
	snprintf(step + 200, 10, "/");
	snprintf(deep, sizeof(deep), "%s/", directory);
	for (depth = 0; depth < 3; depth++) {
		strncat(deep, step, sizeof(deep) - strlen(deep) - 1);
		assert_int_equal(mkdir(deep, 0700), 0);
	}
	strncat(deep, "c", sizeof(deep) - strlen(deep) - 1);
	fclose(fopen(deep, "we"));
	config_default(&config, PROGRAM);
	assert_int_equal(config_load(&config, deep, &err), -EINVAL);
	unit_assert_contains(err.text, "is longer than 511 bytes");
	unlink(deep);
	while (depth--) {
		*strrchr(deep, '/') = '\0';
		assert_int_equal(rmdir(deep), 0);
	}
}

static void test_files_that_cannot_be_read(void **state)
{
	struct config config;
	struct err err = {0};

	(void)state;
	config_default(&config, PROGRAM);
	assert_int_equal(config_load(&config, "/nonexistent/vivarium.conf", &err), -ENOENT);
	unit_assert_contains(err.text, "/nonexistent/vivarium.conf");
	assert_int_equal(config_load(&config, directory, &err), -EISDIR);
	unit_assert_contains(err.text, directory);
}

static void test_set(void **state)
{
	static const char *const wrong[] = {"", "=", "workers", "workers =3", " workers=3",
		"workers= 3", "workers=", "workerz=3", "workers=3\n", "WORKERS=3",
		"a_key_that_is_a_good_deal_longer_than_any_key_of_the_configuration_is=3"};
	struct config config;
	struct err err = {0};

	(void)state;
	config_default(&config, PROGRAM);
	assert_int_equal(config_set(&config, "workers=5", &err), 0);
	assert_int_equal(config.workers, 5);
	assert_int_equal(config_set(&config, "workers=6", &err), 0);
	assert_int_equal(config.workers, 6);
	assert_int_equal(config_set(&config, "runtime_dir=rel/ative", &err), 0);
	assert_string_equal(config.runtime_dir, "rel/ative");
	assert_int_equal(config_set(&config, "socket_group=", &err), 0);
	assert_int_equal(config_set(&config, "socket_group=a=b", &err), 0);
	assert_string_equal(config.socket_group, "a=b");
	assert_int_equal(err.code, 0);
	for (size_t i = 0; i < COUNT(wrong); i++) {
		assert_int_equal(config_set(&config, wrong[i], &err), -EINVAL);
		assert_int_equal(err.code, EINVAL);
		assert_int_equal(config_set(&config, wrong[i], NULL), -EINVAL);
	}
}

static void test_contradictions(void **state)
{
	struct config config;
	struct err err;

	(void)state;
	expect_valid(TEXT("max_timeout = 5\ndefault_timeout = 5.001\n"), &config);
	assert_int_equal(config_check(&config, &err), -EINVAL);
	unit_assert_contains(err.text, "default_timeout");
	expect_valid(TEXT("max_timeout = 5\ndefault_timeout = 5\n"), &config);
	assert_int_equal(config_check(&config, &err), 0);
	expect_valid(TEXT("max_memory = 511\n"), &config);
	assert_int_equal(config_check(&config, &err), -EINVAL);
	unit_assert_contains(err.text, "default_memory");
	expect_valid(TEXT("cgroup = required\n"), &config);
	assert_int_equal(config_check(&config, &err), 0);
	expect_valid(TEXT("tls_certificate = a.pem\n"), &config);
	assert_int_equal(config_check(&config, &err), -EINVAL);
	unit_assert_contains(err.text, "tls_certificate and tls_certificate_key go together");
	expect_valid(TEXT("tls_redirect_port = 80\n"), &config);
	assert_int_equal(config_check(&config, &err), -EINVAL);
	unit_assert_contains(err.text, "tls_redirect_port needs a tls_certificate");
	expect_valid(TEXT("tls_hsts = 1\n"), &config);
	assert_int_equal(config_check(&config, &err), -EINVAL);
	unit_assert_contains(err.text, "tls_hsts needs a tls_certificate");
	expect_valid(TEXT("tls_certificate = a.pem\ntls_certificate_key = /b.key\n"
			  "tls_redirect_port = 80\ntls_hsts = 1\n"),
		&config);
	assert_int_equal(config_check(&config, &err), 0);
	expect_valid(TEXT("cgroup = v2\n"), &config);
	assert_int_equal(config_check(&config, &err), -EINVAL);
	unit_assert_contains(err.text, "cgroup is auto, required or off, not \"v2\"");
}

static void expect_round_trip(const struct config *config)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	struct config again;

	assert_non_null(out);
	config_print(config, out);
	assert_int_equal(fclose(out), 0);
	expect_valid(text, length, &again);
	assert_memory_equal(&again, config, sizeof(again));
	free(text);
}

static void test_print_can_be_loaded(void **state)
{
	static const char *const sets[] = {"cell_age=4294967.295", "cell_age=1234.567",
		"queue_timeout=0.001", "max_timeout=3599.999", "default_timeout=0.01",
		"drain_timeout=0", "cell_executions=4294967295", "tmp_size=1048576",
		"socket_group=a # b = c", "library_sets=base"};
	struct config config;

	(void)state;
	expect_valid("", 0, &config);
	expect_round_trip(&config);
	for (size_t i = 0; i < COUNT(sets); i++) {
		assert_int_equal(config_set(&config, sets[i], NULL), 0);
		expect_round_trip(&config);
	}
}

/* Milliseconds go in and come out the same, whatever a double makes of them. */
static void test_every_millisecond(void **state)
{
	struct config config;
	char text[64];

	(void)state;
	config_default(&config, PROGRAM);
	for (unsigned ms = 1; ms <= 600000; ms += ms < 20000 ? 1 : 997) {
		snprintf(text, sizeof(text), "queue_timeout=%u.%03u", ms / 1000, ms % 1000);
		assert_int_equal(config_set(&config, text, NULL), 0);
		assert_int_equal(config.queue_timeout_ms, ms);
	}
}

/* The file that is delivered changes nothing, and what it shows behind "#" are the defaults. */
static void test_own_file(void **state)
{
	struct config config, shown;
	FILE *file = fopen("conf/vivarium.conf", "re");
	char line[1024], key[64];
	struct err err = {0};

	(void)state;
	assert_non_null(file);
	config_default(&config, PROGRAM);
	assert_int_equal(config_load(&config, "conf/vivarium.conf", &err), 0);
	shown = config;
	while (fgets(line, sizeof(line), file)) {
		char *equals = strstr(line, " =");

		if (*line != '#' || line[1] == ' ' || !equals)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(key, sizeof(key), "%.*s", (int)(equals - line - 1), line + 1);
		if (!equals[2] || strstr(key, "_dir") || strstr(key, "_policy") ||
			strstr(key, "_catalogue"))
			continue;
		memmove(equals, equals + 1, strlen(equals));
		memmove(equals + 1, equals + 2, strlen(equals + 1));
		if (config_set(&shown, line + 1, &err))
			fail_msg("%s", err.text);
	}
	fclose(file);
	assert_memory_equal(&shown, &config, sizeof(config));
}

static void test_import_lists(void **state)
{
	static const char *const right[] = {
		"", "os", "os subprocess", "os.path\t_x9.y  Z", "  socket  "};
	static const char *const wrong[] = {"os,subprocess", "os.", ".os", "os..path", "9p", "os.9p",
		"os -", "*", "caf\xC3\xA9", "os \"sys\""};
	struct config config;
	struct err err;
	char text[600];

	(void)state;
	config_default(&config, PROGRAM);
	assert_string_equal(config.import_denylist, "");
	assert_string_equal(config.import_allowlist, "");
	for (size_t i = 0; i < COUNT(right); i++) {
		snprintf(text, sizeof(text), "import_denylist=%s", right[i]);
		assert_int_equal(config_set(&config, text, NULL), 0);
		assert_string_equal(config.import_denylist, right[i]);
	}
	for (size_t i = 0; i < COUNT(wrong); i++) {
		snprintf(text, sizeof(text), "import_allowlist=%s", wrong[i]);
		assert_int_equal(config_set(&config, text, &err), -EINVAL);
		unit_assert_contains(err.text, "import_allowlist takes names of modules");
	}
	assert_string_equal(config.import_allowlist, "");
	memset(text, 'x', sizeof(text));
	memcpy(text, "import_denylist=", strlen("import_denylist="));
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(config_set(&config, text, &err), -EINVAL);
	unit_assert_contains(err.text, "import_denylist is longer than 511 bytes");
}

static void test_isolation_is_one_of_three_words(void **state)
{
	static const char *const words[] = {"full", "available", "platform"};
	static const char *const wrong[] = {"isolation=", "isolation=Full", "isolation=0",
		"isolation=full available", "isolation=none"};
	struct config config;
	char text[64];
	size_t i;

	(void)state;
	config_default(&config, PROGRAM);
	assert_int_equal(config.isolation, ISOLATION_FULL);
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		snprintf(text, sizeof(text), "isolation=%s", words[i]);
		assert_int_equal(config_set(&config, text, NULL), 0);
		assert_int_equal(config.isolation, i);
		assert_string_equal(config_isolation_word(&config), words[i]);
	}
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(config_set(&config, wrong[i], NULL), -EINVAL);
	assert_int_equal(config.isolation, ISOLATION_PLATFORM);
}

static void test_words_of_the_log(void **state)
{
	struct config config;
	struct err err = {0};

	(void)state;
	config_default(&config, PROGRAM);
	assert_int_equal(config.log_level, LOG_LEVEL_INFO);
	assert_int_equal(config.log_format, LOG_FORMAT_AUTO);
	assert_int_equal(config.log_requests, 1);
	assert_int_equal(config.log_scripts, 0);
	assert_int_equal(config_set(&config, "log_level=debug", &err), 0);
	assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(config_set(&config, "log_format=text", &err), 0);
	assert_int_equal(config.log_format, LOG_FORMAT_TEXT);
	assert_int_equal(config_set(&config, "log_scripts=on", &err), 0);
	assert_int_equal(config.log_scripts, 1);
	assert_int_equal(config_set(&config, "log_level=notice", &err), -EINVAL);
	unit_assert_contains(err.text,
		"log_level is error, warning, info or debug, not \"notice\"");
	assert_int_equal(config_set(&config, "log_scripts=1", &err), -EINVAL);
	unit_assert_contains(err.text, "log_scripts is off or on, not \"1\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_isolation_is_one_of_three_words),
		cmocka_unit_test(test_import_lists),
		cmocka_unit_test(test_words_of_the_log),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_program_beside),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_relative_paths),
		cmocka_unit_test(test_errors_in_files),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_long_lines_and_nul),
		cmocka_unit_test(test_long_values),
		cmocka_unit_test(test_deep_directory),
		cmocka_unit_test(test_files_that_cannot_be_read),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_print_can_be_loaded),
		cmocka_unit_test(test_every_millisecond),
		cmocka_unit_test(test_own_file),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
