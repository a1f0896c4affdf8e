"""The dispatcher: confined, bounded, replaced when it is wedged, of no use to who takes it over."""

import concurrent.futures
import contextlib
import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import struct
import time
from pathlib import Path

import pytest

from conftest import Service
from supervision import (TRIVIAL, Flight, Tree, answers_again, eventually, is_gone, kill,
                         standing_cells, take_off)

PIDFD_GETFD = 438
LIBC = ctypes.CDLL(None, use_errno=True)
MIB = 1 << 20


def status(process):
    return dict(line.split(":\t") for line in
                Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":\t" in line)


@pytest.mark.parametrize("role", ["dispatcher", "worker"])
def test_it_has_nothing_to_lose(service, role):
    """What the kernel says of the process: a filter, an empty root, limits, capabilities."""
    tree = Tree(service)
    process = tree.dispatcher if role == "dispatcher" else tree.workers[0]
    facts = status(process)
    assert facts["Seccomp"] == "2" and facts["NoNewPrivs"] == "1"
    kept = {"dispatcher": 0, "worker": 1 << 5}[role]  # CAP_KILL
    for name in ("CapPrm", "CapEff"):
        assert int(facts[name], 16) == kept, name
    for name in ("CapInh", "CapAmb", "CapBnd"):
        assert int(facts[name], 16) == 0, name
    assert os.listdir(f"/proc/{process.pid}/root") == []
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert "Max core file size        0                    0" in limits
    assert "Max locked memory         0                    0" in limits
    for line in limits.splitlines():
        assert not line.startswith("Max data size") or "unlimited" not in line
    # not dumpable: nobody without CAP_SYS_PTRACE over the machine sees into it
    assert os.stat(f"/proc/{process.pid}/environ").st_uid == 0


@pytest.mark.parametrize("role", ["dispatcher", "worker"])
def test_one_that_is_wedged(make_service, role):
    """Stopped, it answers no ping: it is killed and started again, and scripts run."""
    service = make_service(workers=1, cells_per_worker=2, library_sets="base", wedged_after=1)
    tree = standing_cells(service)
    process = tree.dispatcher if role == "dispatcher" else tree.workers[0]
    begun = time.monotonic()
    kill(process, signal.SIGSTOP)
    assert eventually(lambda: is_gone(process), 5), service.log()
    assert 0.9 <= time.monotonic() - begun < 4
    assert answers_again(service), service.log()
    assert f"{role}" in service.log() and "does not answer: it is killed" in service.log()


def test_nobody_is_killed_for_being_busy(make_service):
    """All cells at work, the queue full, clients that hang up: the pulse goes on."""
    service = make_service(workers=1, cells_per_worker=2, queue=16, library_sets="base",
                           wedged_after=0.5)
    before = standing_cells(service)
    with concurrent.futures.ThreadPoolExecutor(40) as clients:
        list(clients.map(lambda _: service.execute(
            "def main():\n    for i in range(10**6): print(i)", timeout=1), range(60)))
    after = standing_cells(service)
    assert after.dispatcher.key == before.dispatcher.key
    assert [p.key for p in after.workers] == [p.key for p in before.workers]


def test_a_service_that_slept(make_service):
    """All of it was stopped, as on a machine that is suspended: nobody is to blame."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", wedged_after=1)
    before = standing_cells(service)
    everybody = [before.master, before.dispatcher, *before.workers]
    for process in everybody:
        kill(process, signal.SIGSTOP)
    time.sleep(2.5)
    for process in everybody:
        kill(process, signal.SIGCONT)
    time.sleep(0.3)
    assert service.execute(TRIVIAL).status == 200
    assert Tree(service).dispatcher.key == before.dispatcher.key


# --- memory ------------------------------------------------------------------------------------


def large(size):
    return json.dumps({"script": TRIVIAL, "ignored": "x" * size})


def test_requests_that_are_too_large_together(make_service):
    """What finds no room is refused with 503 and a reason; the rest is answered."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", request_memory=128)
    flight, _ = take_off(service, seconds=2)
    waiting = Flight(service.post, large(19 * MIB))
    assert eventually(lambda: service.get("/health").data["queue"]["waiting"] == 1, 3)
    for size in (19 * MIB, 15 * MIB):
        answer = service.post(large(size))
        assert answer.status == 503, answer
        assert answer.data["cause"]["kind"] == "overloaded"
        assert int(answer.headers["Retry-After"]) >= 1
    small = Flight(service.post, large(MIB))
    assert [f.answer().status for f in (flight, waiting, small)] == [200, 200, 200]
    assert service.post(large(19 * MIB)).status == 200


