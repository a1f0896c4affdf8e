/*
 * System calls that a policy's filter refuses (seccomp_unotify(2)): each waits in the kernel until
 * the holder of the filter's listener answers it, which is always with EPERM. That gives the first
 * one a name, whichever process or thread of the cell made it and whatever signals it has blocked.
 */
#ifndef VIVARIUM_REFUSAL_H
#define VIVARIUM_REFUSAL_H

/*
 * Takes one waiting call from a listener that is ready to be read and refuses it; does not block
 * as long as nobody else reads the listener.
 * Returns 1 and its *number, 0 when whoever made it is gone already, or a negative errno.
 */
int refusal_answer(int listener, int *number);

/* The name of a system call of this architecture, "an unknown system call" for others. */
const char *refusal_name(int number);

/* What its refusal usually means, in words for whoever wrote the script. */
const char *refusal_meaning(int number);

#endif
