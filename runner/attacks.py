"""The attacks of `vivarium check`: each is run as a script of its own and must come to nothing.

A function whose name begins with attack_ is one attack; its docstring is its name. It returns a list
of what it managed to do, which has to be empty. "# ends in: KIND..." above it names the verdicts that
are right as well ("ok": any value); with "time" among them it is given little of that. The order
counts: some look for what an earlier one left.
"""

import ctypes
import errno
import os
import signal
import struct
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
OWN = (0, 1, 2, 1000)  # standard streams and the result channel
WORK = os.getcwd()


def refused(number, *arguments):
    """Whether a raw system call (x86-64) ends in EPERM, ENOSYS or EACCES."""
    ctypes.set_errno(0)
    value = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a
                                                  for a in arguments))
    return value == -1 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS, errno.EACCES)


def managed(calls):
    """The names of those calls that were not refused."""
    return [name for name, *call in calls if not refused(*call)]


def done(name, function, *arguments):
    """[name] if the function did not raise."""
    try:
        function(*arguments)
    except (OSError, ValueError, MemoryError, RuntimeError):
        return []
    return [name]


def attack_programs():
    """start another program"""
    import subprocess
    found = managed([("execve", 59, b"/usr/bin/python3", 0, 0), ("execveat", 322, -100, b"/x", 0, 0, 0)])
    return found + done("subprocess", subprocess.run, ["/bin/sh", "-c", "true"])


def attack_network():
    """open a socket of any family"""
    found = [f"socket {family}" for family in range(46) for kind in (1, 2, 3)
             if not refused(41, family, kind, 0)]
    pair = (ctypes.c_int * 2)()
    return found + managed([("datagram pair", 53, 1, 2, 0, pair), ("connect", 42, 1000, 0, 0),
                            ("bind", 49, 1000, 0, 0), ("listen", 50, 1000, 1)])


def attack_namespaces():
    """make or enter namespaces, mount, change the root"""
    flags = [0x10000000, 0x20000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000]
    found = [f"unshare {flag:#x}" for flag in flags if not refused(272, flag)]
    found += [f"clone {flag:#x}" for flag in flags if not refused(56, flag | 17, 0, 0, 0, 0)]
    return found + managed([
        ("setns", 308, 0, 0), ("mount", 165, b"none", b"/tmp", b"tmpfs", 0, 0),
        ("umount2", 166, b"/tmp", 2), ("pivot_root", 155, b".", b"."), ("chroot", 161, b"."),
        ("fsopen", 430, b"tmpfs", 0), ("open_tree", 428, -100, b"/", 1), ("clone3", 435, 0, 88)])


def attack_identity():
    """become somebody else, gain capabilities, lift the filter"""
    return managed([
        ("setuid", 105, 0), ("setgid", 106, 0), ("setresuid", 117, 0, 0, 0),
        ("setgroups", 116, 0, 0), ("capset", 126, -1, -1), ("seccomp", 317, 1, 0, -1),
        ("dumpable", 157, 4, 1, 0, 0, 0), ("personality", 135, 0x40000)])


def attack_kernel():
    """reach parts of the kernel that break often"""
    return managed([
        ("bpf", 321, 0, -1, 72), ("perf_event_open", 298, -1, 0, -1, -1, 0),
        ("userfaultfd", 323, 1), ("io_uring_setup", 425, 8, -1), ("keyctl", 250, 0, -3, 1),
        ("add_key", 248, b"user", b"a", b"b", 1, -2), ("ptrace", 101, 0, 0, 0, 0),
        ("process_vm_readv", 310, 1, -1, 1, -1, 1, 0), ("pidfd_open", 434, 1, 0),
        ("kexec_load", 246, 0, 0, 0, 0), ("init_module", 175, -1, 1, b""),
        ("name_to_handle_at", 303, -100, b"/", -1, -1, 0), ("open_by_handle_at", 304, -1, -1, 0),
        ("memfd_create", 319, b"x", 0), ("shmget", 29, 0, 4096, 0o1600),
        ("mq_open", 240, b"x", 66, 0o600, 0), ("inotify_init", 253), ("fanotify_init", 300, 0, 0),
        ("settimeofday", 164, -1, 0), ("reboot", 169, -1, -1, 0, 0)])


# ends in: signal
def attack_x32():
    """call the kernel by the numbers of x32"""
    LIBC.syscall(ctypes.c_long(0x40000000 | 39))
    return ["x32 getpid"]


