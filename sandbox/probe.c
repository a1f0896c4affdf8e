#include "sandbox/probe.h"

#include "sandbox/identity.h"
#include "sandbox/landlock.h"
#include "sandbox/rlimits.h"
#include "sandbox/scope.h"
#include "sandbox/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
	FILES_LEAST = 4096,
};

/* --- the trials, each in a child of its own ------------------------------------------------ */

static int enter_user(int flags, struct err *err)
{
	uint32_t range;

	return identity_enter_service(flags, IDENTITY_HOST_FIRST, &range, err);
}

/* A cell's lies in the service's. */
static int try_user(struct err *err)
{
	int r = enter_user(0, err);

	if (!r && unshare(CLONE_NEWUSER) < 0)
		r = err_set(err, errno, "make a user namespace inside another");
	return r;
}

static int unshare_one(int flag, struct err *err)
{
	int r = enter_user(0, err);

	return !r && unshare(flag) < 0 ? err_set(err, errno, "unshare") : r;
}

/* Runs the function in a fork. Returns what it returned, with its err. */
static int in_child(int (*function)(struct err *), struct err *err)
{
	struct err said = {0};
	int pipe_fds[2], status;
	ssize_t n = 0;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_set(err, errno, "pipe");
	pid = fork();
	if (!pid) {
		if (function(&said) < 0 && write(pipe_fds[1], &said, sizeof(said)) < 0)
			_exit(2);
		_exit(said.code ? 1 : 0);
	}
	close(pipe_fds[1]);
	if (pid > 0)
		n = read(pipe_fds[0], &said, sizeof(said));
	close(pipe_fds[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return err_set(err, errno, "fork");
	if (n == (ssize_t)sizeof(said)) {
		*err = said;
		return -said.code;
	}
	return status ? err_set(err, ECHILD, "the trial ended with status %#x", (unsigned)status)
		      : 0;
}

static int is_process_1(struct err *err)
{
	return getpid() == 1 ? 0 : err_set(err, EPERM, "be process 1 of a PID namespace");
}

static int try_pid(struct err *err)
{
	int r = unshare_one(CLONE_NEWPID, err);

	return r < 0 ? r : in_child(is_process_1, err);
}

static int try_mount(struct err *err)
{
	int r = enter_user(CLONE_NEWNS, err);

	return r < 0 ? r : tree_enter_probe(err);
}

static int try_network(struct err *err)
{
	return unshare_one(CLONE_NEWNET, err);
}

static int try_ipc(struct err *err)
{
	return unshare_one(CLONE_NEWIPC, err);
}

static int try_uts(struct err *err)
{
	return unshare_one(CLONE_NEWUTS, err);
}

static int try_cgroup(struct err *err)
{
	return unshare_one(CLONE_NEWCGROUP, err);
}

static int mount_proc(struct err *err)
{
	SCOPE_FD proc = tree_mount_proc(err);

	return proc < 0 ? proc : 0;
}

static int try_procfs(struct err *err)
{
	int r = enter_user(CLONE_NEWNS | CLONE_NEWPID, err);

	return r < 0 ? r : in_child(mount_proc, err);
}

static int try_no_new_privs(struct err *err)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? err_set(err, errno, "set no_new_privs")
							  : 0;
}

/* With a listener, as the cells' filter has one. */
static int try_seccomp(struct err *err)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {.len = 1, .filter = &allow};
	int r = try_no_new_privs(err);

	if (!r && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			  SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
			  &program) < 0)
		r = err_set(err, errno, "install a filter with a listener");
	return r;
}

static int try_capabilities(struct err *err)
{
	return identity_become(0, 0, err);
}

static int try_rlimits(struct err *err)
{
	const struct rlimits_cell limits = {
		.processes = 16, .open_files = 64, .file_mib = 1, .stack_mib = 8};
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < FILES_LEAST)
		return err_set(err, EMFILE, "RLIMIT_NOFILE is %llu and has to be %d at least",
			(unsigned long long)files.rlim_max, FILES_LEAST);
	return rlimits_set_cell(&limits, err);
}

