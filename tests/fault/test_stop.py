"""Ends of an instance and starts that fail: what is said, and that nothing is left behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from conftest import BUILD, CONF, TOP, free_port
from supervision import (TRIVIAL, Flight, Footprint, Tree, answers_again, eventually, is_gone, kill,
                         mounts, standing_cells, take_off)


@pytest.fixture
def instance(make_service):
    """Small, and known to have left nothing new among the mounts."""
    before = mounts()
    service = make_service(workers=1, cells_per_worker=2)
    yield service
    assert not mounts() - before


def await_end(service, seconds):
    """Exit status and seconds that it took."""
    begun = time.monotonic()
    status = service.process.wait(seconds)
    return status, time.monotonic() - begun


def assert_one_clean_stop(service):
    log = service.log()
    assert log.count("==> Stopping") == 1, log
    assert "killing it" not in log and "Traceback" not in log, log


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_stop_when_idle(instance, number):
    """Within a second or two, and completely."""
    standing_cells(instance)
    footprint = Footprint(instance)
    instance.process.send_signal(number)
    status, seconds = await_end(instance, 15)
    assert status == 0, instance.log()
    assert seconds < 4
    assert_one_clean_stop(instance)
    footprint.assert_gone(2)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_stop_lets_a_short_script_end(instance, number):
    """The script that runs gets its time, its client the whole answer."""
    footprint = Footprint(instance)
    flight, _ = take_off(instance, seconds=1.5)
    instance.process.send_signal(number)
    answer = flight.answer(15)
    assert answer.status == 200 and answer.data["result"] == "slept", answer
    status, _ = await_end(instance, 15)
    assert status == 0, instance.log()
    assert_one_clean_stop(instance)
    footprint.assert_gone(2)


def test_stop_does_not_wait_for_ever(make_service):
    """A script that goes on is ended when the drain's time is up."""
    service = make_service(workers=1, cells_per_worker=2, drain_timeout=1)
    footprint = Footprint(service)
    flight, _ = take_off(service, seconds=60)
    service.process.send_signal(signal.SIGTERM)
    status, seconds = await_end(service, 15)
    assert status == 0, service.log()
    assert 0.8 < seconds < 6
    if flight.error(5) is None:
        assert flight.answer().status in (500, 502, 503), flight.answer()
    assert_one_clean_stop(service)
    footprint.assert_gone(2)


def test_second_signal_hurries(instance):
    """Whoever asks twice does not want to wait for the scripts."""
    footprint = Footprint(instance)
    take_off(instance, seconds=60)
    instance.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    instance.process.send_signal(signal.SIGINT)
    _, seconds = await_end(instance, 15)
    assert seconds < 4
    footprint.assert_gone(2)


def test_terminal_interrupt(instance):
    """A Ctrl-C reaches the whole process group and still ends things in order."""
    footprint = Footprint(instance)
    flight, _ = take_off(instance, seconds=1)
    os.killpg(instance.process.pid, signal.SIGINT)
    assert flight.answer(15).data["result"] == "slept"
    status, _ = await_end(instance, 15)
    assert status == 0, instance.log()
    footprint.assert_gone(2)


def test_drain(instance):
    """vivarium's own SIGTERM: what runs ends, /health says so, /live stays, nothing new runs."""
    for flight in [Flight(instance.execute, TRIVIAL) for _ in range(16)]:
        assert flight.answer(10).status == 200  # and nginx keeps connections to the dispatcher
    footprint = Footprint(instance)
    flight, _ = take_off(instance, seconds=2)
    kill(footprint.tree.launcher, signal.SIGTERM)
    health = eventually(lambda: (lambda a: a if a.status != 200 else None)(
        instance.get("/health")), 2)
    assert health and health.status == 503, health
    assert health.data["status"] == "unhealthy" and health.data["error"], health
    assert instance.get("/live").status == 200
    for _ in range(8):
        refused = instance.execute(TRIVIAL, http_timeout=10)
        assert refused.status == 503, refused
        assert refused.data["cause"]["kind"] == "overloaded" and refused.headers["Retry-After"]
    assert flight.answer(10).data["result"] == "slept"
    assert instance.process.wait(15) == 1  # vivarium ended, and not because run.sh was asked
    footprint.assert_gone(2)


def test_drain_lets_the_queue_end(make_service):
    """Requests that were admitted before the signal are answered, too."""
    service = make_service(workers=1, cells_per_worker=1)
    flight, _ = take_off(service, seconds=1)
    waiting = [Flight(service.execute, TRIVIAL) for _ in range(3)]
    assert eventually(lambda: service.get("/health").data["queue"]["waiting"] == 3, 5)
    kill(Tree(service).launcher, signal.SIGTERM)
    assert flight.answer(10).data["result"] == "slept"
    assert [one.answer(10).status for one in waiting] == [200] * 3


