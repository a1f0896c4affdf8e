"""System calls that no script may make, each tried raw."""

import pytest

from attacks import attack  # noqa: F401 (a fixture)

NEW = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000,
       "ipc": 0x08000000, "uts": 0x04000000, "cgroup": 0x02000000}

REFUSED = [
    # other programs
    ("execve", "b'/usr/bin/python3', 0, 0"), ("execve", "b'/tmp/x', 0, 0"),
    ("execveat", "-100, b'/tmp/x', 0, 0, 0"),
    # sockets: families and types
    *[("socket", f"{family}, {kind}, 0") for family in (1, 2, 10, 16, 17, 38, 40)
      for kind in (1, 2, 3, 5)],
    ("socketpair", "1, 2, 0, PAIR"), ("socketpair", "1, 5, 0, PAIR"),
    ("socketpair", "1, 3, 0, PAIR"), ("socketpair", "1, 2 | 0o2000000, 0, PAIR"),
    ("socketpair", "2, 1, 0, PAIR"), ("socketpair", "16, 1, 0, PAIR"),
    ("sendto", "1000, b'x', 1, 1, 0, 0"), ("recvfrom", "1000, 0, 0, 1, 0, 0"),
    ("sendmsg", "1000, 0, 0x4001"), ("recvmsg", "1000, 0, 1"),
    ("setsockopt", "1000, 1, 26, 0, 0"), ("getsockopt", "1000, 1, 17, 0, 0"),
    ("connect", "1000, -1, 0"), ("bind", "1000, -1, 0"), ("listen", "1000, 1"),
    ("accept", "1000, 0, 0"), ("accept4", "1000, 0, 0, 0"),
    # other processes
    ("ptrace", "0, 0, 0, 0"), ("ptrace", "16, 1, 0, 0"), ("ptrace", "0x4206, 1, 0, 0"),
    ("process_vm_readv", "1, -1, 1, -1, 1, 0"), ("process_vm_writev", "1, -1, 1, -1, 1, 0"),
    ("process_madvise", "-1, -1, 1, 0, 0"), ("process_mrelease", "-1, 0"),
    ("kcmp", "1, 1, 0, 0, 0"), ("pidfd_open", "1, 0"), ("pidfd_getfd", "-1, 0, 0"),
    ("pidfd_send_signal", "-1, 9, 0, 0"), ("prlimit64", "1, 7, 0, 0"),
    ("prlimit64", "1, 7, -1, 0"), ("sched_setaffinity", "1, 8, -1"),
    ("sched_getaffinity", "1, 8, -1"), ("sched_setscheduler", "0, 1, -1"),
    ("sched_setattr", "0, -1, 0"), ("setpriority", "0, 1, 5"), ("ioprio_set", "1, 1, 0"),
    ("getpriority", "2, 0"), ("getpriority", "1, 1"), ("rt_sigqueueinfo", "1, 9, -1"),
    ("rt_tgsigqueueinfo", "1, 1, 9, -1"), ("tkill", "1, 9"), ("ioprio_get", "1, 1"),
    ("move_pages", "1, 0, 0, 0, 0, 0"), ("migrate_pages", "1, 0, 0, 0"),
    # mounts and roots
    ("mount", "b'none', b'/tmp', b'tmpfs', 0, 0"), ("mount", "0, b'/', 0, 0x1020, 0"),
    ("umount2", "b'/tmp', 2"), ("pivot_root", "b'.', b'.'"), ("chroot", "b'/tmp'"),
    ("fsopen", "b'tmpfs', 0"), ("fsconfig", "-1, 0, 0, 0, 0"), ("fsmount", "-1, 0, 0"),
    ("fspick", "-100, b'/', 0"), ("open_tree", "-100, b'/', 1"),
    ("move_mount", "-1, b'', -100, b'/tmp', 4"), ("mount_setattr", "-100, b'/', 0, -1, 32"),
    # namespaces
    *[("unshare", hex(flag)) for flag in (0, 0x80, *NEW.values())],
    *[("clone", f"{flag | 17}, 0, 0, 0, 0") for flag in NEW.values()],
    ("setns", "0, 0"), ("setns", "1000, 0x10000000"),
    *[("clone", f"{flag | 17}, 0, 0, 0, 0") for flag in (0x80, 0x1000, 0x2000, 0x8000, 0x800000,
                                                         0x80000000, 1 << 32)],
    # who one is
    ("setuid", "0"), ("setgid", "0"), ("setreuid", "0, 0"), ("setregid", "0, 0"),
    ("setresuid", "65534, 65534, 65534"), ("setresgid", "0, 0, 0"), ("setfsuid", "0"),
    ("setfsgid", "0"), ("setgroups", "0, 0"), ("capset", "-1, -1"),
    *[("prctl", arguments) for arguments in (
        "4, 1", "4 | 1 << 32, 1", "8, 1", "22, 1, 0", "22, 2, -1", "24, 0", "28, 0", "35, 1, 0",
        "36, 1", "38, 1", "41, 1", "47, 4", "53, 0, 0", "59, 1, 0, 1", "0x59616d61, -1")],
    ("seccomp", "0, 0, 0"), ("seccomp", "1, 0, -1"), ("seccomp", "2, 0, -1"),
    # kernel surfaces
    ("bpf", "0, -1, 72"), ("perf_event_open", "-1, 0, -1, -1, 0"), ("userfaultfd", "1"),
    ("io_uring_setup", "8, -1"), ("io_uring_enter", "-1, 0, 0, 0, 0"),
    ("io_uring_register", "-1, 0, 0, 0"), ("io_setup", "8, -1"), ("keyctl", "0, -3, 1"),
    ("add_key", "b'user', b'a', b'b', 1, -2"), ("request_key", "b'user', b'a', 0, -2"),
    ("kexec_load", "0, 0, 0, 0"), ("kexec_file_load", "-1, -1, 0, 0, 0"),
    ("init_module", "-1, 1, b''"), ("finit_module", "-1, b'', 0"), ("delete_module", "b'x', 0"),
    ("swapon", "b'/tmp/x', 0"), ("swapoff", "b'/tmp/x'"), ("reboot", "-1, -1, 0, 0"),
    ("settimeofday", "-1, 0"), ("clock_settime", "0, -1"), ("adjtimex", "-1"),
    ("clock_adjtime", "0, -1"), ("sethostname", "b'x', 1"), ("setdomainname", "b'x', 1"),
    ("quotactl", "0, 0, 0, 0"), ("quotactl_fd", "-1, 0, 0, 0"), ("acct", "b'/tmp/x'"),
    ("syslog", "3, -1, 0"), ("vhangup", ""), ("iopl", "3"), ("ioperm", "0, 1, 1"),
    ("modify_ldt", "0, -1, 0"), ("personality", "0x40000"), ("lookup_dcookie", "0, -1, 0"),
    ("personality", "-1"), ("arch_prctl", "0x1012, 0"), ("arch_prctl", "0x1002, 0"),
    ("membarrier", "1, 0, 0"), ("timer_create", "0, 0, -1"), ("splice", "0, 0, 1, 0, 1, 0"),
    ("tee", "0, 1, 1, 0"),
    # memory: kinds of mapping that are counted nowhere, or seen by others
    *[("mmap", f"0, 4096, 3, {flags}, -1, 0") for flags in (0x122, 0x2022, 0x40022, 0x28, 1 << 32)],
    ("mmap", "0, 4096, 0x1000003, 0x22, -1, 0"), ("mprotect", "0, 0, 0x1000001"),
    ("mremap", "0, 4096, 4096, 5, 0"),
    *[("madvise", f"0, 0, {advice}") for advice in (9, 12, 13, 20, 21, 25, 100, 101)],
    ("mlockall", "1"), ("mlock2", "0, 4096, 1"), ("pkey_alloc", "0, 0"),
    ("pkey_mprotect", "0, 0, 1, 0"), ("mbind", "0, 0, 0, 0, 0, 0"), ("set_mempolicy", "0, 0, 0"),
    # the cache that all share
    ("fadvise64", "0, 0, 0, 4"), ("readahead", "0, 0, 4096"), (451, "0, -1, -1, 0"),
    ("preadv2", "0, 0, 0, 0, 0, 8"),
    ("vmsplice", "1, -1, 1, 0"), ("remap_file_pages", "-1, 0, 0, 0, 0"),
    # what outlives a process or watches others
    ("name_to_handle_at", "-100, b'/', -1, -1, 0"), ("open_by_handle_at", "-1, -1, 0"),
    ("memfd_create", "b'x', 0"), ("memfd_secret", "0"), ("mq_open", "b'x', 66, 0o600, 0"),
    ("mq_unlink", "b'x'"), ("shmget", "0, 4096, 0o1600"), ("shmat", "0, 0, 0"),
    ("semget", "0, 1, 0o1600"), ("msgget", "0, 0o1600"), ("inotify_init", ""),
    ("inotify_init1", "0"), ("fanotify_init", "0, 0"), ("sync", ""), ("syncfs", "1"),
    ("inotify_add_watch", "-1, b'/', 0xfff"),
    *[("fcntl", f"0, {command}, 0") for command in (8, 10, 15, 1024, 1026, 1031, 1033, 1036)],
    # files
    ("chown", "b'/tmp', 65534, 65534"), ("lchown", "b'/tmp', -1, -1"), ("fchown", "0, 0, 0"),
    ("fchownat", "-100, b'/tmp', -1, -1, 0"),
    # devices
    ("mknod", "b'/tmp/d', 0o20666, 0x103"), ("mknod", "b'/tmp/d', 0o60666, 0x800"),
    ("mknod", "b'/tmp/d', 0o140666, 0"), ("mknodat", "-100, b'/tmp/d', 0o20666, 0x101"),
    ("ioctl", "0, 0x5412, b'x'"), ("ioctl", "1, 0x40045436, 0"), ("ioctl", "0, 0x5201, 0"),
]


