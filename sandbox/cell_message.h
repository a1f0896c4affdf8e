/*
 * The closed set of messages that build and drive a cell. Fixed sizes, over SOCK_SEQPACKET, with
 * descriptors alongside; no byte of a request is in any of them.
 */
#ifndef VIVARIUM_CELL_MESSAGE_H
#define VIVARIUM_CELL_MESSAGE_H

#include <signal.h>
#include <stdint.h>

/*
 * Worker to template; with it go the warden's end of the cell's control socket and, where the cell
 * has control groups, the open files by which one joins them.
 */
struct template_request {
	uint32_t cell; /* number of the cell, for the log */
	uint32_t uid; /* user and group in the service's user namespace; 0: keep one's own */
	uint32_t tmp_mib; /* size of the cell's /tmp */
	uint32_t tmp_inodes;
	uint32_t processes; /* rlimits of every execution */
	uint32_t open_files;
	uint32_t file_mib;
	uint32_t stack_mib;
};

enum cell_order_type {
	/* kill and reap all that runs, restore /tmp, fork; three descriptors: channel, stdout, stderr */
	CELL_ORDER_FORK = 1,
	CELL_ORDER_WEIGH, /* report the size of /tmp */
	CELL_ORDER_STOP, /* stop all that runs, then as WEIGH */
	CELL_ORDER_GO_ON, /* let all that is stopped go on, then as WEIGH */
	CELL_ORDER_TRACE, /* send CELL_TRACE_SIGNAL to the execution, if it is still there */
};

/* Worker to warden. */
struct cell_order {
	uint32_t type; /* enum cell_order_type */
	uint32_t execution; /* number of the execution that is meant */
};

enum cell_report_type {
	CELL_REPORT_HELLO = 1, /* with one descriptor: a pidfd of the warden */
	CELL_REPORT_LISTENER, /* with one descriptor: where refused calls of the cell are answered */
	CELL_REPORT_EXITED, /* the execution was reaped: status, cpu_us, peak_kib */
	CELL_REPORT_FAILED, /* step and code; the warden ends */
	CELL_REPORT_WEIGHED, /* tmp_bytes */
};

/* Warden (or the template on its behalf) to worker. */
struct cell_report {
	uint32_t type; /* enum cell_report_type */
	uint32_t execution;
	int32_t status; /* wait(2) status */
	int32_t code; /* of FAILED: positive errno */
	uint64_t cpu_us; /* user and system time of the execution and the children it reaped */
	uint64_t peak_kib; /* ru_maxrss */
	uint64_t image_bytes; /* of HELLO: memory of the template that executions may have copies of */
	uint64_t tmp_bytes; /* of WEIGHED: contents of /tmp, and what the kernel holds for them */
	char step[32]; /* of FAILED: the name of the step, NUL-terminated */
};

enum template_report_type {
	TEMPLATE_REPORT_SET = 1, /* once for each library set: it is warm, or missing */
	TEMPLATE_REPORT_FORKED, /* a cell was forked */
};

/* Template to master. */
struct template_report {
	uint32_t type; /* enum template_report_type */
	uint32_t set; /* index in the list of sets */
	int32_t missing; /* 1: not installed, left out; text says what */
	uint64_t load_us; /* from the start of the process that holds it */
	char text[200];
};

enum {
	TEMPLATE_REQUEST_FDS_MAX = 4, /* control socket and control groups */
};

/* Where a template finds its descriptors; request sockets of the sets follow, in order. */
enum template_fd {
	TEMPLATE_FD_CONTROL = 3, /* to the master: struct template_report; end of file: exit */
	TEMPLATE_FD_PROC, /* a procfs of the service's PID namespace */
	TEMPLATE_FD_POLICY, /* text of the system-call policy */
	TEMPLATE_FD_HARNESS, /* directory with the harness's modules, samples/ and typical/ */
	TEMPLATE_FD_REQUESTS, /* struct template_request of the first set */
};

/* SIGRTMAX: a handler that the harness installs sends FRAME_TRACEBACK. */
#define CELL_TRACE_SIGNAL (SIGRTMAX)

#endif
