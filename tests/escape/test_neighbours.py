"""Two executions that run at once, in two cells: what one does, the other must not see.

What two scripts that help each other can still do is in docs/DESIGN.md, "Between executions".
"""

import threading
import time

import pytest

from attacks import assert_serves, run
from conftest import Service


@pytest.fixture(scope="module")
def two_cells():
    with Service(workers=1, cells_per_worker=2, library_sets="base") as service:
        yield service


@pytest.fixture
def meanwhile(two_cells):
    """meanwhile(doing, result, looking): statements of one script and what it returns at its end;
    and what the expression `looking` came to in another, before that and while it lasted."""
    def both(doing, result, looking):
        answers = {}
        script = "import fcntl, mmap, multiprocessing\nfrom multiprocessing import shared_memory\n"

        def execute(name, body):
            answers[name] = run(two_cells, script + body)

        look = threading.Thread(target=execute, args=("look", f"""
def look():
    return {looking}
def main():
    before = look()
    time.sleep(0.7)
    return before, look()
"""))
        do = threading.Thread(target=execute, args=("do", f"""
def main():
    {doing}
    time.sleep(0.8)
    return {result}
"""))
        look.start()
        time.sleep(0.25)
        do.start()
        do.join()
        look.join()
        assert answers["do"].status == answers["look"].status == 200, answers
        assert_serves(two_cells)
        return answers["do"].data["result"], *answers["look"].data["result"]

    return both


def test_locks_on_whole_files(meanwhile):
    """LOCK_EX is had on a file that one may only read, also of the tree: there is no flock."""
    attempt = "attempt(fcntl.flock, os.open(os.__file__, 0), 2 | 4)"
    assert meanwhile("pass", attempt, attempt) == (["OSError", "ENOSYS"],) * 3


def test_record_locks_for_writing(meanwhile):
    """They take the right to write, which nobody has on the tree."""
    attempt = "attempt(fcntl.lockf, os.open(os.__file__, 0), 2 | 4)"
    assert meanwhile("pass", attempt, attempt) == (["OSError", "EBADF"],) * 3


RECORD_LOCK = "struct.unpack('hhqqi4x', fcntl.fcntl(os.open(os.__file__, 0), 5, " \
              "struct.pack('hhqqi4x', 1, 0, 0, 0, 0)))"


def test_record_locks_for_reading_are_the_known_exception(meanwhile):
    """Seen by F_GETLK, without which SQLite opens no database of its own; no process is named."""
    _, before, during = meanwhile("fcntl.fcntl(os.open(os.__file__, 0), 6, "
                                  "struct.pack('hhqqi4x', 0, 0, 4711, 1, 0))", "1", RECORD_LOCK)
    assert before[0] == 2
    assert during[:4] == [0, 0, 4711, 1] and during[4] == 0


def test_locks_on_devices_are_the_other(meanwhile):
    """The host's own, which anybody may write to; the lock goes with its execution."""
    attempt = "attempt(fcntl.lockf, os.open('/dev/full', os.O_RDWR), 2 | 4)"
    lock = "fcntl.lockf(os.open('/dev/full', os.O_RDWR), 2)"
    done, before, during = meanwhile(lock, "1", f"in_child(lambda: {attempt})")
    assert before == "'done'" and during == "['BlockingIOError', 'EAGAIN']"
    assert meanwhile("pass", "1", f"in_child(lambda: {attempt})") == (1, before, before)


@pytest.mark.parametrize("attempt", [
    "attempt(fcntl.fcntl, os.open(os.__file__, 0), 1024, 0)",
    "attempt(fcntl.fcntl, os.open(os.path.dirname(os.__file__), 0), 1026, 0x8000003f)",
    "call('inotify_init1', 0)", "call('fanotify_init', 0, 0)",
], ids=["lease", "dnotify", "inotify", "fanotify"])
def test_leases_and_notifications(meanwhile, attempt):
    """Nobody is told of what others open or read."""
    done = meanwhile("pass", attempt, attempt)
    assert set(map(str, done)) <= {"EPERM", "['PermissionError', 'EPERM']"}


def test_abstract_names(meanwhile):
    """No socket gets a name, and none is reached by one."""
    name = "b'\\x01\\x00\\x00met'"
    attempt = (f"[call('bind', 3, {name}, 6), call('connect', 3, {name}, 6), call('socket', 1, 1, 0),"
               f" call('sendto', __import__('socket').socketpair()[0].detach(), b'x', 1, 0, {name},"
               " 6)]")
    assert meanwhile("pass", attempt, attempt) == (["EPERM", "EPERM", "EPERM", "EISCONN"],) * 3


def test_process_numbers(meanwhile):
    """Those of one's own PID namespace, counted by what one does oneself."""
    _, before, during = meanwhile("[os.waitpid(os.fork() or os._exit(0), 0) for i in range(300)]",
                                  "1", "int(in_child(os.getpid))")
    assert during == before + 1


