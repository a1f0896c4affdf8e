#include "fcgi-app/credentials.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* RFC 6750, 2.1: what a bearer token is made of. */
static bool is_token(const char *text, size_t length)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789-._~+/";
	size_t span;

	if (length > CREDENTIALS_KEY_MAX_BYTES)
		return false;
	span = strspn(text, allowed);
	return span && span + strspn(text + span, "=") == length;
}

/* What stands behind "Bearer "; NULL where there is another scheme. */
static const char *bearer(const char *authorization)
{
	static const char scheme[] = "Bearer";
	size_t length = strlen(scheme);

	if (strncasecmp(authorization, scheme, length) != 0 ||
		(authorization[length] && authorization[length] != ' '))
		return NULL;
	authorization += length;
	return authorization + strspn(authorization, " ");
}

enum credentials_kind credentials_find(
	const char *authorization, const char *api_key, const char **key, size_t *length)
{
	const char *token = bearer(authorization);

	if (!token && !*api_key)
		return CREDENTIALS_NONE;
	if (token && *api_key && strcmp(token, api_key) != 0)
		return CREDENTIALS_SEVERAL;
	*key = token ? token : api_key;
	*length = strlen(*key);
	return is_token(*key, *length) ? CREDENTIALS_KEY : CREDENTIALS_MALFORMED;
}