def test_memory_that_is_refused(make_service):
    """An allocation that fails costs its own request, and the dispatcher goes on."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base")
    assert service.execute(TRIVIAL).status == 200
    dispatcher = Tree(service).dispatcher
    data = int(status(dispatcher)["VmData"].split()[0]) * 1024
    hard = resource.prlimit(dispatcher.pid, resource.RLIMIT_DATA)[1]
    resource.prlimit(dispatcher.pid, resource.RLIMIT_DATA, (data + 4 * MIB, hard))
    answer = service.post(large(18 * MIB))
    assert answer.status == 500 and answer.data["cause"]["kind"] == "internal", answer
    assert service.execute(TRIVIAL).status == 200
    resource.prlimit(dispatcher.pid, resource.RLIMIT_DATA, (hard, hard))
    assert service.post(large(18 * MIB)).status == 200
    assert Tree(service).dispatcher.key == dispatcher.key


# --- taken over --------------------------------------------------------------------------------
#
# The dispatcher is stopped, and what it holds is used in its place: that is all that somebody has
# who has taken it over, for it can open nothing.

JOB, SCRIPT, ENTRY, GO, BODY, CHANGE, CANCEL = range(1, 8)
PARKED, STEP_FAILED, RESULT = 32, 33, 34
READY, VERDICT, ROOM = 64, 70, 71


def frame(kind, payload=b"", length=None):
    return struct.pack("=II", kind, len(payload) if length is None else length) + payload


def limits(timeout_ms=2000, memory=64, cpu=5, wanted=0, flags=0, body=0):
    return struct.pack("=IIIIII", timeout_ms, memory, cpu, wanted, flags, body)


def job(script=TRIVIAL, **fields):
    return (frame(JOB, limits(**fields)) + frame(SCRIPT, script.encode())
            + frame(ENTRY, b"main") + frame(GO))


class TakenOver:
    """The lanes and the control socket of a dispatcher that is stopped for good."""

    def __init__(self, service):
        self.process = standing_cells(service).dispatcher
        kill(self.process, signal.SIGSTOP)
        self.lanes, self.controls, self.listeners = [], [], []
        pidfd = os.pidfd_open(self.process.pid)
        for name in os.listdir(f"/proc/{self.process.pid}/fd"):
            if not os.readlink(f"/proc/{self.process.pid}/fd/{name}").startswith("socket:"):
                continue
            fd = LIBC.syscall(PIDFD_GETFD, pidfd, int(name), 0)
            assert fd >= 0, os.strerror(ctypes.get_errno())
            s = socket.socket(fileno=fd)
            if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self.listeners.append(s)
            elif s.type & 0xf == socket.SOCK_SEQPACKET:
                self.controls.append(s)
            else:
                s.settimeout(5)
                self.lanes.append(s)
        os.close(pidfd)

    def close(self):
        for s in self.lanes + self.controls + self.listeners:
            s.close()


def receive(lane, wanted):
    """Reads frames until one is of the wanted kind; its payload."""
    data = b""
    while True:
        while len(data) >= 8:
            kind, length = struct.unpack_from("=II", data)
            if len(data) < 8 + length:
                break
            payload, data = data[8:8 + length], data[8 + length:]
            if kind == wanted:
                return payload
        part = lane.recv(65536)
        if not part:
            raise EOFError
        data += part


def serves(lane):
    """An honest job on this lane gets a value."""
    lane.sendall(job("def main():\n    return 'honest'"))
    return receive(lane, RESULT) == b'"honest"'


# What ends a lane: the worker lets go of it, and of nothing else.
BREACHES = {
    "garbage": bytes(range(256)) * 16,
    "zeroes": bytes(65536),
    "ones": b"\xff" * 4096,
    "unknown frame": frame(4711),
    "an execution's frame": frame(PARKED),
    "an execution's result": frame(RESULT, b"1"),
    "a worker's frame": frame(READY, struct.pack("=I", 0)),
    "a worker's verdict": frame(VERDICT, bytes(200)),
    "job of the wrong size": frame(JOB, limits() + b"x"),
    "empty job": frame(JOB),
    "no time": frame(JOB, limits(timeout_ms=0)),
    "no memory": frame(JOB, limits(memory=0)),
    "no CPU time": frame(JOB, limits(cpu=0)),
    "wrong set": frame(JOB, limits(wanted=1)),
    "wrong set, far": frame(JOB, limits(wanted=0xffffffff)),
    "two jobs begun": frame(JOB, limits()) * 2,
    "a second GO": job() + frame(GO),
    "a second job": job() + job(),
    "change of the wrong size": frame(CHANGE, b"x"),
    "change to a wrong set": frame(CHANGE, struct.pack("=I", 77)),
    "change in a job": frame(JOB, limits()) + frame(CHANGE, struct.pack("=I", 0)),
    "a body without room": frame(JOB, limits()) + frame(BODY),
    "a body over the cap": frame(JOB, limits(body=24 * MIB + 1)),
    "two bodies": frame(JOB, limits(body=8)) + frame(BODY) * 2,
    "over the cap": frame(SCRIPT, b"", length=0xffffffff),
    "script without end": frame(JOB, limits()) + frame(SCRIPT, b"x" * (25 * MIB)),
}


SPARE = 8  # lanes that no breach uses up


@pytest.fixture(scope="module")
def instance():
    """As many cells as there are breaches, and some to spare; a stopped dispatcher may stay."""
    with Service(workers=1, cells_per_worker=len(BREACHES) + SPARE, library_sets="base",
                 wedged_after=100) as service:
        yield service


@pytest.fixture(scope="module")
def taken_over(instance):
    stolen = TakenOver(instance)
    yield stolen
    stolen.close()


def test_what_it_holds(taken_over, instance):
    """Lanes, one control socket, two listeners: no worker, no warden, no template, no file."""
    assert len(taken_over.lanes) == len(BREACHES) + SPARE
    assert len(taken_over.controls) == 1 and len(taken_over.listeners) == 2
    kinds = set()
    for name in os.listdir(f"/proc/{taken_over.process.pid}/fd"):
        target = os.readlink(f"/proc/{taken_over.process.pid}/fd/{name}")
        kinds.add(target.partition(":")[0] if int(name) > 2 else "standard")
    assert kinds == {"standard", "socket", "anon_inode"}


@pytest.mark.parametrize("name", BREACHES)
def test_breach(taken_over, name):
    """The worker closes this lane, keeps its process, its other lanes and the cells."""
    lane, honest = taken_over.lanes.pop(), taken_over.lanes[0]
    try:
        lane.sendall(BREACHES[name])
        with pytest.raises((EOFError, ConnectionError)):
            receive(lane, 0xdead)
    except (BrokenPipeError, ConnectionResetError):
        pass  # closed while we wrote
    lane.close()
    assert serves(honest)


def test_half_a_job_waits_alone(taken_over):
    """A job that is never complete holds its own cell and nothing else; a hang-up frees it."""
    half, honest = taken_over.lanes.pop(), taken_over.lanes[0]
    half.sendall(frame(JOB, limits()) + frame(SCRIPT, b"def main(): pass")[:10])
    for _ in range(5):
        assert serves(honest)
    half.close()
    assert serves(honest)


def test_answers_that_nobody_reads(taken_over):
    """Job after job on a lane whose answers pile up: the worker never waits for it."""
    flood, honest = taken_over.lanes.pop(), taken_over.lanes[0]
    flood.settimeout(0.2)
    script = "def main():\n    print('x' * 900000)\n    return 'x' * 1000000"
    for _ in range(6):
        try:
            flood.sendall(job(script))
            time.sleep(0.1)
        except OSError:
            break
        assert serves(honest)
    flood.close()
    assert serves(honest)


def test_orders_that_have_no_place(taken_over):
    """Allowed at any time, and without effect: they end nothing."""
    lane = taken_over.lanes[1]
    lane.sendall(frame(CANCEL) * 100 + frame(CHANGE, struct.pack("=I", 0)))
    assert eventually(lambda: serves(lane), 5)


def test_limits_are_held_by_the_cell(taken_over):
    """It may ask for what a client may not, such as hours; a hang-up still ends the script."""
    lane = taken_over.lanes.pop()
    lane.sendall(job("import time\ndef main(): time.sleep(3600)", timeout_ms=3600000))
    time.sleep(0.2)
    lane.close()
    assert serves(taken_over.lanes[0])


# --- a large job, for which the worker makes room


def body(script="def main():\n    return 'large'", size=300000):
    return (frame(SCRIPT, (script + "\n#" + "x" * size).encode()) + frame(ENTRY, b"main"))


def ask_for_room(lane, size):
    """Announces a job with a body of that size; the file that the worker sends for it."""
    lane.sendall(frame(JOB, limits(body=size)))
    data, fds = b"", []
    while not fds:
        part, fds, _, _ = socket.recv_fds(lane, 65536, 4)
        assert part, "the lane was closed"
        data += part
    assert len(fds) == 1 and frame(ROOM) in data
    return fds[0]


def test_room_for_a_large_job(taken_over):
    """It never grows, what is in it counts until it is sent, and its memory goes with the job."""
    lane, large = taken_over.lanes[2], body()
    room = ask_for_room(lane, len(large))
    with pytest.raises(PermissionError):
        os.ftruncate(room, len(large) + 1)
    with pytest.raises(PermissionError):
        os.pwrite(room, b"x", len(large))
    os.pwrite(room, large, 0)
    lane.sendall(frame(BODY) + frame(GO))
    assert receive(lane, RESULT) == b'"large"'
    with pytest.raises(PermissionError):
        os.pwrite(room, b"x", 0)
    assert eventually(lambda: os.fstat(room).st_size == 0, 3)
    os.close(room)
    assert serves(lane)


def test_room_that_is_cut_short(taken_over):
    """Whatever the execution then reads, or fails to, its cell goes on."""
    lane, large = taken_over.lanes[2], body()
    for length in (0, 100, 4096):
        room = ask_for_room(lane, len(large))
        os.pwrite(room, large, 0)
        lane.sendall(frame(BODY))
        os.ftruncate(room, length)
        lane.sendall(frame(GO))
        receive(lane, VERDICT)
        os.close(room)
        assert eventually(lambda: serves(lane), 5)


def test_rooms_that_nobody_receives(taken_over, instance):
    """Called off again and again on a lane that is never read: the lane goes, no descriptor stays."""
    lane, worker = taken_over.lanes.pop(), Tree(instance).workers[0]
    before = len(os.listdir(f"/proc/{worker.pid}/fd"))
    lane.settimeout(2)
    with pytest.raises(OSError):
        for _ in range(20000):
            lane.sendall(frame(CANCEL) * 50 + frame(JOB, limits(body=MIB)) + frame(CANCEL))
    lane.close()
    assert serves(taken_over.lanes[0])
    assert eventually(lambda: len(os.listdir(f"/proc/{worker.pid}/fd")) <= before + 2, 5)


def test_room_that_stays_open_to_changes(taken_over):
    """A mapping that could write to it once the execution reads: the lane is closed."""
    lane, large = taken_over.lanes.pop(), body()
    room = ask_for_room(lane, len(large))
    with mmap.mmap(room, len(large)) as mapping:
        mapping[:] = large
        with pytest.raises((EOFError, ConnectionError)):
            lane.sendall(frame(BODY) + frame(GO))
            receive(lane, RESULT)
    os.close(room)
    lane.close()
    assert serves(taken_over.lanes[0])


@pytest.mark.parametrize("content", [
    b"", frame(4711), frame(SCRIPT, b"", length=0xffffffff), b"\xff" * 300, frame(GO),
    frame(JOB, limits(memory=60000)), body()[:-3]])
def test_room_with_garbage(taken_over, content):
    """The execution's to understand: it ends, and its cell goes on."""
    lane = taken_over.lanes[2]
    room = ask_for_room(lane, 200000)
    os.pwrite(room, content, 0)
    os.close(room)
    lane.sendall(frame(BODY) + frame(GO))
    receive(lane, VERDICT)
    assert eventually(lambda: serves(lane), 5)


