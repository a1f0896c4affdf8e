"""Every attack is a script run by the real service; afterwards the service must be as it was.

Test modules import the fixtures `attack`, `cell` and `one_cell` from here.
"""

import re
import secrets
from pathlib import Path

import pytest

from conftest import Service

PRELUDE = Path(__file__).with_name("prelude.py").read_text()
SCAN = Path(__file__).with_name("memory_scan.py").read_text()
NUMBERS = {name: int(number) for name, number in re.findall(
    r"#define __NR_(\w+) (\d+)\n",
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text())}


def run(service, script, **fields):
    """Runs an attack; the prelude's helpers and the numbers of all system calls are its tools."""
    return service.execute(f"NUMBERS = {NUMBERS}\n{PRELUDE}\n{script}", **fields)


def new_mark():
    """A word that stands nowhere else."""
    return "mark" + secrets.token_hex(12)


def search_memory(service, words, first_line="", **fields):
    """
    Counts the words in all memory that an execution can read. Returns its answer's data, the
    counts, those of two words of its own, which have to be there, and how much it has read.
    """
    mine, heap = new_mark(), new_mark()
    answer = run(service, f"""
{first_line}
# {mine}
{SCAN}
def main():
    heap = {heap[::-1]!r}[::-1].encode()
    far = bytes(4 << 20) + heap
    return scan({[word[::-1] for word in (*words, mine, heap)]})
""", http_timeout=90, **fields)
    assert answer.status == 200, answer
    counts, size = answer.data["result"]
    return answer.data, counts[:-2], counts[-2:], size


def assert_serves(service):
    """A next, honest request is answered right."""
    answer = service.execute("def main():\n    print('out')\n    return {'six': 6 * 7}")
    assert answer.status == 200, answer
    assert answer.data["result"] == {"six": 42}
    assert answer.data["stdout"] == "out\n"
    assert answer.data["stderr"] == ""


@pytest.fixture
def attack(service):
    """attack(script) is what main() returned, attack.verdict(script) the whole failed answer."""
    class Attack:
        def __call__(self, script, **fields):
            answer = run(service, script, **fields)
            assert answer.status == 200, answer
            assert_serves(service)
            return answer.data["result"]

        def verdict(self, script, **fields):
            answer = run(service, script, **fields)
            assert answer.status != 200, answer
            assert_serves(service)
            return answer

    return Attack()


@pytest.fixture
def one_cell(make_service):
    """A service with one cell: what runs next runs where the last one ran."""
    return make_service(workers=1, cells_per_worker=1, library_sets="base")


@pytest.fixture(scope="module")
def cell():
    """The same, one for all tests of a module; it must still end well."""
    with Service(workers=1, cells_per_worker=1, library_sets="base") as service:
        yield service
