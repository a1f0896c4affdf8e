/*
 * What a refused system call usually means, for whoever wrote the script: each call that the policy
 * of the package refuses, always or with some arguments, below the words for it. Calls that the
 * kernel answers by itself ([errno] in the policy) are never told and not here.
 */
#include "sandbox/refusal.h"

#include <asm/unistd.h>
#include <stddef.h>

enum {
	CALLS_MAX = 32, /* of one meaning; an unused place ends the list */
};

struct call {
	int number;
	const char *name;
};

#define CALL(name)                                                                                 \
	{                                                                                          \
		__NR_##name, #name                                                                 \
	}
/* One that the oldest headers we build with do not have; its number is the same ever after. */
#define NEWER(number, name)                                                                        \
	{                                                                                          \
		number, #name                                                                      \
	}

/* clang-format off */
static const struct meaning {
	const char *text;
	struct call calls[CALLS_MAX];
} meanings[] = {
	/* --- other programs */
	{"no other program can be started here, only Python code runs",
		{CALL(execve), CALL(execveat), CALL(uselib)}},
	/* --- the network */
	{"there is no network here, and no sockets but the pairs of socket.socketpair()",
		{CALL(socket), CALL(connect), CALL(bind), CALL(listen), CALL(accept),
			CALL(accept4), CALL(setsockopt), CALL(sendmmsg), CALL(recvmmsg)}},
	{"only pairs of stream sockets (AF_UNIX, SOCK_STREAM) can be made here",
		{CALL(socketpair)}},
	{"only the type, family, protocol and error of a socket can be asked here",
		{CALL(getsockopt)}},
	{"out-of-band data (MSG_OOB) cannot be sent or received here",
		{CALL(sendto), CALL(recvfrom), CALL(sendmsg), CALL(recvmsg)}},
	/* --- who one is */
	{"a script cannot become another user or group, or gain a privilege",
		{CALL(setuid), CALL(setgid), CALL(setreuid), CALL(setregid), CALL(setresuid),
			CALL(setresgid), CALL(setfsuid), CALL(setfsgid), CALL(setgroups),
			CALL(capset)}},
	{"files cannot be given to another user or group here",
		{CALL(chown), CALL(fchown), CALL(lchown), CALL(fchownat)}},
	/* --- namespaces, mounts, file systems */
	{"a new process or thread cannot have namespaces of its own or watch its parent",
		{CALL(clone)}},
	{"a script cannot make or enter namespaces",
		{CALL(unshare), CALL(setns)}},
	{"a script cannot mount, unmount or change the root directory",
		{CALL(mount), CALL(umount2), CALL(pivot_root), CALL(chroot), CALL(fsopen),
			CALL(fsconfig), CALL(fsmount), CALL(fspick), CALL(move_mount),
			CALL(open_tree), CALL(mount_setattr), NEWER(457, statmount),
			NEWER(458, listmount), NEWER(467, open_tree_attr)}},
	{"file systems and their quotas cannot be managed or asked about here",
		{CALL(ustat), CALL(sysfs), CALL(quotactl), CALL(quotactl_fd), CALL(swapon),
			CALL(swapoff)}},
	/* --- files */
	{"only named pipes can be made, no device files and no sockets",
		{CALL(mknod), CALL(mknodat)}},
	{"only what terminals and pipes say about themselves can be asked of a file (ioctl)",
		{CALL(ioctl)}},
	{"leases, change notifications, signals on readiness and pipe sizes cannot be set (fcntl)",
		{CALL(fcntl)}},
	{"watching files for changes is not possible here",
		{CALL(inotify_init), CALL(inotify_init1), CALL(inotify_add_watch),
			CALL(inotify_rm_watch), CALL(fanotify_init), CALL(fanotify_mark),
			CALL(lookup_dcookie)}},
	{"files cannot be opened by handle here",
		{CALL(name_to_handle_at), CALL(open_by_handle_at)}},
	{"file systems of the machine cannot be flushed here; nothing needs it, for nothing is kept",
		{CALL(sync), CALL(syncfs)}},
	{"the file cache is shared with other scripts and cannot be steered or asked about",
		{CALL(fadvise64), CALL(readahead), NEWER(451, cachestat)}},
	{"reading and writing take no flags here (preadv2, pwritev2)",
		{CALL(preadv2), CALL(pwritev2)}},
	{"moving pages between files and pipes is not possible here; read and write do the same",
		{CALL(splice), CALL(tee), CALL(vmsplice)}},
	{"extended attributes of files are not available here",
		{NEWER(463, setxattrat), NEWER(464, getxattrat), NEWER(465, listxattrat),
			NEWER(466, removexattrat), NEWER(468, file_getattr),
			NEWER(469, file_setattr)}},
	{"an old or rare form of a call that Python does not use; the usual form works",
		{CALL(stat), CALL(lstat), CALL(getdents), CALL(creat), CALL(utime), CALL(utimes),
			CALL(futimesat), CALL(epoll_create), CALL(eventfd), CALL(signalfd),
			CALL(epoll_pwait2), CALL(epoll_ctl_old), CALL(epoll_wait_old),
			CALL(tkill), CALL(fork), CALL(getrlimit), CALL(setrlimit),
			CALL(set_tid_address), CALL(get_robust_list), CALL(futex_waitv),
			NEWER(454, futex_wake), NEWER(455, futex_wait),
			NEWER(456, futex_requeue)}},
	/* --- memory */
	{"memory cannot be locked, grow downwards or be made of huge pages here (mmap)",
		{CALL(mmap)}},
	{"memory is readable, writable or executable, and nothing else (mprotect)",
		{CALL(mprotect)}},
	{"memory is moved with MREMAP_MAYMOVE and MREMAP_FIXED only",
		{CALL(mremap)}},
	{"this advice about memory (madvise) is not taken here",
		{CALL(madvise)}},
	{"files in memory (memfd) cannot be made here; /tmp is in memory",
		{CALL(memfd_create), CALL(memfd_secret)}},
	{"this use of memory is not available here",
		{CALL(remap_file_pages), CALL(mlock2), CALL(mlockall), CALL(munlockall),
			CALL(pkey_mprotect), CALL(pkey_alloc), CALL(pkey_free),
			NEWER(453, map_shadow_stack), NEWER(462, mseal), CALL(userfaultfd),
			CALL(membarrier)}},
	{"where memory lies is not the script's to decide",
		{CALL(mbind), CALL(set_mempolicy), CALL(set_mempolicy_home_node),
			CALL(migrate_pages), CALL(move_pages)}},
	/* --- other processes */
	{"a script cannot trace processes or touch their memory and descriptors",
		{CALL(ptrace), CALL(process_vm_readv), CALL(process_vm_writev),
			CALL(process_madvise), CALL(process_mrelease), CALL(kcmp),
			CALL(pidfd_open), CALL(pidfd_getfd), CALL(pidfd_send_signal)}},
	{"signals are sent with kill, without data",
		{CALL(rt_sigqueueinfo), CALL(rt_tgsigqueueinfo)}},
	{"a process can be asked about and set this way for itself only",
		{CALL(prlimit64), CALL(getpriority), CALL(setpriority), CALL(sched_getaffinity),
			CALL(sched_setaffinity), CALL(sched_getparam), CALL(sched_getscheduler)}},
	{"how the machine schedules the script is not its to ask or decide",
		{CALL(sched_setparam), CALL(sched_setscheduler), CALL(sched_setattr),
			CALL(sched_getattr), CALL(sched_get_priority_max),
			CALL(sched_get_priority_min), CALL(sched_rr_get_interval), CALL(ioprio_set),
			CALL(ioprio_get)}},
	{"this attribute of a process cannot be changed here",
		{CALL(prctl), CALL(arch_prctl), CALL(personality), CALL(modify_ldt),
			CALL(set_thread_area), CALL(get_thread_area)}},
	{"a script cannot change its own confinement",
		{CALL(seccomp), CALL(landlock_create_ruleset), CALL(landlock_add_rule),
			CALL(landlock_restrict_self), NEWER(459, lsm_get_self_attr),
			NEWER(460, lsm_set_self_attr), NEWER(461, lsm_list_modules),
			CALL(security)}},
	/* --- between processes */
	{"System V memory, semaphores and queues are not available here; multiprocessing works",
		{CALL(shmget), CALL(shmat), CALL(shmctl), CALL(shmdt), CALL(semget), CALL(semop),
			CALL(semctl), CALL(semtimedop), CALL(msgget), CALL(msgsnd), CALL(msgrcv),
			CALL(msgctl)}},
	{"POSIX message queues are not available here; multiprocessing.Queue works",
		{CALL(mq_open), CALL(mq_unlink), CALL(mq_timedsend), CALL(mq_timedreceive),
			CALL(mq_notify), CALL(mq_getsetattr)}},
	{"POSIX timers (timer_create) are not available here; signal.setitimer works",
		{CALL(timer_create), CALL(timer_settime), CALL(timer_gettime),
			CALL(timer_getoverrun), CALL(timer_delete)}},
	/* --- the kernel */
	{"asynchronous I/O of the kernel is not available here; asyncio works",
		{CALL(io_uring_setup), CALL(io_uring_enter), CALL(io_uring_register),
			CALL(io_setup), CALL(io_destroy), CALL(io_getevents), CALL(io_pgetevents),
			CALL(io_submit), CALL(io_cancel)}},
	{"there are no keyrings here",
		{CALL(add_key), CALL(request_key), CALL(keyctl)}},
	{"the clock cannot be set here",
		{CALL(settimeofday), CALL(clock_settime), CALL(adjtimex), CALL(clock_adjtime)}},
	{"programs for the kernel and its performance counters are not available here",
		{CALL(bpf), CALL(perf_event_open), NEWER(335, uretprobe), NEWER(336, uprobe)}},
	{"managing the machine is not possible here",
		{CALL(syslog), CALL(vhangup), CALL(_sysctl), CALL(acct), CALL(reboot),
			CALL(sethostname), CALL(setdomainname), CALL(iopl), CALL(ioperm),
			CALL(create_module), CALL(init_module), CALL(delete_module),
			CALL(finit_module), CALL(get_kernel_syms), CALL(query_module),
			CALL(kexec_load), CALL(kexec_file_load), CALL(nfsservctl)}},
	{"Linux does not have this call",
		{CALL(getpmsg), CALL(putpmsg), CALL(afs_syscall), CALL(tuxcall), CALL(vserver)}},
};
/* clang-format on */

/* Returns the call and its meaning in *text, or NULL. */
static const struct call *find(int number, const char **text)
{
	const struct call *call;
	size_t i;

	for (i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		for (call = meanings[i].calls; call->name; call++) {
			if (call->number != number)
				continue;
			*text = meanings[i].text;
			return call;
		}
	}
	return NULL;
}

const char *refusal_name(int number)
{
	const char *text;
	const struct call *call = find(number, &text);

	return call ? call->name : "an unknown system call";
}

const char *refusal_meaning(int number)
{
	const char *text;

	return find(number, &text) ? text : "this operation is not permitted here";
}
