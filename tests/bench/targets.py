"""What Vivarium must reach, as ratios within one run, and whether it did."""

import statistics
from collections import namedtuple

from records import (SUBJECT, known, latency_ratios, quotients, select, spread,
                     throughput_ratios)
import starts

CONNECTIONS = 8
MANY_CONNECTIONS = 256

# values: what was measured, one a repetition. better: "more" or "less".
Target = namedtuple("Target", "what better reach aim unit values")


def cpu_ratios(records, script, kind, **wanted):
    """CPU of one execution, all processes, by that of a bare fork and exit of the template. Under
    load, when all processors work, by that of forks on all processors."""
    mine = select(records, kind=kind, service=SUBJECT, script=script, **wanted)
    limits = select(records, kind="limit", script=script)
    loops = {limit["loops"] for limit in limits}
    chosen = (max if kind == "load" else min)(loops, default=0)
    return [ratio * 1000 for ratio in
            quotients(mine, select(limits, loops=chosen), "cpu_ms", "cpu_us")]


def own_tail(records, script):
    return [run["p99_ms"] / run["p50_ms"]
            for run in select(records, kind="open", service=SUBJECT, script=script)
            if run["p50_ms"]]


def loads(records, connections):
    return select(records, kind="load", tool="wrk", service=SUBJECT, script="trivial",
                  connections=connections)


def many_against_few(records):
    return quotients(loads(records, MANY_CONNECTIONS), loads(records, CONNECTIONS), "rps")


def unfairness(records):
    """p99 by the time a strictly fair queue of so many clients takes: clients / throughput."""
    return [run["p99_ms"] / 1000 * run["rps"] / MANY_CONNECTIONS
            for run in loads(records, MANY_CONNECTIONS) if run["p99_ms"]]


def errors(records):
    return [run["non_2xx"] + run["timeouts"] + run["socket_errors"]
            for run in loads(records, MANY_CONNECTIONS)]


def idle(records):
    return [run["pss_mb"] for run in select(records, kind="memory", state="idle",
                                            settings="default", service=SUBJECT)]


def inverse(values):
    return [1 / value for value in values if value]


def targets(records):
    """All of them, also those whose values this run did not measure."""
    ready = [run["ready_s"] for run in select(records, kind="start", settings="default",
                                              service=SUBJECT)]
    grown = starts.growth(records, "idle")
    many, few = f"{MANY_CONNECTIONS} connections", f"{CONNECTIONS} connections"
    return [
        Target(f"trivial, {few}: throughput against bwrap", "more", 14, 20, "times",
               throughput_ratios(records, "bwrap", "trivial", CONNECTIONS)),
        Target(f"pandas, {few}: throughput against bwrap", "more", 45, 70, "times",
               throughput_ratios(records, "bwrap", "pandas", CONNECTIONS)),
        Target("trivial, unloaded p50 against exec", "less", 1.3, 1, "times",
               latency_ratios(records, "exec", "trivial")),
        Target("trivial, unloaded p99 against its own p50", "less", 3, None, "times",
               own_tail(records, "trivial")),
        Target("pandas, unloaded p50 against exec", "less", 2, 1.2, "times",
               latency_ratios(records, "exec", "pandas")),
        Target("trivial, unloaded p50: bwrap's against Vivarium's", "more", 20, 40, "times",
               inverse(latency_ratios(records, "bwrap", "trivial"))),
        Target("pandas, unloaded p50: bwrap's against Vivarium's", "more", 60, 150, "times",
               inverse(latency_ratios(records, "bwrap", "pandas"))),
        *(Target(f"{script}, CPU of one execution, {how}, against a bare fork and exit", "less",
                 2.5, 1.7, "times", cpu_ratios(records, script, kind, **wanted))
          for script in ("trivial", "pandas")
          for how, kind, wanted in (("unloaded", "open", {}),
                                    (few, "load", {"tool": "wrk", "connections": CONNECTIONS}))),
        Target(f"trivial, {many}: throughput against {few}", "more", 0.9, None, "times",
               many_against_few(records)),
        Target(f"trivial, {many}: errors", "less", 0, None, "", errors(records)),
        Target(f"trivial, {many}: p99 against a strictly fair queue", "less", 2, None, "times",
               unfairness(records)),
        Target("ready to serve after start", "less", 3, 1, "s", ready),
        Target("idle memory, default templates", "less", 250, 150, "MB", idle(records)),
        Target("memory of each further worker", "less", 3, 1.5, "MB", [w for _c, w in grown]),
        Target("memory of each parked execution", "less", 3, 1.5, "MB", [c for c, _w in grown])]


def verdict(target):
    """"aim", "reached", "missed", or "not measured": by the median."""
    values = known(target.values)
    if not values:
        return "not measured"
    median = statistics.median(values)

    def meets(bound):
        return bound is not None and (median >= bound if target.better == "more"
                                      else median <= bound)
    return "aim" if meets(target.aim) else "reached" if meets(target.reach) else "missed"


def bound(target, value):
    if value is None:
        return ""
    sign = "≥" if target.better == "more" else "≤"
    return f"{sign} {value:g} {target.unit}".rstrip()


def rows(records):
    """One row for each target: what, reach, aim, measured, verdict."""
    return [[target.what, bound(target, target.reach), bound(target, target.aim),
             spread(target.values), verdict(target)] for target in targets(records)]


def summary(records):
    """One line for people."""
    verdicts = [verdict(target) for target in targets(records)]
    reached = sum(v in ("aim", "reached") for v in verdicts)
    return (f"targets: {reached} of {len(verdicts)} reached, {verdicts.count('aim')} of these at "
            f"their aim; {verdicts.count('missed')} missed, "
            f"{verdicts.count('not measured')} not measured")
