"""Ways in which services of this kind were broken into, each tried on this one.

What a test is named after happened to others: Judge0 followed symlinks that a script had planted
(CVE-2024-28185, CVE-2024-28189) and had a request option that gave scripts the network
(CVE-2024-29021), Compiler Explorer read a symlink as its output (issue 6026), Piston ran all
submissions as one user, Langflow ran code that it was asked to check (CVE-2025-3248), runc could be
overwritten through /proc/self/exe (CVE-2019-5736) and left containers a directory of the host
(CVE-2024-21626), n8n's Python was left through an exception's frames (CVE-2026-0863).
"""

import hashlib
import os
import secrets
import stat
import threading
import time
from pathlib import Path

import pytest

import conftest
from attacks import assert_serves, attack, cell, run  # noqa: F401 (fixtures)
from conftest import BUILD, Service
from supervision import Tree, eventually, runtime_directory, standing_cells

GONE = ["FileNotFoundError", "ENOENT"]


def fingerprint(path):
    """Content, owner, mode and times of a file of the host."""
    status = os.stat(path)
    return (hashlib.sha256(Path(path).read_bytes()).hexdigest(), status.st_uid, status.st_gid,
            status.st_mode, status.st_mtime_ns, status.st_ctime_ns)


# Names that a service might open, chown, read back or clean up by path.
TEMPTING = ["script.py", "main.py", "stdout", "stderr", "stdout.txt", "result.json", "output",
            "out.csv", "metadata.txt", "core", ".cache", "box", "compile.sh", "run.sh", "x/y"]


@pytest.mark.parametrize("what", ["link to a file", "link to a directory", "link to itself"])
def test_symlink_planted_in_the_box(cell, tmp_path, what):
    """Nothing privileged opens, changes or cleans a path that a script made."""
    os.chmod(tmp_path, 0o755)
    secret = tmp_path / "secret"
    secret.write_text("host secret")
    secret.chmod(0o600)
    targets = {"link to a file": [str(secret), "/etc/passwd"],
               "link to a directory": [str(tmp_path), "/"], "link to itself": None}[what]
    before = [fingerprint(path) for path in (secret, "/etc/passwd")]
    answer = run(cell, f"""
def main():
    os.mkdir("/tmp/x")
    for i, name in enumerate({TEMPTING}):
        targets = {targets} or [name]
        os.symlink(targets[i % len(targets)], "/tmp/" + name)
    os.rename("/tmp/x", "/tmp/z")
    os.symlink("/", "/tmp/x")
    return attempt(open, "/tmp/script.py")
""")
    assert answer.status == 200, answer
    assert "host secret" not in answer.body.decode()
    answer = run(cell, "def main():\n    return os.listdir('/tmp')")
    assert answer.data["result"] == []
    assert [fingerprint(path) for path in (secret, "/etc/passwd")] == before
    assert os.listdir(tmp_path) == ["secret"]


def test_pipe_planted_in_the_box(cell):
    """A privileged process that opened it would wait for a writer for ever."""
    answer = run(cell, f"""
def main():
    os.mkdir("/tmp/x")
    for name in {TEMPTING}:
        os.mkfifo("/tmp/" + name)
    return "planted"
""")
    assert answer.data["result"] == "planted"
    begun = time.monotonic()
    assert_serves(cell)
    assert time.monotonic() - begun < 5


OPTIONS = {"enable_network": True, "network": True, "net": "host", "allow_network": "1",
           "internet": True, "privileged": True, "isolation": "none", "sandbox": False,
           "seccomp": False, "user": "root", "uid": 0, "mounts": ["/:/host"],
           "volumes": ["/:/host"], "enable_per_process_and_thread_time_limit": True,
           "compiler_options": "; id"}


def test_request_option_that_turns_the_network_on(service):
    """No field and no header changes the jail; an unknown field is named in the answer."""
    names = list(OPTIONS)
    for start in range(0, len(names), 10):  # so many are named
        sent = {name: OPTIONS[name] for name in names[start:start + 10]}
        answer = service.post(conftest.json.dumps({"script": """
import os, socket
def attempt(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return type(error).__name__
def main():
    return [attempt(socket.create_connection, (host, 80), 1)
            for host in ("127.0.0.1", "169.254.169.254", "example.com")] + [
            attempt(os.listdir, "/host"), os.getuid()]
""", **sent}), X_Enable_Network="1", X_Privileged="true")
        assert answer.status == 200, answer
        assert answer.data["result"] == ["PermissionError", "PermissionError", "gaierror",
                                         "FileNotFoundError", 65534]
        assert {f"unknown field: {name}" for name in sent} <= set(answer.data["warnings"])


