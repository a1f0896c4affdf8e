"""The file system: nothing of the host is seen, nothing but /tmp is written, nothing starts."""

import os
import socket
import uuid
from pathlib import Path

import pytest

from attacks import assert_serves, attack, run  # noqa: F401 (a fixture)
from measures import mounts_of
from supervision import Tree

GONE = ["FileNotFoundError", "ENOENT"]
READ_ONLY = ["OSError", "EROFS"]
FOREIGN = ["PermissionError", "EACCES"]


@pytest.mark.parametrize("path", [
    "/etc/shadow", "/etc/machine-id", "/etc/hostname", "/etc/resolv.conf", "/etc/ssh", "/root",
    "/home", "/proc/1", "/proc/self/mem", "/proc/self/environ", "/proc/1/root", "/sys", "/run",
    "/var", "/boot", "/bin/sh", "/usr/bin", "/usr/bin/python3", "/usr/sbin", "/opt", "/srv",
    "/mnt", "/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/tty", "/dev/ptmx", "/dev/pts", "/dev/sda",
    "/dev/vda", "/dev/userfaultfd", "/dev/kvm", "/dev/net/tun", "/etc/nginx", "/usr/local"])
def test_files_of_the_host_are_not_there(attack, path):
    """Neither to open nor to look at; asked through .. too."""
    assert attack(f"""
def main():
    return [attempt(os.open, path, os.O_RDONLY) for path in
            ({path!r}, "/tmp/../../.." + {path!r}, "/usr/lib/../.." + {path!r})
            ] + [attempt(os.stat, {path!r})]
""") == [GONE] * 4


def test_what_stands_for_proc_is_made_up(attack):
    """Four files that libraries do not load without, none of which knows a process or this run."""
    assert attack("""
def main():
    names = sorted(os.path.join(where, name) for where, _, files in os.walk("/proc")
                   for name in files)
    return [names, os.readlink("/proc/self/exe"), open("/proc/self/cmdline").read(),
            open("/proc/stat").read(), os.stat("/proc").st_dev == os.stat("/").st_dev,
            attempt(open, "/proc/stat", "w")]
""") == [["/proc/cpuinfo", "/proc/self/cmdline", "/proc/self/exe", "/proc/stat"],
         "/usr/bin/python3", "/usr/bin/python3", "cpu  0 0 0 0 0 0 0 0 0 0\n", True, READ_ONLY]


def test_a_file_next_to_the_service_is_out_of_reach(service, attack, tmp_path):
    """The service's own sources, configuration and sockets, and a secret in the host's /tmp."""
    secret = tmp_path / "secret"
    secret.write_text("host secret")
    top = Path(__file__).resolve().parents[2]
    paths = [str(secret), str(top / "conf" / "vivarium.conf"), str(top / "runner" / "harness.py"),
             str(top), service.log_path]
    for pid in sorted(service.pids()):
        try:
            paths.append(os.readlink(f"/proc/{pid}/exe"))
        except OSError:
            pass
    paths = [path for path in paths if os.path.exists(path)]
    assert len(paths) >= 6
    for path in paths:
        assert attack(f"def main():\n    return attempt(os.open, {path!r}, os.O_RDONLY)") == GONE


def test_the_root_has_nothing_unexpected(attack):
    """What there is is listed here, and nowhere is a socket, a set-id bit or a strange device."""
    seen = attack("""
import stat
def main():
    odd, devices = [], {}
    for top, directories, files in os.walk("/"):
        for name in directories + files:
            path = os.path.join(top, name)
            status = os.lstat(path)
            if stat.S_ISCHR(status.st_mode):
                devices[path] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
            elif not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or
                      stat.S_ISLNK(status.st_mode)):
                odd.append(path)
            elif os.access(path, os.W_OK) and not stat.S_ISLNK(status.st_mode):
                odd.append("writable " + path)
    return {"root": sorted(os.listdir("/")), "dev": sorted(os.listdir("/dev")),
            "shm": os.readlink("/dev/shm"), "tmp": os.listdir("/tmp"), "odd": odd,
            "devices": devices}
""", timeout=60)
    assert seen["root"] == ["dev", "etc", "lib", "proc", "tmp", "usr"] or \
        seen["root"] == ["dev", "etc", "lib", "lib64", "proc", "tmp", "usr"]
    assert seen["dev"] == ["fd", "full", "null", "random", "shm", "urandom", "zero"]
    assert seen["devices"] == {"/dev/full": [1, 7], "/dev/null": [1, 3], "/dev/random": [1, 8],
                               "/dev/urandom": [1, 9], "/dev/zero": [1, 5]}
    assert seen["shm"] == "/tmp"
    assert seen["tmp"] == []
    assert seen["odd"] == ["writable /tmp"]


