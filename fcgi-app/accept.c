#include "fcgi-app/accept.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* Length of text up to one of the stops that is not inside a quoted string. */
static size_t span_to(const char *text, const char *stops)
{
	bool quoted = false;
	size_t i;

	for (i = 0; text[i]; i++) {
		if (text[i] == '"')
			quoted = !quoted;
		else if (quoted && text[i] == '\\' && text[i + 1])
			i++;
		else if (!quoted && strchr(stops, text[i]))
			break;
	}
	return i;
}

static const char *skip_blanks(const char *text)
{
	return text + strspn(text, " \t");
}

/* "0.25" as 250. What is no weight is taken for none given, and that is 1. */
static int read_weight(const char *text)
{
	int weight, place = 100;

	if ((*text != '0' && *text != '1') || (text[1] && !strchr(".,; \t", text[1])))
		return 1000;
	weight = (*text - '0') * 1000;
	if (text[1] != '.')
		return weight;
	for (text += 2; *text >= '0' && *text <= '9' && place; text++, place /= 10)
		weight += (*text - '0') * place;
	return weight > 1000 ? 1000 : weight;
}

/* The weight of one element of the list, from the end of its type on. */
static int weight_of(const char *parameters)
{
	parameters += span_to(parameters, ",;");
	while (*parameters == ';') {
		parameters = skip_blanks(parameters + 1);
		if (strncasecmp(parameters, "q=", 2) == 0)
			return read_weight(parameters + 2);
		parameters += span_to(parameters, ",;");
	}
	return 1000;
}

static bool names(const char *element, size_t length, const char *type)
{
	return length == strlen(type) && strncasecmp(element, type, length) == 0;
}

/* The next element of a list, which goes on behind it; NULL at its end. */
static const char *take_element(const char **list, size_t *length, int *weight)
{
	const char *element = skip_blanks(*list);

	*length = strcspn(element, ",; \t");
	*weight = weight_of(element + *length);
	*list = element + span_to(element, ",");
	*list += **list == ',';
	return *element ? element : NULL;
}

bool accept_takes_gzip(const char *accept_encoding)
{
	int gzip = -1, others = 0, weight;
	const char *element;
	size_t length;

	while ((element = take_element(&accept_encoding, &length, &weight))) {
		if (names(element, length, "gzip") || names(element, length, "x-gzip"))
			gzip = weight > gzip ? weight : gzip;
		else if (names(element, length, "*"))
			others = weight;
	}
	return gzip < 0 ? others > 0 : gzip > 0;
}

bool accept_wants_events(const char *accept)
{
	int events = 0, json = 0, weight;
	bool json_is_first = false;
	const char *element;
	size_t length;

	while ((element = take_element(&accept, &length, &weight))) {
		if (names(element, length, "text/event-stream") && weight > events) {
			events = weight;
			json_is_first = json == weight;
		} else if (names(element, length, "application/json") && weight > json) {
			json = weight;
			json_is_first = events != weight;
		}
	}
	return events && (events > json || (events == json && !json_is_first));
}