def test_rooms_that_nobody_uses(taken_over, instance):
    """Called off before it is filled, and again: nothing stays with the worker."""
    lane, worker = taken_over.lanes[2], Tree(instance).workers[0]

    def rooms():
        count = 0
        for name in os.listdir(f"/proc/{worker.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                count += os.readlink(f"/proc/{worker.pid}/fd/{name}").startswith("/memfd:job")
        return count
    for _ in range(50):
        os.close(ask_for_room(lane, 24 * MIB))
        lane.sendall(frame(CANCEL))
    assert eventually(lambda: serves(lane), 5)
    assert rooms() == 0


REPORTS = {"empty": b"", "short": b"\1", "long": bytes(64), "of a worker": bytes(216)}
LANE_LOST = 3


def test_the_master_has_its_own_mind_about_lanes(make_service):
    """A report of a lane that is none, or of one that has a successor, changes nothing."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", wedged_after=100)
    stolen = TakenOver(service)
    for cell, lane in ((0, 0), (0, 2), (0, 1 << 31), (1, 1), (1 << 31, 1)):
        stolen.controls[0].send(struct.pack("=III", LANE_LOST, cell, lane))
    kill(stolen.process, signal.SIGCONT)
    stolen.close()
    assert service.execute(TRIVIAL).status == 200
    assert "lost its lane" not in service.log()
    assert Tree(service).dispatcher.key == stolen.process.key


def test_the_master_is_out_of_its_reach(make_service):
    """What is no report gets the sender killed: it cannot keep lanes by keeping quiet."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", wedged_after=100)
    for number, (name, report) in enumerate(REPORTS.items()):
        stolen = TakenOver(service)
        before = Tree(service)
        if report:
            stolen.controls[0].send(report)
        else:
            stolen.controls[0].shutdown(socket.SHUT_RDWR)
        assert eventually(lambda stolen=stolen: is_gone(stolen.process), 3), name
        stolen.close()
        assert answers_again(service, 10), (name, service.log())
        after = standing_cells(service)
        assert after.master.key == before.master.key
        assert [p.key for p in after.workers] == [p.key for p in before.workers]
        assert [p.key for p in after.wardens] == [p.key for p in before.wardens], number


