"""Who an execution is: nobody, with nothing, and without a way to become more."""

import pytest

from attacks import attack  # noqa: F401 (a fixture)

LIMITS = {  # number and value under the default configuration, for a job with timeout 7
    "CPU": (0, 15), "FSIZE": (1, 256 << 20), "STACK": (3, 8 << 20), "CORE": (4, 0),
    "NPROC": (6, 128), "NOFILE": (7, 256), "MEMLOCK": (8, 64 << 10), "SIGPENDING": (11, 256),
    "MSGQUEUE": (12, 0), "NICE": (13, 0), "RTPRIO": (14, 0), "RTTIME": (15, 0)}


def test_ids_are_nobody(attack):
    """All six ids are 65534, without further groups."""
    assert attack("""
def main():
    return [os.getresuid(), os.getresgid(), os.getgroups(), os.stat("/tmp").st_uid,
            os.stat("/").st_uid]
""") == [[65534] * 3, [65534] * 3, [], 65534, 65534]


def test_capability_sets_are_empty(attack):
    """Effective, permitted and inheritable by capget(2), the bounding set bit by bit."""
    assert attack("""
def main():
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(*[0xffffffff] * 6)
    done = call("capget", header, data)
    bounds = [call("prctl", 23, number, 0, 0, 0) for number in range(64)]
    known = [value for value in bounds if value != "EINVAL"]
    return [done, list(data), set(known) == {0}, len(known) > 35]
""") == [0, [0] * 6, True, True]


def test_privileges_cannot_be_raised(attack):
    """no_new_privs is set, dumpable is not, and neither can be changed."""
    assert attack("""
def main():
    return [call("prctl", 39, 0, 0, 0, 0), call("prctl", 3, 0, 0, 0, 0),
            call("prctl", 4, 1, 0, 0, 0), call("prctl", 38, 0, 0, 0, 0),
            call("prctl", 3, 0, 0, 0, 0), in_child(call, "prctl", 3, 0, 0, 0, 0)]
""") == [1, 0, "EPERM", "EPERM", 0, "0"]


@pytest.mark.parametrize("name", LIMITS)
def test_limit(attack, name):
    """Soft and hard limit are what the configuration says, and nothing raises them."""
    number, value = LIMITS[name]
    assert attack(f"""
import resource
def main():
    now = resource.getrlimit({number})
    raised = attempt(resource.setrlimit, {number}, (now[1] + 1, now[1] + 1))
    alone = call("prlimit64", 0, {number}, struct.pack("QQ", now[0], now[1] + 1), 0)
    return [now, raised, alone, resource.getrlimit({number}) == now]
""", timeout=7) == [[value, value], ["ValueError", None], "EPERM", True]


def test_memory_limits_are_set_and_fixed(attack):
    """Data and address space are bounded near what the job asked for."""
    data, address, raised = attack("""
import resource
def main():
    data, address = resource.getrlimit(resource.RLIMIT_DATA), resource.getrlimit(9)
    return [data, address, attempt(resource.setrlimit, resource.RLIMIT_DATA, (-1, -1))]
""", memory=64)
    assert data[0] == data[1] and 64 << 20 <= data[0] < 512 << 20
    assert address[0] == address[1] and data[0] < address[0] < 4 << 30
    assert raised == ["ValueError", None]


@pytest.mark.parametrize("pid", ["1", "os.getppid()", "-1", "2"])
def test_limits_of_others_are_out_of_reach(attack, pid):
    """prlimit64 takes no process but oneself."""
    assert attack(f"""
def main():
    old = (ctypes.c_uint64 * 2)(7, 7)
    return [call("prlimit64", {pid}, 7, 0, old), list(old)]
""") == ["EPERM", [7, 7]]


def test_the_environment_is_made_up(attack):
    """Nothing of the service's environment comes along."""
    environment = attack("def main():\n    return dict(os.environ)")
    assert set(environment) == {
        "PATH", "HOME", "TMPDIR", "LANG", "TZ", "MPLBACKEND", "MPLCONFIGDIR",
        "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"}
    assert environment["HOME"] == environment["TMPDIR"] == "/tmp"
    assert environment["TZ"] == "UTC"


def test_descriptors_are_four(attack):
    """Standard streams and the channel, and what they are."""
    assert attack("""
import stat
def main():
    seen = {}
    for fd in range(70000):
        try:
            seen[fd] = stat.S_IFMT(os.fstat(fd).st_mode)
        except OSError:
            pass
    return [seen, os.readlink("/dev/fd"), attempt(os.listdir, "/dev/fd")]
""") == [{"0": 0o20000, "1": 0o10000, "2": 0o10000, "1000": 0o140000}, "/proc/self/fd",
         ["FileNotFoundError", "ENOENT"]]


def test_process_tree_is_one_s_own(attack):
    """The parent is process 1, the session one's own, and nobody else is there."""
    assert attack("""
def main():
    others = []
    for pid in range(1, 5000):
        try:
            os.kill(pid, 0)
            others.append(pid)
        except ProcessLookupError:
            pass
    me = os.getpid()
    return [os.getppid(), os.getsid(0) == os.getpgid(0) == me, others == [1, me], os.getsid(1)]
""") == [1, True, True, 0]


def test_host_name_is_made_up(attack):
    """And what uname tells of the domain is empty."""
    assert attack("def main():\n    return [os.uname().nodename, __import__('socket')"
                  ".gethostname()]") == ["vivarium", "vivarium"]


def test_accounts_are_made_up(attack):
    """One user and one group, both nobody."""
    assert attack("""
import grp, pwd
def main():
    return [[entry.pw_name for entry in pwd.getpwall()],
            [entry.gr_name for entry in grp.getgrall()]]
""") == [["nobody"], ["nogroup"]]


def test_namespaces_are_unmapped(attack):
    """A file can be given to nobody, not even to the user that one seems to be."""
    assert attack("""
def main():
    open("/tmp/mine", "w").close()
    return [attempt(os.chown, "/tmp/mine", user, -1) for user in (0, 1, 1000, 65533, 65534)]
""") == [["PermissionError", "EPERM"]] * 5


def test_worker_on_the_other_end_stays_unknown(attack):
    """Who holds the channel's other end is not told: SO_PEERCRED, SO_PEERPIDFD, SO_PASSCRED."""
    assert attack("""
def main():
    value, size = (ctypes.c_int * 3)(), ctypes.c_int(12)
    return [call("getsockopt", 1000, 1, 17, value, ctypes.byref(size)),
            call("getsockopt", 1000, 1, 77, value, ctypes.byref(size)),
            call("setsockopt", 1000, 1, 16, value, 4)]
""") == ["EPERM"] * 3
