"""No API key is anywhere once its request has come in: not in a process, a log, an answer, a file.

The dispatcher is searched from the host, as whoever takes it over would search it.
"""

import concurrent.futures
import functools
import hashlib
import json
import secrets

import pytest

from conftest import Service
from keyring import KeyFile
from supervision import Tree, all_processes, eventually, standing_cells
from test_secrecy import find

BODY = json.dumps({"script": "def main():\n    return 'here'"})
MARKED = json.dumps({"script": "def main():\n    return 'here'", "ignored": "x" * 3000})


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A service, some keys that were used a hundred times, and some that nobody ever had."""
    ring = KeyFile(tmp_path_factory.mktemp("secrecy") / "keys")
    for name in ("bearer", "header", "both", "unused"):
        ring.add(name)
    wrong = "viv_" + secrets.token_hex(32)
    shown = {"bearer": {"Authorization": f"Bearer {ring.keys['bearer']}"},
             "header": {"X_Api_Key": ring.keys["header"]},
             "both": {"Authorization": f"Bearer {ring.keys['both']}",
                      "X_Api_Key": ring.keys["both"]},
             "wrong": {"X_Api_Key": wrong}}

    def use(service, number):
        name = list(shown)[number % len(shown)]
        answer = service.post(MARKED if number % 3 else BODY, **shown[name])
        assert answer.status == (401 if name == "wrong" else 200)
        assert wrong not in answer.body.decode() + str(answer.headers)
        # a key on a route that asks for none
        assert service.get("/health", headers={"Authorization": f"Bearer {wrong}"}).status == 200

    with Service(workers=1, cells_per_worker=2, library_sets="base", key_file=ring.path,
                 log_requests="on", log_scripts="on", log_level="debug") as service:
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            list(clients.map(functools.partial(use, service), range(200)))
        ring.keys["wrong"] = wrong
        yield service, ring
        log = service.log()
    for key in ring.keys.values():
        assert key not in log and key[4:] not in log


def processes(service, ring):
    """All of the instance but nginx, whose memory is its own business, and the key reader."""
    tree = standing_cells(service)
    readers = [p for p in all_processes().values() if p.name == "vivarium-keys"
               and str(ring.path).encode() in open(f"/proc/{p.pid}/cmdline", "rb").read()]
    assert len(readers) == 1
    return tree.service_processes + tree.wardens + tree.executions + readers


def test_no_process_holds_a_key(used):
    service, ring = used
    for process in processes(service, ring):
        for name, key in ring.keys.items():
            found, size = find(process, key[4:])
            assert size > 1 << 20, process
            assert found == [], (process, name)


def test_digests_are_where_they_belong(used):
    """The search finds what is there: digests in dispatcher and reader, and nowhere else."""
    service, ring = used
    tree = Tree(service)
    digest = hashlib.sha256(ring.keys["unused"].encode()).digest()

    def has(process):
        from test_secrecy import memory_of
        return any(digest in content for _, content in memory_of(process.pid))
    holders = {process.pid for process in processes(service, ring) if has(process)}
    readers = {p.pid for p in all_processes().values() if p.name == "vivarium-keys"}
    assert tree.dispatcher.pid in holders
    assert holders <= {tree.dispatcher.pid} | readers and holders & readers


def test_the_file_has_digests_only(used):
    _, ring = used
    text = ring.path.read_text()
    for name, key in ring.keys.items():
        assert key[4:] not in text
        assert (hashlib.sha256(key.encode()).hexdigest() in text) == (name != "wrong")


def test_nothing_is_left_of_a_long_request(used):
    """While a script runs, its request's key has been wiped already."""
    service, ring = used
    from supervision import Flight, sleeper
    flight = Flight(service.post, json.dumps({"script": sleeper(2)}),
                    X_Api_Key=ring.keys["header"])
    assert eventually(lambda: Tree(service).running, 5)
    found, _ = find(Tree(service).dispatcher, ring.keys["header"][4:])
    # libfcgi's own buffer, of which nobody else knows, is overwritten when it is freed
    assert len(found) <= 1
    for process in (*Tree(service).workers, *Tree(service).executions):
        assert find(process, ring.keys["header"][4:])[0] == []
    assert flight.answer().status == 200
