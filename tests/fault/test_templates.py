"""Template trees: several beside each other, replaced while they serve, and what may go wrong."""

import concurrent.futures
import re
import shutil
import time

import pytest

from conftest import TOP
from supervision import (TRIVIAL, Tree, answers_again, eventually, is_gone, kill,
                         standing_cells, take_off)

# What every fork of a template shares, and no two templates do.
FINGERPRINT = "def main():\n    return [hash('x'), id(len)]\n"


@pytest.fixture
def harness(tmp_path):
    """A copy of the harness with its samples, which a test may change."""
    copy = tmp_path / "harness"
    shutil.copytree(TOP / "runner", copy, ignore=shutil.ignore_patterns("*.c", "*.h"))
    for folder in [*reversed(tmp_path.parents[:-1]), tmp_path]:
        if folder.owner() == tmp_path.owner() and str(folder).startswith("/tmp/pytest"):
            folder.chmod(0o755)  # templates are nobody when they read it
    return copy


# Grows and empties what the template has made: dictionaries of modules, and lists in them.
PLACED_OBJECTS = """
import gc, json, sys, threading, tracemalloc

def churn():
    for module in list(sys.modules.values()):
        names = vars(module)
        kept = dict(names)
        names.update((f"grown {number}", [number]) for number in range(300))
        names.clear()
        names.update(kept)
    for some in gc.get_objects():
        if type(some) is list and some is not sys.path:
            some.extend(range(50))
            del some[-50:]

def main():
    tracemalloc.start()
    churn()
    threads = [threading.Thread(target=json.dumps, args=([*range(1000)],)) for _ in range(4)]
    threads += [threading.Thread(target=gc.collect) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return json.loads(json.dumps([1, peak > 0]))
"""


def slow_down(harness, seconds):
    """Makes each warm-up take so long: a request that waited for one would show."""
    sample = harness / "samples" / "base.py"
    sample.write_text(sample.read_text() + f"\nimport time\ntime.sleep({seconds})\n")


@pytest.fixture
def slow_harness(harness):
    slow_down(harness, 1.5)
    return harness


def keys(processes):
    return {p.key for p in processes}


def replacements(service):
    return len(re.findall(r"template tree \d+ is replaced", service.log()))


def await_replacement(service, more=1, seconds=20):
    before = replacements(service)
    assert eventually(lambda: replacements(service) >= before + more, seconds), service.log()


def fingerprint(service):
    answer = service.execute(FINGERPRINT)
    assert answer.status == 200, answer
    return tuple(answer.data["result"])


def ask_steadily(service, seconds, pause):
    stop = time.monotonic() + seconds
    answers = []
    while time.monotonic() < stop:
        answers.append(service.execute(FINGERPRINT))
        time.sleep(pause)
    return answers


@pytest.mark.parametrize("clients,pause", [(2, 0.01), (8, 0)], ids=["steady", "saturated"])
def test_no_request_waits_for_a_replacement(make_service, harness, clients, pause):
    """Under load: each answer is a value, none waits as long as a warm-up, the cells move over."""
    warm_up = 3  # long against what a busy machine may do to one request
    slow_down(harness, warm_up / 3)  # two rehearsals come first
    service = make_service(workers=2, cells_per_worker=2, harness_dir=harness,
                           library_sets="base numpy:base:numpy", template_max_age=1)
    begun = replacements(service)
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(ask_steadily, service, 14, pause) for _ in range(clients)]
        answers = [answer for future in futures for answer in future.result()]
    wrong = [answer for answer in answers if answer.status != 200]
    assert not wrong, wrong[:3]
    waits_ms = [answer.data["usage"]["queue_ms"] + answer.data["usage"]["fork_ms"]
                for answer in answers]
    assert max(waits_ms) < warm_up * 1000 / 2
    assert replacements(service) - begun >= 2, service.log()
    seen = {tuple(answer.data["result"]) for answer in answers}
    # cells that have no idle moment may not have left for the last tree yet
    assert len({seed for seed, _ in seen}) >= 2, seen
    assert len({address for _, address in seen}) >= 2, seen
    assert " is down" not in service.log() and " died" not in service.log(), service.log()