@pytest.mark.parametrize("name, arguments", REFUSED,
                         ids=[f"{name}({arguments})" for name, arguments in REFUSED])
def test_call_is_refused(attack, name, arguments):
    """It answers EPERM, whatever its arguments are worth."""
    assert attack(f"""
PAIR = (ctypes.c_int * 2)(-7, -7)
def main():
    return [call({name!r}, {arguments}), list(PAIR)]
""") == ["EPERM", [-7, -7]]


def test_calls_that_are_allowed_reach_the_kernel(attack):
    """The instrument itself works: the kernel's own answers come through."""
    assert attack("""
def main():
    pair = (ctypes.c_int * 2)()
    return [call("read", -1, 0, 0), call("openat", -100, b"/nowhere", 0, 0),
            call("socketpair", 1, 1, 0, pair), pair[0] > 2, call("prlimit64", 0, 99, 0, 0),
            call("write", 1, -1, 1), call("getuid")]
""") == ["EBADF", "ENOENT", 0, True, "EINVAL", "EFAULT", 65534]


def test_clone3_is_unknown(attack):
    """Its flags are out of a filter's sight; ENOSYS makes libc take clone."""
    assert attack("""
def main():
    arguments = (ctypes.c_uint64 * 11)(0x10000000)
    return [call("clone3", arguments, 88), call("clone3", -1, 88)]
""") == ["ENOSYS", "ENOSYS"]


