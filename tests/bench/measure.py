"""What is measured while the services stand side by side: each function adds the records of one
repetition, service after service, another one first each time.
"""

import json
import os
import subprocess

import load
import records
import services

# The open loops: (requests a second, how many), so slow that no request meets another, and so many
# that three repetitions have a p99.9 where that can be had. The second pair is for slow rivals.
OPEN_LOOPS = {"trivial": ((150, 400), (12, 24)), "numpy": ((100, 400), (5, 15)),
              "pandas": ((70, 350), (2, 8)), "matplotlib": ((6, 18), (2, 6))}
QUICK_DIVISOR = 3
WARM_UP_S = 1
SLOWEST_KEPT = 20
# CPU time of a load is believed where those under way at its end, which are not counted, are few.
REQUESTS_PER_CONNECTION = 50
SLOW_SCRIPTS = ("pandas", "matplotlib")
SLOW_STRETCH = 2
AB_SHARE = 2
# The library sets on the way to the one a script needs: what each imports.
LIMIT_SETS = {"trivial": {"base": ""}, "numpy": {"base": "", "numpy": "numpy"},
              "pandas": {"base": "", "numpy": "numpy", "pandas": "pandas"},
              "matplotlib": {"base": "", "numpy": "numpy", "matplotlib": "matplotlib.pyplot"}}
LIMIT_FORKS = {"trivial": 1500, "numpy": 1000, "pandas": 400, "matplotlib": 400}
LIMIT_TIMEOUT_S = 120


def in_turns(bench, repetition):
    """The services, another one first in each repetition."""
    shift = repetition % len(bench.running)
    return bench.running[shift:] + bench.running[:shift]


# -- open loop: latency and CPU time of a machine that is nearly idle

def measure_unloaded(bench, repetition):
    for script in bench.options.scripts:
        for service in in_turns(bench, repetition):
            bench.records.append({"kind": "open", "service": service.name, "script": script,
                                  "repetition": repetition, **open_run(bench, service, script)})


def open_run(bench, service, script):
    rate, count = OPEN_LOOPS[script][service.slow]
    if bench.options.quick:
        count = max(5, count // QUICK_DIVISOR)
    # First as long as it takes until what is prepared has followed the traffic.
    bench.tools.open_loop(service, script, rate, rate * WARM_UP_S)
    service.is_idle(timeout_s=3)
    before = service.cpu_seconds(), role_seconds(service)
    figures = bench.tools.open_loop(service, script, rate, count)
    service.is_idle(timeout_s=3)
    after = service.cpu_seconds(), role_seconds(service)
    times_ms = [us / 1000 for us in figures["latencies_us"]]
    return {"rate": rate, "requests": count, "failed": figures["failed"], "good": len(times_ms),
            **latencies(times_ms), "late_us": records.percentile(figures["late_us"] or [0], 99),
            "client_cpu_ms": figures["cpu_us"] / 1000 / count,
            "cpu_ms": None if before[0] is None else (after[0] - before[0]) * 1000 / count,
            "cpu_ms_by_role": {role: (after[1][role] - before[1].get(role, 0)) * 1000 / count
                               for role in after[1]}}


def role_seconds(service):
    return service.cpu_by_role() if service.name == records.SUBJECT and service.process else {}


def latencies(times_ms):
    if not times_ms:
        return {"p50_ms": None, "p99_ms": None, "max_ms": None, "slowest_ms": []}
    return {"p50_ms": records.percentile(times_ms, 50), "p99_ms": records.percentile(times_ms, 99),
            "max_ms": max(times_ms), "slowest_ms": sorted(times_ms, reverse=True)[:SLOWEST_KEPT]}


# -- closed loops: throughput

def load_duration(options, service, script, tool):
    """ab gets less of the time than wrk. wrk more where few answers come: those still under way at
    the end are not counted, and with a few answers in all that would cost a slow rival much."""
    if tool == "ab":
        return max(1, options.duration // AB_SHARE)
    return options.duration * (SLOW_STRETCH if service.slow and script in SLOW_SCRIPTS else 1)


def measure_load(bench, repetition):
    o = bench.options
    for script in o.scripts:
        for connections in o.connections:
            for tool in o.tools:
                for service in in_turns(bench, repetition):
                    bench.records.append({
                        "kind": "load", "tool": tool, "service": service.name, "script": script,
                        "connections": connections, "repetition": repetition,
                        **load_run(bench, service, script, connections, tool)})


def load_run(bench, service, script, connections, tool):
    duration_s = load_duration(bench.options, service, script, tool)
    before = service.cpu_seconds()
    figures = bench.tools.load(tool, service, script, connections, duration_s)
    process = service.process
    services.settle(service, script, connections)
    cpu_ms = None
    enough = figures["requests"] >= REQUESTS_PER_CONNECTION * connections
    if before is not None and service.process is process and enough:
        cpu_ms = (service.cpu_seconds() - before) * 1000 / figures["requests"]
    return {"duration_s": duration_s, "cpu_ms": cpu_ms, **figures}


# -- the physical limit

def measure_limit(bench, repetition):
    """Bare forks of an interpreter as warm as the service's, by one process and by one for each
    processor: is it the fork that does not scale?"""
    loops = sorted({1, len(os.sched_getaffinity(0))})
    for script in bench.options.scripts:
        for number in loops:
            bench.records.append({
                "kind": "limit", "script": script, "loops": number, "repetition": repetition,
                **limit_run(bench, script, number)})


def limit_run(bench, script, loops):
    samples = os.path.join(services.HERE, "..", "..", "runner", "samples")
    sets = [f"{modules}={os.path.join(samples, name + '.py')}"
            for name, modules in LIMIT_SETS[script].items()]
    forks = LIMIT_FORKS[script] // (QUICK_DIVISOR if bench.options.quick else 1)
    command = [os.path.join(bench.options.programs, "fork_limit"),
               os.path.join(samples, ".."), str(forks), str(loops), *sets]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=LIMIT_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise load.ToolError(f"fork_limit did not end: {' '.join(command)}") from error
    if done.returncode:
        raise load.ToolError(f"fork_limit failed with status {done.returncode}: {done.stderr}")
    return {"forks": forks, **json.loads(done.stdout)}
