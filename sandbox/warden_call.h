/*
 * How a warden, and an execution before it runs a script, make the calls that [warden] of the
 * policy names: with a mark in the last argument, which the kernel looks at for none of them.
 *
 * The mark is no secret and opens nothing: the closing filter of an execution refuses marked calls,
 * and the policy unmarked ones. It keeps the two apart, because the policy's refusals are told to
 * the worker and the closing filter's are not (two filters cannot have a listener each): a script
 * that calls unshare(2) as everybody does is told what it was refused.
 */
#ifndef VIVARIUM_WARDEN_CALL_H
#define VIVARIUM_WARDEN_CALL_H

#include <sys/syscall.h>
#include <unistd.h>

#define WARDEN_CALL_ARGUMENT 5
#define WARDEN_CALL_MARK 0x76697661

/* The system call with up to five arguments (the rest 0): its result, or -1 and errno. */
static inline long warden_call(long number, long a, long b, long c, long d, long e)
{
	return syscall(number, a, b, c, d, e, (long)WARDEN_CALL_MARK);
}

#endif
