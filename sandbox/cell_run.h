/* One execution in its worker's books: what it used, what it said, the answer made of it. */
#ifndef VIVARIUM_CELL_RUN_H
#define VIVARIUM_CELL_RUN_H

#include "sandbox/cell.h"

/* Forgets the last execution and begins the account of the next. */
void cell_run_reset(struct cell *cell);

/* Forgets the job, which is answered or abandoned. */
void cell_job_reset(struct cell *cell);

/*
 * Notes a parked execution's process id, opens its status file and takes the base line of
 * memory. Returns 0 or a negative errno.
 */
int cell_run_note_parked(struct cell *cell, pid_t pid);

/* The job is about to be handed over: time and CPU count from here. */
void cell_run_note_started(struct cell *cell);

/* Keeps a value of length bytes: has_value when it is strict JSON, else bad_value. Or -ENOMEM. */
int cell_run_keep_value(struct cell *cell, const char *text, uint32_t length);

/* Appends the whole answer of the execution to lane_out. Returns 0 or a negative errno. */
int cell_run_answer(struct cell *cell, const char *template_name);

/* Appends an answer "internal" to lane_out, for a job that was lost. */
int cell_run_answer_internal(struct cell *cell);

#endif
