#!/usr/bin/python3
"""Benchmark of Vivarium against the usual architecture ("bwrap") and no isolation at all ("exec").

    /usr/bin/python3 tests/bench/bench.py --start "sh deploy/run.sh" --out /tmp/bench
    /usr/bin/python3 tests/bench/bench.py --url http://127.0.0.1:8080 --quick
    /usr/bin/python3 tests/bench/bench.py --quick          (the rivals alone)

All services stand side by side on loopback and are measured in turns, repetition by repetition,
so that noise hits all alike. First each must answer every script rightly; then follow requests one
by one (latency, CPU time) and closed loops of wrk (throughput). Exit status: 0; 1 an expectation
was not met, or a service failed; 2 wrong usage or a missing package.
"""

import argparse
import ipaddress
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True

import load          # noqa: E402
import report        # noqa: E402
import services      # noqa: E402

EXPECT_CONNECTIONS = 8
EXEC_WORKERS = (2, 4)
BWRAP_WORKERS = 4
SEQUENTIAL_REQUESTS = {"trivial": 300, "numpy": 100, "pandas": 100, "matplotlib": 30}
SLOW_DIVISOR = 5
SLOW_SCRIPTS = ("pandas", "matplotlib")
SLOW_STRETCH = 3

COMMANDS = {"wrk": "wrk", "bwrap": "bubblewrap", "setpriv": "util-linux"}
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
                        "default http://127.0.0.1:8080; {port} in it becomes a free port")
    p.add_argument("--start-timeout", type=positive, default=60, metavar="S",
                   help="until GET /health must be 200 (default 60)")
    p.add_argument("--stop-timeout", type=positive, default=30, metavar="S",
                   help="until all of its processes must have ended (default 30)")
    p.add_argument("--rivals", type=words(("bwrap", "exec")), default="bwrap,exec", metavar="LIST")
    p.add_argument("--scripts", type=words(tuple(load.CHECKS)), metavar="LIST",
                   help="default trivial,numpy,pandas,matplotlib")
    p.add_argument("--connections", type=counts, metavar="LIST", help="default 1,8,64")
    p.add_argument("--duration", type=positive, metavar="S", help="of each load (default 5)")
    p.add_argument("--repetitions", type=positive, metavar="N", help="default 3")
    p.add_argument("--quick", action="store_true",
                   help="under a minute: trivial and pandas, 1 and 8 connections, 2 s, once")
    p.add_argument("--ab", action="store_true", help="load with ab (apache2-utils) as well")
    p.add_argument("--out", metavar="DIR", help="write bench.md and bench.json there")
    for script in ("trivial", "pandas"):
        p.add_argument(f"--expect-{script}", type=float, metavar="X",
                       help=f"fail unless the throughput of {script} at {EXPECT_CONNECTIONS} "
                            "connections is X times that of bwrap")
    return p


def parse_options(arguments):
    p = parser()
    o = p.parse_args(arguments)
    o.scripts = o.scripts or (["trivial", "pandas"] if o.quick else list(load.CHECKS))
    o.connections = o.connections or ([1, 8] if o.quick else [1, 8, 64])
    o.duration = o.duration or (2 if o.quick else 5)
    o.repetitions = o.repetitions or (1 if o.quick else 3)
    o.expected = {script: least for script in ("trivial", "pandas")
                  if (least := getattr(o, f"expect_{script}")) is not None}
    for script in o.expected:
        if not (o.url or o.start) or "bwrap" not in o.rivals or script not in o.scripts \
                or EXPECT_CONNECTIONS not in o.connections:
            p.error(f"--expect-{script} needs Vivarium, the rival bwrap, the script {script} "
                    f"and {EXPECT_CONNECTIONS} connections")
    if not (o.url or o.start or o.rivals):
        p.error("nothing to measure")
    return o


