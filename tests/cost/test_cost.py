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
COPIED_LEAST_KIB = 250  # less would be none that we know: the measure would have to be looked at
# memory of its own that a parked execution holds: of a quick tree, and of one that has time
COPIED_KIB = {"base": (880, 530), "pandas": (4110, 1480)}
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


@pytest.mark.parametrize("sets,script,quick_kib,placed_kib", [
    ("base", SCRIPT, *COPIED_KIB["base"]),
    ("base numpy:base:numpy pandas:numpy:pandas", "import pandas\n" + SCRIPT,
     *COPIED_KIB["pandas"])], ids=["base", "pandas"])
def test_copied_memory(make_service, sets, script, quick_kib, placed_kib):
    """A parked execution holds no more pages of its own than it needs."""
    service = make_service(library_sets=sets, workers=1, cells_per_worker=2, template_quick_age=4)
    for expected in (quick_kib, placed_kib):
        settle(service, script)
        for pid, own in copied_kib(service).items():
            print(f"{pid}: {own} KiB of its own")
            assert COPIED_LEAST_KIB < own <= expected * TOLERANCE
        service.await_placed()


def copied_kib(service):
    """What each parked execution holds of its own."""
    rollups = {p.pid: Path(f"/proc/{p.pid}/smaps_rollup").read_text()
               for p in standing_cells(service).executions}
    return {pid: int(re.search(r"^Private_Dirty: +(\d+) kB", rollup, re.M)[1])
            for pid, rollup in rollups.items()}