def test_uid_shared_between_tenants(make_service):
    """Each cell is a user of its own on the host, with a share of its own of what users share."""
    service = make_service(workers=1, cells_per_worker=3, library_sets="base")
    tree = standing_cells(service)
    users = [process.uids[0] for process in tree.wardens]
    assert len(set(users)) == len(users) == 3
    others = {process.uids[0] for process in tree.all} - set(users)
    assert not others & set(users) and 0 not in users
    hog = threading.Thread(target=run, args=(service, """
def main():
    for i in range(6):
        os.fork()
    while attempt(os.pipe) == "done":
        pass
    time.sleep(60)
"""), kwargs={"timeout": 3})
    hog.start()
    time.sleep(1)
    for _ in range(3):
        answer = run(service, """
def main():
    end, size = os.pipe()[1], 0
    os.set_blocking(end, False)
    try:
        while True:
            size += os.write(end, bytes(4096))
    except BlockingIOError:
        return [size, [pid for pid in range(2, 2000)
                       if pid != os.getpid() and call("kill", pid, 0) == 0]]
""")
        assert answer.data["result"] == [65536, []]
    hog.join()


def places_on_disk(service):
    """All files in the directories in which the service could keep something."""
    for top in (runtime_directory(service.log()), "/tmp", "/var/tmp", "/dev/shm", "/var/lib/nginx"):
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                try:
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode) and status.st_size < 1 << 26:
                        yield path, status, path.read_bytes()
                except OSError:
                    continue


def test_code_left_readable_on_disk(make_service):
    """Neither during the run nor after; a body too large for nginx's memory is nginx's alone."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base")
    mark = "mark" + secrets.token_hex(12)
    script = f"import time\ndef main():\n    time.sleep(1.5)\n    return '{mark}'\n"
    body = conftest.json.dumps({"script": script + f"# {mark}\n" * 20000, "unknown": "x" * 4000000})
    answers = []
    client = threading.Thread(target=lambda: answers.append(service.post(body)))
    client.start()
    assert eventually(lambda: service.get("/health").data["workers"]["busy"] == 1, 10)
    for path, status, content in places_on_disk(service):
        assert mark.encode() not in content or not status.st_mode & 0o077, path
    client.join()
    assert answers[0].status == 200 and answers[0].data["result"] == mark, answers
    left = [path for path, _, content in places_on_disk(service) if mark.encode() in content]
    assert left == []


def test_code_that_runs_before_the_lock_down(tmp_path, monkeypatch):
    """What Python runs by itself at its start is not run: of the environment, of a user's home."""
    proof = tmp_path / "ran"
    evil = f"open({str(proof)!r}, 'a').write(__name__ + '\\n')\n"
    site = tmp_path / "home" / ".local" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    for folder in (tmp_path, site):
        for name in ("sitecustomize.py", "usercustomize.py", "startup.py", "json.py", "struct.py"):
            (folder / name).write_text(evil)
        (folder / "evil.pth").write_text(f"import os; {evil}")
    for name, value in {"PYTHONPATH": tmp_path, "PYTHONSTARTUP": tmp_path / "startup.py",
                        "HOME": tmp_path / "home", "PYTHONUSERBASE": site.parents[2],
                        "PYTHONINSPECT": "1", "PYTHONBREAKPOINT": "usercustomize.x",
                        "PYTHONWARNINGS": "error::UserWarning:usercustomize"}.items():
        monkeypatch.setenv(name, str(value))
    with Service(workers=1, cells_per_worker=1, library_sets="base") as service:
        answer = service.execute("""
import sys
def main():
    return [sorted({"sitecustomize", "usercustomize"} & set(sys.modules)), sys.path,
            sys.flags.isolated, sys.flags.no_user_site, sys.flags.inspect, sys.warnoptions]
""")
        assert answer.status == 200, answer
        modules, path, *flags = answer.data["result"]
        assert modules == [] and flags == [1, 1, 0, []]
        assert path[-1] == "/tmp" and str(tmp_path) not in str(path)
        assert_serves(service)
    # deploy/run.sh starts Python of its own, isolated as well
    assert not proof.exists(), proof.read_text()


def test_modules_left_for_those_who_come_after(cell):
    """A script leaves a module for each name in Python's library: nobody after it runs one."""
    planted = """
import importlib.util
def main():
    names = [name for name in sys.stdlib_module_names if importlib.util.find_spec(name)]
    for name in (*names, "sitecustomize", "usercustomize", "script", "harness"):
        with open("/tmp/" + name + ".py", "w") as file:
            file.write("import os; os._exit(77)")
        os.makedirs("/tmp/__pycache__", exist_ok=True)
    {}
"""
    # what the service itself imports late finds Python's own first, even for who planted it
    for late in ("import asyncio\n    return asyncio.run(asyncio.sleep(0, 'own'))",
                 "import ast, multiprocessing, tempfile\n    return 'own'"):
        answer = run(cell, planted.format(late))
        assert (answer.status, answer.data["result"]) == (200, "own"), answer
        answer = run(cell, "x = [1, 2]\nsum(x)", entry=None)
        assert (answer.status, answer.data["result"]) == (200, 3), answer
        answer = run(cell, "async def main():\n    return 'awaited'")
        assert (answer.status, answer.data["result"]) == (200, "awaited"), answer
        answer = run(cell, "def main():\n    raise KeyError(1)")
        assert answer.data["cause"]["type"] == "KeyError", answer
        assert "KeyError" in answer.data["traceback"]