def test_vivarium_stops_at_once_on_sigint(instance):
    """The other signal: no drain."""
    footprint = Footprint(instance)
    flight, _ = take_off(instance, seconds=30)
    kill(footprint.tree.launcher, signal.SIGINT)
    answer = flight.answer(4)
    assert answer.status == 502 and answer.data["cause"]["kind"] == "internal", answer
    assert instance.process.wait(15) == 1
    footprint.assert_gone(2)


def test_kill_of_the_script_that_started_it(instance):
    """Nobody is left to clean up but the kernel: no process survives."""
    footprint = Footprint(instance)
    take_off(instance, seconds=60)
    instance.process.kill()
    instance.process.wait(5)

    def left():
        return [one for one in footprint.remains() if str(footprint.directory) not in str(one)]
    try:
        assert eventually(lambda: not left(), 15), left()
    finally:
        if not is_gone(footprint.tree.launcher):
            kill(footprint.tree.launcher)
        shutil.rmtree(footprint.directory, ignore_errors=True)


def test_two_instances(make_service):
    """Other ports, other host ids, other directories; one ends and the other does not notice."""
    first = make_service(workers=1, cells_per_worker=1)
    second = make_service(workers=1, cells_per_worker=1)
    one, two = Footprint(first), Footprint(second)
    assert one.directory != two.directory
    uids = [{uid for p in footprint.tree.all for uid in p.uids if uid >= 1900000000}
            for footprint in (one, two)]
    if os.geteuid() == 0:
        assert uids[0] and uids[1]
    assert not uids[0] & uids[1]
    flight, _ = take_off(second, seconds=2)
    assert first.stop() == 0
    assert flight.answer(10).data["result"] == "slept"
    assert answers_again(second)
    one.assert_gone(2)


def test_many_starts_and_stops(make_service):
    """Ids and ports are given back: the same host ids come round again."""
    firsts = set()
    for _ in range(3):
        service = make_service(workers=1, cells_per_worker=1, library_sets="base")
        footprint = Footprint(service)
        firsts.add(footprint.first)
        assert service.stop() == 0
        footprint.assert_gone(2)
    assert len(firsts) <= 2  # somebody else may have taken one in between


# --- starts that fail --------------------------------------------------------------------------


