/*
 * The life of a cell as its worker sees it: a pure table of states and events.
 *
 * A cell is one warden and its namespaces; it holds one execution at a time. The states and events
 * are generated from one list each, and a unit test walks every pair.
 */
#ifndef VIVARIUM_CELL_STATE_H
#define VIVARIUM_CELL_STATE_H

#define CELL_STATES(X)                                                                             \
	X(DOWN) /* no warden; a timer will ask for one */                                          \
	X(STARTING) /* the template was asked for a warden */                                      \
	X(FORKING) /* the warden sweeps and was asked for an execution */                          \
	X(PARKED) /* an execution waits for a job */                                               \
	X(RUNNING) /* the job was handed over */                                                   \
	X(FINISHING) /* the value is here; threads and atexit handlers run */                      \
	X(TRACING) /* time is up; the execution may still say where it stood */

#define CELL_EVENTS(X)                                                                             \
	X(RETRY) /* the timer of a cell that is down */                                            \
	X(HELLO) /* the warden lives */                                                            \
	X(IS_PARKED) /* the execution is jailed and waits */                                       \
	X(JOB) /* a whole job is here */                                                           \
	X(VALUE) /* the execution sent its value */                                                \
	X(CLAIM) /* the execution claimed a failure, or broke the protocol */                      \
	X(FINISHED) /* the execution sent all it has to say */                                     \
	X(EXITED) /* the warden reaped the execution */                                            \
	X(DEADLINE) /* the state's own time is over */                                             \
	X(ABANDONED) /* the client or the dispatcher is gone */                                    \
	X(WORN) /* it has served its time, or another set is wanted */                                              \
	X(LOST) /* the warden is gone, or a jail step failed */

#define CELL_ACTIONS(X)                                                                            \
	X(NONE)                                                                                    \
	X(START) /* ask the template for a warden */                                               \
	X(FORK) /* ask the warden for an execution */                                              \
	X(OFFER) /* tell the dispatcher that the cell takes a job */                               \
	X(RUN) /* hand the job over, arm the timers */                                             \
	X(FINISH) /* keep the value, give threads and atexit handlers their second */              \
	X(TRACE) /* ask the execution where it stands */                                           \
	X(CONCLUDE) /* give the verdict, end the execution, ask for the next */                    \
	X(DISCARD) /* end the execution without an answer, ask for the next */                     \
	X(FAIL) /* answer "internal" if a job was there; kill the cell, retry later */

#define CELL_STATE_ENUM(name) CELL_##name,
enum cell_state { CELL_STATES(CELL_STATE_ENUM) CELL_STATE_COUNT };
#undef CELL_STATE_ENUM

#define CELL_EVENT_ENUM(name) CELL_EVENT_##name,
enum cell_event { CELL_EVENTS(CELL_EVENT_ENUM) CELL_EVENT_COUNT };
#undef CELL_EVENT_ENUM

#define CELL_ACTION_ENUM(name) CELL_ACTION_##name,
enum cell_action { CELL_ACTIONS(CELL_ACTION_ENUM) CELL_ACTION_COUNT };
#undef CELL_ACTION_ENUM

struct cell_transition {
	enum cell_state next;
	enum cell_action action;
};

/* What a cell in `state` does on `event`. Pure; both arguments must be of their enums. */
struct cell_transition cell_transition(enum cell_state state, enum cell_event event);

/* Names for logs and tests. */
const char *cell_state_name(enum cell_state state);
const char *cell_event_name(enum cell_event event);

#endif