def attack_files():
    """read what belongs to the host"""
    paths = ["/etc/shadow", "/etc/hostname", "/etc/machine-id", "/etc/ssh", "/root", "/home", "/run",
             "/var/log", "/boot", "/sys/kernel", "/proc/1/environ", "/proc/self/mem", "/proc/self/fd",
             "/proc/sys", "/dev/mem", "/dev/sda", "/dev/vda", "/dev/kmsg", "/dev/tty", "/bin/sh",
             "/usr/bin", "/opt", "/srv", "/lost+found"]
    found = []
    for path in paths:
        found += done("read " + path, lambda: os.close(os.open(path, os.O_RDONLY)))
    return found


def attack_writing():
    """write anywhere but in one's own directory"""
    found = []
    for top in ("/", "/etc", "/usr", "/usr/lib", "/usr/lib/python3", "/dev", "/var/tmp", "/home",
                "/tmp/..", WORK + "/..", "/usr/share/zoneinfo"):
        found += done("make a file in " + top, lambda: os.close(
            os.open(top + "/vivarium-check", os.O_WRONLY | os.O_CREAT)))
        found += done("make a directory in " + top, os.mkdir, top + "/vivarium-check.d")
    for path in (os.__file__, "/etc/passwd", "/usr/share/zoneinfo/UTC"):
        found += done("change " + path, lambda: os.close(os.open(path, os.O_WRONLY)))
        found += done("give away the mode of " + path, os.chmod, path, 0o777)
    return found


def attack_links():
    """plant links and devices that lead out"""
    os.symlink("/etc/shadow", "out")
    found = done("follow a link", lambda: os.close(os.open("out", os.O_RDONLY)))
    found += done("link a file of the tree", os.link, "/usr/share/zoneinfo/UTC", "linked")
    return found + done("make a device", os.mknod, "device", 0o20666, os.makedev(1, 1))


def attack_descriptors():
    """use descriptors that somebody left open"""
    found = []
    for fd in range(4096):
        if fd not in OWN:
            found += done(f"descriptor {fd}", os.fstat, fd)
    return found


def attack_signals():
    """kill every process there is"""
    own = os.getpid()
    for pid in range(1, 70000):
        if pid != own:
            done("", os.kill, pid, signal.SIGKILL)
    done("", os.kill, -1, signal.SIGKILL)
    return []


def attack_leaving():
    """leave files, names and processes for the next"""
    os.makedirs("a/" * 200, exist_ok=True)
    with open("left", "w") as file:
        file.write("vivarium-check-marker" * 1000)
    os.environ["LEFT"] = "vivarium-check-marker"
    try:
        for _ in range(8):
            if os.fork() == 0:
                for number in range(1, 65):
                    try:
                        signal.signal(number, signal.SIG_IGN)
                    except (OSError, ValueError):
                        continue
                if os.fork() == 0:
                    os.setsid()
                while True:
                    time.sleep(1)
    except OSError:
        pass
    return []


def attack_finding():
    """find what an earlier script left"""
    found = [f"file {name}" for name in os.listdir(WORK)] + [k for k in os.environ if k == "LEFT"]
    for pid in range(2, max(33000, os.getpid() + 2000)):  # 1 is the warden, if it is to be seen
        if pid != os.getpid():
            found += done(f"process {pid}", os.kill, pid, 0)
    return found


# ends in: time memory
def attack_forks():
    """fork without end"""
    while True:
        try:
            if os.fork() == 0:
                time.sleep(0.01)
        except OSError:
            time.sleep(0.01)


# ends in: time exception memory
def attack_threads():
    """start threads without end"""
    while True:
        try:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        except RuntimeError:
            time.sleep(0.01)


# ends in: memory
def attack_memory():
    """take memory without end"""
    taken = []
    while True:
        taken.append(bytearray(16 << 20))


# ends in: memory
def attack_disk():
    """fill the disk with one file"""
    written = 0
    try:
        with open("fill", "wb", buffering=0) as file:
            while written < 4 << 30:
                written += file.write(bytes(1 << 20))
    except OSError:
        return []
    return ["4 GiB"]


# ends in: time
def attack_output():
    """print without end"""
    while True:
        os.write(1, b"x" * 65536)


# ends in: time
def attack_stopping():
    """stop every signal, and stop"""
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


# ends in: ok exit time not_json
def attack_forgery():
    """forge more than a value of its own in the service's messages"""
    for kind in range(128):
        os.write(1000, struct.pack("=II", kind, 4) + b"true")
    os.write(1000, struct.pack("=II", 70, 0xffffffff) + bytes(4096))
    os._exit(0)


# ends in: signal
def attack_core():
    """crash, for the host's core handler to run"""
    ctypes.string_at(0)


def attack_nothing():
    """an honest script, after all that"""
    return [] if sys.version_info[0] == 3 and sum(range(10)) == 45 else ["wrong answer"]