def start(*arguments, build=BUILD, seconds=30, **environment):
    """deploy/run.sh that is expected to end by itself: its status and what it wrote."""
    environment = {"PORT": str(free_port()), "LISTEN": "127.0.0.1", "CONF": str(CONF),
                   "BUILD": str(build), "ACCESS_LOG": "off", **environment}
    process = subprocess.Popen([str(TOP / "deploy" / "run.sh"), *arguments],
                               env=dict(os.environ, **environment), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate(timeout=20)
        raise


def assert_failed(outcome, *words, lines=3):
    """One line that names the reason, and nothing that looks like an accident."""
    status, output = outcome
    assert status in (1, 2), output
    telling = [line for line in output.splitlines() if all(word in line for word in words)]
    assert len(telling) == 1, output
    rest = [line for line in output.splitlines()
            if not line.startswith("==> ") and "is warm" not in line]
    assert len(rest) <= lines, output
    assert "Ready on" not in output and "Traceback" not in output, output
    for line in output.splitlines():
        if " in /run/vivarium." in line or " in /tmp/vivarium." in line:
            assert not os.path.exists(line.split(" in ")[-1])


def test_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_failed(start(PORT=str(port)), str(port), "in use", lines=1)


@pytest.mark.parametrize("environment,word", [
    ({"PORT": "70000"}, "PORT"), ({"PORT": "http"}, "PORT"), ({"LISTEN": "nowhere"}, "LISTEN"),
    ({"LISTEN": "192.0.2.1"}, "192.0.2.1"), ({"CONF": "/nowhere.conf"}, "/nowhere.conf"),
    ({"BUILD": "/nowhere"}, "/nowhere")])
def test_wrong_environment(environment, word):
    """Said in one line, before anything is started."""
    assert_failed(start(**environment), word, lines=1)


@pytest.mark.parametrize("text,words", [
    ("workers = many\n", ["workers"]), ("colour = green\n", ["colour"]),
    ("queue = 5\nqueue = 6\n", ["queue"]), ("\nworkers 4\n", ["line 2"]),
    ("queue_timeout = 0\n", ["queue_timeout"]), ("tmp_size = 10 MiB\n", ["tmp_size"])])
def test_broken_configuration(tmp_path, text, words):
    """The line at fault is named, with its file."""
    path = tmp_path / "vivarium.conf"
    path.write_text(text)
    assert_failed(start(CONF=str(path)), str(path), *words, lines=2)


@pytest.mark.parametrize("setting", ["workers=-1", "nonsense=1", "workers", "max_file=0"])
def test_broken_setting(setting):
    assert_failed(start("--set", setting), setting.partition("=")[0], "vivarium", lines=2)


def test_unknown_system_call_in_the_policy(tmp_path):
    """The policy is refused with the name and the line; no filter with a hole in it."""
    policy = tmp_path / "seccomp.policy"
    text = (TOP / "conf" / "seccomp.policy").read_text()
    policy.write_text(text + "\n[allow]\nno_such_call\n")
    lines = len((text + "\n[allow]\nno_such_call").splitlines())
    assert_failed(start("--set", f"seccomp_policy={policy}"), "no_such_call", f"line {lines}:",
                  lines=4)


def test_garbage_as_the_policy(tmp_path):
    policy = tmp_path / "seccomp.policy"
    policy.write_bytes(bytes(range(1, 256)))
    assert_failed(start("--set", f"seccomp_policy={policy}"), "policy", lines=4)


@pytest.mark.parametrize("setting", ["seccomp_policy", "template_program", "harness_dir"])
def test_missing_file(setting):
    assert_failed(start("--set", f"{setting}=/nowhere/there"), "/nowhere/there", lines=3)


def test_template_that_is_no_program(tmp_path):
    """It is there and cannot be executed."""
    program = tmp_path / "vivarium-template"
    program.write_text("not a program\n")
    program.chmod(0o755)
    assert_failed(start("--set", f"template_program={program}"), str(program), lines=4)


def test_template_that_ends_at_once():
    """The master does not try for ever before it has ever served."""
    assert_failed(start("--set", "template_program=/bin/true"), "template", "exited", lines=4)


def serve(*settings, seconds=30):
    """vivarium serve alone, without nginx: status and what it wrote."""
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run([str(BUILD / "vivarium"), "serve", "--config", str(CONF), *arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=seconds)
    return done.returncode, done.stdout


def test_runtime_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    assert_failed(serve(f"runtime_dir={tmp_path}/file/below"), "runtime_dir", lines=1)
    assert_failed(serve("runtime_dir=/proc/vivarium"), "/proc/vivarium", lines=1)


def test_runtime_directory_with_a_long_name(tmp_path):
    """A socket's path holds 107 bytes: cut off it would be another."""
    assert_failed(serve(f"runtime_dir={tmp_path}/{'x' * 110}"), "runtime_dir", lines=1)


def test_runtime_directory_of_another_instance(instance):
    """Its sockets are not taken away from it."""
    directory = Footprint(instance).directory
    assert_failed(serve(f"runtime_dir={directory}"), "another instance", lines=1)
    assert instance.execute(TRIVIAL).status == 200


def test_runtime_directory_with_dead_sockets(tmp_path):
    """What a killed instance left there does not stop the next one."""
    for name in ("execute.sock", "control.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / name))
    process = subprocess.Popen(
        [str(BUILD / "vivarium"), "serve", "--config", str(CONF), "--set",
         f"runtime_dir={tmp_path}", "--set", "library_sets=base", "--set", "workers=1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout:
            if "serving" in line:
                break
        else:
            raise AssertionError("it did not start")
    finally:
        process.terminate()
        process.communicate(timeout=15)
    assert process.returncode == 0


def test_unknown_group():
    assert_failed(start("--set", "socket_group=no-such-group"), "no-such-group", lines=3)


def test_stopped_while_it_starts():
    """A signal in the middle of the start ends it as any other does."""
    for wait in (0.05, 0.3, 0.6):
        environment = dict(os.environ, PORT=str(free_port()), LISTEN="127.0.0.1", CONF=str(CONF),
                           BUILD=str(BUILD), ACCESS_LOG="off")
        process = subprocess.Popen([str(TOP / "deploy" / "run.sh")], env=environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, start_new_session=True)
        time.sleep(wait)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=15)
        # before its traps are set the signal itself ends it
        assert process.returncode in (0, -signal.SIGTERM), output
        for line in output.splitlines():
            if line.startswith("==> Service: starting"):
                assert not os.path.exists(line.split(" in ")[-1]), output


def test_large_bodies_lie_on_a_disk(make_service):
    """Not in the runtime directory, which is memory; and no directory of theirs is left."""
    def spools():
        return set(Path("/var/tmp").glob("vivarium.*"))
    before = spools()
    service = make_service(workers=1, cells_per_worker=1, library_sets="base")
    made, = spools() - before
    assert service.post(json.dumps({"script": "def main(): pass", "x": "y" * (1 << 20)})).status == 200
    assert {path.name for path in made.iterdir()} >= {"nginx-body", "nginx-fastcgi"}
    assert service.stop() == 0
    assert not made.exists()