@pytest.mark.parametrize("name, arguments, answers", [
    ("statfs", "b'/', bytes(120)", "ENOSYS"), ("fstatfs", "0, bytes(120)", "ENOSYS"),
    ("flock", "0, 2", "ENOSYS"), ("fsync", "-1", 0), ("fdatasync", "-1", 0), ("msync", "0, 0, 4", 0),
    ("setxattr", "b'/tmp', b'user.a', b'', 0, 0", "ENOTSUP"),
    ("listxattr", "b'/usr', 0, 0", "ENOTSUP"), ("getxattr", "b'/usr', b'user.a', 0, 0", "ENOTSUP"),
    ("prctl", "0x53564d41, 0, 0, 0, 0", "EPERM"), ("sched_getaffinity", "1, 8, -1", "EPERM"),
])
def test_what_libraries_do_without_is_no_refusal(attack, name, arguments, answers):
    """The kernel answers by itself: nothing is told, and nothing done."""
    answer = attack.verdict(f"""
def main():
    raise ValueError(call({name!r}, {arguments}))
""")
    assert answer.data["error"] == f"ValueError: {answers}"
    assert "refused" not in answer.data["cause"]


@pytest.mark.parametrize("number", ["39", "0", "59", "512", "0x3fffffff"])
def test_x32_calls_kill(attack, number):
    """Calls of the x32 interface are another set of numbers for the same kernel."""
    answer = attack.verdict(f"def main():\n    return call(0x40000000 | {number}, 0, 0, 0)")
    assert (answer.status, answer.data["cause"]["kind"]) == (400, "signal")
    assert answer.data["cause"]["signal"] == "SIGSYS"


@pytest.mark.parametrize("number", [20, 11, 4, 120])
def test_32_bit_calls_kill(attack, number):
    """int 0x80 enters the kernel as i386, where all numbers mean something else."""
    answer = attack.verdict(f"""
import mmap
def main():
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\\xb8" + struct.pack("<I", {number}) + b"\\xcd\\x80\\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    print("ready")
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()
""")
    assert answer.data["stdout"] == "ready\n"
    assert answer.data["cause"] == {"kind": "signal", "signal": "SIGSYS"}


def test_a_thread_and_a_child_are_under_the_filter_too(attack):
    """The filter holds for all threads and descendants."""
    assert attack("""
import threading
def main():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(call("unshare", 0x10000000)))
    thread.start()
    thread.join()
    return seen + [in_child(call, "unshare", 0x10000000), in_child(in_child, call, "mount", 0)]
""") == ["EPERM", "'EPERM'", '"\'EPERM\'"']


@pytest.mark.parametrize("action, error", [
    ("__import__('subprocess').run(['/bin/true'])", ["PermissionError", "EPERM"]),
    ("__import__('socket').socket()", ["PermissionError", "EPERM"]),
    ("__import__('socket').create_connection(('127.0.0.1', 80))", ["PermissionError", "EPERM"]),
    ("__import__('socket').socketpair(1, 2)", ["PermissionError", "EPERM"]),
    ("os.execv('/usr/bin/python3', ['x'])", ["PermissionError", "EPERM"]),
    ("os.setuid(0)", ["PermissionError", "EPERM"]),
    ("os.chroot('/tmp')", ["PermissionError", "EPERM"]),
    ("os.memfd_create('x')", ["PermissionError", "EPERM"]),
    ("time.clock_settime(0, 0)", ["PermissionError", "EPERM"]),
])
def test_python_gets_an_ordinary_exception(attack, action, error):
    """A refused operation is a PermissionError, as on any Linux."""
    assert attack(f"def main():\n    return attempt(lambda: {action})") == error