def missing_packages(with_ab):
    """Debian packages whose program or module is not there."""
    commands = {**COMMANDS, **({"ab": "apache2-utils"} if with_ab else {})}
    missing = {package for name, package in commands.items() if not shutil.which(name)}
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
        self.tools = load.Tools(folder)
        self.running, self.records, self.notes, self.failures = [], [], [], []

    def note(self, text):
        say(text)
        self.notes.append(text)

    def start(self, *candidates, timeout_s=60):
        for service in candidates:
            self.running.append(service)
            if service.command:
                service.start()
        for service in candidates:
            service.wait_healthy(timeout_s)

    def stop(self, service):
        self.running.remove(service)
        if service.is_rival:
            service.stop(services.RIVAL_STOP_S)
        elif service.process:
            # That Vivarium ends in order is part of what it promises.
            begin = time.monotonic()
            complaints = service.stop(self.options.stop_timeout)
            self.failures += complaints
            if not complaints:
                self.note(f"{service.name}: ended {time.monotonic() - begin:.1f} s after SIGINT, "
                          "with all of its processes")

    def stop_all(self):
        for service in list(self.running):
            self.stop(service)

    def start_services(self):
        o = self.options
        if o.start or o.url:
            self.start(self.vivarium(), timeout_s=o.start_timeout if o.start else 5)
        if "bwrap" in o.rivals:
            self.start(services.gunicorn("bwrap", "rival_bwrap:app", BWRAP_WORKERS, self.folder,
                                         slow=True))
        if "exec" in o.rivals:
            self.start_exec()
        for service in self.running:
            self.note(f"{service.name}: {service.note}")
            for script in o.scripts:
                load.verify(service, script)
        say("every script is answered rightly by " + ", ".join(s.name for s in self.running))

    def vivarium(self):
        o = self.options
        if not o.start:
            return services.Service(report.SUBJECT, o.url, folder=self.folder,
                                    note="started elsewhere, measured as found")
        address = o.url or ("127.0.0.1", services.free_port() if "{port}" in o.start else 8080)
        command = shlex.split(o.start.replace("{port}", str(address[1])))
        return services.Service(report.SUBJECT, address, command, note=o.start,
                                folder=self.folder, stop_signal=signal.SIGINT)

    def start_exec(self):
        """The rival "exec" with the number of workers that suits it best."""
        rates = {}
        candidates = [services.gunicorn("exec", "rival_exec:app", workers, self.folder)
                      for workers in EXEC_WORKERS]
        self.start(*candidates)
        for candidate in candidates:
            load.verify(candidate, "trivial")
            figures = self.tools.load("wrk", candidate, "trivial", 8, min(2, self.options.duration))
            rates[candidate] = figures["rps"]
        best = max(candidates, key=rates.get)
        for candidate in candidates:
            if candidate is not best:
                self.stop(candidate)
        tried = ", ".join(f"{c.note}: {rate:.0f}/s" for c, rate in rates.items())
        self.note(f"exec: tried {tried}; the better one is measured")


# -- measurements: each adds records for one repetition

def in_turns(bench, repetition):
    """The services, another one first in each repetition."""
    shift = repetition % len(bench.running)
    return bench.running[shift:] + bench.running[:shift]


def measure_sequential(bench, repetition):
    for script in bench.options.scripts:
        for service in in_turns(bench, repetition):
            bench.records.append({
                "kind": "sequential", "service": service.name, "script": script,
                "repetition": repetition, **sequential_run(bench, service, script)})


