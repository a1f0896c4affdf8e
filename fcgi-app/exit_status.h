/* What the exit status of `vivarium` says beyond 0 and 1, which mean what they do everywhere. */
#ifndef VIVARIUM_EXIT_STATUS_H
#define VIVARIUM_EXIT_STATUS_H

enum {
	EXIT_STATUS_USAGE = 2, /* wrong usage, or a configuration that is none */
	EXIT_STATUS_TIME = 124, /* the script ran out of time; as with timeout(1) */
	EXIT_STATUS_INTERNAL = 125, /* Vivarium failed */
};

#endif
