#include "fcgi-app/key_command.h"

#include "fcgi-app/key_digest.h"
#include "fcgi-app/key_edit.h"
#include "fcgi-app/key_line.h"
#include "fcgi-app/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
	SECRET_BYTES = 32,
	KEY_TEXT_BYTES = 4 + 2 * SECRET_BYTES + 1,
};

static const struct key *find(const struct key_list *list, const char *name)
{
	size_t i;

	for (i = 0; i < list->count; i++) {
		if (strcmp(list->keys[i].name, name) == 0)
			return &list->keys[i];
	}
	return NULL;
}

/* --- add ----------------------------------------------------------------------------------- */

/* "viv_", by which people and scanners of repositories know what they see, and 256 random bits. */
static int draw_key(char text[KEY_TEXT_BYTES])
{
	static const char prefix[] = "viv_";
	unsigned char secret[SECRET_BYTES];
	size_t i;

	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return -EIO;
	memcpy(text, prefix, sizeof(prefix));
	for (i = 0; i < SECRET_BYTES; i++)
		snprintf(text + strlen(prefix) + 2 * i, 3, "%02x", secret[i]);
	explicit_bzero(secret, sizeof(secret));
	return 0;
}

/* "90d", "12h" or "30m"; false where it is something else. */
static bool parse_duration(const char *text, int64_t *seconds)
{
	char *unit;
	unsigned long number = strtoul(text, &unit, 10);

	if (!isdigit((unsigned char)*text) || number < 1 || number > 1000000 || !*unit || unit[1])
		return false;
	*seconds = (int64_t)number * (*unit == 'd' ? 86400 : *unit == 'h' ? 3600 : 60);
	return strchr("dhm", *unit) != NULL;
}

static int apply(struct key *key, const struct key_setting *setting, struct err *err)
{
	bool is_expiry = strcmp(setting->name, "expires") == 0;
	int64_t seconds;

	if (is_expiry && parse_duration(setting->text, &seconds)) {
		key->expires_s = key->created_s + seconds;
		return 0;
	}
	if (key_set(key, setting->name, setting->text, NULL) == 0)
		return 0;
	return err_set_plainly(err, EINVAL, "--%s takes %s%s, not \"%.40s\"", setting->option,
		key_setting_takes(setting->name),
		is_expiry ? ", or from now on 90d, 12h or 30m" : "", setting->text);
}

/* A key by its name and the options, without a secret yet. Returns 0 or -EINVAL. */
static int make_key(
	struct key *key, const char *name, const struct options *options, struct err *err)
{
	size_t i;
	int r = 0;

	*key = (struct key){.created_s = time(NULL)};
	if (!key_name_is_valid(name))
		return err_set_plainly(err, EINVAL,
			"a name is 1 to 63 letters, digits, \".\", \"_\" and \"-\", a letter or "
			"digit first, not \"%.80s\"",
			name);
	snprintf(key->name, sizeof(key->name), "%s", name);
	for (i = 0; !r && i < options->key_setting_count; i++)
		r = apply(key, &options->key_settings[i], err);
	if (!r && key->expires_s && key->expires_s <= key->created_s)
		r = err_set_plainly(err, EINVAL, "--expires: that time has passed");
	if (!r && key->burst && !key->rate)
		r = err_set_plainly(err, EINVAL, "--burst is for a key with a --rate");
	return r;
}

/* The line may be the first after one that nobody ended. */
static int append_line(struct buffer *text, const char *line)
{
	int r = 0;

	text->cap = 0;
	if (text->length && text->data[text->length - 1] != '\n')
		r = buffer_append(text, "\n", 1);
	if (!r)
		r = buffer_append(text, line, strlen(line));
	return r < 0 ? r : buffer_append(text, "\n", 1);
}

static int add_line(const char *file, const struct key *key, struct err *err)
{
	char line[KEY_LINE_BYTES];
	struct key_edit edit;
	int r = key_edit_begin(&edit, file, true, err);

	key_line_print(key, line);
	if (!r && find(&edit.list, key->name))
		r = err_set(err, EEXIST, "a key named %s", key->name);
	if (!r && append_line(&edit.text, line) < 0)
		r = err_set(err, ENOMEM, "add a key");
	if (!r)
		r = key_edit_write(&edit, err);
	key_edit_end(&edit);
	return r;
}

static int add_drawn(const char *file, struct key *key, const char *text, struct err *err)
{
	int r;

	key_digest(text, strlen(text), key->digest);
	r = add_line(file, key, err);
	if (r < 0)
		return r;
	if (puts(text) < 0 || fflush(stdout) != 0)
		return err_set(err, errno, "%s is in the file, but show its key", key->name);
	fprintf(stderr, "%s was added. This is its key, shown this once: only a digest is kept.\n",
		key->name);
	return 0;
}

static int add_key(const char *file, struct key *key, struct err *err)
{
	char text[KEY_TEXT_BYTES];
	int r;

	if (draw_key(text) < 0)
		return err_set(err, EIO, "draw a key");
	r = add_drawn(file, key, text, err);
	explicit_bzero(text, sizeof(text));
	return r;
}

/* --- list ---------------------------------------------------------------------------------- */

