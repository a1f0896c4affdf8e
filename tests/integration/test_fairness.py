"""One client that floods the queue does not starve another: clients take turns."""

import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Service
from keyring import KeyFile
from supervision import eventually

FLOOD = Path(__file__).with_name("flood.py")
SLOW = "import time\ndef main():\n    time.sleep(0.05)\n    return 'slow'\n"
CONNECTIONS, QUEUE, CELLS = 200, 100, 2


@pytest.fixture(scope="module")
def small():
    """Two cells, a queue of a hundred."""
    with Service(workers=1, cells_per_worker=CELLS, queue=QUEUE, library_sets="base") as instance:
        yield instance


@contextlib.contextmanager
def flooding(service, address, *headers, until_full=QUEUE):
    """Floods from the address meanwhile; yields a function that returns what was answered."""
    process = subprocess.Popen([sys.executable, FLOOD, str(service.port), address,
                                str(CONNECTIONS), json.dumps({"script": SLOW}), *headers],
                               stdout=subprocess.PIPE, text=True)
    try:
        assert eventually(
            lambda: service.get("/health").data["queue"]["waiting"] >= until_full, 10)

        def end():
            process.kill()
            return process.communicate()[0]
        yield end
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        assert eventually(lambda: service.get("/health").data["queue"]["waiting"] == 0, 10)


def ask(service, address, *lines):
    """One request from the address: its status, kind, and how long it took."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30,
                                            source_address=(address, 0))
    fields = dict(line.split(": ") for line in lines)
    begun = time.monotonic()
    connection.request("POST", "/execute", json.dumps({"script": SLOW}),
                       {"Content-Type": "application/json", **fields})
    response = connection.getresponse()
    data = json.loads(response.read())
    connection.close()
    return response.status, data.get("cause", {}).get("kind"), time.monotonic() - begun


def test_a_flood_from_one_address(small):
    """The single client is answered each time, after a turn and not after the queue."""
    with flooding(small, "127.0.0.2") as end:
        answers = [ask(small, "127.0.0.3") for _ in range(20)]
        flooded = end()
    assert {status for status, _, _ in answers} == {200}
    times = [seconds for _, _, seconds in answers]
    whole_queue = QUEUE * 0.05 / CELLS
    print(f"median {statistics.median(times):.3f} s, slowest {max(times):.3f} s; "
          f"a whole queue takes {whole_queue} s")
    assert statistics.median(times) < whole_queue / 5
    # it was the flood that paid: with its own places, and with 503 for the rest
    assert flooded.count("2") > 20 and flooded.count("5") > 20
    assert set(flooded) <= {"2", "5"}


def test_a_flood_with_a_key(tmp_path):
    """By key, not by address: one address, two keys."""
    ring = KeyFile(tmp_path / "keys")
    flooder, single = (f"X-Api-Key: {ring.add(name)}" for name in ("flooder", "single"))
    with Service(workers=1, cells_per_worker=CELLS, queue=QUEUE, library_sets="base",
                 key_file=ring.path) as service:
        with flooding(service, "127.0.0.2", flooder):
            times = [seconds for status, _, seconds in
                     (ask(service, "127.0.0.2", single) for _ in range(10)) if status == 200]
            own = [ask(service, "127.0.0.3", flooder) for _ in range(3)]
        assert len(times) == 10 and statistics.median(times) < QUEUE * 0.05 / CELLS / 5
        assert any(status == 503 or seconds > 1 for status, _, seconds in own)


def test_a_flood_among_itself(small):
    """A further request from the flooding address has no better place than the others have."""
    with flooding(small, "127.0.0.2"):
        own = [ask(small, "127.0.0.2") for _ in range(5)]
    assert {(status, what) for status, what, _ in own} <= {(200, None), (503, "overloaded")}
    assert any(status == 503 or seconds > 1 for status, _, seconds in own)


def test_a_queue_for_one(small):
    """Alone, a client may have all of the queue: turns cost it nothing."""
    with flooding(small, "127.0.0.2") as end:
        begun = time.monotonic()
        while time.monotonic() < begun + 1:
            time.sleep(0.1)
        flooded = end()
    assert flooded.count("2") > 0.6 * CELLS / 0.05
