#include "fcgi-app/start.h"

#include "sandbox/clock.h"
#include "sandbox/log.h"

void start_tell(const struct start_base *base, const char *text)
{
	if (!base->setup->quiet)
		log_info("master", "%s (%llu ms)", text,
			(unsigned long long)(clock_now_us() - base->begun_us) / 1000);
}
