"""Who is who among the processes of an instance, what it uses, and what it leaves behind."""

import concurrent.futures
import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

HOST_IDS_FIRST = 1900000000
HOST_IDS_RANGE = 65536

# A second thread is what tells a running execution from the parked ones, seen from outside.
MARK = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""


def sleeper(seconds):
    """A script that can be found among the processes while it sleeps."""
    return MARK + f"def main():\n    time.sleep({seconds})\n    return 'slept'\n"


TRIVIAL = "def main():\n    return 'here'\n"


class Process:
    """What /proc says about one process at one moment."""

    def __init__(self, pid):
        fields = dict(re.findall(r"^(\w+):\s*(.*)$", Path(f"/proc/{pid}/status").read_text(), re.M))
        self.pid = pid
        self.name = fields["Name"]
        self.state = fields["State"][0]
        self.parent = int(fields["PPid"])
        self.namespace_pids = [int(number) for number in fields["NSpid"].split()]
        self.uids = [int(number) for number in fields["Uid"].split()]
        self.threads = int(fields.get("Threads", 0))
        stat = Path(f"/proc/{pid}/stat").read_text()
        self.session = int(stat.rpartition(")")[2].split()[3])
        self.start = stat.rpartition(")")[2].split()[19]

    @property
    def key(self):
        """Tells it from a later process with the same number."""
        return self.pid, self.start

    def __repr__(self):
        return f"<{self.pid} {self.name} {self.state} {self.namespace_pids} of {self.parent}>"


def all_processes():
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = Process(int(entry))
            except (OSError, KeyError, IndexError):
                continue
    return found


@contextlib.contextmanager
def traced(pids, *options, output="/dev/null"):
    """strace at these processes and what they fork, with further options, in a `with`."""
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", output, *options,
                               *[f"--attach={pid}" for pid in pids]])
    try:
        assert eventually(lambda: not any("TracerPid:\t0" in Path(f"/proc/{pid}/status").read_text()
                                          for pid in pids), 20), "strace did not attach"
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)


class Tree:
    """The processes of an instance by their roles."""

    def __init__(self, service):
        everybody = all_processes()
        inside = {service.process.pid}
        while True:
            more = {p.pid for p in everybody.values() if p.parent in inside} - inside
            if not more:
                break
            inside |= more
        self.all = [p for p in everybody.values() if p.pid in inside]
        below = self.children(service.process.pid)
        self.launcher = self.only(p for p in below if p.name == "vivarium")
        self.nginx = self.only(p for p in below if p.name == "nginx")
        self.nginx_workers = self.children(self.nginx.pid) if self.nginx else []
        self.master = self.only(self.children(self.launcher.pid)) if self.launcher else None
        own = self.children(self.master.pid) if self.master else []
        own = [p for p in own if p.state != "Z"]
        programs = [p for p in own if p.name == "vivarium"]
        templates = [p for p in own if p.name == "vivarium-templa"]
        self.dispatcher = self.only(p for p in programs if len(p.namespace_pids) == 3)
        self.workers = [p for p in programs if len(p.namespace_pids) == 2]
        # a set that has lost its parent becomes the master's child for a moment
        self.bases = [p for p in templates if len(p.namespace_pids) == 2 and p.session == p.pid]
        self.base = self.only(self.bases)
        self.wardens = [p for p in templates if p.namespace_pids[2:] == [1]]
        self.sets = [p for p in self.all
                     if p.name == "vivarium-templa" and len(p.namespace_pids) == 2
                     and p not in self.bases]
        wardens = {p.pid for p in self.wardens}
        self.executions = [p for p in self.all if p.parent in wardens]

    def children(self, pid):
        return [p for p in self.all if p.parent == pid]

    @staticmethod
    def only(candidates):
        found = list(candidates)
        return found[0] if len(found) == 1 else None

    @property
    def running(self):
        """Executions whose script has made its mark."""
        return [p for p in self.executions if p.threads > 1]

    @property
    def service_processes(self):
        """Those that live as long as the service."""
        return [self.launcher, self.master, *self.bases, *self.sets, *self.workers,
                self.dispatcher]


