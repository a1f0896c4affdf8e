"""The figures: SVG, the same bytes for the same records."""

import os

import records as r
import stages

COLOURS = {"vivarium": "#2a7f62", "exec": "#8d99ae", "bwrap": "#d1603d", "limit": "#222222"}
STAGE_COLOURS = ("#8d99ae", "#5c6b8a", "#3d5a80", "#98c1d9", "#2a7f62", "#74b49b", "#e9c46a",
                 "#98c1d9", "#3d5a80", "#5c6b8a")
LABELS = {"vivarium": "Vivarium", "exec": "exec, no isolation", "bwrap": "bubblewrap, cold Python",
          "limit": "bare fork and exit"}
CONNECTIONS = 8
SIZE = (8, 3.6)


def pyplot():
    """matplotlib, set up to draw text as text and nothing that changes from run to run."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "vivarium", "font.size": 10,
                         "font.family": "sans-serif", "axes.spines.top": False,
                         "axes.spines.right": False, "axes.axisbelow": True})
    return plt


def save(plt, figure, folder, name):
    path = os.path.join(folder, name + ".svg")
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return path


def services_of(records):
    """In the order of the colours, not of the measurement."""
    there = r.unique(records, "service")
    return [name for name in COLOURS if name in there]


def middle_and_errors(values):
    """(median, how far the minimum is below it, how far the maximum above); None for nothing."""
    values = r.known(values)
    if not values:
        return None
    median = r.median(values)
    return median, median - min(values), max(values) - median


def draw_bars(axes, scripts, series, unit):
    """Groups of bars with ranges. series: [(name, {script: values})]."""
    width = 0.8 / max(1, len(series))
    for i, (name, by_script) in enumerate(series):
        for j, script in enumerate(scripts):
            shown = middle_and_errors(by_script.get(script, []))
            if not shown:
                continue
            x = j + (i - (len(series) - 1) / 2) * width
            axes.bar(x, shown[0], width * 0.92, color=COLOURS[name],
                     yerr=[[shown[1]], [shown[2]]], error_kw={"lw": 1, "ecolor": "#555555"})
            axes.annotate(r.short(shown[0]), (x, shown[0] + shown[2]), ha="center", va="bottom",
                          fontsize=8, xytext=(0, 2), textcoords="offset points")
    axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.set_xticks(range(len(scripts)), scripts)
    axes.set_ylabel(unit)
    axes.grid(axis="y", color="#dddddd", lw=0.6)


def legend(axes, names):
    handles = [axes.bar(0, 0, color=COLOURS[name], label=LABELS[name]) for name in names]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1.2), frameon=False,
                ncol=len(names), fontsize=9)


def throughput(plt, records):
    loads = r.select(records, kind="load", tool="wrk", connections=CONNECTIONS)
    limits = r.select(records, kind="limit")
    scripts, names = r.unique(loads, "script"), services_of(loads)
    if not scripts:
        return None
    series = [(name, {script: r.column(r.select(loads, service=name, script=script), "rps")
                      for script in scripts}) for name in names]
    if limits:
        loops = max(r.column(limits, "loops"))
        series.append(("limit", {script: r.column(r.select(limits, script=script, loops=loops),
                                                  "forks_per_s") for script in scripts}))
    figure, axes = plt.subplots(figsize=SIZE)
    draw_bars(axes, scripts, series, f"answers a second, {CONNECTIONS} connections")
    legend(axes, [name for name, _values in series])
    return figure


def latency(plt, records):
    opened = r.select(records, kind="open")
    scripts, names = r.unique(opened, "script"), services_of(opened)
    if not scripts:
        return None
    figure, both = plt.subplots(1, 2, figsize=(SIZE[0] * 1.25, SIZE[1]), sharey=True)
    for axes, key, title in zip(both, ("p50_ms", "p99_ms"), ("p50", "p99")):
        draw_bars(axes, scripts,
                  [(name, {script: r.column(r.select(opened, service=name, script=script), key)
                           for script in scripts}) for name in names],
                  f"{title}, ms, unloaded")
    legend(both[0], names)
    return figure


def connections(plt, records):
    loads = r.select(records, kind="load", tool="wrk")
    scripts = [s for s in ("trivial", "pandas") if s in r.unique(loads, "script")]
    counts = sorted(set(r.column(loads, "connections")))
    if not scripts or len(counts) < 2:
        return None
    figure, all_axes = plt.subplots(1, len(scripts), figsize=(SIZE[0] * 1.1, SIZE[1]),
                                    squeeze=False)
    for axes, script in zip(all_axes[0], scripts):
        for name in services_of(loads):
            shown = [(count, middle_and_errors(r.column(
                r.select(loads, service=name, script=script, connections=count), "rps")))
                for count in counts]
            shown = [(count, *three) for count, three in shown if three]
            xs, ys, lows, highs = zip(*shown)
            axes.errorbar(xs, ys, yerr=(lows, highs), marker="o", ms=4, capsize=2,
                          color=COLOURS[name], label=LABELS[name])
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(counts, counts)
        axes.set_xlabel(f"connections, {script} script")
        axes.set_ylabel("answers a second")
        axes.grid(color="#dddddd", lw=0.6)
    all_axes[0][0].legend(frameon=False, fontsize=9, ncol=3, loc="lower left",
                          bbox_to_anchor=(0, 1.02))
    return figure


def stage_bars(plt, records):
    """Medians of stages, one bar a script, from request to answer."""
    mine = r.select(records, kind="stage", way="traced")
    scripts = [s for s in ("pandas", "numpy", "trivial") if s in r.unique(mine, "script")]
    if not scripts:
        return None
    figure, axes = plt.subplots(figsize=(SIZE[0] * 1.1, 1.6 + 0.7 * len(scripts) + 1.2))
    starts = dict.fromkeys(scripts, 0)
    for (name, *_), colour in zip(stages.ON_THE_WAY, STAGE_COLOURS):
        widths = {script: r.median(r.column(r.select(mine, script=script, stage=name), "us"))
                  for script in scripts}
        axes.barh(scripts, [widths[s] for s in scripts], 0.6, [starts[s] for s in scripts],
                  color=colour, edgecolor="white", lw=0.5, label=name)
        for script in scripts:
            starts[script] += widths[script]
    axes.set_xlabel("microseconds from request to answer")
    axes.legend(frameon=False, fontsize=8, ncol=2, loc="upper center",
                bbox_to_anchor=(0.45, -0.35 if len(scripts) > 1 else -0.6))
    return figure


def memory(plt, records):
    """Idle memory by kind of process."""
    found = r.select(records, kind="memory", settings="default", service=r.SUBJECT, state="idle")
    if not found:
        return None
    names = sorted({role for run in found for role in run["by_role"]},
                   key=lambda role: r.median([run["by_role"].get(role, {}).get("pss_mb", 0)
                                              for run in found]))
    figure, axes = plt.subplots(figsize=SIZE)
    for name in names:
        shown = middle_and_errors([run["by_role"].get(name, {}).get("pss_mb", 0) for run in found])
        number = found[0]["by_role"].get(name, {}).get("processes", 0)
        axes.barh(f"{name} × {number}", shown[0], color=COLOURS["vivarium"],
                  xerr=[[shown[1]], [shown[2]]], error_kw={"lw": 1, "ecolor": "#555555"})
    axes.set_xlabel("MB, idle (PSS: shared pages counted once)")
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    return figure


FIGURES = {"throughput": throughput, "latency": latency, "connections": connections,
           "stages": stage_bars, "memory": memory}


def draw(folder, records):
    """Draws what the records have; returns the paths."""
    os.makedirs(folder, exist_ok=True)
    plt = pyplot()
    drawn = {name: make(plt, records) for name, make in FIGURES.items()}
    return [save(plt, figure, folder, name) for name, figure in drawn.items() if figure]
