/* CPython, behind one folder and this header: an embedded, warm interpreter. */
#ifndef VIVARIUM_PYTHON_H
#define VIVARIUM_PYTHON_H

#include "sandbox/buffer.h"
#include "sandbox/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* "python3.11": the name of the standard library's directory of the linked interpreter. */
const char *python_name(void);

/*
 * The directory scripts work in, "/tmp" unless it is told; the text stays the caller's and has to
 * outlive the process's use of Python. In an execution it holds from python_wake on.
 */
void python_set_directory(const char *path);

/* The directory that was told. */
const char *python_directory(void);

/*
 * The virtual environment at path, whose packages come first; the text stays the caller's, likewise.
 * has_system: the system's packages come behind them. Call before python_start, or not at all.
 */
void python_set_venv(const char *path, bool has_system);

/*
 * Starts the interpreter, isolated from environment and user. Sets the environment variables
 * scripts see. Returns 0 or a negative errno, with the reason in *err.
 */
int python_start(struct err *err);

/*
 * Loads one of our own modules from its source, NUL-terminated text; others import it as
 * "_vivarium_NAME". The one that is loaded last is the harness, which all that follows calls.
 * Returns 0 or -EIO, with the exception in *err.
 */
int python_load(const char *name, const char *source, struct err *err);

/*
 * Imports the comma-separated modules. Returns 0, -ENOENT when one is not installed (its name in
 * *err), -EIO for any other exception.
 */
int python_import(const char *modules, struct err *err);

/*
 * What scripts may import, and samples all the same: names of modules separated by blanks, denied
 * and allowed; two empty texts restrict nothing. Returns 0 or -EIO.
 */
int python_restrict_imports(const char *denied, const char *allowed, struct err *err);

/*
 * Runs a sample script of length bytes the way a job is run, but keeps nothing of it, so that
 * whatever the interpreter does once is done. Returns 0 or -EIO.
 */
int python_warm(const char *sample, size_t length, struct err *err);

/*
 * From here on allocations have no names, and lie where Python puts them (heat.h). In a template, when
 * its last child is forked: those go on loading libraries.
 */
void python_end_placing(void);

/* Consolidates the heap before serving: what a fork will share, and children need not tidy. */
int python_settle(struct err *err);

/* fork(2) for a child that goes on as a template. Returns as fork does. */
pid_t python_fork(void);

/*
 * Before forks whose children call python_wake: takes the locks that that gives back. A warden,
 * which never runs Python, calls it once; a template gives the locks back itself.
 */
void python_before_fork(void);
void python_after_fork_parent(void);

/*
 * In a new execution: repairs the interpreter's idea of itself, reseeds all randomness, goes to
 * the directory it is to work in. Returns 0 or -EIO.
 */
int python_wake(struct err *err);

/*
 * In an execution that has nothing to do yet: goes the way of a script once, with one of our own, so
 * that the processor's caches know it. Returns 0 or -EIO.
 */
int python_warm_caches(struct err *err);

/* What an execution is to run. Text is not NUL-terminated. */
struct python_job {
	const char *script;
	size_t script_bytes;
	const char *entry; /* NULL: run as __main__ */
	size_t entry_bytes;
	uint32_t flags; /* enum job_flag */
	struct buffer *text; /* PYTHON_TEXTS of them, JSON, empty where there is none; freed */
	int input_error; /* errno of an input file that could not be written; 0: none */
	const char *input_path; /* which one */
};

/* Parts of a job that are JSON for Python to read. */
enum python_text {
	PYTHON_ARGS,
	PYTHON_KWARGS,
	PYTHON_ARGV,
	PYTHON_ENV,
	PYTHON_OUTPUTS,
	PYTHON_TEXTS,
};

/*
 * Runs the job; result, failure and end go out on the channel. Returns 0 when all was said, a
 * negative errno when not even a failure could be reported.
 */
int python_run(struct python_job *job, int channel, struct err *err);

#endif
