#!/usr/bin/python3
"""Benchmark of Vivarium against the usual architecture ("bwrap") and no isolation at all ("exec").

    /usr/bin/python3 tests/bench/bench.py --start "env PORT={port} deploy/run.sh" --out /tmp/bench
    /usr/bin/python3 tests/bench/bench.py --url http://127.0.0.1:8080 --quick
    /usr/bin/python3 tests/bench/bench.py --quick          (the rivals alone)

First each service is started several times, alone (start-up time, memory). Then all stand side by
side on loopback and are measured in turns, repetition by repetition, so that noise hits all alike:
each must answer every script rightly; then follow an open loop at a low fixed rate (latency, CPU
time), closed loops of wrk and ab (throughput), bare forks of as warm an interpreter (the limit) and
the stages of single executions. Exit status: 0; 1 an expectation was not met, or a service failed;
2 wrong usage or a missing package. A target that is missed is a result and no failure.
"""

import argparse
import functools
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True

import figures       # noqa: E402
import load          # noqa: E402
import measure       # noqa: E402
import records       # noqa: E402
import report        # noqa: E402
import services      # noqa: E402
import stages        # noqa: E402
import starts        # noqa: E402
import targets       # noqa: E402

EXPECT_CONNECTIONS = targets.CONNECTIONS
EXEC_WORKERS = (2, 4)
PARTS = ("starts", "unloaded", "load", "limit", "stages")
PROGRAMS = ("fork_limit", "open_loop")

COMMANDS = {"wrk": "wrk", "ab": "apache2-utils", "bwrap": "bubblewrap", "setpriv": "util-linux"}
MODULES = {"flask": "python3-flask", "gunicorn": "python3-gunicorn", "numpy": "python3-numpy",
           "pandas": "python3-pandas", "matplotlib": "python3-matplotlib"}


def say(text):
    print(text, file=sys.stderr, flush=True)


# -- options

def loopback_address(url):
    parts = urllib.parse.urlsplit(url)
    try:
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        if parts.scheme == "http" and ipaddress.IPv4Address(host).is_loopback:
            return host, parts.port or 80
    except ValueError:
        pass
    raise argparse.ArgumentTypeError("http://127.0.0.1:PORT is expected")


def words(allowed):
    def parse(text):
        chosen = [word for word in text.split(",") if word]
        wrong = [word for word in chosen if word not in allowed]
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]}: choose from {', '.join(allowed)}")
        return chosen
    return parse


def counts(text):
    numbers = [int(word) for word in text.split(",")]
    if not all(1 <= number <= 10000 for number in numbers):
        raise ValueError
    return numbers


