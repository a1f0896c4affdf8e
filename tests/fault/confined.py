"""Starts a program as machines and containers do that hold back some of what isolation is made of.

    confined.py [--docker] [--no-user-namespaces] [--no-mounts] [--no-landlock] [--masked-proc]
                [--user N] COMMAND...

--docker: the capabilities and, of the system calls, the refusals of Docker's default profile that
concern a sandbox (moby/profiles/seccomp/default.json without CAP_SYS_ADMIN). It is a filter like
Docker's own, not Docker itself.
"""

import argparse
import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
NAMESPACES = 0x7e020000
# chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot
# mknod audit_write setfcap
DOCKER_CAPABILITIES = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
MOUNTS = ["mount", "umount2", "pivot_root", "fsopen", "fsconfig", "fsmount", "fspick",
          "move_mount", "open_tree", "mount_setattr"]
DOCKER = [*MOUNTS, "unshare", "setns", "bpf", "perf_event_open", "ptrace", "keyctl", "add_key",
          "request_key", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
          "kcmp", "open_by_handle_at", "process_vm_readv", "process_vm_writev", "quotactl",
          "reboot", "swapon", "swapoff", "sethostname", "setdomainname", "syslog", "vhangup",
          "settimeofday", "clock_settime", "acct", "init_module", "finit_module", "delete_module"]
ALLOW, EPERM, ENOSYS = 0x7fff0000, 0x00050001, 0x00050026
MASKED_EQUAL = 7  # SCMP_CMP_MASKED_EQ


class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64),
                ("b", ctypes.c_uint64)]


class Filter:
    """A filter that allows all but what is refused."""

    def __init__(self):
        self.library = ctypes.CDLL("libseccomp.so.2")
        self.library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.library.seccomp_init(ALLOW))
        assert self.context

    def refuse(self, name, action=EPERM, flag=None, argument=0):
        number = self.library.seccomp_syscall_resolve_name(name.encode())
        assert number >= 0, name
        if flag is None:
            r = self.library.seccomp_rule_add_exact_array(
                self.context, ctypes.c_uint32(action), number, 0, None)
        else:
            compare = Comparison(argument, MASKED_EQUAL, flag, flag)
            r = self.library.seccomp_rule_add_exact_array(
                self.context, ctypes.c_uint32(action), number, 1, ctypes.byref(compare))
        assert r == 0, (name, r)

    def load(self):
        r = self.library.seccomp_load(self.context)
        assert r == 0, r


def check(value, what):
    if value < 0:
        raise OSError(ctypes.get_errno(), what)


def drop_capabilities():
    for number in range(64):
        if number not in DOCKER_CAPABILITIES and LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            break  # beyond the last one


def refuse_user_namespaces():
    """As a kernel without: the limit of a user namespace around this process is set to 0."""
    uid, gid = os.geteuid(), os.getegid()
    check(LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "stay the owner of /proc/self")
    check(LIBC.unshare(CLONE_NEWUSER), "unshare")
    with open("/proc/self/setgroups", "w") as file:
        file.write("deny")
    with open("/proc/self/gid_map", "w") as file:
        file.write(f"{gid} {gid} 1")
    with open("/proc/self/uid_map", "w") as file:
        file.write(f"{uid} {uid} 1")
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")


def mask_proc():
    """A mount over a part of /proc, as every container has them: no other procfs may be made."""
    check(LIBC.unshare(CLONE_NEWNS), "unshare")
    check(LIBC.mount(b"none", b"/", None, 0x44000, None), "mount /")
    check(LIBC.mount(b"tmpfs", b"/proc/acpi" if os.path.isdir("/proc/acpi") else b"/proc/irq",
                     b"tmpfs", 1, None), "mask /proc")


def main():
    parser = argparse.ArgumentParser()
    for option in ("docker", "no-user-namespaces", "no-mounts", "no-landlock", "masked-proc"):
        parser.add_argument(f"--{option}", action="store_true")
    parser.add_argument("--user", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    refusals = Filter()
    if options.masked_proc:
        mask_proc()
    if options.docker:
        drop_capabilities()
        for name in DOCKER:
            refusals.refuse(name)
        for bit in range(32):
            if NAMESPACES & 1 << bit:
                refusals.refuse("clone", flag=1 << bit)
        refusals.refuse("clone3", ENOSYS)
    if options.no_mounts:
        for name in MOUNTS:
            refusals.refuse(name)
    if options.user is not None:
        os.setgroups([])
        os.setresgid(options.user, options.user, options.user)
        os.setresuid(options.user, options.user, options.user)
    if options.no_user_namespaces:
        refuse_user_namespaces()
    if options.no_landlock:
        for name in ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"):
            refusals.refuse(name, ENOSYS)
    if options.docker or options.no_mounts or options.no_landlock:
        check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        refusals.load()
    os.execvp(options.command[0], options.command)


if __name__ == "__main__":
    main()
