#include "fcgi-app/key_digest.h"

#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <string.h>

void key_digest(const char *text, size_t length, uint8_t digest[KEY_DIGEST_BYTES])
{
	struct sha256_ctx context;

	sha256_init(&context);
	sha256_update(&context, length, (const uint8_t *)text);
	sha256_digest(&context, KEY_DIGEST_BYTES, digest);
	explicit_bzero(&context, sizeof(context)); /* it has the end of the text in it */
}

bool key_digest_is_same(const uint8_t one[KEY_DIGEST_BYTES], const uint8_t other[KEY_DIGEST_BYTES])
{
	return memeql_sec(one, other, KEY_DIGEST_BYTES);
}
