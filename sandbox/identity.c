#include "sandbox/identity.h"

#include "sandbox/scope.h"
#include "sandbox/warden_call.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int write_at(int directory, const char *path, const char *text, struct err *err)
{
	SCOPE_FD fd = openat(directory, path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return err_set(err, errno, "open %s", path);
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return err_set(err, errno, "write \"%s\" to %s", text, path);
	return 0;
}

static int write_map(int proc, const char *process, const char *map, uint32_t outside,
	uint32_t count, struct err *err)
{
	char path[64], line[64];

	snprintf(path, sizeof(path), "%s/%s", process, map);
	snprintf(line, sizeof(line), "0 %u %u", outside, count);
	return write_at(proc, path, line, err);
}

/* Without a capability outside, one's own id is all there is, and only without groups. */
static int map_single(int proc, uint32_t uid, uint32_t gid, struct err *err)
{
	int r = write_at(proc, "self/setgroups", "deny", err);

	if (!r)
		r = write_map(proc, "self", "gid_map", gid, 1, err);
	if (!r)
		r = write_map(proc, "self", "uid_map", uid, 1, err);
	return r;
}

/* A range can only be mapped from outside the new namespace: this child stays there to do it. */
static int map_range_of_parent(int go, int proc, uint32_t host_base)
{
	char process[32], byte;
	struct err err = {0};

	snprintf(process, sizeof(process), "%d", (int)getppid());
	if (read(go, &byte, 1) != 1)
		return EPIPE;
	if (write_map(proc, process, "gid_map", host_base, IDENTITY_RANGE, &err) < 0 ||
		write_map(proc, process, "uid_map", host_base, IDENTITY_RANGE, &err) < 0)
		return err.code;
	return 0;
}

static int become_mapped_root(struct err *err)
{
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_set(err, errno, "become user 0 of the service's user namespace");
	return 0;
}

static int enter_with_range(int flags, int proc, uint32_t host_base, struct err *err)
{
	int pipe_fds[2], status, failed;
	pid_t mapper;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_set(err, errno, "pipe");
	mapper = fork();
	if (mapper < 0)
		return err_set(err, errno, "fork");
	if (!mapper) {
		close(pipe_fds[1]);
		_exit(map_range_of_parent(pipe_fds[0], proc, host_base));
	}
	close(pipe_fds[0]);
	failed = unshare(CLONE_NEWUSER | flags) < 0 ? errno : 0;
	if (!failed && write(pipe_fds[1], "", 1) != 1)
		failed = errno;
	close(pipe_fds[1]);
	if (waitpid(mapper, &status, 0) < 0)
		return err_set(err, errno, "wait for the id mapper");
	if (failed)
		return err_set(err, failed, "make the service's namespaces");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(err, WIFEXITED(status) ? WEXITSTATUS(status) : EPIPE,
			"map %d ids from %u on", IDENTITY_RANGE, host_base);
	return become_mapped_root(err);
}

int identity_enter_service(int flags, uint32_t host_base, uint32_t *range, struct err *err)
{
	SCOPE_FD proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (proc < 0)
		return err_set(err, errno, "open /proc");
	if (uid == 0) {
		*range = IDENTITY_RANGE;
		return enter_with_range(flags, proc, host_base, err);
	}
	*range = 1;
	if (unshare(CLONE_NEWUSER | flags) < 0)
		return err_set(err, errno, "make the service's namespaces");
	return map_single(proc, uid, gid, err);
}

int identity_map_self(int proc, uint32_t inside_uid, struct err *err)
{
	return map_single(proc, inside_uid, inside_uid, err);
}

/* Where only part of all ids is mapped, as in a container, those far above are not to be had. */
uint32_t identity_plain_base(void)
{
	const uint32_t in_containers = 16384;
	SCOPE_FD fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	char text[256] = "";
	unsigned inside = 0, outside = 0, count = 0;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ||
		sscanf(text, "%u %u %u", &inside, &outside, &count) != 3)
		return in_containers;
	return count - 1 >= (uint32_t)IDENTITY_HOST_FIRST + IDENTITY_RANGE ? IDENTITY_HOST_FIRST
									    : in_containers;
}

static int set_capabilities(uint64_t mask, struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)mask, .permitted = (uint32_t)mask},
		{.effective = (uint32_t)(mask >> 32), .permitted = (uint32_t)(mask >> 32)},
	};

	if (warden_call(SYS_capset, (long)&header, (long)data, 0, 0, 0) < 0)
		return err_set(err, errno, "set capabilities");
	return 0;
}

/*
 * How many capabilities the running kernel has, whatever our headers know: reading beyond the last
 * is an error. Asked once; forks inherit the answer.
 */
static int capability_count(void)
{
	static int count;

	if (count)
		return count;
	while (count < 64 && prctl(PR_CAPBSET_READ, count, 0, 0, 0) >= 0)
		count++;
	return count;
}

static bool has_capability(int capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	return syscall(SYS_capget, &header, data) == 0 &&
	       (data[capability / 32].effective & (UINT32_C(1) << capability % 32));
}

/* all_set: a user namespace was just entered, where nothing has been dropped yet. */
static int bound_capabilities(bool all_set, struct err *err)
{
	int count = capability_count(), capability;

	if (!all_set && !has_capability(CAP_SETPCAP))
		return 0; /* with no_new_privs nothing is gained by what stays */
	for (capability = 0; capability < count; capability++) {
		if (!all_set && !prctl(PR_CAPBSET_READ, capability, 0, 0, 0))
			continue;
		if (warden_call(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
			return err_set(err, errno, "drop capability %d", capability);
	}
	return 0;
}

int identity_drop_all_capabilities(bool fresh, struct err *err)
{
	int r = bound_capabilities(fresh, err);

	if (r < 0)
		return r;
	if (warden_call(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_set(err, errno, "clear ambient capabilities");
	return set_capabilities(0, err);
}

int identity_keep_capabilities(uint64_t capabilities, struct err *err)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_set(err, errno, "clear ambient capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, errno, "set no_new_privs");
	return set_capabilities(capabilities, err);
}

int identity_become(uint32_t id, uint64_t capabilities, struct err *err)
{
	int r = bound_capabilities(false, err);

	if (r < 0)
		return r;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_set(err, errno, "keep capabilities");
	if (id && (setgroups(0, NULL) < 0 || setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0))
		return err_set(err, errno, "become user %u", id);
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return err_set(err, errno, "keep capabilities no more");
	return identity_keep_capabilities(capabilities, err);
}
