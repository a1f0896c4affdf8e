"""Tables, ratios and files out of the records that bench.py collects."""

import json
import os
import platform
import statistics
import subprocess
import time

SUBJECT = "vivarium"
SPREAD = "min / median / max"


# -- numbers

def percentile(values, percent):
    """The nearest-rank percentile of a list that is not empty."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[rank - 1]


def short(number):
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def spread(values):
    """'min / median / max' of what was measured; '-' for nothing."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return " / ".join(short(f(known)) for f in (min, statistics.median, max))


def times(numbers):
    """'3 x 60' for 60, 60, 60."""
    if len(set(numbers)) == 1:
        return f"{len(numbers)} x {numbers[0]}"
    return " + ".join(map(str, numbers))


def unique(records, key):
    return list(dict.fromkeys(record[key] for record in records))


def select(records, **wanted):
    return [r for r in records if all(r.get(key) == value for key, value in wanted.items())]


def column(records, key):
    return [record[key] for record in records]


# -- ratios

def ratios(records, rival, key, upside_down=False, **wanted):
    """Subject to rival in each repetition, as they ran side by side; or upside down."""
    found = []
    for mine in select(records, service=SUBJECT, **wanted):
        for other in select(records, service=rival, repetition=mine["repetition"], **wanted):
            above, below = (other, mine) if upside_down else (mine, other)
            if above[key] is not None and below[key]:
                found.append(above[key] / below[key])
    return found


def throughput_ratios(records, rival, script, connections):
    return ratios(records, rival, "rps", kind="load", tool="wrk", script=script,
                  connections=connections)


def expectation(records, script, connections, least):
    """(is it met, a sentence) for the median throughput ratio to the rival "bwrap"."""
    values = throughput_ratios(records, "bwrap", script, connections)
    if not values:
        return False, f"NOT MET: {script}: no ratio could be measured, expected {short(least)}"
    median = statistics.median(values)
    verdict = "met" if median >= least else "NOT MET"
    return median >= least, (f"{verdict}: {script} at {connections} connections: {short(median)} "
                             f"times the throughput of bwrap, expected at least {short(least)}")


# -- tables

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


def sequential_table(records):
    rows = []
    mine = select(records, kind="sequential")
    for script in unique(mine, "script"):
        for service in unique(mine, "service"):
            runs = select(mine, script=script, service=service)
            rows.append([script, service, times(column(runs, "requests")),
                         spread(column(runs, "p50_ms")), spread(column(runs, "p99_ms")),
                         spread(column(runs, "cpu_ms")), sum(column(runs, "failed"))])
    return table("Unloaded: one request after the other, a new connection each",
                 ["script", "service", "requests", f"p50 ms, {SPREAD}", f"p99 ms, {SPREAD}",
                  f"CPU ms per execution, {SPREAD}", "failed"], rows)


def load_table(records, tool):
    rows = []
    mine = select(records, kind="load", tool=tool)
    for script in unique(mine, "script"):
        for connections in unique(mine, "connections"):
            for service in unique(mine, "service"):
                runs = select(mine, script=script, connections=connections, service=service)
                rows.append([script, connections, service, spread(column(runs, "rps")),
                             spread(column(runs, "p50_ms")), spread(column(runs, "p99_ms")),
                             *(f"{sum(column(runs, key)):.0f}"
                               for key in ("non_2xx", "timeouts", "socket_errors"))])
    return table(f"Under load: closed loop, {tool}",
                 ["script", "connections", "service", f"good answers/s, {SPREAD}",
                  f"p50 ms, {SPREAD}", f"p99 ms, {SPREAD}", "non-2xx", "timeouts",
                  "socket errors"], rows)


def ratio_table(records):
    rows = []
    rivals = [name for name in unique(records, "service") if name != SUBJECT]
    for script in unique(records, "script"):
        for rival in rivals:
            for connections in unique(select(records, kind="load"), "connections"):
                values = throughput_ratios(records, rival, script, connections)
                rows.append([script, rival, f"throughput, connections: {connections}",
                             spread(values)])
            values = ratios(records, rival, "p50_ms", upside_down=True, kind="sequential",
                            script=script)
            rows.append([script, rival, "p50 unloaded (rival's / vivarium's)", spread(values)])
    rows = [row for row in rows if row[-1] != "-"]
    return table("Vivarium against its rivals: how many times better (above 1) or worse",
                 ["script", "rival", "measure", SPREAD], rows)


# -- the whole

def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return ((done.stdout + done.stderr).strip().splitlines() or ["?"])[0]
    except (OSError, subprocess.TimeoutExpired):
        return "?"


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return names[0] if names else platform.machine()


def environment(python):
    libraries = ("import importlib.metadata as m\n"
                 "print(', '.join(f'{n} {m.version(n)}' for n in "
                 "('flask', 'gunicorn', 'numpy', 'pandas', 'matplotlib')))")
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "cpus": len(os.sched_getaffinity(0)), "processor": processor(),
            "kernel": platform.release(), "load_average_before": os.getloadavg(),
            "python": first_line([python, "--version"]),
            "libraries": first_line([python, "-c", libraries]),
            "bwrap": first_line(["bwrap", "--version"]), "wrk": first_line(["wrk", "-v"])}


def render(results):
    """The report as Markdown."""
    records = results["records"]
    about = [f"- {key}: {value}" for key, value in results["environment"].items()]
    notes = [f"- {note}" for note in results["notes"]]
    parts = ["# Benchmark\n", "\n".join(about) + "\n", "\n".join(notes) + "\n",
             sequential_table(records)]
    parts += [load_table(records, tool) for tool in ("wrk", "ab")]
    parts += [ratio_table(records), "\n".join(results["verdicts"]) + "\n"]
    return "\n".join(part for part in parts if part.strip())


def write(folder, results):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "bench.md"), "w", encoding="utf-8") as file:
        file.write(render(results))
    with open(os.path.join(folder, "bench.json"), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
