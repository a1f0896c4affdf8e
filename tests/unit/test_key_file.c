#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "fcgi-app/key_digest.h"
#include "fcgi-app/key_file.h"
#include "fcgi-app/key_line.h"

#define ZEROES "0000000000000000000000000000000000000000000000000000000000000000"
#define DIGEST "sha256:" ZEROES

/* FIPS 180-2, appendix B.1 */
static void test_digest(void **state)
{
	static const uint8_t abc[KEY_DIGEST_BYTES] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf,
		0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96,
		0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
	uint8_t digest[KEY_DIGEST_BYTES];

	(void)state;
	key_digest("abc", 3, digest);
	assert_true(key_digest_is_same(digest, abc));
	for (size_t i = 0; i < KEY_DIGEST_BYTES; i++) {
		digest[i] ^= 1;
		assert_false(key_digest_is_same(digest, abc));
		digest[i] ^= 1;
	}
}

static int parse_line(const char *line, struct key *key, struct err *err)
{
	char *copy = unit_copy(line, strlen(line));
	int r = key_line_parse(copy, strlen(line), key, err);

	free(copy);
	return r;
}

static void test_line(void **state)
{
	struct key key;
	struct err err = {0};

	(void)state;
	assert_int_equal(
		parse_line("  my.key-1_x\tsha256:00ff" /* 60 more */
			   "000000000000000000000000000000000000000000000000000000000000 "
			   "created=2026-11-21 expires=2027-01-31T12:00:01Z rate=60/m burst=5 "
			   "concurrent=2 max_timeout=2.5 max_memory=64\r",
			&key, &err),
		1);
	assert_string_equal(key.name, "my.key-1_x");
	assert_int_equal(key.digest[0], 0);
	assert_int_equal(key.digest[1], 0xff);
	assert_int_equal(key.created_s, 1795219200);
	assert_int_equal(key.expires_s, 1801396801);
	assert_int_equal(key.rate, 60);
	assert_int_equal(key.rate_period_s, 60);
	assert_int_equal(key.burst, 5);
	assert_int_equal(key.concurrent, 2);
	assert_int_equal(key.max_timeout_ms, 2500);
	assert_int_equal(key.max_memory_mib, 64);
}

static void test_lines_without_a_key(void **state)
{
	static const char *const lines[] = {"", " ", "\t\r", "#", "  # name sha256:"};
	struct key key;

	(void)state;
	for (size_t i = 0; i < COUNT(lines); i++)
		assert_int_equal(parse_line(lines[i], &key, NULL), 0);
}

static void test_bad_lines(void **state)
{
	static const struct {
		const char *line, *reason;
	} rows[] = {
		{"name", "the second word"},
		{"name " ZEROES, "the second word"},
		{"name sha256:" ZEROES "0", "the second word"},
		{"name sha256:0", "the second word"},
		{"name sha256:X" ZEROES, "the second word"},
		{"name SHA256:" ZEROES, "the second word"},
		{"name sha512:" ZEROES, "the second word"},
		{"-name " DIGEST, "the first word"},
		{".name " DIGEST, "the first word"},
		{"na/me " DIGEST, "the first word"},
		{"na\xc3\xbcme " DIGEST, "the first word"},
		{ZEROES " " DIGEST, "the first word"}, /* 64 bytes */
		{"a " DIGEST " more", "word 3 is no setting"},
		{"a " DIGEST " rate=1/s more", "word 4 is no setting"},
		{"a " DIGEST " =1", "word 3 is no setting"},
		{"a " DIGEST " Rate=1/s", "word 3 is no setting"},
		{"a " DIGEST " rates=1/s", "word 3 is no setting"},
		{"a " DIGEST " rate=1/s rate=1/s", "rate is there twice"},
		{"a " DIGEST " rate=", "rate takes"},
		{"a " DIGEST " rate=1", "rate takes"},
		{"a " DIGEST " rate=0/s", "rate takes"},
		{"a " DIGEST " rate=1/d", "rate takes"},
		{"a " DIGEST " rate=1/ss", "rate takes"},
		{"a " DIGEST " rate=-1/s", "rate takes"},
		{"a " DIGEST " rate=1000001/s", "rate takes"},
		{"a " DIGEST " rate=99999999999999999999999/s", "rate takes"},
		{"a " DIGEST " burst=1", "burst is for a key with a rate"},
		{"a " DIGEST " rate=1/s burst=0", "burst takes"},
		{"a " DIGEST " concurrent=0", "concurrent takes"},
		{"a " DIGEST " concurrent=1.5", "concurrent takes"},
		{"a " DIGEST " expires=", "expires takes"},
		{"a " DIGEST " expires=soon", "expires takes"},
		{"a " DIGEST " expires=2027-02-30", "expires takes"},
		{"a " DIGEST " expires=2027-1-5", "expires takes"},
		{"a " DIGEST " expires=2027-01-05T25:00:00Z", "expires takes"},
		{"a " DIGEST " expires=2027-01-05T00:00:00", "expires takes"},
		{"a " DIGEST " expires=2027-01-05T00:00:00Zx", "expires takes"},
		{"a " DIGEST " expires=1969-12-31", "expires takes"},
		{"a " DIGEST " max_timeout=0", "max_timeout takes"},
		{"a " DIGEST " max_timeout=nan", "max_timeout takes"},
		{"a " DIGEST " max_timeout=0x10", "max_timeout takes"},
		{"a " DIGEST " max_timeout=3601", "max_timeout takes"},
		{"a " DIGEST " max_memory=8", "max_memory takes"},
	};
	struct err err;
	struct key key;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		err = (struct err){0};
		if (parse_line(rows[i].line, &key, &err) != -EINVAL)
			fail_msg("taken: %s", rows[i].line);
		unit_assert_contains(err.text, rows[i].reason);
		assert_null(strstr(err.text, ZEROES));
	}
}

