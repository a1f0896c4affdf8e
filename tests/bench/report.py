"""Tables and files out of the records that bench.py collects."""

import json
import os
import platform
import subprocess
import time

import records as r
import stages
import starts
import targets

TAIL_PERCENT = 99.9
TAIL_AT_LEAST = 1000    # good answers for a p99.9


def table(title, heads, rows):
    """A Markdown table, padded so that it reads well as plain text."""
    if not rows:
        return ""
    cells = [heads] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
             for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return f"## {title}\n\n" + "\n".join(lines) + "\n"


def groups(records, *keys):
    """Records that agree in the keys, in the order of their first: (values, records)."""
    found = {}
    for record in records:
        found.setdefault(tuple(record[key] for key in keys), []).append(record)
    return found.items()


# -- against the targets

def targets_table(records):
    return table("What it must reach", ["", "reach", "aim", f"measured, {r.SPREAD}", "verdict"],
                 targets.rows(records))


def expectation(records, script, connections, least):
    """(is it met, a sentence) for the median throughput ratio to the rival "bwrap"."""
    median = r.median(r.throughput_ratios(records, "bwrap", script, connections))
    if median is None:
        return False, f"NOT MET: {script}: no ratio could be measured, expected {r.short(least)}"
    verdict = "met" if median >= least else "NOT MET"
    return median >= least, (f"{verdict}: {script} at {connections} connections: {r.short(median)} "
                             f"times the throughput of bwrap, expected at least {r.short(least)}")


# -- latency and throughput

def open_table(records):
    rows = []
    for (script, service), runs in groups(r.select(records, kind="open"), "script", "service"):
        tail = r.pooled_percentile(runs, TAIL_PERCENT, TAIL_AT_LEAST)
        rows.append([script, service, runs[0]["rate"], r.times(r.column(runs, "requests")),
                     r.spread(r.column(runs, "p50_ms")), r.spread(r.column(runs, "p99_ms")),
                     "-" if tail is None else r.short(tail), r.spread(r.column(runs, "max_ms")),
                     sum(r.column(runs, "failed")), r.spread(r.column(runs, "late_us"))])
    return table("Unloaded: an open loop at a fixed rate, a new connection each",
                 ["script", "service", "requests/s", "requests", f"p50 ms, {r.SPREAD}",
                  f"p99 ms, {r.SPREAD}", "p99.9 ms, all runs", f"slowest ms, {r.SPREAD}", "failed",
                  f"sent late, p99 us, {r.SPREAD}"], rows)


def load_table(records, tool):
    rows = []
    for (script, connections, service), runs in groups(
            r.select(records, kind="load", tool=tool), "script", "connections", "service"):
        rows.append([script, connections, service, r.spread(r.column(runs, "rps")),
                     r.spread(r.column(runs, "p50_ms")), r.spread(r.column(runs, "p99_ms")),
                     *(f"{sum(r.column(runs, key)):.0f}"
                       for key in ("non_2xx", "timeouts", "socket_errors"))])
    return table(f"Under load: closed loop, {tool}",
                 ["script", "connections", "service", f"good answers/s, {r.SPREAD}",
                  f"p50 ms, {r.SPREAD}", f"p99 ms, {r.SPREAD}", "non-2xx", "timeouts",
                  "socket errors"], rows)


def ratio_table(records):
    rows = []
    rivals = [name for name in r.unique(r.select(records, kind="load"), "service")
              if name != r.SUBJECT]
    for script in r.unique(r.select(records, kind="open"), "script"):
        for rival in rivals:
            for tool in ("wrk", "ab"):
                for connections in r.unique(r.select(records, kind="load"), "connections"):
                    rows.append([script, rival, f"throughput, {connections} connections, {tool}",
                                 r.spread(r.throughput_ratios(records, rival, script, connections,
                                                              tool))])
            values = r.latency_ratios(records, rival, script)
            rows.append([script, rival, "p50 unloaded, the rival's by Vivarium's",
                         r.spread([1 / value for value in values])])
    rows = [row for row in rows if row[-1] != "-"]
    return table("Vivarium against its rivals: how many times better (above 1) or worse",
                 ["script", "rival", "measure", r.SPREAD], rows)


# -- CPU time

