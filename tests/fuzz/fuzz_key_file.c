/* Reads arbitrary text as a key file; the keys that are taken must print as lines that say the
 * same. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "fcgi-app/key_file.h"
#include "fcgi-app/key_line.h"

static void check_key(const struct key *key)
{
	char line[KEY_LINE_BYTES];
	struct key again;

	CHECK(key_name_is_valid(key->name));
	key_line_print(key, line);
	CHECK(key_line_parse(line, strlen(line), &again, NULL) == 1);
	CHECK(memcmp(&again, key, sizeof(again)) == 0);
}

/* A key that somebody put into the file by mistake is not in the reason. */
static void check_reason(const struct err *err, const uint8_t *data, size_t size)
{
	static const char viv[] = "viv_";
	const char *found = size ? memmem(data, size, viv, strlen(viv)) : NULL;

	CHECK(err->code && memchr(err->text, '\0', sizeof(err->text)));
	CHECK(strncmp(err->text, "line ", 5) == 0);
	CHECK(!found || !strstr(err->text, viv));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct key_list list;
	struct err err = {0};
	int r = key_file_parse((const char *)data, size, &list, &err);

	CHECK(r == 0 || r == -EINVAL || r == -E2BIG);
	if (r)
		check_reason(&err, data, size);
	CHECK(!r || !list.keys);
	for (size_t i = 0; i < list.count; i++)
		check_key(&list.keys[i]);
	key_list_free(&list);
	return 0;
}