def sequential_run(bench, service, script):
    quick = bench.options.quick
    requests = SEQUENTIAL_REQUESTS[script] // (SLOW_DIVISOR if service.slow else 1)
    requests = max(5, requests // (SLOW_DIVISOR if quick else 1))
    limit_s = 5 if quick else 30
    load.sequential(service, script, 2, limit_s)
    service.is_idle(timeout_s=2)
    before = service.cpu_seconds()
    times_ms, failed = load.sequential(service, script, requests, limit_s)
    service.is_idle(timeout_s=2)
    after = service.cpu_seconds()
    cpu_ms = None if before is None else (after - before) * 1000 / len(times_ms)
    return {"requests": len(times_ms), "failed": failed, "cpu_ms": cpu_ms,
            "p50_ms": report.percentile(times_ms, 50), "p99_ms": report.percentile(times_ms, 99)}


def load_duration(options, service, script):
    """Longer where few answers come: those still under way at the end are not counted, and with
    thirty answers in all that would cost a slow rival several percent."""
    stretch = service.slow and script in SLOW_SCRIPTS and not options.quick
    return options.duration * (SLOW_STRETCH if stretch else 1)


def measure_load(bench, repetition):
    o = bench.options
    for script in o.scripts:
        for connections in o.connections:
            for tool in ["wrk", "ab"] if o.ab else ["wrk"]:
                for service in in_turns(bench, repetition):
                    duration_s = load_duration(o, service, script)
                    figures = bench.tools.load(tool, service, script, connections, duration_s)
                    bench.records.append({
                        "kind": "load", "tool": tool, "service": service.name, "script": script,
                        "connections": connections, "repetition": repetition,
                        "duration_s": duration_s, **figures})
                    services.settle(service, script)


# Another measurement (the bare fork-and-exit limit, say) is a function here, a kind of record of
# its own, and a table in report.py.
MEASUREMENTS = (measure_sequential, measure_load)


def measure(bench):
    begin = time.monotonic()
    for repetition in range(bench.options.repetitions):
        for measurement in MEASUREMENTS:
            measurement(bench, repetition)
            say(f"repetition {repetition + 1} of {bench.options.repetitions}: "
                f"{measurement.__name__.replace('_', ' ')} done, "
                f"{time.monotonic() - begin:.0f} s so far")


# -- the whole

def explain(bench):
    bench.note("answers are checked before the runs; good answers are those with a 2xx status; "
               "with fewer than 100 sequential requests p99 is the slowest of them")
    bench.note("latency under load is that of all answers that came in time: where it would be "
               "longer than the load lasts, the figure flatters the service")
    bench.note(f"each load lasts {bench.options.duration} s; {SLOW_STRETCH} times that for bwrap "
               f"with {' and '.join(SLOW_SCRIPTS)}, because answers under way at the end are not "
               "counted" if not bench.options.quick else
               f"a quick run, {bench.options.duration} s each: too short to rely on")
    if any(service.process is None for service in bench.running):
        bench.note("the CPU time of a service that was started elsewhere cannot be measured")
    bench.note("CPU time: user and system time of all processes of a service, reaped children "
               "included, in the sequential runs; the kernel counts in steps of 10 ms per process")


def judge(bench):
    """(exit status, sentences) from expectations and failures."""
    judged = [report.expectation(bench.records, script, EXPECT_CONNECTIONS, least)
              for script, least in bench.options.expected.items()]
    alone = report.select(bench.records, kind="sequential", service=report.SUBJECT)
    if failed := sum(record["failed"] for record in alone):
        bench.failures.append(f"{report.SUBJECT}: {failed} unloaded requests failed")
    verdicts = [text for _met, text in judged] + ["FAILED: " + text for text in bench.failures]
    return int(bool(bench.failures) or not all(met for met, _text in judged)), verdicts


def run(options, folder):
    environment = report.environment(services.PYTHON)
    bench = Bench(options, folder)
    try:
        bench.start_services()
        explain(bench)
        measure(bench)
    finally:
        ignore_interrupts()
        bench.stop_all()
        for text in bench.failures:
            say(text)
    status, verdicts = judge(bench)
    results = {"environment": environment, "options": vars(options), "notes": bench.notes,
               "records": bench.records, "verdicts": verdicts, "status": status}
    print(report.render(results))
    if options.out:
        report.write(options.out, results)
    return status


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
    missing = missing_packages(options.ab)
    if missing:
        say("bench: missing: apt-get install " + " ".join(missing))
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
