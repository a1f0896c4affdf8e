#include "sandbox/utf8.h"

bool utf8_take(const unsigned char *text, size_t length, uint32_t *code, size_t *taken)
{
	unsigned char first = *text, low = 0x80, high = 0xbf;
	size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
	uint32_t value = first & (0x3fu >> more);

	*taken = 1;
	*code = first < 0x80 ? first : 0xfffd;
	if (first < 0x80)
		return true;
	if (first < 0xc2 || first > 0xf4)
		return false;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	for (; *taken <= more; (*taken)++) {
		if (*taken == length || text[*taken] < low || text[*taken] > high)
			return false;
		value = value << 6 | (text[*taken] & 0x3fu);
		low = 0x80;
		high = 0xbf;
	}
	*code = value;
	return true;
}