def test_descriptors_sent_to_the_others(make_service):
    """Nobody keeps what it sends along: not the master, not a worker."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", wedged_after=100)
    stolen = TakenOver(service)
    tree = Tree(service)

    def count():
        return [len(os.listdir(f"/proc/{p.pid}/fd")) for p in (tree.master, tree.workers[0])]
    before = count()
    for _ in range(50):
        socket.send_fds(stolen.lanes[0], [job()], [0, 1, 2])
        receive(stolen.lanes[0], RESULT)
    assert count()[1] <= before[1] + 1  # but for what its next execution needs
    socket.send_fds(stolen.controls[0], [struct.pack("=III", 2, 0, 0)], [0, 1, 2])
    assert eventually(lambda: is_gone(stolen.process), 3), service.log()
    stolen.close()
    assert answers_again(service)
    assert eventually(lambda: count() == before, 5), (count(), before)


@pytest.mark.parametrize("idle", [True, False])
def test_lanes_that_break_are_replaced(make_service, idle):
    """Both ends live, and only the lane between them is gone: the cell is not lost with it."""
    service = make_service(workers=2, cells_per_worker=2, library_sets="base")
    flight = None if idle else Flight(service.execute, "import time\ndef main(): time.sleep(9)")
    if flight:
        assert eventually(lambda: service.get("/health").data["workers"]["busy"] == 1, 3)
    before = Tree(service)
    stolen = TakenOver(service)
    for lane in stolen.lanes:
        if lane.family == socket.AF_UNIX and not lane.getsockname() and not lane.getpeername():
            lane.shutdown(socket.SHUT_RDWR)
    kill(stolen.process, signal.SIGCONT)
    stolen.close()
    if flight:
        assert flight.answer().status == 500
    assert eventually(lambda: service.log().count("lost its lane") == 4, 5)
    for _ in range(5):  # all cells are there
        flights = [Flight(service.execute, "import time\ndef main(): time.sleep(0.3)") for _ in range(4)]
        assert [each.answer().status for each in flights] == [200] * 4
    after = Tree(service)
    assert after.dispatcher.key == before.dispatcher.key
    assert [p.key for p in after.workers] == [p.key for p in before.workers]