static int list_keys(const char *file, struct err *err)
{
	static const char *const columns[] = {
		"created", "expires", "rate", "burst", "concurrent", "max_timeout", "max_memory"};
	static const int widths[] = {20, 20, 10, 7, 10, 11, 10};
	char text[KEY_TIME_BYTES];
	struct key_list list;
	time_t now = time(NULL);
	size_t i, j;
	int r = key_file_read(file, NULL, &list, err);

	if (r < 0)
		return r;
	printf("%-20s", "name");
	for (j = 0; j < sizeof(columns) / sizeof(columns[0]); j++)
		printf("  %-*s", widths[j], columns[j]);
	for (i = 0; i < list.count; i++) {
		printf("\n%-20s", list.keys[i].name);
		for (j = 0; j < sizeof(columns) / sizeof(columns[0]); j++) {
			key_print(&list.keys[i], columns[j], text);
			printf("  %-*s", widths[j], text);
		}
		if (list.keys[i].expires_s && list.keys[i].expires_s <= now)
			printf("  expired");
	}
	putchar('\n');
	key_list_free(&list);
	return fflush(stdout) != 0 ? err_set(err, errno, "print the keys") : 0;
}

/* --- revoke -------------------------------------------------------------------------------- */

/* Whether the line from start to stop has that name for its first word. */
static bool is_line_of(const char *start, const char *stop, const char *name)
{
	struct key key;

	return key_line_parse(start, (size_t)(stop - start), &key, NULL) == 1 &&
	       strcmp(key.name, name) == 0;
}

/* Every other byte of the text stays what it is. */
static void cut_line(struct buffer *text, const char *name)
{
	char *start = text->data, *end = text->data + text->length, *stop, *next;

	for (; start < end; start = next) {
		stop = memchr(start, '\n', (size_t)(end - start));
		next = stop ? stop + 1 : end;
		if (!is_line_of(start, stop ? stop : end, name))
			continue;
		memmove(start, next, (size_t)(end - next));
		text->length -= (size_t)(next - start);
		return;
	}
}

static int revoke_key(const char *file, const char *name, struct err *err)
{
	struct key_edit edit;
	int r = key_edit_begin(&edit, file, false, err);

	if (!r && !find(&edit.list, name))
		r = err_set(err, ENOENT, "no key has that name");
	if (!r) {
		cut_line(&edit.text, name);
		r = key_edit_write(&edit, err);
	}
	key_edit_end(&edit);
	if (!r)
		fprintf(stderr, "%s was revoked.\n", name);
	return r;
}

/* --- the command line ---------------------------------------------------------------------- */

enum verb_number {
	ADD,
	LIST,
	REVOKE,
};

/* What is asked for, once the words are found to make sense. */
struct task {
	enum verb_number verb;
	const char *name;
	struct key key; /* to be added */
};

static const struct verb {
	const char *word;
	int names; /* that follow it */
} verbs[] = {[ADD] = {"add", 1}, [LIST] = {"list", 0}, [REVOKE] = {"revoke", 1}};

enum {
	VERBS = sizeof(verbs) / sizeof(verbs[0]),
};

static size_t find_verb(const char *word)
{
	size_t i;

	for (i = 0; i < VERBS && strcmp(word, verbs[i].word) != 0; i++)
		;
	return i;
}

/* words: behind the options, up to a NULL. Returns 0, or -EINVAL with what is wrong in *err. */
static int read_task(
	struct task *task, const struct options *options, char **words, struct err *err)
{
	size_t verb = *words ? find_verb(*words) : VERBS;

	if (!*words)
		return err_set_plainly(
			err, EINVAL, "key is for one of: add NAME, list, revoke NAME");
	if (verb == VERBS)
		return err_set_plainly(err, EINVAL,
			"key knows no \"%.40s\", but add NAME, list and revoke NAME", *words);
	*task = (struct task){.verb = verb, .name = words[1]};
	if (verbs[verb].names ? !words[1] || words[2] : !!words[1])
		return err_set_plainly(err, EINVAL, "key %s takes %s", verbs[verb].word,
			verbs[verb].names ? "one NAME" : "no NAME");
	if (verb == ADD)
		return make_key(&task->key, task->name, options, err);
	if (options->key_setting_count)
		return err_set_plainly(err, EINVAL, "--%s is for key add, not for key %s",
			options->key_settings[0].option, verbs[verb].word);
	return 0;
}

static int do_task(struct task *task, const char *file, struct err *err)
{
	switch (task->verb) {
	case ADD:
		return add_key(file, &task->key, err);
	case LIST:
		return list_keys(file, err);
	case REVOKE:
		return revoke_key(file, task->name, err);
	}
	return -EINVAL;
}

int key_command_main(int argc, char **argv)
{
	struct options options;
	struct task task;
	struct err err = {0};
	char text[sizeof(err.text) + 32];
	const char *file;
	int r = options_read(&options, OPTIONS_KEY, argc, argv);

	if (r)
		return r;
	if (read_task(&task, &options, argv + optind, &err) < 0) {
		snprintf(text, sizeof(text), "%s; see vivarium --help", err.text);
		return options_complain(argv[0], text);
	}
	r = options_load(&options, argv[0]);
	if (r)
		return r;
	file = options.key_file ? options.key_file : options.config.key_file;
	if (!*file)
		return options_complain(
			argv[0], "the configuration names no key_file: give one by --key-file");
	r = do_task(&task, file, &err);
	if (r < 0)
		fprintf(stderr, "vivarium: %s\n", err.text);
	return r < 0;
}
