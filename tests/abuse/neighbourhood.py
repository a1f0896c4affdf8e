"""Hostile scripts beside an honest neighbour: its answers, /health, and the host afterwards.

Bounds are medians, because the machine that runs the tests may be busy with something else: half
of the calls of /health take at most 100 ms while the scripts do their worst and after it, and half
of the neighbour's at most 250 ms. No single answer of either may take longer than 5 s. Where no
control group shares the processors, a script that gets more than its share of them may make both
wait for a second.
"""

import os
import statistics
import threading
import time
from pathlib import Path

import attacks
from measures import assert_same, settle
from supervision import Footprint

HEALTH_MEDIAN_S = 0.1
NEIGHBOUR_MEDIAN_S = 0.25
UNSHARED_MEDIAN_S = 1
SLOWEST_S = 5
GROWTH_KIB = 4096  # of a process that lives on: buffers that were needed for once

NEIGHBOUR = """
def main():
    print("neighbour", N)
    with open("/tmp/own", "w") as file:
        file.write(str(N))
    return [N, open("/tmp/own").read(), sum(range(N))]
"""


class Caller(threading.Thread):
    """Calls one after another until it is told to stop; keeps how long each took."""

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.took = []
        self.trouble = None
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set() and not self.trouble:
            begun = time.monotonic()
            try:
                self.call(len(self.took))
            except Exception as error:  # told by finish, in the test's own thread
                self.trouble = error
            self.took.append(time.monotonic() - begun)
            time.sleep(0.01)

    def finish(self, median_s):
        self.over.set()
        self.join()
        if self.trouble:
            raise self.trouble
        assert len(self.took) >= 3, self.took
        assert statistics.median(self.took) <= median_s, self.took
        assert max(self.took) <= SLOWEST_S, self.took


def owner(entry):
    """Nobody's, if it is just being removed."""
    try:
        return entry.stat(follow_symlinks=False).st_uid
    except FileNotFoundError:
        return -1


class Host:
    """What the machine counts outside of the service's own processes."""

    def __init__(self, service):
        footprint = Footprint(service)
        self.mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
                       if footprint.directory.name in line]
        self.ipc = [Path(f"/proc/sysvipc/{kind}").read_text() for kind in ("msg", "sem", "shm")]
        self.files = sorted(
            entry.path for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run")
            for entry in os.scandir(folder)
            if os.getuid() == 0 and footprint.owns(owner(entry)))
        self.cores = sorted(path for folder in (Path.cwd(), Path("/"), Path("/var/crash"))
                            if folder.is_dir() for path in folder.glob("core*")
                            if path.is_file())

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return repr(vars(self))


class Neighbourhood:
    """An instance, and how it and its host were before anything hostile came."""

    def __init__(self, service):
        self.service = service
        self.shares_processors = "cpu: control groups v" in service.log()
        self.attack([("def main():\n    return 1", {})] * 4)
        self.before = settle(service)
        self.host = Host(service)

    def ask_health(self, _):
        answer = self.service.get("/health")
        assert answer.status == 200 and answer.data["status"] == "healthy", answer

    def ask_neighbour(self, turn):
        answer = self.service.execute(f"N = {turn}\n{NEIGHBOUR}")
        assert answer.status == 200, answer
        assert answer.data["result"] == [turn, str(turn), sum(range(turn))]
        assert answer.data["stdout"] == f"neighbour {turn}\n"

    def attack(self, scripts):
        """Runs (script, fields) all at once; returns their answers in the same order."""
        answers = [None] * len(scripts)

        def run(index):
            script, fields = scripts[index]
            answers[index] = attacks.run(self.service, script, **fields)
        threads = [threading.Thread(target=run, args=(index,)) for index in range(len(scripts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def endure(self, *scripts, takes_processors=False):
        """
        The answers to hostile scripts, after all that is said above was found true; with
        takes_processors they are of those that get more than their share.
        """
        unshared = takes_processors and not self.shares_processors
        health, neighbour = Caller(self.ask_health), Caller(self.ask_neighbour)
        try:
            answers = self.attack(scripts)
        finally:
            time.sleep(0.1)
            health.over.set()
            neighbour.over.set()
        health.finish(UNSHARED_MEDIAN_S if unshared else HEALTH_MEDIAN_S)
        neighbour.finish(UNSHARED_MEDIAN_S if unshared else NEIGHBOUR_MEDIAN_S)
        return answers

    def assert_quiet(self):
        """Nothing is left: processes, threads, mounts, files, descriptors, namespaces, memory."""
        after = Caller(self.ask_health)
        time.sleep(0.1)
        after.finish(HEALTH_MEDIAN_S)
        assert_same(self.service, self.before, GROWTH_KIB)
        now = Host(self.service)
        assert now == self.host
        attacks.assert_serves(self.service)
