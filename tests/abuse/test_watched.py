"""Memory of many processes where no control group limits the sum: the worker's watch.

Hostile scripts hide from it, each in another way, and grow until somebody ends them; what they had by
then is told in the verdict. Honest ones have processes that are many, short-lived, or share much, and
must come to their ends.
"""

import pytest

from conftest import Service
from neighbourhood import Neighbourhood

SLACK_MIB = 300  # beyond the limit: twice the most that docs/limits.md tells
LIMIT_MIB = 256

GROW = """
import os, signal, time
BLOCK = b"x" * (1 << 20)
KEPT = []
def grow(mib=1):
    KEPT.extend(bytearray(BLOCK) for _ in range(mib))
def fork(count, action):
    for _ in range(count):
        if not os.fork():
            while True:
                action()
def main():
    hide()
    time.sleep(9)
    return "survived"
"""

HOSTILE = {
    "they hop from process to process, behind many that share": """
def hop():
    if len(KEPT) < 50:
        grow()
    time.sleep(0.001)
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        pass  # there are as many as there may be: the dead count until they are reaped
def hide():
    KEPT.append(bytearray(BLOCK) * 120)
    fork(80, signal.pause)
    KEPT.clear()
    fork(12, hop)
""",
    "they share much, and each adds a little": """
def adds():
    time.sleep(0.5)
    grow(12)
    signal.pause()
def hide():
    KEPT.append(bytearray(BLOCK) * 120)
    fork(100, adds)
""",
    "they wake each other": """
def wake():
    try:
        os.kill(-1, signal.SIGCONT)
    except OSError:
        pass
def adds():
    time.sleep(0.005)
    grow()
def hide():
    fork(4, wake)
    fork(6, adds)
""",
    "their first threads have ended": """
import ctypes, threading
def adds():
    while True:
        time.sleep(0.005)
        grow()
def hand_over():
    threading.Thread(target=adds).start()
    ctypes.CDLL(None).syscall(60, 0)  # exit, of this thread
def hide():
    fork(6, hand_over)
""",
}

HONEST = {
    "a pool of processes that end after each task": """
import multiprocessing
def fill(number):
    return len(bytearray(b"x") * (4 << 20)) + number
def main():
    with multiprocessing.get_context("fork").Pool(4, maxtasksperchild=1) as pool:
        return sum(pool.map(fill, range(60), chunksize=1)) == 60 * (4 << 20) + 59 * 30
""",
    "processes that end at once, over and over": """
import os
def main():
    for _ in range(30):
        for _ in range(20):
            if not os.fork():
                os._exit(0)
        for _ in range(20):
            os.wait()
    return True
""",
    "children that share more than the limit in all": """
import os, time
def main():
    shared, end = bytearray(b"x") * (120 << 20), time.monotonic() + 1.5
    for _ in range(6):
        if not os.fork():
            while time.monotonic() < end:
                sum(range(10000))
            os._exit(7)
    return {os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(6)} == {7}
""",
    "many that end together": """
import os, signal, time
def main():
    shared = bytearray(b"x") * (20 << 20)
    children = []
    for _ in range(80):
        children.append(os.fork())
        if not children[-1]:
            signal.pause()
    time.sleep(0.2)
    for child in children:
        os.kill(child, signal.SIGKILL)
    return {os.wait()[1] for _ in children} == {9}
""",
}


@pytest.fixture(scope="module")
def neighbourhood():
    with Service(workers=1, cells_per_worker=3, library_sets="base", cgroup="off") as service:
        # without it nobody may look into a script's processes, and what they share counts often
        assert service.get("/health").data["isolation"]["user"]
        yield Neighbourhood(service)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_processes_are_ended(neighbourhood, name):
    """Close to their limit, beside a neighbour that is served."""
    fields = {"memory": LIMIT_MIB, "timeout": 15}
    for answer in neighbourhood.endure((GROW + HOSTILE[name], fields), takes_processors=True):
        assert answer.data["cause"]["kind"] == "memory", answer
        assert answer.data["cause"]["used"] <= LIMIT_MIB + SLACK_MIB, answer
    neighbourhood.assert_quiet()


@pytest.mark.parametrize("name", HONEST)
def test_honest_processes_come_to_their_ends(neighbourhood, name):
    """Three at once, which wait for the one scale."""
    answers = neighbourhood.attack([(HONEST[name], {"memory": LIMIT_MIB, "timeout": 60})] * 3)
    assert [answer.data.get("result") for answer in answers] == [True] * 3, answers