def cpu_table(records):
    rows = []
    opened = r.select(records, kind="open")
    for (script, service), runs in groups(opened, "script", "service"):
        rows.append([script, service, "unloaded", r.spread(r.column(runs, "cpu_ms"))])
        for (connections,), loads in groups(r.select(records, kind="load", tool="wrk",
                                                     script=script, service=service),
                                            "connections"):
            rows.append([script, service, f"{connections} connections",
                         r.spread(r.column(loads, "cpu_ms"))])
    for (script, loops), runs in groups(r.select(records, kind="limit"), "script", "loops"):
        rows.append([script, "bare fork and exit", f"{loops} at once",
                     r.spread([run["cpu_us"] / 1000 for run in runs])])
    scripts = r.unique(records, "script")  # in the order they were asked for
    rows = sorted((row for row in rows if row[-1] != "-"), key=lambda row: scripts.index(row[0]))
    return table("CPU time of one execution, all processes",
                 ["script", "service", "load", f"CPU ms, {r.SPREAD}"], rows)


def role_table(records):
    rows = []
    for (script,), runs in groups(r.select(records, kind="open", service=r.SUBJECT), "script"):
        for role in {role: None for run in runs for role in run["cpu_ms_by_role"]}:
            values = [run["cpu_ms_by_role"].get(role, 0) for run in runs]
            if r.median(values) > 0:
                rows.append([script, role, r.spread(values)])
    return table("Vivarium's CPU time by kind of process, unloaded",
                 ["script", "processes", f"CPU ms per execution, {r.SPREAD}"], rows)


def limit_table(records):
    rows = [[script, loops, r.spread(r.column(runs, "forks_per_s")),
             r.spread(r.column(runs, "wall_us")), r.spread(r.column(runs, "cpu_us"))]
            for (script, loops), runs in groups(r.select(records, kind="limit"), "script", "loops")]
    return table("The physical limit: fork, exit and wait of an interpreter as warm",
                 ["libraries of", "processes that fork", f"forks/s, {r.SPREAD}",
                  f"us of each, {r.SPREAD}", f"CPU us of each, {r.SPREAD}"], rows)


# -- start and memory

def start_table(records):
    rows = [[service, r.spread(r.column(runs, "ready_s"))] for (service,), runs in
            groups(r.select(records, kind="start", settings="default"), "service")]
    return table("Start: until a script has been answered rightly",
                 ["service", f"s, {r.SPREAD}"], rows)


def memory_table(records):
    rows = []
    for (service, state), runs in groups(
            r.select(records, kind="memory", settings="default"), "service", "state"):
        what = "idle" if state == "idle" else f"idle, all cells with {state}"
        rows.append([service, what, r.spread(r.column(runs, "pss_mb")),
                     r.spread(r.column(runs, "tables_mb"))])
    for state in ("idle", starts.WARM_SCRIPT):
        grown = starts.growth(records, state)
        kind = "as started" if state == "idle" else f"with {state}"
        for i, what in enumerate((f"each parked execution, {kind}", "each further worker")):
            if grown and (state == "idle" or i == 0):
                rows.append([r.SUBJECT, what, r.spread([pair[i] for pair in grown]), ""])
    return table("Memory, MB (PSS: shared pages counted once)",
                 ["service", "", f"MB, {r.SPREAD}", f"and page tables, {r.SPREAD}"], rows)


def memory_by_role_table(records):
    rows = []
    for (state,), runs in groups(r.select(records, kind="memory", settings="default",
                                          service=r.SUBJECT), "state"):
        for role in runs[0]["by_role"]:
            found = [run["by_role"][role] for run in runs if role in run["by_role"]]
            rows.append([state, role, r.times(r.column(found, "processes")),
                         *(r.spread(r.column(found, key)) for key in ("pss_mb", "private_mb"))])
    return table("Vivarium's memory by kind of process",
                 ["state", "processes", "number", f"PSS MB, {r.SPREAD}",
                  f"of it private, {r.SPREAD}"], rows)


# -- stages

TITLES = {"traced": "Where each microsecond goes: from the client and back to it (system calls are "
                    "traced, which costs time)",
          "afterwards": "Where each microsecond goes: after the value was sent, until the next "
                        "execution is parked (nobody waits for it)",
          "untraced": "Where each microsecond goes: as the client and the script see it"}


