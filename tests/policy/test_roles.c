#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/role.h"

/* The filters of dispatcher and worker, in force in a child; run from the top of the tree. */

static void *nothing(void *argument)
{
	return argument;
}

static bool is_refused(long value)
{
	return value == -1 && errno == EPERM;
}

/* What neither may do. Arguments are such that nothing would come of it. */
static int try_common(void)
{
	char *page;

	if (!is_refused(syscall(SYS_open, "/", O_RDWR)) ||
		!is_refused(syscall(SYS_execve, "/", 0, 0)))
		return 10;
	if (!is_refused(syscall(SYS_openat, AT_FDCWD, "/x", O_RDWR)) ||
		!is_refused(syscall(SYS_openat, AT_FDCWD, "/x", O_WRONLY | O_CREAT, 0600)))
		return 11;
	if (!is_refused(syscall(SYS_socket, AF_INET, SOCK_STREAM, 0)) ||
		!is_refused(syscall(SYS_connect, -1, 0, 0)) ||
		!is_refused(syscall(SYS_bind, -1, 0, 0)))
		return 12;
	if (!is_refused(syscall(SYS_fork)) || !is_refused(syscall(SYS_vfork)) ||
		!is_refused(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) ||
		!is_refused(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)))
		return 13;
	if (!is_refused(syscall(SYS_kill, -1, 0)) || !is_refused(syscall(SYS_tgkill, 1, 1, 0)) ||
		!is_refused(syscall(SYS_ptrace, 0, 0, 0, 0)) ||
		!is_refused(syscall(SYS_pidfd_open, 1, 0)) ||
		!is_refused(syscall(SYS_pidfd_getfd, -1, 0, 0)) ||
		!is_refused(syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0)))
		return 14;
	if (!is_refused(syscall(SYS_unshare, 0)) || !is_refused(syscall(SYS_setns, -1, 0)) ||
		!is_refused(syscall(SYS_mount, 0, 0, 0, 0, 0)) ||
		!is_refused(syscall(SYS_chroot, "/")) || !is_refused(syscall(SYS_setuid, 0)) ||
		!is_refused(syscall(SYS_capset, 0, 0)))
		return 15;
	if (!is_refused(syscall(SYS_bpf, 0, 0, 0)) ||
		!is_refused(syscall(SYS_io_uring_setup, 1, 0)) ||
		!is_refused(syscall(SYS_keyctl, 0, 0, 0)) ||
		!is_refused(syscall(SYS_seccomp, 0, 0, 0)) ||
		!is_refused(syscall(SYS_prctl, PR_SET_DUMPABLE, 1)) ||
		!is_refused(syscall(SYS_memfd_create, "x", 0)) ||
		!is_refused(syscall(SYS_ioctl, 0, 0x5412, 0)))
		return 16;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED || !is_refused(mprotect(page, 4096, PROT_READ | PROT_EXEC)) ||
		mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
		return 17;
	return 0;
}

/* Threads and connected sockets are its work; not even reading a file is. */
static int try_dispatcher(void)
{
	pthread_t thread;
	int pair[2];

	if (!is_refused(syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY)))
		return 20;
	if (!is_refused(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair)) ||
		!is_refused(syscall(SYS_pidfd_send_signal, -1, SIGKILL, 0, 0)))
		return 21;
	if (pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL))
		return 22;
	return try_common();
}

/* It reads, makes sockets, and kills by descriptor; it accepts nobody and makes no thread. */
static int try_worker(void)
{
	int pair[2];

	if (openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 30;
	if (!is_refused(syscall(SYS_socketpair, AF_INET, SOCK_STREAM, 0, pair)) ||
		!is_refused(syscall(SYS_accept, -1, 0, 0)))
		return 31;
	if (syscall(SYS_pidfd_send_signal, -1, SIGKILL, 0, 0) != -1 || errno != EBADF)
		return 32;
	if (!is_refused(syscall(SYS_pidfd_send_signal, -1, SIGSTOP, 0, 0)) ||
		!is_refused(syscall(SYS_clone, 0x3d0f00, 0, 0, 0, 0)))
		return 33;
	return try_common();
}

static void expect_of(const char *path, int (*try)(void))
{
	struct err err = {0};
	int status, file = open(path, O_RDONLY);
	pid_t pid;

	assert_true(file >= 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		_exit(role_filter(file, &err) < 0 ? 99 : try());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(file);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_dispatcher(void **state)
{
	(void)state;
	expect_of("conf/dispatcher.policy", try_dispatcher);
}

static void test_worker(void **state)
{
	(void)state;
	expect_of("conf/worker.policy", try_worker);
}

/* A policy that cannot be read or compiled is no policy at all. */
static void test_bad_policy(void **state)
{
	static const char *const texts[] = {"[allow]\nno_such_call\n", "read\n", "[warden"};
	struct err err;
	int pipe_fds[2];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		FILE *file = tmpfile();

		assert_non_null(file);
		fputs(texts[i], file);
		fflush(file);
		err = (struct err){0};
		assert_int_equal(role_filter(fileno(file), &err), -EINVAL);
		assert_true(err.text[0]);
		fclose(file);
	}
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(role_filter(pipe_fds[0], &err), -ESPIPE);
	assert_int_equal(role_filter(-1, &err), -EBADF);
}

static void test_limits(void **state)
{
	struct err err = {0};
	int status;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		if (role_limit(64 << 20, 16, &err) < 0)
			_exit(1);
		if (malloc(128 << 20) || dup2(0, 16) >= 0)
			_exit(2);
		_exit(malloc(1 << 20) ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dispatcher),
		cmocka_unit_test(test_worker),
		cmocka_unit_test(test_bad_policy),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
