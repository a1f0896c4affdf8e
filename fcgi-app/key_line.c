#include "fcgi-app/key_line.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- values -------------------------------------------------------------------------------- */

static bool parse_number(const char *text, uint64_t least, uint64_t most, uint32_t *number)
{
	uint64_t value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || !isdigit((unsigned char)*text) || *end || value < least || value > most)
		return false;
	*number = (uint32_t)value;
	return true;
}

static void print_time(int64_t seconds, char text[KEY_TIME_BYTES])
{
	time_t time = (time_t)seconds;
	struct tm utc;

	gmtime_r(&time, &utc);
	strftime(text, KEY_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

/* A date is its first second. Only what prints as it was read counts: no 30th of February. */
static bool parse_time(const char *text, int64_t *seconds)
{
	char whole[KEY_TIME_BYTES], again[KEY_TIME_BYTES];
	struct tm utc = {0};

	if (strlen(text) > strlen("2027-01-31T12:00:00Z"))
		return false;
	snprintf(whole, sizeof(whole), "%.20s%s", text, strchr(text, 'T') ? "" : "T00:00:00Z");
	if (!strptime(whole, "%Y-%m-%dT%H:%M:%SZ", &utc))
		return false;
	*seconds = timegm(&utc);
	print_time(*seconds, again);
	return strcmp(whole, again) == 0 && *seconds > 0;
}

static const struct period {
	char letter;
	uint32_t seconds;
} periods[] = {{'s', 1}, {'m', 60}, {'h', 3600}};

enum {
	PERIODS = sizeof(periods) / sizeof(periods[0]),
};

static bool parse_rate(const char *text, struct key *key)
{
	const char *slash = strchr(text, '/');
	char number[16];
	size_t i;

	if (!slash || snprintf(number, sizeof(number), "%.*s", (int)(slash - text), text) >=
			      (int)sizeof(number))
		return false;
	for (i = 0; i < PERIODS; i++) {
		if (slash[1] != periods[i].letter || slash[2])
			continue;
		key->rate_period_s = periods[i].seconds;
		return parse_number(number, 1, 1000000, &key->rate);
	}
	return false;
}

static void print_rate(const struct key *key, char text[KEY_TIME_BYTES])
{
	size_t i;

	for (i = 0; i < PERIODS; i++) {
		if (key->rate_period_s == periods[i].seconds)
			snprintf(text, KEY_TIME_BYTES, "%" PRIu32 "/%c", key->rate,
				periods[i].letter);
	}
}

static bool parse_milliseconds(const char *text, uint32_t *ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (!isdigit((unsigned char)*text) || *end || strpbrk(text, "xX") || seconds < 0.01 ||
		seconds > 3600)
		return false;
	*ms = (uint32_t)llround(seconds * 1000);
	return true;
}

/* --- settings ------------------------------------------------------------------------------ */

enum setting_kind {
	CREATED,
	EXPIRES,
	RATE,
	BURST,
	CONCURRENT,
	MAX_TIMEOUT,
	MAX_MEMORY,
};

static const struct setting {
	const char *name, *takes;
	enum setting_kind kind;
} settings[] = {
	{"created", "a time such as 2027-01-31T12:00:00Z or 2027-01-31", CREATED},
	{"expires", "a time such as 2027-01-31T12:00:00Z or 2027-01-31", EXPIRES},
	{"rate", "a number from 1 to 1000000 and /s, /m or /h", RATE},
	{"burst", "a whole number from 1 to 1000000", BURST},
	{"concurrent", "a whole number from 1 to 1000000", CONCURRENT},
	{"max_timeout", "seconds from 0.01 to 3600", MAX_TIMEOUT},
	{"max_memory", "whole MiB from 16 to 1048576", MAX_MEMORY},
};

enum {
	SETTINGS = sizeof(settings) / sizeof(settings[0]),
};

static const struct setting *find_setting(const char *name, size_t length)
{
	size_t i;

	for (i = 0; i < SETTINGS; i++) {
		if (strlen(settings[i].name) == length &&
			memcmp(settings[i].name, name, length) == 0)
			return &settings[i];
	}
	return NULL;
}

static bool set(struct key *key, const struct setting *setting, const char *text)
{
	switch (setting->kind) {
	case CREATED:
		return parse_time(text, &key->created_s);
	case EXPIRES:
		return parse_time(text, &key->expires_s);
	case RATE:
		return parse_rate(text, key);
	case BURST:
		return parse_number(text, 1, 1000000, &key->burst);
	case CONCURRENT:
		return parse_number(text, 1, 1000000, &key->concurrent);
	case MAX_TIMEOUT:
		return parse_milliseconds(text, &key->max_timeout_ms);
	case MAX_MEMORY:
		return parse_number(text, 16, 1 << 20, &key->max_memory_mib);
	}
	return false;
}

static bool print(const struct key *key, const struct setting *setting, char text[KEY_TIME_BYTES])
{
	uint32_t number = 0;

	switch (setting->kind) {
	case CREATED:
	case EXPIRES: {
		int64_t seconds = setting->kind == CREATED ? key->created_s : key->expires_s;

		if (seconds)
			print_time(seconds, text);
		return seconds != 0;
	}
	case RATE:
		if (key->rate)
			print_rate(key, text);
		return key->rate != 0;
	case MAX_TIMEOUT:
		snprintf(text, KEY_TIME_BYTES, "%.10g", (double)key->max_timeout_ms / 1000);
		return key->max_timeout_ms != 0;
	case BURST:
		number = key->burst;
		break;
	case CONCURRENT:
		number = key->concurrent;
		break;
	case MAX_MEMORY:
		number = key->max_memory_mib;
		break;
	}
	snprintf(text, KEY_TIME_BYTES, "%" PRIu32, number);
	return number != 0;
}

int key_set(struct key *key, const char *name, const char *text, struct err *err)
{
	const struct setting *setting = find_setting(name, strlen(name));

	if (!setting)
		return err_set(err, EINVAL, "no setting of a key");
	if (!set(key, setting, text))
		return err_set(err, EINVAL, "%s takes %s", setting->name, setting->takes);
	return 0;
}

const char *key_setting_takes(const char *name)
{
	const struct setting *setting = find_setting(name, strlen(name));

	return setting ? setting->takes : "nothing";
}

void key_print(const struct key *key, const char *name, char text[KEY_TIME_BYTES])
{
	const struct setting *setting = find_setting(name, strlen(name));

	if (!setting || !print(key, setting, text))
		snprintf(text, KEY_TIME_BYTES, "-");
}

/* --- lines --------------------------------------------------------------------------------- */

bool key_name_is_valid(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t length = strlen(name);

	return length && length < KEY_NAME_BYTES && strspn(name, allowed) == length &&
	       isalnum((unsigned char)*name);
}

static int digit_of(char letter)
{
	static const char digits[] = "0123456789abcdef";
	const char *found = letter ? strchr(digits, letter) : NULL;

	return found ? (int)(found - digits) : -1;
}

static bool parse_digest(const char *word, uint8_t digest[KEY_DIGEST_BYTES])
{
	static const char prefix[] = "sha256:";
	size_t i;

	if (strncmp(word, prefix, strlen(prefix)) != 0)
		return false;
	word += strlen(prefix);
	if (strlen(word) != (size_t)2 * KEY_DIGEST_BYTES)
		return false;
	for (i = 0; i < KEY_DIGEST_BYTES; i++) {
		int high = digit_of(word[2 * i]), low = digit_of(word[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		digest[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* "name=value", each name once. */
static int take_setting(struct key *key, char *word, unsigned number, bool *seen, struct err *err)
{
	char *equals = strchr(word, '=');
	const struct setting *setting = equals ? find_setting(word, (size_t)(equals - word)) : NULL;

	if (!setting)
		return err_set(err, EINVAL, "word %u is no setting of a key", number);
	if (seen[setting - settings])
		return err_set(err, EINVAL, "%s is there twice", setting->name);
	seen[setting - settings] = true;
	return key_set(key, setting->name, equals + 1, err);
}

static int take_words(char *text, struct key *key, struct err *err)
{
	bool seen[SETTINGS] = {false};
	char *state = NULL, *word = strtok_r(text, " \t\r", &state);
	unsigned number;
	int r = 0;

	if (!word || !key_name_is_valid(word))
		return err_set(err, EINVAL,
			"the first word is no name: 1 to 63 letters, digits, \".\", \"_\" and "
			"\"-\"");
	snprintf(key->name, sizeof(key->name), "%s", word);
	word = strtok_r(NULL, " \t\r", &state);
	if (!word || !parse_digest(word, key->digest))
		return err_set(err, EINVAL,
			"the second word is not sha256: and 64 of the digits 0 to 9 and a to f");
	for (number = 3; !r && (word = strtok_r(NULL, " \t\r", &state)); number++)
		r = take_setting(key, word, number, seen, err);
	if (!r && key->burst && !key->rate)
		r = err_set(err, EINVAL, "burst is for a key with a rate");
	return r;
}

int key_line_parse(const char *line, size_t length, struct key *key, struct err *err)
{
	char text[KEY_LINE_BYTES];
	size_t blanks = 0;

	*key = (struct key){0};
	while (blanks < length && strchr(" \t\r", line[blanks]) && line[blanks])
		blanks++;
	if (blanks == length || line[blanks] == '#')
		return 0;
	if (length >= sizeof(text) || memchr(line, '\0', length))
		return err_set(err, EINVAL, "too long, or with a NUL");
	memcpy(text, line, length);
	text[length] = '\0';
	return take_words(text, key, err) < 0 ? -EINVAL : 1;
}

void key_line_print(const struct key *key, char line[KEY_LINE_BYTES])
{
	char text[KEY_TIME_BYTES];
	size_t i;
	int n = snprintf(line, KEY_LINE_BYTES, "%s sha256:", key->name);

	for (i = 0; i < KEY_DIGEST_BYTES; i++)
		n += snprintf(line + n, KEY_LINE_BYTES - (size_t)n, "%02x", key->digest[i]);
	for (i = 0; i < SETTINGS; i++) {
		if (print(key, &settings[i], text))
			n += snprintf(line + n, KEY_LINE_BYTES - (size_t)n, " %s=%s",
				settings[i].name, text);
	}
}