def stage_table(records, way):
    mine = r.select(records, kind="stage", way=way)
    scripts = r.unique(mine, "script")
    rows = [[name, *(r.spread(r.column(r.select(mine, script=script, stage=name), "us"))
                     for script in scripts)]
            for name in [stage[0] for stage in stages.WAYS[way]] + ["all"]]
    return table(TITLES[way], ["stage", *(f"{script}, us, {r.SPREAD}" for script in scripts)],
                 rows if mine else [])


def usage_table(records):
    rows = [[script, r.spread(r.column(runs, "queue_ms")), r.spread(r.column(runs, "wall_ms")),
             r.spread(r.column(runs, "cpu_ms")),
             f"{sum(r.column(runs, 'parked'))} of {sum(r.column(runs, 'requests'))}"]
            for (script,), runs in groups(r.select(records, kind="usage"), "script")]
    return table("What the answers say of these requests (usage)",
                 ["script", f"queue_ms, {r.SPREAD}", f"wall_ms, {r.SPREAD}",
                  f"cpu_ms, {r.SPREAD}", "parked"], rows)


def calls_table(records):
    rows = [[script, role, r.spread(r.column(runs, "calls")), r.spread(r.column(runs, "faults"))]
            for (script, role), runs in groups(r.select(records, kind="calls"), "script", "role")]
    return table("Counted per execution",
                 ["script", "processes", f"system calls, {r.SPREAD}",
                  f"page faults of user mode, {r.SPREAD}"], rows)


# -- the whole

def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return ((done.stdout + done.stderr).strip().splitlines() or ["?"])[0]
    except (OSError, subprocess.TimeoutExpired):
        return "?"


def cpu_info(name):
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        found = [line.split(":", 1)[1].strip() for line in info if line.startswith(name)]
    return found[0] if found else ""


def environment(python):
    libraries = ("import importlib.metadata as m\n"
                 "print(', '.join(f'{n} {m.version(n)}' for n in "
                 "('flask', 'gunicorn', 'numpy', 'pandas', 'matplotlib')))")
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "cpus": len(os.sched_getaffinity(0)),
            "processor": cpu_info("model name") or platform.machine(),
            "virtual machine": "yes" if "hypervisor" in cpu_info("flags").split() else "no",
            "kernel": platform.release(), "load_average_before": list(os.getloadavg()),
            "python": first_line([python, "--version"]),
            "libraries": first_line([python, "-c", libraries]),
            "bwrap": first_line(["bwrap", "--version"]), "wrk": first_line(["wrk", "-v"])}


def fault_note(results):
    """What a page fault costs here, measured, and what follows from it."""
    touches = r.column(r.select(results["records"], kind="limit"), "touch_us")
    if not touches:
        return ""
    note = f"the first write to a page of memory costs {r.spread(touches)} us here ({r.SPREAD})"
    if results["environment"]["virtual machine"] == "yes":
        note += ("; this is a virtual machine, and with nested paging page faults are dear: what "
                 "forks pays for each page, pandas most, and forks of pandas hardly scale from one "
                 "processor to two (see the physical limit)")
    return f"- {note}\n"


def render(results):
    """The report as Markdown."""
    records = results["records"]
    about = [f"- {key}: {value}" for key, value in results["environment"].items()]
    notes = [f"- {note}" for note in results["notes"]]
    parts = ["# Benchmark\n", "\n".join(about) + "\n" + fault_note(results),
             "\n".join(notes) + "\n", targets_table(records), open_table(records)]
    parts += [load_table(records, tool) for tool in ("wrk", "ab")]
    parts += [ratio_table(records), cpu_table(records), role_table(records), limit_table(records),
              start_table(records), memory_table(records), memory_by_role_table(records)]
    parts += [stage_table(records, way) for way in ("traced", "afterwards", "untraced")]
    parts += [usage_table(records), calls_table(records), "\n".join(results["verdicts"]) + "\n"]
    return "\n".join(part for part in parts if part.strip())


def write(folder, results):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "bench.md"), "w", encoding="utf-8") as file:
        file.write(render(results))
    with open(os.path.join(folder, "bench.json"), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