@pytest.mark.parametrize("action", [
    "open('/x', 'w')", "open('/etc/x', 'w')", "open('/usr/x', 'w')",
    "open('/usr/lib/python3/x', 'w')", "open('/dev/x', 'w')",
    "os.mkdir('/x')", "os.mkdir('/dev/shm/../x')", "os.unlink('/etc/passwd')",
    "os.rename('/etc', '/e')", "os.symlink('/tmp', '/usr/s')", "os.chmod('/etc/passwd', 0o777)",
    "os.chmod('/', 0o777)", "os.utime('/etc/passwd')", "os.mkfifo('/fifo')",
    "os.chmod('/dev/null', 0o777)", "os.rmdir('/tmp/../usr')"])
def test_the_tree_is_read_only(attack, action):
    """EROFS, not a matter of permissions."""
    assert attack(f"def main():\n    return attempt(lambda: {action})") == READ_ONLY


@pytest.mark.parametrize("action", [
    "open('/etc/passwd', 'a')", "open(os.__file__, 'r+')", "os.truncate('/etc/passwd', 0)",
    "open('/usr/share/zoneinfo/UTC', 'r+')"])
def test_files_of_the_tree_belong_to_others(attack, action):
    """What is there could not be written even if the tree could."""
    assert attack(f"def main():\n    return attempt(lambda: {action})") == FOREIGN


def test_mounts_cannot_be_changed(attack):
    """By none of the two interfaces, nor by a thread, nor by a child."""
    assert attack("""
def main():
    remount = ("mount", 0, b"/", 0, 0x20 | 0x1000, 0)
    return [call(*remount), in_child(call, *remount), call("umount2", b"/tmp", 2),
            call("mount_setattr", -100, b"/", 0x8000, bytes(32), 32),
            attempt(open, "/x", "w"), attempt(os.mkdir, "/etc/ssl/certs/x")]
""") == ["EPERM", "'EPERM'", "EPERM", "EPERM", READ_ONLY, READ_ONLY]


def test_mounts_have_their_flags(service):
    """Nothing but /tmp is writable; no mount gives an id, none but those of devices a device."""
    mounts = mounts_of(Tree(service).wardens[0].pid)
    assert {"/", "/tmp", "/dev/null", "/etc/ssl/certs", "/usr/lib/python3"} <= set(mounts)
    assert {"rw", "nosuid", "nodev", "noexec", "noatime"} <= mounts.pop("/tmp")
    for where, flags in mounts.items():
        assert {"ro", "nosuid"} <= flags, where
        assert "nodev" in flags or where.startswith("/dev/"), where


def test_nothing_in_tmp_is_executable(attack):
    """No mapping of code, by mmap or mprotect; and no program is started anyway."""
    assert attack("""
import mmap, shutil
def main():
    shutil.copy("/usr/lib/x86_64-linux-gnu/libm.so.6", "/tmp/lib.so")
    os.chmod("/tmp/lib.so", 0o777)
    fd = os.open("/tmp/lib.so", os.O_RDWR)
    held = call("mmap", 0, 4096, 1, 2, fd, 0)
    return [attempt(mmap.mmap, fd, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
            attempt(mmap.mmap, fd, 4096, mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC),
            held > 0, call("mprotect", held, 4096, 5), attempt(os.execv, "/tmp/lib.so", ["x"]),
            os.access("/tmp/lib.so", os.X_OK), attempt(ctypes.CDLL, "/tmp/lib.so")[0]]
""") == [["PermissionError", "EPERM"], ["PermissionError", "EPERM"], True, "EACCES",
         ["PermissionError", "EPERM"], False, "OSError"]


def test_set_id_bits_and_devices_do_not_help(attack):
    """A set-uid file may be made, as on any nosuid mount; a device may not."""
    assert attack("""
def main():
    open("/tmp/f", "w").close()
    os.chmod("/tmp/f", 0o6755)
    return [attempt(os.mknod, "/tmp/null", 0o20666, os.makedev(1, 3)),
            attempt(os.mknod, "/tmp/disk", 0o60666, os.makedev(8, 0)),
            attempt(os.chown, "/tmp/f", 0, 0), attempt(os.mkfifo, "/tmp/fifo")]
""") == [["PermissionError", "EPERM"], ["PermissionError", "EPERM"],
         ["PermissionError", "EPERM"], "done"]


