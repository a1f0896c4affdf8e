/* Who a process is: user namespaces, ids, capabilities (user_namespaces(7), capabilities(7)). */
#ifndef VIVARIUM_IDENTITY_H
#define VIVARIUM_IDENTITY_H

#include "sandbox/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Ids inside the service's user namespace. With a single id all roles are 0. */
enum {
	IDENTITY_MASTER = 0,
	IDENTITY_DISPATCHER = 10,
	IDENTITY_TEMPLATE = 20,
	IDENTITY_SCALE = 30,
	IDENTITY_WORKER_FIRST = 100,
	IDENTITY_CELL_FIRST = 1000,
	IDENTITY_EXECUTION_FIRST = 10000, /* plus cell; only where user namespaces are missing */
	IDENTITY_RANGE = 65536,
	/*
	 * Host ids given to instances: far above those of users, and of the ranges that
	 * /etc/subuid and systemd-nspawn give out (up to 1879048191).
	 */
	IDENTITY_HOST_FIRST = 1900000000,
};

/*
 * Moves the calling, single-threaded process into a new user namespace together with the extra
 * CLONE_NEW* flags, as its user 0. As root it is mapped to IDENTITY_RANGE ids from host_base on,
 * none of which is anybody, and all groups are dropped; otherwise to the caller's own single id.
 * *range says which (IDENTITY_RANGE or 1). Returns 0 or a negative errno.
 */
int identity_enter_service(int flags, uint32_t host_base, uint32_t *range, struct err *err);

/*
 * Without user namespaces, as root: the first of the ids that roles and cells are to have, as the
 * caller's own namespace (a container's, perhaps) has them.
 */
uint32_t identity_plain_base(void);

/*
 * Maps user and group 0 of the user namespace that the caller has just made to inside_uid of its
 * parent. proc: descriptor of a procfs. Returns 0 or a negative errno.
 */
int identity_map_self(int proc, uint32_t inside_uid, struct err *err);

/*
 * Becomes user and group id for ever, without groups (skipped where id is 0), keeps exactly the
 * capabilities in the mask (bit n: capability n), empties the bounding set (where it has the right
 * to), and sets no_new_privs. Returns 0 or a negative errno; then the process must not go on.
 */
int identity_become(uint32_t id, uint64_t capabilities, struct err *err);

/*
 * Keeps the user id and exactly the capabilities in the mask, sets no_new_privs, and leaves the
 * bounding set for a program that is to be executed. Returns 0 or a negative errno.
 */
int identity_keep_capabilities(uint64_t capabilities, struct err *err);

/*
 * Empties the effective, permitted, inheritable and ambient sets, and the bounding set where that
 * is allowed. fresh: in a user namespace that was just entered, where it is and nothing has been
 * dropped yet. Returns 0 or a negative errno.
 */
int identity_drop_all_capabilities(bool fresh, struct err *err);

#define CAPABILITY(name) (UINT64_C(1) << (name))

#endif