def test_idle_cells_move_over(make_service):
    """Without a single request: every cell is forked from the new tree, the old one is gone."""
    service = make_service(workers=2, cells_per_worker=2, library_sets="base", template_max_age=3)
    before = standing_cells(service)
    await_replacement(service)

    def moved():
        tree = Tree(service)
        return (len(tree.wardens) == len(before.wardens)
                and not keys(tree.wardens) & keys(before.wardens))
    assert eventually(moved, 2), (Tree(service).all, service.log())
    assert eventually(lambda: is_gone(before.base), 2)
    after = standing_cells(service)
    assert after.base.key != before.base.key
    assert keys(after.workers) == keys(before.workers)
    assert len(after.service_processes) == len(before.service_processes)
    assert "cell" not in service.log().partition("is replaced")[2], service.log()


def test_the_only_cell_moves_over(make_service):
    """Nobody else is idle, and it still comes about."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", template_max_age=2)
    first = fingerprint(service)
    await_replacement(service)
    assert eventually(lambda: fingerprint(service) != first, 3)


def test_a_script_outlives_its_template(make_service):
    """A tree is replaced under a running script, whose cell moves over afterwards.

    Three cells: the last idle one would stay where it is, for the next request.
    """
    service = make_service(workers=1, cells_per_worker=3, library_sets="base", template_max_age=2)
    before = standing_cells(service)
    flight, execution = take_off(service, seconds=4)
    await_replacement(service)
    assert eventually(lambda: is_gone(before.base), 2)
    assert not flight.future.done() and not is_gone(execution)
    assert eventually(lambda: len(keys(Tree(service).wardens) & keys(before.wardens)) == 1, 2)
    assert flight.answer().data["result"] == "slept"
    assert eventually(lambda: not keys(Tree(service).wardens) & keys(before.wardens), 3)
    assert answers_again(service)


def test_quick_trees_are_replaced_once(make_service):
    """By trees that place what scripts touch; those stay."""
    service = make_service(workers=1, cells_per_worker=2, library_sets="base numpy:base:numpy",
                           template_max_age=0, template_quick_age=0.5)
    first = fingerprint(service)
    await_replacement(service)
    assert eventually(lambda: fingerprint(service) != first, 3)
    time.sleep(1.5)
    assert replacements(service) == 1
    assert "not known" not in service.log() and "no hot pages" not in service.log()
    kill(Tree(service).base)  # its successor starts quickly, for nobody serves meanwhile
    await_replacement(service)
    assert answers_again(service)


@pytest.mark.parametrize("failing", ["base", "json"])
def test_rehearsal_that_fails(make_service, harness, failing):
    """Nothing is known then of what scripts touch, which is told, and the tree serves all the same."""
    (harness / "typical" / f"{failing}.py").write_text("import os\nos._exit(1)\n")
    service = make_service(workers=1, cells_per_worker=2, library_sets="base json:base:json",
                           template_max_age=0, template_quick_age=0.5, harness_dir=harness)
    await_replacement(service)
    assert "what scripts touch is not known" in service.log()
    assert f"library set {failing}: no hot pages learnt" in service.log()
    assert answers_again(service)


def test_placed_objects_move_and_go(make_service):
    """In an execution what was placed is freed, grows and shrinks, in threads and under tracemalloc."""
    service = make_service(workers=1, cells_per_worker=2, library_sets="base",
                           template_quick_age=0.1)
    service.await_placed()
    for _ in range(3):
        answer = service.execute(PLACED_OBJECTS)
        assert answer.status == 200 and answer.data["result"] == [1, True], answer
    assert " died" not in service.log(), service.log()


def test_replaced_after_forks(make_service):
    """Counted over all library sets, without the first fork of each cell."""
    service = make_service(workers=1, cells_per_worker=2, library_sets="base json:base:json",
                           template_max_age=0, template_max_forks=3)
    tree = standing_cells(service)
    for forks in range(3):
        assert replacements(service) == 0, service.log()
        kill(tree.wardens[forks % 2])
        assert answers_again(service)
        tree = standing_cells(service)
    assert eventually(lambda: replacements(service) == 1, 10), service.log()
    assert "after 5 forks" in service.log()
    time.sleep(1)
    assert replacements(service) == 1  # moving over is not wear


def test_never_replaced(make_service):
    """With 0, whatever happens."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", template_max_age=0,
                           template_max_forks=0)
    base = standing_cells(service).base
    for _ in range(3):
        kill(standing_cells(service).wardens[0])
        assert answers_again(service)
    assert standing_cells(service).base.key == base.key and not replacements(service)


