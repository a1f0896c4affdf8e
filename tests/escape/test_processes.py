"""Processes that will not end, multiply, hide or kill; the neighbours notice nothing."""

import threading
import time

import pytest

from attacks import assert_serves, attack, cell, run  # noqa: F401 (fixtures)


@pytest.mark.parametrize("number", ["KILL", "STOP", "TERM", "SEGV", "CHLD", "HUP", "RTMIN",
                                    "RTMAX"])
def test_process_1_survives_signals(cell, number):
    """The warden is out of reach of its cell: the next execution has the same one."""
    first = run(cell, "def main():\n    return os.getpid()").data["result"]
    answer = run(cell, f"""
def main():
    for i in range(50):
        call("kill", 1, signal.SIG{number})
        call("tgkill", 1, 1, signal.SIG{number})
    time.sleep(0.1)
    return [os.getppid(), attempt(os.kill, 1, 0)]
""")
    assert answer.data["result"] == [1, "done"]
    assert_serves(cell)
    last = run(cell, "def main():\n    return [os.getpid(), os.getppid()]").data["result"]
    assert last[0] > first and last[1] == 1  # the same PID namespace
    assert "warden" not in cell.log().lower()


def test_kill_everybody_is_only_the_script(attack):
    """kill(-1) reaches the script's own processes; the script itself goes on."""
    assert attack("""
def main():
    children = []
    for i in range(5):
        children.append(os.fork())
        if not children[-1]:
            time.sleep(60)
    done = call("kill", -1, 9)
    return [done, [os.waitpid(child, 0)[1] for child in children], os.getppid()]
""") == [0, [9] * 5, 1]


@pytest.mark.parametrize("number, name", [
    (9, "SIGKILL"), (6, "SIGABRT"), (11, "SIGSEGV"), (15, "SIGTERM"), (14, "SIGALRM"),
    (24, "SIGXCPU"), (31, "SIGSYS"), (7, "SIGBUS"), (5, "SIGTRAP")])
def test_signal_that_kills_is_named(attack, number, name):
    """A script that kills itself ends as on any Linux."""
    answer = attack.verdict(f"""
def main():
    signal.signal({number}, signal.SIG_DFL) if {number} != 9 else None
    print("before")
    os.kill(os.getpid(), {number})
""")
    assert (answer.status, answer.data["cause"]) == (400, {"kind": "signal", "signal": name})
    assert answer.data["stdout"] == "before\n"


@pytest.mark.parametrize("action", [
    "os.kill(os.getpid(), signal.SIGSTOP)", "os.kill(0, signal.SIGSTOP)", "time.sleep(60)",
    "[signal.pause() for i in range(9)]", "call('pause')", "os.read(os.pipe()[0], 1)",
    "THREAD.start(); call('exit', 0)",
    "exec('while True: pass')"])
def test_standing_still_is_a_timeout(attack, action):
    """All signals ignored, handled or blocked: time is kept by others."""
    begun = time.monotonic()
    answer = attack.verdict(f"""
import threading
def main():
    for number in set(signal.valid_signals()) - {{9, 19}}:
        attempt(signal.signal, number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    global THREAD
    THREAD = threading.Thread(target=time.sleep, args=(60,))
    print("before")
    {action}
    print("after")
    time.sleep(60)
""", timeout=1)
    assert (answer.status, answer.data["cause"]["kind"]) == (408, "time")
    assert answer.data["stdout"] == "before\n"
    assert time.monotonic() - begun < 10


def test_c_stack_overflow_is_a_segmentation_fault(attack):
    """Its neighbour, the heap, is not reached."""
    answer = attack.verdict("""
def main():
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    numbers = (ctypes.c_int * 2)(2, 1)
    @compare
    def deeper(one, two):
        LIBC.qsort(numbers, 2, 4, deeper)
        return 0
    sys.setrecursionlimit(1 << 30)
    LIBC.qsort(numbers, 2, 4, deeper)
""")
    assert answer.data["cause"]["kind"] in ("signal", "exception")
    if answer.data["cause"]["kind"] == "signal":
        assert answer.data["cause"]["signal"] == "SIGSEGV"


def test_wild_pointer_is_a_segmentation_fault(attack):
    """And leaves what was printed before."""
    answer = attack.verdict("def main():\n    print('before')\n    ctypes.string_at(8)")
    assert answer.data["cause"] == {"kind": "signal", "signal": "SIGSEGV"}
    assert answer.data["stdout"] == "before\n"


def test_daemons_end_with_their_script(cell):
    """Double fork, session of its own, signals ignored, streams closed: swept all the same."""
    script = """
def main():
    for i in range(10):
        if not os.fork():
            os.setsid()
            if os.fork():
                os._exit(0)
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            os.closerange(0, 2000)
            while True:
                attempt(open, "/tmp/mark", "w")
                time.sleep(0.001)
    time.sleep(0.2)
    return os.getpid()
"""
    assert run(cell, script).status == 200
    answer = run(cell, """
def main():
    time.sleep(0.3)
    alive = [pid for pid in range(2, 3000) if call("kill", pid, 0) == 0]
    return [alive == [os.getpid()], os.listdir("/tmp")]
""")
    assert answer.data["result"] == [True, []]