def test_code_that_is_only_checked_runs(service):
    """A script that does not compile or has no entry has done nothing outside of the jail."""
    broken = "@print('decorated')\ndef f(x=print('default')): pass\nclass A(print('base')): pass\n("
    answer = service.execute(broken)
    assert answer.data["cause"]["kind"] == "syntax" and answer.data["stdout"] == ""
    for entry in ("__import__('os').system('id')", "main()", "main;print(1)", "os.system",
                  "__builtins__", "__class__", "../main", "main\u202e"):
        answer = service.execute("import os\ndef main():\n    return 'main ran'", entry=entry)
        assert answer.data["cause"]["kind"] in ("no_main", "exception"), answer
        assert "main ran" not in answer.body.decode()
    assert_serves(service)


def test_the_program_overwritten_through_proc(service, attack):
    """There is no procfs, and no way to the program that the script is a fork of."""
    programs = [BUILD / "vivarium", BUILD / "vivarium-template"]
    before = [fingerprint(path) for path in programs]
    assert attack(f"""
def main():
    paths = ["/proc/self/exe", "/proc/1/exe", "/dev/fd/3", sys.executable or "/proc/self/exe"]
    paths += {[str(path) for path in programs]}
    return [attempt(os.open, path, flags) for path in paths for flags in (0, os.O_RDWR, 0x200000)]
""") == [GONE] * 18
    assert [fingerprint(path) for path in programs] == before
    maps = attack("""
def main():
    return [call("open_by_handle_at", -100, bytes(64), 0),
            call("name_to_handle_at", -100, b"/", bytes(64), bytes(8), 0)]
""")
    assert maps == ["EPERM", "EPERM"]


def test_directory_of_the_host_left_open(attack):
    """No descriptor is a directory, the current one is the box, and .. ends at its root."""
    assert attack("""
def main():
    kinds = {str(attempt(os.fchdir, fd)) for fd in range(70000)}
    inside = os.getcwd()
    os.chdir("/")
    root = os.stat(".").st_ino
    for i in range(30):
        os.chdir("..")
    return [sorted(kinds), inside, os.stat(".").st_ino == root, sorted(os.listdir("."))[:2],
            call("chroot", b"/tmp"), call("pivot_root", b"/tmp", b"/tmp"), call("fchdir", -100)]
""") == [["['NotADirectoryError', 'ENOTDIR']", "['OSError', 'EBADF']"], "/tmp", True,
         ["dev", "etc"], "EPERM", "EPERM", "EBADF"]


def test_frames_and_objects_of_the_service(cell):
    """The script may reach and change all of its interpreter: it gains nothing, and it is alone."""
    answer = run(cell, """
import gc
def main():
    frame, found = sys._getframe(), []
    while frame:
        found.append(frame.f_globals["__name__"])
        for name in list(frame.f_globals):
            if frame.f_globals is not globals() and callable(frame.f_globals[name]):
                frame.f_globals[name] = lambda *arguments, **named: os._exit(78)
        frame = frame.f_back
    for item in gc.get_objects():
        if type(item).__name__ == "function" and item.__module__ == "harness":
            item.__code__ = (lambda *arguments, **named: os._exit(78)).__code__
    return found
""")
    # whatever it broke was its own: its own verdict
    assert answer.status in (200, 400), answer
    if answer.status == 400:
        assert answer.data["cause"] in ({"kind": "exit", "exit_code": 78},
                                        {"kind": "exit", "exit_code": 1}), answer
    assert_serves(cell)
    answer = run(cell, """
def main():
    secret = [].__class__.__base__.__subclasses__()
    return [len(secret) > 100, call("socket", 2, 1, 0), attempt(open, "/proc/self/mem")]
""")
    assert answer.data["result"] == [True, "EPERM", GONE]


def test_traceback_that_reads_a_file_for_the_script(attack):
    """Source lines are shown of the script alone, and looked for in its own files alone."""
    answer = attack.verdict("""
def main():
    exec(compile("\\n" * 3 + "def f(): raise ValueError('here')\\nf()", "/etc/passwd", "exec"))
""")
    assert answer.data["cause"]["kind"] == "exception"
    assert "nobody" not in answer.data["traceback"]
    assert "script.py" in answer.data["traceback"]
    assert "/usr" not in answer.data["traceback"] and "harness" not in answer.data["traceback"]


def test_processes_of_the_box_outlive_it(cell):
    """A process that went on after its answer would sit in the next script's box."""
    before = {process.pid for process in standing_cells(cell).all}
    answer = run(cell, """
def main():
    for i in range(5):
        if not os.fork():
            os.setsid()
            os.closerange(0, 2000)
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while True:
                attempt(os.open, "/tmp/ambush", os.O_CREAT)
    return "left five"
""")
    assert answer.data["result"] == "left five"
    answer = run(cell, "def main():\n    time.sleep(0.2)\n    return os.listdir('/tmp')")
    assert answer.data["result"] == []
    tree = standing_cells(cell)
    assert len(tree.executions) == 1 and len(Tree(cell).all) <= len(before) + 1