def eventually(condition, seconds=10, pause=0.05):
    """Waits until the condition holds; returns what it last was."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(pause)


def standing_cells(service):
    """The tree, as soon as every cell has a parked execution and nobody is on the way."""
    if not hasattr(service, "cells"):
        service.cells = service.get("/health").data["workers"]["total"]

    def look():
        tree = Tree(service)
        complete = (tree.dispatcher and tree.bases and len(tree.wardens) == service.cells
                    and len(tree.executions) == service.cells and not tree.running
                    and len({p.parent for p in tree.executions}) == service.cells
                    # whoever built a warden is the master's child until it is quite gone
                    and not any(p.parent == tree.master.pid for p in tree.sets))
        return tree if complete else None
    tree = eventually(look, 20)
    assert tree, Tree(service).all
    return tree


class Flight:
    """A request that is on its way while the test does something else."""

    def __init__(self, call, *arguments, **fields):
        self.begun = time.monotonic()
        self.ended = None
        self.executor = concurrent.futures.ThreadPoolExecutor(1)
        self.future = self.executor.submit(self.go, call, arguments, fields)
        self.executor.shutdown(wait=False)

    def go(self, call, arguments, fields):
        try:
            return call(*arguments, **fields)
        finally:
            self.ended = time.monotonic()

    def answer(self, timeout=30):
        return self.future.result(timeout)

    def error(self, timeout=30):
        return self.future.exception(timeout)


def take_off(service, seconds=20, **fields):
    """A sleeping script and, once it runs, its execution as a process."""
    before = {p.key for p in Tree(service).running}
    flight = Flight(service.execute, sleeper(seconds), timeout=60, **fields)

    def look():
        return [p for p in Tree(service).running if p.key not in before]
    found = eventually(look, 10)
    assert found, "the script does not run: " + service.log()
    return flight, found[0]


def answers_again(service, seconds=8):
    """Whether a script gets its value within that time; nothing else counts."""
    def ask():
        try:
            answer = service.execute(TRIVIAL, http_timeout=seconds)
        except OSError:
            return False
        return answer.status == 200 and answer.data["result"] == "here"
    return eventually(ask, seconds)


def is_gone(process):
    try:
        now = Process(process.pid)
    except (OSError, KeyError, IndexError):
        return True
    return now.key != process.key or now.state == "Z"


def kill(process, number=signal.SIGKILL):
    """By its process descriptor, and only if it is still the same one."""
    fd = os.pidfd_open(process.pid)
    try:
        assert not is_gone(process), process
        signal.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


def runtime_directory(log):
    found = re.search(r"^==> Service: starting \S+ in (\S+)$", log, re.M)
    return Path(found[1]) if found else None


class Footprint:
    """Taken while an instance runs: says afterwards what is left of it."""

    def __init__(self, service):
        self.service = service
        self.tree = Tree(service)
        self.directory = runtime_directory(service.log())
        uid = self.tree.master.uids[0]
        self.first = self.last = uid
        if uid >= HOST_IDS_FIRST:
            self.first = uid - (uid - HOST_IDS_FIRST) % HOST_IDS_RANGE
            self.last = self.first + HOST_IDS_RANGE - 1

    def owns(self, uid):
        return self.first <= uid <= self.last

    def strangers(self):
        """The launcher of another instance that has been given the same ids meanwhile."""
        ours = {p.key for p in self.tree.all}
        return [p for p in all_processes().values()
                if self.first >= HOST_IDS_FIRST and self.owns(p.uids[0]) and p.key not in ours
                and p.name == "vivarium" and len(p.namespace_pids) == 1]

    def remains(self):
        """A list of all that should not be there any more."""
        left = [p for p in self.tree.all if not is_gone(p)]
        strangers = self.strangers()
        if not strangers:
            left += [p for p in all_processes().values() if self.owns(p.uids[0])]
        if self.directory.exists():
            left.append(self.directory)
        for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
            for entry in os.scandir(folder):
                try:
                    if self.owns(entry.stat(follow_symlinks=False).st_uid):
                        left.append(entry.path)
                except OSError:
                    continue
        mark = f"vivarium/ids/{(self.first - HOST_IDS_FIRST) // HOST_IDS_RANGE}"
        for line in Path("/proc/net/unix").read_text().splitlines():
            if str(self.directory) in line or (line.endswith("@" + mark) and not strangers):
                left.append(line)
        left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
                 if self.directory.name in line]
        return left

    def assert_gone(self, seconds=8):
        left = eventually(lambda: not self.remains(), seconds) or self.remains()
        assert left is True, left


def mounts():
    return set(Path("/proc/self/mountinfo").read_text().splitlines())
