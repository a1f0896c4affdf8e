/* What crosses the sockets: a job's limits, an execution's own words, a worker's verdict. */
#ifndef VIVARIUM_JOB_H
#define VIVARIUM_JOB_H

#include <stdint.h>

/*
 * Verdicts on one execution, with the word that API.md gives each. The claim of an execution is
 * believed for those marked 1; the others are the worker's alone to give.
 */
#define VERDICT_KINDS(X)                                                                           \
	X(OK, "ok", 1)                                                                             \
	X(EXCEPTION, "exception", 1)                                                               \
	X(EXIT, "exit", 1)                                                                         \
	X(SYNTAX, "syntax", 1)                                                                     \
	X(NO_MAIN, "no_main", 1)                                                                   \
	X(NOT_JSON, "not_json", 1)                                                                 \
	X(BLOCKED_IMPORT, "blocked_import", 1)                                                     \
	X(RESULT_TOO_LARGE, "result_too_large", 0)                                                 \
	X(MEMORY, "memory", 1)                                                                     \
	X(SIGNAL, "signal", 0)                                                                     \
	X(TIME, "time", 0)                                                                         \
	X(CPU, "cpu", 0)                                                                           \
	X(INTERNAL, "internal", 0)

#define VERDICT_ENUM(name, word, claimable) VERDICT_##name,
enum verdict_kind { VERDICT_KINDS(VERDICT_ENUM) VERDICT_COUNT };
#undef VERDICT_ENUM

/* Caps of what one execution may say, in bytes. */
enum {
	RESULT_MAX_BYTES = 4 << 20,
	STREAM_MAX_BYTES = 1 << 20, /* of stdout and of stderr */
	ERROR_TEXT_MAX_BYTES = 4 << 10,
	ERROR_TYPE_MAX_BYTES = 256,
	TRACEBACK_MAX_BYTES = 64 << 10,
	JOB_MAX_BYTES = 24 << 20,
	JOB_LANE_MAX_BYTES = 128 << 10, /* a larger job has a body (FRAME_BODY) */
	FILES_MAX = 100, /* into the working directory, and out of it */
	FILES_MAX_BYTES = 8 << 20, /* of their contents together; on the way in stdin included */
	FILE_PATH_MAX_BYTES = 4095, /* of an output file; the kernel has no longer ones */
	FIGURES_MAX = 16,
	FIGURES_MAX_BYTES = 8 << 20,
	WARNINGS_MAX = 24,
	WARNING_MAX_BYTES = 512,
	CONTENT_MAX_BYTES = 64 << 10, /* of one FRAME_STDIN or FRAME_CONTENT of ours */
	LIVE_MAX_BYTES = 64 << 10, /* of one FRAME_LIVE_STDOUT or FRAME_LIVE_STDERR */
	RESULT_MAX_DEPTH = 1100, /* Python's own recursion limit comes first */
	RESULT_MAX_DIGITS = 4300, /* what Python itself reads back (sys.get_int_max_str_digits) */
};

struct job_limits {
	uint32_t timeout_ms; /* wall-clock time from the start of the run */
	uint32_t memory_mib; /* on top of the warm interpreter */
	uint32_t cpu_s; /* CPU time of each process */
	uint32_t wanted_set; /* index of the library set that its imports ask for */
	uint32_t flags; /* enum job_flag */
	uint32_t body_bytes; /* what FRAME_ROOM is to have room for; 0: all frames come by the lane */
};

enum job_flag {
	JOB_FIGURES = 1, /* figures that are open at the end are sent along */
	JOB_RICH = 2, /* the value may be what JSON has no form for */
	JOB_LIVE = 4, /* what it prints is wanted while it runs; up to STREAM_MAX_BYTES a stream */
	JOB_ENTRY_IF_DEFINED = 8, /* a script that does not define its entry runs as __main__ */
	JOB_OWN = 16, /* a script of the service's own, for which the operator's import lists do not hold */
};

/* Payload of FRAME_FIGURE. */
struct figure_header {
	int64_t number; /* as matplotlib counts its figures */
};

/* Opens FRAME_FAILURE; the three texts follow in this order. */
struct failure_header {
	uint32_t kind; /* a claimable enum verdict_kind other than OK */
	int32_t line; /* innermost line of script.py, or 0 */
	int32_t exit_code;
	uint32_t type_bytes; /* of the exception's class; of BLOCKED_IMPORT: the module */
	uint32_t error_bytes;
	uint32_t traceback_bytes;
	uint64_t asked_bytes; /* of a MemoryError: the allocation that was refused; 0: not known */
};

struct step_failure {
	uint32_t step; /* index in the array of steps of the process that failed */
	int32_t code; /* positive errno */
	char name[32]; /* the step's name, NUL-terminated */
};

/* A worker's whole account of one execution, in its own numbers. */
struct verdict {
	uint32_t kind; /* enum verdict_kind */
	int32_t line;
	int32_t exit_code;
	int32_t signal; /* of SIGNAL */
	uint32_t parked; /* 1: the execution was waiting when the job came */
	uint32_t unstarted; /* 1: the script was never handed over, another cell may run it */
	uint32_t after_value; /* of OK: how the process ended after it; OK: it came to its end */
	uint32_t has_refused; /* 1: a system call was refused */
	int32_t refused; /* number of the first of them */
	/* Of kind or, for OK, of after_value. */
	uint64_t limit; /* of TIME (ms), CPU (ms), MEMORY (bytes), RESULT_TOO_LARGE (bytes) */
	uint64_t used; /* likewise */
	uint64_t stdout_dropped, stdout_at; /* bytes left out, and where in what was kept */
	uint64_t stderr_dropped, stderr_at;
	uint64_t fork_us, wall_us, cpu_us;
	uint64_t memory_bytes; /* peak on top of the warm interpreter */
	char template_name[32];
};

/* The word API.md has for a kind; "internal" for a number that is none. */
const char *verdict_kind_word(uint32_t kind);

/*
 * Takes apart a FRAME_FAILURE payload of length bytes, hostile: 0 and pointers into the payload
 * (not NUL-terminated), or -EPROTO. Kinds that are not an execution's to claim are refused.
 */
struct failure {
	struct failure_header header;
	const char *type, *error, *traceback;
};
int failure_decode(const char *payload, uint32_t length, struct failure *failure);

#endif
