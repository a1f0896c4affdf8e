"""Who dies, what happens: each row of the table in fcgi-app/master.c, and deaths that repeat."""

import concurrent.futures
import http.client
import re
import time

import pytest

from supervision import (TRIVIAL, Footprint, Tree, answers_again, eventually, is_gone, kill,
                         sleeper, standing_cells, take_off)


@pytest.fixture
def instance(make_service):
    """Two workers with two cells each, which stand."""
    service = make_service(workers=2, cells_per_worker=2)
    standing_cells(service)
    return service


def keys(processes):
    return {p.key for p in processes}


def assert_as_before(service, before):
    """As many processes of each role as before the death, and none too many."""
    def look():
        tree = standing_cells(service)
        return (len(tree.service_processes) == len(before.service_processes)
                and len(tree.wardens) == len(before.wardens)
                and len(tree.executions) == len(before.executions))
    assert eventually(look, 10), (before.all, Tree(service).all)


def assert_internal(answer, status=500):
    assert answer.status == status, answer
    assert answer.data["cause"]["kind"] == "internal", answer
    assert answer.data["success"] is False and answer.data["stdout"] == "", answer
    assert "result" not in answer.data, answer


def test_worker(instance):
    """Its requests get "internal", its cells end with it and are built anew."""
    before = standing_cells(instance)
    flights = [take_off(instance) for _ in range(4)]
    worker = before.workers[0]
    kill(worker)
    assert eventually(lambda: sum(flight.future.done() for flight, _ in flights) >= 2, 3)
    answers = [flight.answer() for flight, _ in flights if flight.future.done()]
    assert len(answers) == 2, answers
    for answer in answers:
        assert_internal(answer)
    assert answers_again(instance), instance.log()
    running = keys(Tree(instance).running)
    assert len(running & keys(execution for _, execution in flights)) == 2
    for flight, execution in flights:
        if not flight.future.done():
            kill(execution)
            flight.answer()
    after = standing_cells(instance)
    assert len(keys(before.wardens) & keys(after.wardens)) == 2
    assert len(keys(before.workers) & keys(after.workers)) == 1
    assert_as_before(instance, before)


def test_dispatcher(instance):
    """nginx says 502 in JSON, what ran is ended, the cells stand and get new lanes."""
    before = standing_cells(instance)
    flight, execution = take_off(instance)
    kill(before.dispatcher)
    answer = flight.answer(5)
    assert_internal(answer, 502)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.data["request_id"] == answer.headers["X-Request-Id"]
    assert eventually(lambda: is_gone(execution), 2)
    assert answers_again(instance), instance.log()
    after = standing_cells(instance)
    assert after.dispatcher.key != before.dispatcher.key
    assert keys(after.wardens) == keys(before.wardens)
    assert keys(after.workers) == keys(before.workers)
    for _ in range(8):
        assert instance.execute(TRIVIAL).status == 200
    assert_as_before(instance, before)


def replace_cells(service):
    """Kills every warden: new ones can only come from a template that works."""
    before = standing_cells(service).wardens
    for warden in before:
        kill(warden)
    assert eventually(lambda: all(is_gone(warden) for warden in before), 3)
    assert answers_again(service), service.log()


def assert_template_came_back(service, before):
    """A new tree, whose wardens serve; the old one is gone."""
    def look():
        tree = Tree(service)
        return (tree.base and tree.base.key != before.base.key
                and len(tree.sets) == len(before.sets))
    assert eventually(look, 20), Tree(service).all
    for process in [before.base, *before.sets]:
        assert eventually(lambda process=process: is_gone(process), 3), process
    replace_cells(service)
    after = standing_cells(service)
    assert not keys(after.wardens) & keys(before.wardens)
    assert_as_before(service, before)


def test_base_template(instance):
    """Standing cells and their requests go on; a new tree comes and builds new cells."""
    before = standing_cells(instance)
    flight, _ = take_off(instance, seconds=2)
    kill(before.base)
    assert flight.answer().data["result"] == "slept"
    assert instance.execute(TRIVIAL).status == 200
    assert keys(standing_cells(instance).wardens) == keys(before.wardens)
    assert_template_came_back(instance, before)


@pytest.mark.parametrize("which", [0, -1], ids=["inner", "leaf"])
def test_library_set_template(instance, which):
    """One of the tree's other templates takes all of it along, and no cell."""
    before = standing_cells(instance)
    flight, _ = take_off(instance, seconds=2)
    kill(sorted(before.sets, key=lambda p: p.namespace_pids[-1])[which])
    assert flight.answer().data["result"] == "slept"
    assert instance.execute(TRIVIAL).status == 200
    assert keys(standing_cells(instance).wardens) == keys(before.wardens)
    assert_template_came_back(instance, before)


def test_warden(instance):
    """Its request gets "internal", the kernel ends what ran in the cell, a new one is built."""
    before = standing_cells(instance)
    flight, execution = take_off(instance)
    kill([p for p in before.wardens if p.pid == execution.parent][0])
    assert_internal(flight.answer(3))
    assert eventually(lambda: is_gone(execution), 2)
    assert answers_again(instance)
    after = standing_cells(instance)
    assert len(keys(after.wardens) & keys(before.wardens)) == len(before.wardens) - 1
    assert keys(after.workers) == keys(before.workers)
    assert_as_before(instance, before)


def test_warden_that_waits(instance):
    """The only cells there are die while nobody uses them: the next request finds new ones."""
    before = standing_cells(instance)
    replace_cells(instance)
    assert_as_before(instance, before)


