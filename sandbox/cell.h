/*
 * A cell as its worker holds it: the sockets, the execution in flight, what came of it. The
 * worker's loop reports what happens, the table of cell_state.h says what follows.
 */
#ifndef VIVARIUM_CELL_H
#define VIVARIUM_CELL_H

#include "sandbox/arrangement.h"
#include "sandbox/capture.h"
#include "sandbox/cell_group.h"
#include "sandbox/cell_message.h"
#include "sandbox/cell_renew.h"
#include "sandbox/cell_state.h"
#include "sandbox/extras.h"
#include "sandbox/frame.h"
#include "sandbox/job.h"

#include <stdbool.h>
#include <stdint.h>

enum cell_source_kind {
	CELL_SOURCE_CONTROL, /* of the warden */
	CELL_SOURCE_LANE, /* of the dispatcher */
	CELL_SOURCE_CHANNEL, /* of the execution */
	CELL_SOURCE_STDOUT,
	CELL_SOURCE_STDERR,
	CELL_SOURCE_LISTENER, /* of the filter that all of the cell is under */
	CELL_SOURCE_COUNT,
};

/* What an epoll event points to. */
struct cell_source {
	struct cell *cell;
	enum cell_source_kind kind;
	int fd; /* owned; -1: none */
	bool wants_write;
	bool is_paused; /* not read for a while */
};

/* Shared by the cells of a worker; outlives them. */
struct cell_environment {
	int epoll; /* where descriptors are watched */
	int proc; /* a procfs in which executions can be seen */
	int scale; /* where memory is weighed (scale.h); -1: the kernel limits it */
	int *requests; /* one socket a library set: where the template is asked */
	const char *const *set_names;
	const size_t *set_parents; /* each lies on another; the first on itself */
	size_t sets;
	struct template_request limits; /* cell and uid are filled in */
	const struct arrangement *arrangement;
	uint32_t max_executions, max_age_s; /* a cell is replaced after either */
	struct cell_turns *turns; /* to be built anew because of age */
};

/* The job at hand: it may come before the execution that is to run it is parked. */
struct cell_job {
	struct job_limits limits;
	bool begun, complete; /* some of it has come; all of it has */
	uint64_t complete_us; /* CLOCK_MONOTONIC */
	struct frame_writer out; /* its frames, on their way to the channel */
	int body; /* 1 more than the memfd that its body is written to; owned; 0: none */
};

enum {
	CELL_EXTRAS = 3,
};

struct cell_run { /* the execution in flight */
	uint32_t number;
	int status_file; /* its /proc/PID/status; owned */
	pid_t pid; /* as this process sees it; for its CPU clock only */
	pid_t parent; /* the warden, likewise; for the list of its children */
	uint64_t base_cpu_us; /* when the job was handed over */
	uint64_t base_peak_kib, base_own_peak_kib; /* when parked */
	uint64_t warm_bytes; /* memory of the template's that it may have a copy of */
	uint64_t allowance_bytes; /* what may be used beyond the job's limit before it is struck */
	uint64_t started_us; /* CLOCK_MONOTONIC */
	bool was_parked; /* before the job was complete */
	bool has_value, bad_value, timed_out, unfinished, exited;
	uint64_t struck_bytes; /* what it had when it was ended for having too much; else 0 */
	uint32_t refusals; /* calls refused so far, those of a predecessor's orphans included */
	bool has_refused;
	int refused; /* number of the script's first one */
	uint64_t oversize_bytes;
	struct buffer value; /* the value's JSON */
	struct buffer claim; /* a FRAME_FAILURE payload that decodes */
	struct buffer traceback; /* of a run out of time */
	struct extras extras[CELL_EXTRAS]; /* figures; files; files once more, after threads ended */
	size_t extra; /* the one that is being filled */
	bool done; /* it said that there is no more to come */
	int status; /* of exited */
	uint64_t exit_cpu_us, exit_peak_kib;
};

/* The worker's own look at what a job uses (cell_watch.h). */
struct cell_watch {
	uint64_t next_us; /* when to look again; 0: no need */
	uint64_t begun_us; /* the look at hand */
	uint64_t stopped_us; /* since when its processes are to stand still; 0: they run */
	bool has_stopped; /* them, in this execution */
	bool asked; /* the scale; they stand still until it answers */
	uint64_t tmp_bytes, kernel_bytes; /* as last seen */
};

struct cell {
	const struct cell_environment *environment;
	uint32_t number;
	size_t set; /* library set of its warden */
	enum cell_state state;
	struct cell_source source[CELL_SOURCE_COUNT];
	int warden; /* pidfd; owned; -1: none */
	uint64_t deadline_us; /* of the state; 0: none */
	uint64_t paused_until_us; /* the listener; 0: it is not */
	uint64_t born_us;
	uint64_t image_bytes; /* of its template: what executions may have copies of */
	uint32_t served; /* executions of this warden */
	bool template_replaced; /* since it was built */
	bool leaving; /* the dispatcher knows, or is about to, that it is built anew next */
	unsigned oversized; /* jobs in a row that a smaller set would have done for */
	unsigned failures; /* in a row, for the back-off */
	struct frame_reader lane_in, channel_in;
	struct frame_writer lane_out;
	struct cell_job job;
	struct capture output, error;
	struct cell_run run;
	struct cell_group group; /* of all wardens of this cell, one after the other */
	struct cell_watch watch;
	bool was_refused; /* a call of Vivarium's own, in a cell that has run no script: a bug */
	int refused; /* its number, for the log */
	uint32_t layers; /* LAYER_BITs that its last execution reported */
	bool is_up; /* has been parked at least once since it was last down */
	char trouble[200]; /* why it is down, for the log */
};

/* Makes *cell an idle cell that is down and due to start. */
void cell_init(struct cell *cell, const struct cell_environment *environment, uint32_t number,
	size_t set);

/* Hands over the dispatcher's end of work; fd becomes the cell's. An older lane is closed. */
void cell_set_lane(struct cell *cell, int fd);

/*
 * An idle cell whose age or template is over tells the dispatcher so, when it is its turn. The
 * dispatcher, who alone knows whether a job is on its way, lets it go with FRAME_CHANGE.
 */
void cell_ask_to_leave(struct cell *cell);

/* An epoll event for one of the cell's sources. */
void cell_handle(struct cell *cell, enum cell_source_kind kind, uint32_t events);

/* Does what is due: by the cell's deadline, its watch, its listener. now_us: CLOCK_MONOTONIC. */
void cell_check_deadline(struct cell *cell, uint64_t now_us);

/* When cell_check_deadline is to be called next, CLOCK_MONOTONIC; UINT64_MAX: there is no need. */
uint64_t cell_next_deadline_us(const struct cell *cell);

/* What the scale found of the cell's execution. */
struct scale_answer;
void cell_take_weight(struct cell *cell, const struct scale_answer *answer);

#endif
