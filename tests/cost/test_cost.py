"""What one execution costs, counted and not timed: a quarter more than here is a regression.

The counts are of the service's own path for a trivial script, and were taken when the numbers
below were written; a change that saves something lowers them. They differ a little with the
version of Python and of the C library.
"""

import re
import tempfile
import time
from pathlib import Path

import pytest

from supervision import Tree, standing_cells, traced

REQUESTS = 40
TOLERANCE = 1.25
SYSTEM_CALLS = {"vivarium": 49, "vivarium-template": 236}  # of one request, by program
LEAST_KIB = 250  # fewer copies would be none that we know: the measure would have to be looked at
# KiB that a parked execution holds of its own and maps: of a quick tree, and of one that has time
PARKED_KIB = {
    "base": ("base", "", (880, 10070), (530, 4440)),
    "pandas": ("base numpy:base:numpy pandas:numpy:pandas", "import pandas\n",
               (4110, 34900), (1480, 10420)),
}
SCRIPT = "def main():\n    return {'a': 1}\n"


def processes_of(service):
    """pid: program, of all processes but nginx's and the shell's."""
    found = {}
    for pid in service.pids():
        try:
            name = Path(f"/proc/{pid}/exe").readlink().name
        except OSError:
            continue
        if name in SYSTEM_CALLS:
            found[pid] = name
    return found


def settle(service, script=SCRIPT):
    for _ in range(20):
        assert service.execute(script).data["success"]
    time.sleep(0.3)


def trace(service, pids, *options):
    """What strace says of these processes, and of what they fork, while requests run."""
    with tempfile.NamedTemporaryFile("r") as output:
        with traced(pids, *options, output=output.name):
            for _ in range(REQUESTS):
                assert service.execute(SCRIPT).data["success"]
            time.sleep(0.5)
        return output.read()


def system_calls(service, program):
    """How many all processes of one program, and what they fork, make while requests run."""
    pids = [pid for pid, name in processes_of(service).items() if name == program]
    return len(re.findall(r"^\d+ +\w+\(", trace(service, pids), re.M))


def test_system_calls(make_service):
    """Nothing on the path has become more by a quarter."""
    service = make_service(library_sets="base", workers=1, cells_per_worker=2)
    settle(service)
    for program, expected in SYSTEM_CALLS.items():
        count = system_calls(service, program) / REQUESTS
        print(f"{program}: {count:.1f} system calls a request")
        assert expected / 2 < count <= expected * TOLERANCE, program


def test_a_line_is_one_call(make_service):
    """The line of a request is one write, after the answer; all else is as without it."""
    service = make_service(library_sets="base", workers=1, cells_per_worker=2, log_requests="on")
    settle(service)
    calls = trace(service, [Tree(service).dispatcher.pid], "-e", "trace=write,openat,poll")
    assert len(re.findall(r" write\(2, ", calls)) == REQUESTS
    assert "openat" not in calls and "{fd=2," not in calls


@pytest.mark.parametrize("script_set", list(PARKED_KIB))
def test_parked_memory(make_service, script_set):
    """A parked execution copies no more pages than it needs, and maps no more than it reads."""
    sets, script, *expected = PARKED_KIB[script_set]
    service = make_service(library_sets=sets, workers=1, cells_per_worker=2, template_quick_age=4)
    for copied_kib, mapped_kib in expected:
        settle(service, script + SCRIPT)
        for process in standing_cells(service).executions:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            copied, mapped = (int(re.search(rf"^{field}: +(\d+) kB", rollup, re.M)[1])
                              for field in ("Private_Dirty", "Rss"))
            print(f"{process.pid}: {copied} KiB of its own, {mapped} KiB mapped")
            assert LEAST_KIB < copied <= copied_kib * TOLERANCE
            assert copied < mapped <= mapped_kib * TOLERANCE
        service.await_placed()
