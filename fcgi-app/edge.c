#include "fcgi-app/edge.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t"
#define DIGITS "0123456789"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

enum {
	WORD_BYTES = 256, /* a host name has 253 at the most */
	RATE_MOST = 100000,
};

/*
 * Copies the next word and moves *rest behind it. Returns its length, 0 at the end; a word that
 * does not fit is cut short, and then is as long as the room for it.
 */
static size_t next_word(const char **rest, char word[WORD_BYTES])
{
	const char *start = *rest + strspn(*rest, BLANKS);
	size_t length = strcspn(start, BLANKS);

	*rest = start + length;
	if (length >= WORD_BYTES)
		length = WORD_BYTES - 1;
	memcpy(word, start, length);
	word[length] = '\0';
	return length;
}

/* Digits alone, without leading zeros, up to most. Returns the number, or -1. */
static long plain_number(const char *text, long most)
{
	size_t length = strspn(text, DIGITS);
	long number;

	if (!length || length > 6 || text[length] || (*text == '0' && length > 1))
		return -1;
	number = strtol(text, NULL, 10);
	return number <= most ? number : -1;
}

/* --- origins ------------------------------------------------------------------------------- */

/* What is behind the host: nothing, or a port that is not the scheme's own (browsers omit that). */
static bool is_port(const char *text, const char *scheme)
{
	long number;

	if (!*text)
		return true;
	number = *text == ':' ? plain_number(text + 1, UINT16_MAX) : -1;
	return number > 0 && !(number == 80 && strncmp(scheme, "http:", 5) == 0) &&
	       !(number == 443 && strncmp(scheme, "https:", 6) == 0);
}

/* Scheme, host and port as RFC 6454 serialises them: in lower case, with nothing behind. */
static bool is_origin(const char *word)
{
	size_t scheme = strspn(word, LOWER DIGITS "+.-");
	const char *host = word + scheme + strlen("://");
	size_t length;

	if (!scheme || strncmp(word + scheme, "://", 3) != 0)
		return false;
	if (*host == '[') {
		length = 1 + strspn(host + 1, DIGITS "abcdef:.");
		if (length == 1 || host[length] != ']')
			return false;
		length++;
	} else {
		length = strspn(host, LOWER DIGITS ".-_");
	}
	return length && is_port(host + length, word);
}

int edge_check_origins(const char *key, const char *text, struct err *err)
{
	char word[WORD_BYTES];
	size_t length, count = 0;
	bool any = false;

	while ((length = next_word(&text, word))) {
		count++;
		any = any || strcmp(word, "*") == 0;
		if (length == WORD_BYTES - 1 || (strcmp(word, "*") != 0 && !is_origin(word)))
			return err_set(err, EINVAL,
				"%s takes origins such as https://example.com (lower case, no "
				"path, no standard port), not \"%.40s\"",
				key, word);
	}
	if (any && count > 1)
		return err_set(err, EINVAL, "%s takes either \"*\" or a list of origins", key);
	return 0;
}

/* --- networks ------------------------------------------------------------------------------ */

/* Are all bits from the first one on zero? */
static bool rest_is_zero(const unsigned char *address, size_t bytes, long first)
{
	size_t i = (size_t)first / 8;

	if (i < bytes && (address[i] & (0xff >> (first % 8))))
		return false;
	for (i++; i < bytes; i++) {
		if (address[i])
			return false;
	}
	return true;
}

static int check_network(const char *key, char *word, struct err *err)
{
	unsigned char address[sizeof(struct in6_addr)];
	char *slash = strchr(word, '/');
	size_t bytes = strchr(word, ':') ? 16 : 4;
	long prefix = (long)bytes * 8;
	bool good;

	if (slash)
		*slash = '\0';
	good = inet_pton(bytes == 16 ? AF_INET6 : AF_INET, word, address) == 1;
	if (slash) {
		*slash = '/';
		prefix = plain_number(slash + 1, prefix);
	}
	if (!good || prefix < 0)
		return err_set(err, EINVAL,
			"%s takes addresses and networks such as 10.0.0.0/8 or ::1, not \"%.60s\"",
			key, word);
	if (!rest_is_zero(address, bytes, prefix))
		return err_set(
			err, EINVAL, "%s: bits of \"%.60s\" are set beyond its prefix", key, word);
	return 0;
}

int edge_check_networks(const char *key, const char *text, struct err *err)
{
	char word[WORD_BYTES];
	int r = 0;

	while (!r && next_word(&text, word))
		r = check_network(key, word, err);
	return r;
}

/* --- the others ---------------------------------------------------------------------------- */

int edge_check_rate(const char *key, const char *text, struct err *err)
{
	char number[8];
	size_t digits = strspn(text, DIGITS);

	if (!*text)
		return 0;
	snprintf(number, sizeof(number), "%.*s", (int)(digits < 7 ? digits : 7), text);
	if (plain_number(number, RATE_MOST) < 1 ||
		(strcmp(text + digits, "/s") != 0 && strcmp(text + digits, "/m") != 0))
		return err_set(err, EINVAL,
			"%s takes a number from 1 to %d and /s or /m (10/s), not \"%.40s\"", key,
			RATE_MOST, text);
	return 0;
}

int edge_check_path(const char *key, const char *text, struct err *err)
{
	size_t plain = strspn(text, LOWER UPPER DIGITS " ._/+,=@:~%-");

	if (text[plain])
		return err_set(err, EINVAL,
			"%s: \"%.20s\" in a path cannot be handed to nginx; letters, digits, "
			"blanks and ._/+,=@:~%%- can",
			key, text + plain);
	return 0;
}
