/* Resource limits of an execution, each written anew every time (setrlimit(2)). */
#ifndef VIVARIUM_RLIMITS_H
#define VIVARIUM_RLIMITS_H

#include "sandbox/err.h"

#include <stdint.h>

enum {
	THREAD_STACK_MIB = 2, /* what a thread of a script gets */
	/* Room in the address space for shared objects: of TensorFlow and PyTorch 900 MiB at once. */
	MAPPED_FILES_MIB = 1024,
};

struct rlimits_cell {
	uint64_t processes; /* of the execution's own user namespace or id, threads included */
	uint32_t open_files;
	uint32_t file_mib; /* size of one file */
	uint32_t stack_mib; /* of the main thread */
};

struct rlimits_job {
	uint64_t data_bytes; /* private writable memory of the warm interpreter */
	uint64_t address_bytes; /* its address space */
	uint32_t memory_mib; /* what the script may use on top */
	uint32_t cpu_s; /* each process; the kernel then sends SIGKILL */
	uint32_t processes; /* room for their stacks in the address space */
};

struct rlimits_role {
	uint64_t data_bytes; /* private writable memory */
	uint64_t open_files; /* 0: as they are */
};

/* Those of a role of the service that is not an execution. Returns 0 or a negative errno. */
int rlimits_set_role(const struct rlimits_role *limits, struct err *err);

/* Soft and hard limits that do not depend on the job. Returns 0 or a negative errno. */
int rlimits_set_cell(const struct rlimits_cell *limits, struct err *err);

/* Those that do; only ever lowers the hard ones. Returns 0 or a negative errno. */
int rlimits_set_job(const struct rlimits_job *limits, struct err *err);

#endif
