"""Channels: the worker never waits for one of them, and no flood costs anybody else anything."""

import collections
import concurrent.futures
import http.client
import json
import os
import socket
import statistics
import time

import pytest

from conftest import Service
from supervision import MARK, TRIVIAL, Flight, Tree, eventually, sleeper, standing_cells, take_off

MIB = 1 << 20
CHANNEL = 1000  # the descriptor that an execution's frames go through


@pytest.fixture(scope="module")
def instance():
    """Eight cells at one worker."""
    with Service(workers=1, cells_per_worker=8) as service:
        yield service


FLOODS = {
    "all at once": ("    def flood(fd):\n        while True:\n"
                    "            try: os.write(fd, b'x' * 65536)\n"
                    "            except OSError: time.sleep(0.01)\n"
                    "    for fd in (1, 2, {channel}):\n"
                    "        threading.Thread(target=flood, args=(fd,)).start()\n"
                    "    time.sleep(60)\n"),
    "stdout": "    while True: os.write(1, b'x' * 65536)\n",
    "lines": "    while True: print('line')\n",
    "stderr": "    while True: os.write(2, b'x' * 65536)\n",
    "channel": "    while True: os.write({channel}, os.urandom(4096))\n",
    "zeroes": "    while True: os.write({channel}, bytes(65536))\n",
    "half a result": ("    import struct\n"
                      "    os.write({channel}, struct.pack('<II', 34, 4_000_000))\n"
                      "    while True: time.sleep(1)\n"),
    "part after part": ("    import struct\n"
                        "    os.write({channel}, struct.pack('<II', 34, 4_000_000))\n"
                        "    while True: os.write({channel}, b'1')\n"),
    "too large a frame": ("    import struct\n"
                          "    os.write({channel}, struct.pack('<II', 35, 0xffffffff))\n"
                          "    while True: time.sleep(1)\n"),
    "single bytes": "    while True: os.write({channel}, b'\\1'); os.write(1, b'a')\n",
}


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_beside_others(instance, kind):
    """Another cell of the same worker answers quickly; the flood ends as everything does."""
    standing_cells(instance)
    script = MARK + "import os\ndef main():\n" + FLOODS[kind].format(channel=CHANNEL)
    flight = Flight(instance.execute, script, timeout=1.5)
    assert eventually(lambda: Tree(instance).running or flight.future.done(), 2)
    took = []
    while time.monotonic() - flight.begun < 1.3:
        begun = time.monotonic()
        answer = instance.execute(TRIVIAL)
        took.append(time.monotonic() - begun)
        assert answer.status == 200, answer
    answer = flight.answer(5)
    # what is written over the channel may cost the script its answer, nobody else's
    assert answer.status in (400, 408), answer
    if "channel" not in FLOODS[kind]:
        assert answer.status == 408, answer
    assert len(took) >= 10 and statistics.median(took) <= 0.1, took
    assert flight.ended - flight.begun < 2.5
    standing_cells(instance)


def test_all_cells_flood(instance):
    """Eight of them at once: each gets its answer in time, with its output cut."""
    script = "def main():\n    while True: print('x' * 10000)\n"
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        begun = time.monotonic()
        answers = list(clients.map(lambda _: instance.execute(script, timeout=1), range(8)))
    assert [answer.status for answer in answers] == [408] * 8
    assert time.monotonic() - begun < 4
    for answer in answers:
        assert answer.data["truncated"]["stdout"] > 0
        assert len(answer.data["stdout"]) <= MIB
    standing_cells(instance)


def test_result_of_100_megabytes(instance):
    answer = instance.execute("def main():\n    return 'x' * 100_000_000\n", memory=1024)
    assert answer.status == 400, answer
    cause = answer.data["cause"]
    assert cause["kind"] == "result_too_large", answer
    assert cause["limit"] == 4 * MIB and cause["unit"] == "bytes"
    assert cause["used"] == 100_000_002
    assert "100000002 bytes of JSON" in answer.data["error"]