/* One of many on the host: with a range of a user namespace, or taken as root. */
static int try_own_uid(struct err *err)
{
	if (geteuid() != 0)
		return err_set(err, EPERM, "not started as root");
	if (in_child(try_user, err) == 0)
		return 0;
	*err = (struct err){0};
	return identity_become(identity_plain_base() + IDENTITY_CELL_FIRST, 0, err);
}

static int try_landlock(struct err *err)
{
	int r = try_no_new_privs(err);

	return r < 0 ? r : landlock_confine(NULL, 0, true, err);
}

/* --- the table ----------------------------------------------------------------------------- */

static const struct trial {
	const char *title, *needs;
	int (*run)(struct err *);
} trials[LAYER_COUNT] = {
	[LAYER_USER] = {"user namespaces, one in another",
		"CONFIG_USER_NS, and nobody who refuses them", try_user},
	[LAYER_PID] = {"PID namespace", "a user namespace", try_pid},
	[LAYER_MOUNT] = {"mount namespace, pivot_root, tmpfs, read-only binds",
		"a user namespace, Linux 5.12", try_mount},
	[LAYER_NETWORK] = {"network namespace", "a user namespace", try_network},
	[LAYER_IPC] = {"IPC namespace", "a user namespace", try_ipc},
	[LAYER_UTS] = {"UTS namespace", "a user namespace", try_uts},
	[LAYER_CGROUP] = {"cgroup namespace", "a user namespace", try_cgroup},
	[LAYER_SECCOMP] = {"system-call filters with a listener",
		"CONFIG_SECCOMP_FILTER, Linux 5.19", try_seccomp},
	[LAYER_CAPABILITIES] = {"capabilities dropped", "nothing", try_capabilities},
	[LAYER_NO_NEW_PRIVS] = {"no_new_privs", "nothing", try_no_new_privs},
	[LAYER_RLIMITS] = {"resource limits", "RLIMIT_NOFILE of 4096 at least", try_rlimits},
	[LAYER_PROCFS] = {"procfs of a PID namespace", "an unmasked /proc, Linux 5.8", try_procfs},
	[LAYER_OWN_UID] = {"a user id for each cell", "root (CAP_SETUID, CAP_SETGID)", try_own_uid},
	[LAYER_LANDLOCK] = {"Landlock, where mounts are missing",
		"CONFIG_SECURITY_LANDLOCK, "
		"\"landlock\" in lsm=",
		try_landlock},
};

/* --- cures --------------------------------------------------------------------------------- */

/* A whole number in a file; -1 where there is none. */
static long number_in(const char *path)
{
	SCOPE_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[32] = "";

	return fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ? -1 : strtol(text, NULL, 10);
}

static bool is_filtered(void)
{
	SCOPE_FD fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	char text[4096] = "";

	return fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strstr(text, "\nSeccomp:\t2");
}

/* As root one can see that one's root is not process 1's; the kernel says EPERM, and not why. */
static bool is_in_chroot(void)
{
	struct stat here, of_first;

	return stat("/", &here) == 0 && stat("/proc/1/root/.", &of_first) == 0 &&
	       (here.st_ino != of_first.st_ino || here.st_dev != of_first.st_dev);
}