def test_successor_that_cannot_start(make_service, harness):
    """The old tree goes on, it is logged and tried again, less and less often, until it works."""
    service = make_service(workers=1, cells_per_worker=2, library_sets="base", template_max_age=1,
                           harness_dir=harness)
    first = fingerprint(service)
    base = standing_cells(service).base
    right = (harness / "harness.py").read_text()
    (harness / "harness.py").write_text("broken(")

    def waits():
        return [int(ms) for ms in re.findall(
            r"the next template exited with status 1; it is started again in (\d+) ms",
            service.log())]
    assert eventually(lambda: len(waits()) >= 4, 15), service.log()
    assert waits()[:4] == [50, 100, 200, 400]
    for _ in range(4):
        assert fingerprint(service) == first
    tree = standing_cells(service)
    assert base.key in keys(tree.bases)
    kill(tree.wardens[0])  # the old tree still builds cells
    assert answers_again(service)
    (harness / "harness.py").write_text(right)
    await_replacement(service)
    assert eventually(lambda: fingerprint(service) != first, 3)


def test_successor_killed(make_service, slow_harness):
    """While it warms up: the next attempt takes over."""
    service = make_service(workers=1, cells_per_worker=2, library_sets="base", template_max_age=1,
                           harness_dir=slow_harness)
    base = standing_cells(service).base

    def successor():
        return [p for p in Tree(service).bases if p.key != base.key]
    found = eventually(successor, 5)
    rehearsal = eventually(lambda: [p for p in Tree(service).sets if p.parent == found[0].pid], 5)
    kill(found[0])
    assert eventually(lambda: "the next template was killed by SIGKILL" in service.log(), 3)
    assert eventually(lambda: all(is_gone(p) for p in rehearsal), 1)
    assert not is_gone(base)
    await_replacement(service)
    assert eventually(lambda: is_gone(base), 3)


def test_dies_while_its_successor_warms_up(make_service, slow_harness):
    """It is started again as ever; the successor takes over all the same."""
    service = make_service(workers=1, cells_per_worker=2, library_sets="base", template_max_age=1,
                           harness_dir=slow_harness)
    base = standing_cells(service).base
    assert eventually(lambda: len(Tree(service).bases) == 2, 5)
    kill(base)
    for _ in range(4):
        assert service.execute(TRIVIAL).status == 200
    await_replacement(service)
    assert answers_again(service)
    assert eventually(lambda: len(Tree(service).bases) <= 2, 3)


def test_dispatcher_dies_while_cells_move_over(make_service):
    """Its successor is told anew which cells want to leave."""
    service = make_service(workers=1, cells_per_worker=4, library_sets="base", template_max_age=3)
    before = standing_cells(service)
    await_replacement(service)
    kill(Tree(service).dispatcher)
    assert eventually(lambda: not keys(Tree(service).wardens) & keys(before.wardens), 5)
    assert answers_again(service)


def test_independent_trees(make_service):
    """Workers are spread over the trees; one that dies takes nothing of the others."""
    service = make_service(workers=3, cells_per_worker=1, template_trees=2,
                           library_sets="base numpy:base:numpy")
    log = service.log()
    assert log.count("library set numpy is warm") == 1, log
    before = standing_cells(service)
    assert len(before.bases) == 2 and len(before.sets) == 2
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        seen = {tuple(future.result().data["result"]) for future in
                [pool.submit(service.execute, FINGERPRINT + "import time\ntime.sleep(0.5)\n")
                 for _ in range(3)]}
    assert len(seen) == 2, seen
    kill(before.bases[0])
    assert eventually(lambda: re.search(r"template [01] was killed .* started again", service.log()),
                      3), service.log()
    assert eventually(lambda: len(Tree(service).bases) == 2, 10)
    assert keys(Tree(service).bases) & keys(before.bases)
    assert keys(before.wardens) == keys(standing_cells(service).wardens)
    for warden in before.wardens:
        kill(warden)
    assert eventually(lambda: all(is_gone(warden) for warden in before.wardens), 5)
    assert answers_again(service)
    after = standing_cells(service)
    assert not keys(before.wardens) & keys(after.wardens)
    assert len(after.sets) == 2