def test_children_cannot_be_handed_to_the_warden_to_stay(cell):
    """CLONE_PARENT is refused; exit signals nobody waits for by default are no way either."""
    answer = run(cell, """
def main():
    refused = [call("clone", flags, 0, 0, 0, 0) for flags in (0x8000 | 17, 0x8000, 0x8000 | 40)]
    for flags in (0, 12):
        for i in range(5):
            if call("clone", flags, 0, 0, 0, 0) == 0:
                call("setsid")
                while True:
                    call("pause")
    time.sleep(0.1)
    return refused, sum(call("kill", pid, 0) == 0 for pid in range(2, 3000))
""")
    assert answer.data["result"] == [["EPERM"] * 3, 11]
    answer = run(cell, "def main():\n    return [pid for pid in range(2, 3000)"
                           " if call('kill', pid, 0) == 0] == [os.getpid()]")
    assert answer.data["result"] is True


BOMBS = {
    "forks": """
def main():
    while True:
        try:
            os.fork()
        except BlockingIOError:
            pass
""",
    "forks that end": """
def main():
    first = os.getpid()
    while True:
        attempt(os.fork)
        if os.getpid() != first and os.getpid() % 7 == 0:
            os._exit(0)
""",
    "threads": """
import threading
def main():
    while True:
        try:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        except RuntimeError:
            pass
""",
    "raw clones": """
def main():
    while True:
        call("clone", 17, 0, 0, 0, 0)
""",
    "raw vforks": """
def main():
    while True:
        if call("clone", 0x8000 | 17, 0, 0, 0, 0) == 0:
            call("setsid")
""",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_costs_its_neighbours_nothing(service, name):
    """While it goes off others are served right; then it ends by its time, whole."""
    answers = []
    bomb = threading.Thread(target=lambda: answers.append(run(service, BOMBS[name], timeout=2)))
    bomb.start()
    time.sleep(0.5)
    for _ in range(5):
        begun = time.monotonic()
        assert_serves(service)
        assert time.monotonic() - begun < 5
    bomb.join(30)
    assert answers and answers[0].status == 408, answers
    assert answers[0].data["cause"]["kind"] == "time"
    assert answers[0].data["usage"]["wall_ms"] < 4000
    assert_serves(service)


def test_processes_and_threads_are_counted(attack):
    """The limit is the configuration's 128, threads and processes together, own one included."""
    assert attack("""
def main():
    count = 1
    while True:
        child = call("clone", 17, 0, 0, 0, 0)
        if child == "EAGAIN":
            return count
        if child == 0:
            while True:
                call("pause")
        count += 1
""") == 128


def test_orphans_are_reaped_while_the_script_runs(attack):
    """Their places are free again: many more than the limit can live one after another."""
    assert attack("""
def main():
    made = 0
    for i in range(300):
        child = os.fork()
        if not child:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        made += os.waitpid(child, 0)[0] == child
        time.sleep(0.002)
    return made
""") == 300


def test_output_flood_is_cut_and_costs_nothing(service):
    """Both streams at once, by many processes, with a neighbour in between."""
    script = """
def main():
    for i in range(8):
        if not os.fork():
            while True:
                os.write(1 + i % 2, b"x" * 65536)
    time.sleep(1)
    return "own"
"""
    answers = []
    flood = threading.Thread(target=lambda: answers.append(run(service, script)))
    flood.start()
    time.sleep(0.3)
    for _ in range(3):
        begun = time.monotonic()
        assert_serves(service)
        assert time.monotonic() - begun < 3
    flood.join(60)
    assert answers[0].status == 200, answers
    assert answers[0].data["result"] == "own"
    for stream in ("stdout", "stderr"):
        assert len(answers[0].data[stream]) == 1 << 20
        assert answers[0].data["truncated"][stream] > 0


def test_orphans_that_flood_the_channel_do_not_hold_the_worker(make_service):
    """The verdict on a dead script, and a neighbour's on the same worker, wait for no orphan."""
    service = make_service(workers=1, cells_per_worker=2, library_sets="base")
    script = """
def main():
    junk = struct.pack("II", 9999, 0) * 8192
    for i in range(100):
        if not os.fork():
            while True:
                os.write(1000, junk)
    time.sleep(0.3)
    os._exit(3)
"""
    for _ in range(2):
        answers = []
        flood = threading.Thread(target=lambda: answers.append(run(service, script, timeout=10)))
        flood.start()
        slowest = 0
        while flood.is_alive():
            begun = time.monotonic()
            assert_serves(service)
            slowest = max(slowest, time.monotonic() - begun)
        assert answers[0].data["cause"] == {"kind": "exit", "exit_code": 3}
        assert slowest < 1.2