@pytest.mark.parametrize("size,status", [(4 * MIB - 2, 200), (4 * MIB - 1, 400)])
def test_result_at_the_limit(instance, size, status):
    """Two quotes more, and it is 4 MiB exactly."""
    answer = instance.execute(f"def main():\n    return 'x' * {size}\n")
    assert answer.status == status, answer
    if status == 200:
        assert answer.data["result"] == "x" * size
    else:
        assert answer.data["cause"]["used"] == 4 * MIB + 1


def test_prints_of_20_megabytes(instance):
    """Head and tail are kept, what is between is counted."""
    answer = instance.execute("def main():\n    for i in range(200_000):\n"
                              "        print(f'{i:099d}')\n    return 1\n")
    assert answer.status == 200, answer
    stdout, truncated = answer.data["stdout"], answer.data["truncated"]
    assert stdout.startswith("0" * 99 + "\n" + "0" * 98 + "1\n")
    assert stdout.endswith(f"{199_999:099d}\n")
    assert len(stdout) <= MIB and len(stdout) > MIB - 8
    assert truncated["stdout"] == 20_000_000 - len(stdout)
    at = truncated["stdout_at"]
    assert stdout[:at] == "".join(f"{i:099d}\n" for i in range(at // 100 + 1))[:at]
    assert set(truncated) == {"stdout", "stdout_at"}


@pytest.mark.parametrize("script", [
    "import os\ndef main():\n    os.close(1); os.close(2)\n    return 'closed'\n",
    "import os\ndef main():\n    r, w = os.pipe()\n    os.dup2(w, 1); os.close(r)\n"
    "    try: os.write(1, b'x')\n    except BrokenPipeError: return 'closed'\n",
    "import os, sys\ndef main():\n    sys.stdout = sys.stderr = None\n    return 'closed'\n"])
def test_output_without_a_reader(instance, script):
    answer = instance.execute(script)
    assert answer.status == 200 and answer.data["result"] == "closed", answer


def test_large_script_that_nobody_reads(instance):
    """1 MiB waits for an execution whose first act is to stop reading; the others go on."""
    padding = "#" + "x" * 1000 + "\n"
    script = "import time\ndef main():\n    time.sleep(60)\n"
    script += padding * ((MIB - len(script)) // len(padding))
    flights = [Flight(instance.execute, script, timeout=1) for _ in range(4)]
    time.sleep(0.2)
    begun = time.monotonic()
    assert instance.execute(TRIVIAL).status == 200
    assert time.monotonic() - begun < 0.3
    assert [flight.answer().status for flight in flights] == [408] * 4


def test_script_whose_execution_is_stopped_before(instance):
    """A parked execution that is stopped from outside reads nothing: its time runs all the same."""
    import signal
    tree = standing_cells(instance)
    for execution in tree.executions:
        os.kill(execution.pid, signal.SIGSTOP)
    script = TRIVIAL + ("#" + "x" * 1000 + "\n") * 1000
    flights = [Flight(instance.execute, script, timeout=1) for _ in range(3)]
    for flight in flights:
        answer = flight.answer(5)
        assert answer.status == 408, answer
        assert 1 <= flight.ended - flight.begun < 1.6
    for execution in tree.executions:
        try:
            os.kill(execution.pid, signal.SIGCONT)
        except ProcessLookupError:
            continue  # replaced since
    standing_cells(instance)
    assert instance.execute(TRIVIAL).status == 200


def raw_request(script, **fields):
    body = json.dumps({"script": script, **fields})
    return (f"POST /execute HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()


def test_client_that_reads_slowly(instance):
    """It gets every byte; the cell is free long before."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((instance.host, instance.port))
        connection.settimeout(20)
        connection.sendall(raw_request("def main():\n    return 'x' * 4_000_000\n"))
        assert eventually(lambda: instance.get("/health").data["workers"]["busy"] == 0, 3)
        standing_cells(instance)
        time.sleep(0.5)
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = b""
        while True:
            part = response.read(64 * 1024)
            if not part:
                break
            body += part
            time.sleep(0.005)
    assert response.status == 200
    assert json.loads(body)["result"] == "x" * 4_000_000


def test_client_that_writes_slowly(instance):
    """No cell waits for the rest of a request."""
    request = raw_request(TRIVIAL)
    with socket.create_connection((instance.host, instance.port), timeout=20) as connection:
        half = len(request) // 2
        connection.sendall(request[:half])
        time.sleep(0.3)
        health = instance.get("/health").data
        assert health["workers"]["busy"] == 0 and health["queue"]["waiting"] == 0
        for position in range(half, len(request)):
            connection.sendall(request[position:position + 1])
            time.sleep(0.001)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 200
        assert json.loads(response.read())["result"] == "here"


def test_sixty_four_clients(instance):
    """Eight cells: each client gets its own answer, to every request."""
    def client(number):
        answers = []
        for turn in range(5):
            script = (f"def main():\n    print('out {number} {turn}')\n"
                      f"    return [{number}, {turn}]\n")
            answers.append((turn, instance.execute(script)))
        return number, answers
    with concurrent.futures.ThreadPoolExecutor(64) as clients:
        results = list(clients.map(client, range(64)))
    for number, answers in results:
        for turn, answer in answers:
            assert answer.status == 200, answer
            assert answer.data["result"] == [number, turn]
            assert answer.data["stdout"] == f"out {number} {turn}\n"
    identities = [answer.data["request_id"] for _, answers in results for _, answer in answers]
    assert len(set(identities)) == 320


def assert_overloaded(answer):
    assert answer.status == 503, answer
    assert answer.data["cause"]["kind"] == "overloaded"
    assert answer.data["success"] is False and answer.data["stdout"] == ""
    assert int(answer.headers["Retry-After"]) >= 1


def test_queue_that_is_full(make_service):
    """One more than it holds is refused at once; those inside are served in their order."""
    service = make_service(workers=1, cells_per_worker=1, queue=3, library_sets="base")
    flight, _ = take_off(service, seconds=1.5)
    waiting = []
    for number in range(3):
        waiting.append(Flight(service.execute, "import time\ndef main():\n"
                              f"    return [{number}, time.monotonic_ns()]\n"))
        assert eventually(
            lambda number=number: service.get("/health").data["queue"]["waiting"] == number + 1, 2)
    begun = time.monotonic()
    for _ in range(20):
        assert_overloaded(service.execute(TRIVIAL))
    assert time.monotonic() - begun < 1
    assert service.get("/health").status == 200
    assert flight.answer().status == 200
    results = [one.answer(5).data["result"] for one in waiting]
    assert [number for number, _ in results] == [0, 1, 2]
    assert results == sorted(results, key=lambda result: result[1])
    assert service.execute(TRIVIAL).status == 200


def test_queue_that_takes_too_long(make_service):
    """After queue_timeout the wait is over, and the script has not run."""
    service = make_service(workers=1, cells_per_worker=1, queue_timeout=0.5, library_sets="base")
    flight, _ = take_off(service, seconds=2)
    waiting = [Flight(service.execute, TRIVIAL) for _ in range(3)]
    for one in waiting:
        assert_overloaded(one.answer(5))
        assert 0.5 <= one.ended - one.begun < 1
    assert service.get("/health").data["queue"]["waiting"] == 0
    assert flight.answer().status == 200
    assert service.execute(TRIVIAL).status == 200


def test_queue_without_places(make_service):
    """queue = 0: a cell or nothing."""
    service = make_service(workers=1, cells_per_worker=2, queue=0, library_sets="base")
    flights = [take_off(service, seconds=1)[0] for _ in range(2)]
    assert_overloaded(service.execute(TRIVIAL))
    assert [flight.answer().status for flight in flights] == [200, 200]
    standing_cells(service)
    assert service.execute(TRIVIAL).status == 200


def test_many_more_clients_than_places(make_service):
    """200 at once for two cells and 20 places: each gets a value or a refusal, none an error."""
    service = make_service(workers=1, cells_per_worker=2, queue=20, library_sets="base")
    script = sleeper(0.02)
    with concurrent.futures.ThreadPoolExecutor(200) as clients:
        answers = list(clients.map(lambda _: service.execute(script), range(400)))
    counted = collections.Counter(answer.status for answer in answers)
    assert set(counted) <= {200, 503} and counted[200] >= 20, counted
    for answer in answers:
        if answer.status == 503:
            assert_overloaded(answer)
    standing_cells(service)
    assert service.execute(TRIVIAL).status == 200