def test_other_processes(meanwhile):
    """None can be signalled but one's own."""
    mine = "[pid for pid in range(2, 3000) if call('kill', pid, 0) != 'ESRCH'] == [os.getpid()]"
    assert meanwhile("pass", mine, mine) == (True,) * 3


def test_files_and_inode_numbers(meanwhile):
    """A /tmp, its room and its numbers are the cell's own."""
    _, before, during = meanwhile(
        "[open('/tmp/%d' % i, 'w').write('x' * 65536) for i in range(500)]", "1",
        "(os.stat(open('/tmp/probe', 'w').name).st_ino, os.listdir('/tmp'),"
        " os.posix_fallocate(fd := os.open('/tmp/probe', os.O_RDWR), 0, 240 << 20), os.close(fd),"
        " os.unlink('/tmp/probe'))")
    assert during[0] - before[0] in (0, 1)
    assert during[1:] == before[1:] == [["probe"], None, None, None]


def test_room_on_the_disk(meanwhile):
    """It belongs to the host: what anybody there writes, nginx for other clients too, would show."""
    attempt = ("[attempt(os.statvfs, path) for path in ('/', '/tmp', os.__file__, '/etc/ssl/certs',"
               " os.open(os.__file__, 0), os.open('/tmp', 0))]"
               " + [call('statfs', b'/usr/lib', bytes(120)), call('fstatfs', 0, bytes(120))]")
    assert meanwhile("pass", attempt, attempt) == ([["OSError", "ENOSYS"]] * 6 + ["ENOSYS"] * 2,) * 3


def test_shared_memory_and_semaphores(meanwhile):
    """Names of POSIX objects are files of one's own /tmp; those of System V are refused."""
    done, before, during = meanwhile(
        "shared_memory.SharedMemory('met', True, 4096);"
        " __import__('_multiprocessing').SemLock(1, 1, 1, '/met', False)",
        "sorted(os.listdir('/tmp'))",
        "[attempt(shared_memory.SharedMemory, 'met'), call('semget', 4711, 1, 0o1666),"
        " call('shmget', 4711, 4096, 0o1666), call('msgget', 4711, 0o1666),"
        " os.path.exists('/dev/shm/sem.met')]")
    assert done == ["met", "sem.met"]
    assert before == during == [["FileNotFoundError", "ENOENT"], "EPERM", "EPERM", "EPERM", False]


SHARED = "('/', '/dev/null', '/dev/zero', '/dev/urandom', '/usr', os.__file__, '/etc/passwd', " \
         "os.path.dirname(os.__file__), '/usr/share/zoneinfo', '/usr/share/zoneinfo/UTC')"


def test_timestamps_of_shared_files(meanwhile):
    """Reading leaves no time of access on the tree and its devices, and nobody can set one."""
    done, before, during = meanwhile(
        f"""
    tried = []
    for path in {SHARED}:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            os.read(os.open(path, os.O_RDONLY), 10)
        tried += [attempt(os.utime, path), attempt(os.chmod, path, 0o777)]
    os.write(os.open("/dev/null", os.O_WRONLY), b"x")
""", "sorted(set(map(str, tried)))", f"[(s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns, s.st_mode) "
                                     f"for s in map(os.stat, {SHARED})]")
    assert before == during
    assert done == ["['OSError', 'EROFS']"]


def test_terminals_and_proc_are_absent(meanwhile):
    """No pseudo-terminal to meet at, no list of processes, no /sys."""
    attempt = "[attempt(os.openpty)[0], *map(os.path.exists, ('/dev/ptmx', '/dev/pts', '/dev/tty'," \
              " '/proc/1', '/proc/net', '/sys/kernel', '/dev/mqueue'))]"
    assert meanwhile("pass", attempt, attempt) == (["FileNotFoundError", *[False] * 7],) * 3


def test_room_of_pipes(meanwhile):
    """The kernel's quota of pipe pages is a user's, and each cell has a user of its own."""
    room = "(lambda ends: (os.set_blocking(ends[1], False), os.write(ends[1], bytes(1 << 20)))[1])" \
           "(os.pipe())"
    used_up, before, during = meanwhile("""
    for i in range(12):
        if not os.fork():
            kept = [os.pipe() for j in range(110)]
            time.sleep(0.8)
            os._exit(0)
    time.sleep(0.3)
    small = """ + room, "small", room)
    assert used_up < 65536
    assert before == during == 65536


def test_priority_and_limits_of_others(meanwhile):
    """Users and groups cannot be asked or set as a whole."""
    attempt = "[call('getpriority', 2, 0), call('getpriority', 1, 1), call('setpriority', 2, 0, 5)," \
              " call('prlimit64', 1, 7, 0, 0)]"
    assert meanwhile("pass", attempt, attempt) == (["EPERM"] * 4,) * 3


def test_merging_of_equal_pages(meanwhile):
    """Merged pages are slow to write: whoever asks for it learns what others hold."""
    attempt = "[call('madvise', 0, 0, 12), call('prctl', 67, 1, 0, 0, 0)]"
    assert meanwhile("pass", attempt, attempt) == (["EPERM", "EPERM"],) * 3