static void test_long_lines(void **state)
{
	char line[KEY_LINE_BYTES + 1];
	struct key key;

	(void)state;
	memset(line, ' ', sizeof(line));
	memcpy(line, "a " DIGEST, strlen("a " DIGEST));
	assert_int_equal(key_line_parse(line, KEY_LINE_BYTES - 1, &key, NULL), 1);
	assert_int_equal(key_line_parse(line, KEY_LINE_BYTES, &key, NULL), -EINVAL);
	line[100] = '\0';
	assert_int_equal(key_line_parse(line, 200, &key, NULL), -EINVAL);
	line[0] = '#';
	assert_int_equal(key_line_parse(line, KEY_LINE_BYTES, &key, NULL), 0);
}

/* What is printed reads as the same key, at its longest, too. */
static void test_print(void **state)
{
	static const char *const settings[][2] = {{"created", "2026-11-21T06:30:00Z"},
		{"expires", "9999-12-31T23:59:59Z"}, {"rate", "1000000/h"}, {"burst", "1000000"},
		{"concurrent", "1000000"}, {"max_timeout", "3599.999"}, {"max_memory", "1048576"}};
	char line[KEY_LINE_BYTES], text[KEY_TIME_BYTES];
	struct key key = {0}, again;

	(void)state;
	memset(key.name, 'n', KEY_NAME_BYTES - 1);
	memset(key.digest, 0xfe, sizeof(key.digest));
	for (size_t i = 0; i < COUNT(settings); i++) {
		key_print(&key, settings[i][0], text);
		assert_string_equal(text, "-");
		key_line_print(&key, line);
		assert_int_equal(key_set(&key, settings[i][0], settings[i][1], NULL), 0);
		key_print(&key, settings[i][0], text);
		assert_string_equal(text, settings[i][1]);
	}
	key_line_print(&key, line);
	assert_int_equal(parse_line(line, &again, NULL), 1);
	assert_memory_equal(&again, &key, sizeof(key));
}

static void test_text(void **state)
{
	static const char text[] =
		"# keys\n\na " DIGEST "\n"
		"b sha256:1111111111111111111111111111111111111111111111111111111111111111";
	struct key_list list, again;
	int table;

	(void)state;
	assert_int_equal(key_file_parse(text, strlen(text), &list, NULL), 0);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.keys[0].name, "a");
	assert_string_equal(list.keys[1].name, "b");
	table = key_list_seal(&list);
	assert_true(table >= 0);
	assert_int_equal(write(table, "x", 1), -1);
	assert_int_equal(ftruncate(table, 0), -1);
	assert_int_equal(key_list_unseal(table, 2, &again), 0);
	assert_memory_equal(again.keys, list.keys, 2 * sizeof(list.keys[0]));
	key_list_free(&again);
	key_list_free(&list);
	close(table);
}

static void test_no_keys(void **state)
{
	struct key_list list;
	int table;

	(void)state;
	assert_int_equal(key_file_parse("", 0, &list, NULL), 0);
	assert_int_equal(list.count, 0);
	table = key_list_seal(&list);
	assert_int_equal(key_list_unseal(table, 0, &list), 0);
	close(table);
}

static void test_twice(void **state)
{
	static const char name[] = "a " DIGEST "\n#\na sha256:1" ZEROES;
	static const char digest[] = "a " DIGEST "\nb " DIGEST "\n";
	struct key_list list;
	struct err err = {0};

	(void)state;
	assert_int_equal(key_file_parse(digest, strlen(digest), &list, &err), -EINVAL);
	unit_assert_contains(err.text, "line 2: a digest that an earlier line has");
	assert_null(list.keys);
	assert_int_equal(key_file_parse(name, strlen(name) - 1, &list, &err), -EINVAL);
	unit_assert_contains(err.text, "line 3: a name that an earlier line has");
}

static void test_too_many(void **state)
{
	char *text = malloc((KEYS_MAX + 1) * 80), *end = text;
	struct key_list list;
	struct err err = {0};

	(void)state;
	for (unsigned i = 0; i <= KEYS_MAX; i++)
		end += sprintf(end, "n%u sha256:%064x\n", i, i);
	assert_int_equal(key_file_parse(text, (size_t)(end - text), &list, &err), -E2BIG);
	unit_assert_contains(err.text, "line 4097: more than 4096 keys");
	free(text);
}

static void test_files(void **state)
{
	char path[] = "/tmp/test-key-file-XXXXXX", pipe_path[64];
	int fd = mkstemp(path);
	struct key_list list;
	struct err err = {0};

	(void)state;
	assert_int_equal(write(fd, TEXT("a " DIGEST "\n")), sizeof("a " DIGEST));
	close(fd);
	assert_int_equal(key_file_read(path, NULL, &list, NULL), 0);
	assert_int_equal(list.count, 1);
	key_list_free(&list);
	assert_int_equal(chmod(path, 0602), 0);
	assert_int_equal(key_file_read(path, NULL, &list, &err), -EPERM);
	unit_assert_contains(err.text, path);
	unlink(path);
	assert_int_equal(key_file_read(path, NULL, &list, &err), -ENOENT);
	assert_int_equal(key_file_read("/tmp", NULL, &list, &err), -EINVAL);
	snprintf(pipe_path, sizeof(pipe_path), "%s.pipe", path);
	assert_int_equal(mkfifo(pipe_path, 0600), 0);
	assert_int_equal(key_file_read(pipe_path, NULL, &list, &err), -EINVAL);
	unlink(pipe_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_lines_without_a_key),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_no_keys),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests_name("key_file", tests, NULL, NULL);
}
