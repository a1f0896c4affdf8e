/* Loads arbitrary text as a configuration; what is taken must print as a file that says the same.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fcgi-app/config.h"

static int load(const void *text, size_t length, struct config *config, struct err *err)
{
	char path[32];
	int r, fd = memfd_create("config", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, length) == (ssize_t)length);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config_default(config, "/bin/vivarium");
	r = config_load(config, path, err);
	close(fd);
	return r;
}

static char *print(const struct config *config, size_t *length)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, length);

	CHECK(out);
	config_print(config, out);
	CHECK(fclose(out) == 0 && text);
	return text;
}

static void check_round_trip(const struct config *config)
{
	struct config again;
	struct err err = {0};
	size_t length, again_length;
	char *text = print(config, &length), *again_text;

	CHECK(load(text, length, &again, &err) == 0);
	again_text = print(&again, &again_length);
	CHECK(again_length == length && memcmp(again_text, text, length) == 0);
	CHECK(again.cell_age_ms == config->cell_age_ms &&
		again.max_timeout_ms == config->max_timeout_ms);
	free(text);
	free(again_text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config;
	struct err err = {0};
	int r = load(data, size, &config, &err);

	CHECK(r == 0 || r == -EINVAL);
	CHECK(r ? err.code == EINVAL && strstr(err.text, " line ") : !err.code);
	CHECK(memchr(err.text, '\0', sizeof(err.text)));
	if (!r)
		check_round_trip(&config);
	return 0;
}