def test_trees_are_replaced_one_at_a_time(make_service, slow_harness):
    """Never twice the memory of all, however many are due."""
    service = make_service(workers=2, cells_per_worker=1, template_trees=2, template_max_age=1,
                           library_sets="base", harness_dir=slow_harness)
    most = 0
    stop = time.monotonic() + 20
    while replacements(service) < 2 and time.monotonic() < stop:
        # one that was replaced may still be on its way out
        warming = [p for p in Tree(service).bases if p.state != "Z"]
        most = max(most, len(warming))
        time.sleep(0.02)
    assert set(re.findall(r"template tree (\d) is replaced", service.log())) == {"0", "1"}
    assert 3 <= most <= 4


def test_more_trees_than_workers(make_service):
    """A tree without a worker would only cost memory."""
    service = make_service(workers=1, cells_per_worker=1, template_trees=4, library_sets="base")
    assert len(standing_cells(service).bases) == 1


def test_missing_library(make_service):
    """Left out with one line that names it, and so is what lies on it; the rest serves."""
    service = make_service(workers=1, cells_per_worker=4, template_trees=1,
                           library_sets="base none:base:not_there_xyz on:none:json text:base:textwrap")
    log = service.log()
    assert re.findall(r'library set (\w+) is left out: (.*)"', log) == [
        ("none", "not installed: ModuleNotFoundError: No module named 'not_there_xyz'"),
        ("on", "it lies on none")], log
    assert "library set none is warm" not in log and "library set text is warm" in log
    assert service.execute("import textwrap\n" + TRIVIAL).data["usage"]["template"] == "text"
    answer = service.execute("import not_there_xyz\n" + TRIVIAL)
    assert answer.status == 400 and "ModuleNotFoundError" in answer.data["error"], answer
    assert service.execute("import json\n" + TRIVIAL).status == 200


def test_missing_library_in_every_tree(make_service):
    """One line, not one for each tree."""
    service = make_service(workers=2, cells_per_worker=1, template_trees=2,
                           library_sets="base none:base:not_there_xyz")
    assert service.log().count("library set none is left out") == 1, service.log()


def test_library_set_of_ones_own(make_service, harness):
    """As docs/DESIGN.md tells: a name in the configuration, a sample, a typical script."""
    (harness / "samples" / "diff.py").write_text(
        "import difflib\n\ndef main():\n    difflib.was_warmed = True\n"
        "    return difflib.get_close_matches('spam', ['ham'])\n")
    (harness / "typical" / "diff.py").write_text(
        "import difflib\n\ndef main():\n    return difflib.get_close_matches('a', ['b'])\n")
    service = make_service(workers=1, cells_per_worker=2, harness_dir=harness,
                           library_sets="base diff:base:difflib")
    assert "library set diff is warm" in service.log()
    answer = service.execute("import difflib\ndef main():\n    return difflib.was_warmed\n")
    assert answer.data["result"] is True and answer.data["usage"]["template"] == "diff", answer
    assert "no hot pages learnt" not in service.log()


def test_broken_sample(make_service, harness):
    """A sample that fails is an error at start, which is named: no silent half."""
    (harness / "samples" / "diff.py").write_text("def main():\n    return undefined_name\n")
    with pytest.raises(RuntimeError, match="(?s)library set diff: .*undefined_name"):
        make_service(workers=1, cells_per_worker=1, harness_dir=harness,
                     library_sets="base diff:base:difflib")


def test_memory_that_a_fork_leaves_empty(make_service, harness):
    """
    Not even the template's image hands it on: the C library keeps the state of its random numbers in
    such memory (glibc 2.41), which two executions must not share.
    """
    sample = harness / "samples" / "base.py"
    sample.write_text(sample.read_text() + """
import mmap
import sys
sys.kept = mmap.mmap(-1, 8192, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
sys.kept.madvise(18, 0, 4096)  # MADV_WIPEONFORK
sys.kept[:4] = b"seed"
sys.kept[4096:4100] = b"text"
""")
    service = make_service(workers=1, cells_per_worker=1, harness_dir=harness, library_sets="base")
    answer = service.execute("import sys\ndef main():\n    return [list(sys.kept[at:at + 4]) "
                             "for at in (0, 4096)]")
    assert answer.data["result"] == [[0, 0, 0, 0], list(b"text")], answer