def positive(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def parser():
    p = argparse.ArgumentParser(description="Benchmark Vivarium against two rivals, on loopback.")
    p.add_argument("--url", type=loopback_address, metavar="URL",
                   help="where Vivarium listens; without this and --start: rivals only")
    p.add_argument("--start", "--serve-command", dest="start", metavar="COMMAND",
                   help="start Vivarium with this, end it with SIGINT; it listens at --url, by "
                        "default http://127.0.0.1:8080; {port} in it becomes a free port; it must "
                        "take --set key=value arguments")
    p.add_argument("--start-timeout", type=positive, default=60, metavar="S",
                   help="until GET /health must be 200 (default 60)")
    p.add_argument("--stop-timeout", type=positive, default=30, metavar="S",
                   help="until all of its processes must have ended (default 30)")
    p.add_argument("--programs", metavar="DIR", default="build/release/bench",
                   help="where make bench-programs put fork_limit and open_loop (default "
                        "build/release/bench)")
    p.add_argument("--rivals", type=words(("bwrap", "exec")), default="bwrap,exec", metavar="LIST")
    p.add_argument("--parts", type=words(PARTS), default=",".join(PARTS), metavar="LIST",
                   help=f"what to measure, default {','.join(PARTS)}")
    p.add_argument("--scripts", type=words(tuple(load.CHECKS)), metavar="LIST",
                   help="default trivial,numpy,pandas,matplotlib")
    p.add_argument("--connections", type=counts, metavar="LIST", help="default 1,8,64,256")
    p.add_argument("--tools", type=words(("wrk", "ab")), metavar="LIST", help="default wrk,ab")
    p.add_argument("--duration", type=positive, metavar="S", help="of each load (default 2)")
    p.add_argument("--repetitions", type=positive, metavar="N", help="default 3")
    p.add_argument("--quick", action="store_true",
                   help="some 90 s: trivial and pandas, 1 and 8 connections, wrk alone, once")
    p.add_argument("--out", metavar="DIR", help="write bench.md, bench.json and figures there")
    p.add_argument("--redraw", metavar="FILE",
                   help="measure nothing: tables and figures of an earlier bench.json")
    for script in ("trivial", "pandas"):
        p.add_argument(f"--expect-{script}", type=float, metavar="X",
                       help=f"fail unless the throughput of {script} at {EXPECT_CONNECTIONS} "
                            "connections is X times that of bwrap")
    return p


def parse_options(arguments):
    p = parser()
    o = p.parse_args(arguments)
    o.scripts = o.scripts or (["trivial", "pandas"] if o.quick else list(load.CHECKS))
    o.connections = o.connections or ([1, 8] if o.quick else [1, 8, 64, 256])
    o.tools = o.tools or (["wrk"] if o.quick else ["wrk", "ab"])
    o.duration = o.duration or 2
    o.repetitions = o.repetitions or (1 if o.quick else 3)
    o.programs = os.path.abspath(o.programs)
    o.expected = {script: least for script in ("trivial", "pandas")
                  if (least := getattr(o, f"expect_{script}")) is not None}
    for script in o.expected:
        if not (o.url or o.start) or "bwrap" not in o.rivals or script not in o.scripts \
                or EXPECT_CONNECTIONS not in o.connections or "load" not in o.parts:
            p.error(f"--expect-{script} needs Vivarium, the rival bwrap, the part load, the script "
                    f"{script} and {EXPECT_CONNECTIONS} connections")
    if not (o.url or o.start or o.rivals):
        p.error("nothing to measure")
    return o


def missing_packages():
    """Debian packages whose program or module is not there."""
    missing = {package for name, package in COMMANDS.items() if not shutil.which(name)}
    code = ("import sys, importlib.util as u\n"
            "print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])")
    found = subprocess.run([services.PYTHON, "-I", "-c", code, *MODULES], capture_output=True,
                           text=True, check=True, timeout=30)
    return sorted(missing | {MODULES[name] for name in found.stdout.split()})


# -- the services

class Bench:
    """What is measured, with what, and the records so far."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.tools = load.Tools(folder, options.programs)
        self.running, self.records, self.notes, self.failures = [], [], [], []
        self.begun = time.monotonic()
        self.contenders = self.choose_contenders()

    def choose_contenders(self):
        """{name: function that makes a fresh one} of all that can be started again and again."""
        o, found = self.options, {}
        if o.start and "{port}" in o.start:
            found[records.SUBJECT] = functools.partial(services.vivarium, o.start, None,
                                                       self.folder)
        if "bwrap" in o.rivals:
            found["bwrap"] = functools.partial(services.bwrap, self.folder)
        if "exec" in o.rivals:
            found["exec"] = functools.partial(services.no_isolation, self.folder, EXEC_WORKERS[-1])
        return found

    def note(self, text):
        say(text)
        self.notes.append(text)

    def note_once(self, text):
        if text not in self.notes:
            self.note(text)

    def progress(self, repetition, what):
        say(f"repetition {repetition + 1} of {self.options.repetitions}: {what} done, "
            f"{time.monotonic() - self.begun:.0f} s so far")

    def start(self, *candidates, timeout_s=60):
        for service in candidates:
            self.running.append(service)
            if service.command:
                service.start()
        for service in candidates:
            service.wait_healthy(timeout_s)
            service.wait_final(timeout_s)

    def stop(self, service):
        self.running.remove(service)
        if service.is_rival:
            service.stop(services.RIVAL_STOP_S)
        elif service.process:
            # That Vivarium ends in order is part of what it promises.
            self.failures += service.stop(self.options.stop_timeout)

    def stop_all(self):
        for service in list(self.running):
            self.stop(service)

    def start_services(self):
        o = self.options
        if o.start or o.url:
            self.start(self.vivarium(), timeout_s=o.start_timeout if o.start else 5)
        if "bwrap" in o.rivals:
            self.start(services.bwrap(self.folder))
        if "exec" in o.rivals:
            self.start_exec()
        for service in self.running:
            self.note(f"{service.name}: {service.note}")
            for script in o.scripts:
                load.verify(service, script)
        say("every script is answered rightly by " + ", ".join(s.name for s in self.running))

    def vivarium(self):
        o = self.options
        if o.start:
            return services.vivarium(o.start, o.url, self.folder)
        return services.Service(records.SUBJECT, o.url, folder=self.folder,
                                note="started elsewhere, measured as found")

    def start_exec(self):
        """The rival "exec" with the number of workers that suits it best."""
        rates = {}
        candidates = [services.no_isolation(self.folder, workers) for workers in EXEC_WORKERS]
        self.start(*candidates)
        for candidate in candidates:
            load.verify(candidate, "trivial")
            rates[candidate] = self.tools.load("wrk", candidate, "trivial", 8, 2)["rps"]
        best = max(candidates, key=rates.get)
        for candidate in candidates:
            if candidate is not best:
                self.stop(candidate)
        tried = ", ".join(f"{c.note}: {rate:.0f}/s" for c, rate in rates.items())
        self.note(f"exec: tried {tried}; the better one is measured")


# -- the whole

MEASUREMENTS = {"unloaded": measure.measure_unloaded, "load": measure.measure_load,
                "limit": measure.measure_limit, "stages": stages.measure}


def measure_all(bench):
    if "starts" in bench.options.parts:
        starts.measure(bench)
    bench.start_services()
    explain(bench)
    for repetition in range(bench.options.repetitions):
        for part, measurement in MEASUREMENTS.items():
            if part in bench.options.parts:
                measurement(bench, repetition)
                bench.progress(repetition, part)


def explain(bench):
    o = bench.options
    bench.note("Vivarium is measured when its first templates have made way to those that place what "
               "scripts touch, and its start when it serves; template_quick_age is 1 s for that")
    bench.note("answers are checked before the runs; good answers are those with a 2xx status; "
               "with fewer than 100 requests p99 is the slowest of them")
    bench.note("open loop: latency counts from when a request was due, whatever became of those "
               f"before; p99.9 is over all runs together, from {report.TAIL_AT_LEAST} answers on")
    bench.note("closed loop: wrk keeps connections where the service does, ab makes a new one for "
               "each request; latency is that of all answers that came in time: where it would be "
               "longer than the load lasts, the figure flatters the service")
    bench.note(f"wrk loads for {o.duration} s, ab for {max(1, o.duration // measure.AB_SHARE)} s; "
               f"wrk {measure.SLOW_STRETCH} times that for bwrap with "
               f"{' and '.join(measure.SLOW_SCRIPTS)}, because answers under way at the end are "
               "not counted")
    if o.quick:
        bench.note("a quick run: too short to rely on")
    if any(service.process is None for service in bench.running):
        bench.note("the CPU time of a service that was started elsewhere cannot be measured")
    bench.note("CPU time: user and system time of all processes of a service, reaped children "
               "included, the load generator's not; the kernel shows steps of 10 ms per process")
    if "starts" in o.parts and records.SUBJECT in bench.contenders:
        bench.note("starts: files were in the page cache; further workers and parked executions: "
                   f"the difference to a start with {starts.MANY} times as many")


def judge(bench):
    """(exit status, sentences) from expectations and failures."""
    judged = [report.expectation(bench.records, script, EXPECT_CONNECTIONS, least)
              for script, least in bench.options.expected.items()]
    alone = records.select(bench.records, kind="open", service=records.SUBJECT)
    if failed := sum(record["failed"] for record in alone):
        bench.failures.append(f"{records.SUBJECT}: {failed} unloaded requests failed")
    verdicts = [targets.summary(bench.records)] if alone else []
    verdicts += [text for _met, text in judged]
    verdicts += ["FAILED: " + text for text in bench.failures]
    return int(bool(bench.failures) or not all(met for met, _text in judged)), verdicts


def run(options, folder):
    environment = report.environment(services.PYTHON)
    bench = Bench(options, folder)
    try:
        measure_all(bench)
    finally:
        ignore_interrupts()
        bench.stop_all()
        for text in bench.failures:
            say(text)
    status, verdicts = judge(bench)
    bench.note(f"all of it took {time.monotonic() - bench.begun:.0f} s")
    publish({"environment": environment, "options": vars(options), "notes": bench.notes,
             "records": bench.records, "verdicts": verdicts, "status": status}, options.out)
    return status


def publish(results, out):
    print(report.render(results))
    if out:
        report.write(out, results)
        figures.draw(out, results["records"])
        say(f"bench.md, bench.json and the figures are in {out}")


def redraw(path, out):
    with open(path, encoding="utf-8") as file:
        publish(json.load(file), out)
    return 0


def interrupt(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def ignore_interrupts():
    """Ending the services takes seconds at most; a second Ctrl-C shall not leave them behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def main(arguments):
    # A handler also undoes an inherited "ignore": children must be able to receive SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    options = parse_options(arguments)
    if options.redraw:
        return redraw(options.redraw, options.out)
    missing = missing_packages()
    if missing:
        say("bench: missing: apt-get install " + " ".join(missing))
        return 2
    if not all(os.access(os.path.join(options.programs, name), os.X_OK) for name in PROGRAMS):
        say(f"bench: {' or '.join(PROGRAMS)} is not in {options.programs}: make bench-programs")
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="vivarium-bench-") as folder:
            return run(options, folder)
    except (services.ServiceError, load.WrongAnswer, load.ToolError, OSError) as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt as reason:
        say(f"bench: interrupted by {reason}; all services started here have ended")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