static const char *cure_user(void)
{
	if (number_in("/proc/sys/user/max_user_namespaces") == 0)
		return "user.max_user_namespaces is 0: sysctl -w user.max_user_namespaces=65536";
	if (number_in("/proc/sys/kernel/unprivileged_userns_clone") == 0 && geteuid())
		return "sysctl -w kernel.unprivileged_userns_clone=1";
	if (number_in("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1 && geteuid())
		return "Ubuntu 24.04 restricts user namespaces "
		       "(kernel.apparmor_restrict_unprivileged_userns=1): install the AppArmor "
		       "profile in deploy/apparmor/, or start as root";
	if (is_filtered())
		return "a system-call filter lies on this process already, as in a container: "
		       "docker run --security-opt seccomp=unconfined, or isolation = available";
	if (is_in_chroot())
		return "user namespaces are refused inside chroot(2): enter this root by "
		       "pivot_root "
		       "(unshare, bwrap, systemd-nspawn)";
	return "the kernel needs CONFIG_USER_NS, and a container the right to use it";
}

static const char *cure_mount(void)
{
	if (number_in("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1 && geteuid())
		return cure_user(); /* the namespace comes, without its capabilities */
	if (is_filtered())
		return "the container's filter refuses mounts: docker run --security-opt "
		       "seccomp=unconfined --security-opt apparmor=unconfined";
	return "needs Linux 5.12, and in a container --security-opt apparmor=unconfined";
}

static const char *cure_of(enum layer layer, const struct probe_row *rows)
{
	switch ((int)layer) {
	case LAYER_USER:
		return cure_user();
	case LAYER_MOUNT:
		return rows[LAYER_USER].found ? cure_mount() : "see user";
	case LAYER_PID:
	case LAYER_NETWORK:
	case LAYER_IPC:
	case LAYER_UTS:
	case LAYER_CGROUP:
		return rows[LAYER_USER].found ? "the kernel or a filter refuses this one"
					      : "see user";
	case LAYER_PROCFS:
		if (!rows[LAYER_USER].found)
			return "see user";
		return "something is mounted over parts of /proc, as containers have it: docker "
		       "run "
		       "--security-opt systempaths=unconfined";
	case LAYER_RLIMITS:
		return "ulimit -Hn 65536 before the start, or LimitNOFILE=65536 in the unit";
	case LAYER_OWN_UID:
		return "start as root, which is given up at once; else all cells share one id";
	case LAYER_LANDLOCK:
		return "add landlock to lsm= on the kernel's command line";
	default:
		return "this kernel cannot run Vivarium";
	}
}

/* --- putting it together ------------------------------------------------------------------- */

static void try_one(enum layer layer, struct probe_row *rows)
{
	struct probe_row *row = &rows[layer];

	*row = (struct probe_row){
		.layer = layer, .title = trials[layer].title, .needs = trials[layer].needs};
	row->found = in_child(trials[layer].run, &row->err) == 0;
	if (!row->found)
		snprintf(row->cure, sizeof(row->cure), "%s", cure_of(layer, rows));
}

uint32_t probe_layers(struct probe_row rows[LAYER_COUNT])
{
	uint32_t found = 0;
	int layer;

	for (layer = 0; layer < LAYER_COUNT; layer++) {
		try_one((enum layer)layer, rows);
		if (rows[layer].found)
			found |= LAYER_BIT(layer);
	}
	return found;
}

static int try_rest(struct err *err)
{
	int r = tree_enter_probe(err);

	if (!r && unshare(CLONE_NEWUSER) < 0)
		r = err_set(err, errno, "make a user namespace");
	return r < 0 ? r : try_seccomp(err);
}

static int mount_proc_and_rest(struct err *err)
{
	int r = mount_proc(err);

	return r < 0 ? r : try_rest(err);
}

/* All that `full` needs, at once. */
static int try_all(struct err *err)
{
	int r = try_rlimits(err);

	if (!r)
		r = enter_user(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
				       CLONE_NEWUTS | CLONE_NEWCGROUP,
			err);
	return r < 0 ? r : in_child(mount_proc_and_rest, err);
}

uint32_t probe_layers_quickly(struct probe_row rows[LAYER_COUNT])
{
	struct err err = {0};

	if (in_child(try_all, &err) < 0)
		return probe_layers(rows);
	return layers_missing(0) | (geteuid() == 0 ? LAYER_BIT(LAYER_OWN_UID) : 0);
}
