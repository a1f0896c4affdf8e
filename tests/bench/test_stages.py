"""Stages of an execution out of a trace of the kernel."""

import pytest

import stages

ROLES = {10: "nginx", 20: "dispatcher", 30: "worker", 40: "warden", 50: "execution"}
# (microseconds, thread, what): one request as the kernel shows it.
REQUEST = (
    (100, 10, "sys_exit: NR 232 = 1"), (150, 10, "sys_enter: NR 20 (6, 0)"),
    (200, 20, "sys_exit: NR 43 = 7"), (240, 20, "sys_enter: NR 44 (e, 0)"),
    (300, 30, "sys_exit: NR 232 = 1"), (320, 30, "sys_enter: NR 44 (e, 0)"),
    (400, 50, "sys_exit: NR 45 = 100"), (450, 50, "sys_enter: NR 302 (0, 0)"),
    (750, 50, "sys_enter: NR 46 (3e8, 0)"),
    (800, 30, "sys_exit: NR 232 = 1"),
    (900, 20, "sys_exit: NR 7 = 1"),
    (1000, 10, "sys_exit: NR 232 = 1"),
    (1200, 40, "sys_exit: NR 7 = 1"), (1210, 40, "sys_enter: NR 62 (ffffffff, 9)"),
    (1220, 40, "sys_enter: NR 61 (ffffffff, 0)"), (1250, 40, "sys_enter: NR 62 (ffffffff, 9)"),
    (1260, 40, "sys_enter: NR 61 (ffffffff, 0)"), (1300, 40, "sys_enter: NR 262 (0, 0)"),
    (1400, 40, "sys_enter: NR 56 (1200011, 0)"),
    (1450, 40, "sched_process_fork: comm=a b pid=40 child_comm=a b child_pid=51"),
    (1500, 51, "sys_exit: NR 56 = 0"), (1550, 51, "sys_enter: NR 28 (0, 0)"),
    (1560, 51, "page_fault_user: address=0x0 ip=0x0 error_code=0x7"),
    (1600, 51, "sys_enter: NR 292 (5, 3e8)"), (1700, 51, "sys_exit: NR 317 = 0"),
    (1790, 51, "sys_enter: NR 46 (3e8, 0)"), (1800, 51, "sys_exit: NR 46 = 8"))
STAMPS = {"sent": 50, "begun": 500, "ended": 600, "answered": 1100}


def lines(request=REQUEST, begin_us=0):
    return ["# tracer: nop\n"] + [
        f" some name-{tid}  [001] ..... 12.{begin_us + us:06d}: {what}\n"
        for us, tid, what in request]


def test_stages_are_found():
    begin_us = 12_000_000
    stamps = {name: begin_us + us for name, us in STAMPS.items()}
    found, failures = stages.analyse(stages.parse_trace(lines(), ROLES), [(stamps, {})])
    assert not failures
    assert list(found["traced"][0].values()) == [50, 100, 100, 100, 100, 100, 200, 100, 100, 100]
    assert list(found["afterwards"][0].values()) == [450, 100, 100, 100, 100, 100, 100]


def test_calls_and_faults_are_counted_per_role():
    events = stages.parse_trace(lines(), ROLES)
    counts = stages.count_calls(events, 1)
    assert counts["execution"] == (5, 1)        # the fork's child is one
    assert counts["warden"] == (6, 0)


def test_a_way_with_a_gap_is_not_guessed():
    without_worker = [event for event in REQUEST if event[1] != 30]
    stamps = {name: 12_000_000 + us for name, us in STAMPS.items()}
    found, failures = stages.analyse(stages.parse_trace(lines(without_worker), ROLES),
                                     [(stamps, {})])
    assert len(failures) == 1 and not found["traced"]


def test_landmarks_out_of_order_are_refused():
    with pytest.raises(stages.NotUnderstood):
        stages.durations(stages.COARSE, {**STAMPS, "ended": 400})


@pytest.mark.parametrize("answer, whole", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", False)])
def test_whole_answer(answer, whole):
    assert stages.is_whole(answer) is whole