def test_execution(instance):
    """A verdict; the cell stands."""
    before = standing_cells(instance)
    flight, execution = take_off(instance)
    kill(execution)
    answer = flight.answer(3)
    assert answer.status == 400, answer
    assert answer.data["cause"] == {"kind": "signal", "signal": "SIGKILL"}, answer
    assert answers_again(instance)
    assert keys(standing_cells(instance).wardens) == keys(before.wardens)


def test_parked_executions(instance):
    """Killed while they wait for a job: no request may notice more than a wait."""
    for execution in standing_cells(instance).executions:
        kill(execution)
    assert answers_again(instance), instance.log()
    for _ in range(8):
        assert instance.execute(TRIVIAL).status == 200
    standing_cells(instance)


@pytest.mark.parametrize("who", ["launcher", "master"])
def test_launcher_and_master(instance, who):
    """The end of all: nothing outlives them, whoever started it says so.

    The kernel ends all processes in no order: a dispatcher that outlives its worker by a moment
    still answers 500 itself, else nginx says 502.
    """
    footprint = Footprint(instance)
    flight, execution = take_off(instance)
    kill(getattr(footprint.tree, who))
    answer = flight.answer(5)
    assert_internal(answer, 500 if answer.status == 500 else 502)
    assert eventually(lambda: is_gone(execution), 2)
    assert instance.process.wait(15) == 1
    assert "vivarium ended by itself" in instance.log()
    footprint.assert_gone()


def test_nginx_master(instance):
    """Whoever started it says so and ends the service in order."""
    footprint = Footprint(instance)
    flight, _ = take_off(instance, seconds=1)
    kill(footprint.tree.nginx)
    try:
        assert flight.answer(20).data["result"] == "slept"
    except (OSError, http.client.HTTPException):
        pass  # its nginx worker may have gone first
    assert instance.process.wait(20) == 1
    assert "nginx ended by itself" in instance.log()
    footprint.assert_gone()


def test_nginx_workers(instance):
    """The client is cut off, so its execution is killed; nginx starts others."""
    before = standing_cells(instance)
    flight, execution = take_off(instance)
    for worker in before.nginx_workers:
        kill(worker)
    assert isinstance(flight.error(5), (OSError, http.client.HTTPException)), flight.answer()
    assert eventually(lambda: is_gone(execution), 2)
    assert answers_again(instance)
    assert keys(standing_cells(instance).wardens) == keys(before.wardens)
    assert instance.process.poll() is None


def restart_waits(service, name):
    return [int(ms) for ms in re.findall(name + r" .*started again in (\d+) ms", service.log())]


@pytest.mark.parametrize("who,name", [("dispatcher", "dispatcher"), ("worker", "worker 0"),
                                      ("base", "template")])
def test_repeated_deaths(instance, who, name):
    """Each is followed by a longer wait, and the service comes back all the same."""
    def find():
        tree = Tree(instance)
        # workers have users of their own, in their order
        workers = sorted(tree.workers, key=lambda p: p.uids[0])
        if who == "worker":
            return workers[0] if len(workers) == 2 else None
        return getattr(tree, who)
    for _ in range(5):
        found = eventually(find, 10)
        assert found, instance.log()
        kill(found)
        assert eventually(lambda found=found: is_gone(found), 5)
    assert eventually(lambda: len(restart_waits(instance, name)) == 5, 3), instance.log()
    waits = restart_waits(instance, name)
    assert waits == sorted(waits) and waits[-1] >= 8 * waits[0], waits
    assert waits[-1] <= 5000
    assert answers_again(instance, 15), instance.log()
    assert len(standing_cells(instance).workers) == 2


def test_wardens_that_keep_dying(instance):
    """The worker's back-off ends once a cell stands again."""
    for _ in range(6):
        for warden in Tree(instance).wardens:
            if not is_gone(warden):
                try:
                    kill(warden)
                except OSError:
                    continue  # gone by itself
        time.sleep(0.1)
    assert answers_again(instance, 15), instance.log()
    begun = time.monotonic()
    standing_cells(instance)
    for warden in Tree(instance).wardens:
        kill(warden)
    assert answers_again(instance)
    assert time.monotonic() - begun < 5


def test_template_killed_under_traffic(instance):
    """Requests that need no new library set never notice."""
    before = standing_cells(instance)
    stop = time.monotonic() + 4
    kills = [time.monotonic() + 0.5, time.monotonic() + 2]

    def ask():
        answers = []
        while time.monotonic() < stop:
            answers.append(instance.execute(TRIVIAL))
        return answers
    with concurrent.futures.ThreadPoolExecutor(3) as clients:
        futures = [clients.submit(ask) for _ in range(3)]
        for moment in kills:
            time.sleep(max(0, moment - time.monotonic()))
            base = eventually(lambda: Tree(instance).base, 3)
            kill(base)
        answers = [answer for future in futures for answer in future.result(30)]
    assert len(answers) > 50
    wrong = [answer for answer in answers if answer.status != 200]
    assert not wrong, wrong[:3]
    assert eventually(lambda: len(Tree(instance).sets) == len(before.sets), 15)
    assert_as_before(instance, before)


def test_requests_find_their_way_around_a_dead_worker(make_service):
    """With one worker left standing, requests wait for a cell rather than fail."""
    service = make_service(workers=2, cells_per_worker=1)
    tree = standing_cells(service)
    kill(tree.workers[0])
    eventually(lambda: is_gone(tree.workers[0]), 2)
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda _: service.execute(sleeper(0.1)), range(6)))
    assert [answer.status for answer in answers] == [200] * 6, answers