@pytest.mark.parametrize("target", [
    "/etc/shadow", "/proc/self/root/etc/shadow", "/proc/1/root", "../../../../etc/shadow",
    "/usr/bin/python3", "/run/vivarium/execute.sock"])
def test_links_do_not_lead_out(attack, target):
    """A link is followed inside the cell's own root, where its target is not."""
    assert attack(f"""
def main():
    os.symlink({target!r}, "/tmp/link")
    return [attempt(open, "/tmp/link"), os.path.exists("/tmp/link")]
""") == [GONE, False]


def test_an_open_directory_does_not_lead_out(attack):
    """Above / there is only /, by descriptor too."""
    assert attack("""
def main():
    os.chdir("/")
    for i in range(50):
        os.chdir("..")
    fd = os.open("/", os.O_RDONLY)
    up = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    same = os.fstat(up)[:3] == os.fstat(fd)[:3]
    return [same, os.getcwd(), sorted(set(os.listdir(up)) - {"lib64"}),
            call("linkat", 0, b"", -100, b"/tmp/stolen", 0x1000)]
""") == [True, "/", ["dev", "etc", "lib", "proc", "tmp", "usr"], "ENOENT"]


def test_tmp_is_bounded_in_bytes(make_service):
    """Writing more is ENOSPC, and the next script has all the room again."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", tmp_size=16)
    script = """
def main():
    written = 0
    with open("/tmp/big", "wb", buffering=0) as file:
        while written < 64 << 20:
            try:
                written += file.write(bytes(1 << 20))
            except OSError as error:
                return [errno.errorcode[error.errno], written >> 20]
"""
    for _ in range(3):
        answer = run(service, script)
        assert answer.status == 200, answer
        assert answer.data["result"] == ["ENOSPC", 16]
    assert_serves(service)


def test_tmp_is_bounded_in_files(make_service):
    """Making more is ENOSPC, and the next script can make as many again."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", tmp_inodes=64)
    script = """
def main():
    for count in range(1000):
        try:
            os.close(os.open(f"/tmp/{count}", os.O_CREAT | os.O_WRONLY))
        except OSError as error:
            return [errno.errorcode[error.errno], count]
"""
    for _ in range(3):
        answer = run(service, script)
        assert answer.status == 200, answer
        code, count = answer.data["result"]
        assert code == "ENOSPC" and 60 <= count < 64
    assert_serves(service)


def test_a_file_is_bounded(attack):
    """RLIMIT_FSIZE: EFBIG as an exception, because Python ignores SIGXFSZ."""
    assert attack("""
def main():
    with open("/tmp/sparse", "wb") as file:
        return attempt(os.ftruncate, file.fileno(), 1 << 40)
""") == ["OSError", "EFBIG"]


def test_abstract_sockets_of_the_host_are_out_of_reach(attack):
    """A listening abstract socket of the host cannot be reached, nor any be made."""
    name = "\0vivarium-test-" + uuid.uuid4().hex
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(name)
        listening.listen()
        listening.settimeout(0)
        assert attack(f"""
import socket
def main():
    one, two = socket.socketpair()
    address = struct.pack("=H", 1) + {name.encode()!r}
    return [attempt(socket.socket, socket.AF_UNIX), attempt(one.connect, {name!r}),
            attempt(one.bind, "\\0mine"), call("connect", one.fileno(), address, len(address)),
            call("sendto", one.fileno(), b"x", 1, 0, address, len(address))]
""") == [["PermissionError", "EPERM"]] * 3 + ["EPERM", "EISCONN"]
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_there_is_no_network(attack):
    """No interface can be named and no address looked up."""
    assert attack("""
import socket
def main():
    return [attempt(socket.if_nameindex), attempt(socket.if_nametoindex, "lo"),
            attempt(socket.getaddrinfo, "example.com", 80)[0],
            attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW),
            attempt(socket.create_connection, ("127.0.0.1", 80), 1),
            attempt(socket.create_connection, ("169.254.169.254", 80), 1)]
""")[2:] == ["gaierror"] + [["PermissionError", "EPERM"]] * 3
