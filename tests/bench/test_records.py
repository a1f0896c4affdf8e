"""What is computed of the measurements: percentiles, ratios, memory, targets, tables, figures."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

import bench
import figures
import memory
import proctree
import records
import report
import stages
import starts
import targets

SCRIPTS = ("trivial", "pandas")


def an_open_run(service, script, repetition, p50_ms):
    return {"kind": "open", "service": service, "script": script, "repetition": repetition,
            "rate": 100, "requests": 700, "failed": 0, "good": 700, "p50_ms": p50_ms,
            "p99_ms": 2 * p50_ms, "max_ms": 3 * p50_ms, "slowest_ms": [3 * p50_ms] + 19 * [p50_ms],
            "late_us": 20, "cpu_ms": p50_ms, "cpu_ms_by_role": {"worker": p50_ms / 2}}


def a_load(service, script, repetition, connections, rps):
    return {"kind": "load", "tool": "wrk", "service": service, "script": script,
            "connections": connections, "repetition": repetition, "requests": rps, "rps": rps,
            "p50_ms": 1000 * connections / rps, "p99_ms": 1500 * connections / rps, "cpu_ms": 1,
            "non_2xx": 0, "timeouts": 0, "socket_errors": 0}


def a_memory(repetition, settings, workers, cells, pss_mb):
    return {"kind": "memory", "service": "vivarium", "state": "idle", "settings": settings,
            "repetition": repetition, "workers": workers, "cells": cells, "pss_mb": pss_mb,
            "tables_mb": 4, "by_role": {"worker": {"processes": workers, "pss_mb": 1,
                                                   "private_mb": 0.5}}}


def a_run():
    """Two repetitions in which Vivarium is 25 and 30 times as fast as bwrap, and so on."""
    found = []
    for repetition, times in enumerate((25, 30)):
        for script in SCRIPTS:
            found += [an_open_run("vivarium", script, repetition, 1.0),
                      an_open_run("exec", script, repetition, 0.5),
                      an_open_run("bwrap", script, repetition, 30.0),
                      {"kind": "usage", "script": script, "repetition": repetition, "parked": 9,
                       "requests": 10, "queue_ms": 0.1, "wall_ms": 1, "cpu_ms": 1},
                      {"kind": "calls", "script": script, "repetition": repetition,
                       "role": "worker", "calls": 36, "faults": 1}]
            for connections in (8, 256):
                found += [a_load("vivarium", script, repetition, connections, 10 * times),
                          a_load("bwrap", script, repetition, connections, 10)]
            found += [{"kind": "limit", "script": script, "loops": loops, "repetition": repetition,
                       "forks": 9, "forks_per_s": 1000, "wall_us": 500, "cpu_us": 500 / loops,
                       "touch_us": 0.5} for loops in (1, 2)]
            found += [{"kind": "stage", "way": way, "stage": stage, "script": script,
                       "repetition": repetition, "us": 10.0}
                      for way, named in stages.WAYS.items()
                      for stage in [name for name, *_ in named] + ["all"]]
        found += [{"kind": "start", "service": "vivarium", "settings": "default",
                   "repetition": repetition, "ready_s": 0.9},
                  a_memory(repetition, "default", 2, 4, 100),
                  a_memory(repetition, "more cells", 2, 8, 116),
                  a_memory(repetition, "more workers", 4, 4, 122)]
    return found


def results():
    return {"environment": {"virtual machine": "yes"}, "notes": ["a note"], "records": a_run(),
            "verdicts": ["a verdict"]}


@pytest.mark.parametrize("percent, rank", [(50, 500), (99, 990), (99.9, 999), (100, 1000)])
def test_percentile_is_the_nearest_rank(percent, rank):
    assert records.percentile(range(1000, 0, -1), percent) == rank


def test_percentile_of_one_value():
    assert records.percentile([7], 99.9) == 7


def test_pooled_percentile_takes_the_slowest_of_all_runs():
    runs = [{"good": 1000, "slowest_ms": [50, 40, 30]}, {"good": 1000, "slowest_ms": [45, 1, 1]}]
    assert records.pooled_percentile(runs, 99.9, 1000) == 40      # the third of 2,000
    assert records.pooled_percentile(runs, 99.9, 2001) is None    # too few answers
    assert records.pooled_percentile(runs, 99, 1000) is None      # the 21st was not kept


def test_ratios_compare_the_same_repetition():
    found = a_run()
    assert records.throughput_ratios(found, "bwrap", "trivial", 8) == [25, 30]
    assert records.latency_ratios(found, "exec", "pandas") == [2, 2]
    assert records.throughput_ratios(found, "exec", "trivial", 8) == []


def test_spread_shows_minimum_median_and_maximum():
    assert records.spread([3, None, 1, 2]) == "1.00 / 2.00 / 3.00"
    assert records.spread([None]) == "-"


def test_growth_of_memory():
    """100 MB with 2 x 4 cells, 116 with 8 more cells, 122 with 2 more workers and their 8 cells."""
    assert starts.growth(a_run(), "idle") == [(2, 3), (2, 3)]
    base, cells, workers = a_memory(0, "", 2, 4, 10), a_memory(0, "", 2, 6, 12), \
        a_memory(0, "", 3, 4, 14)
    assert memory.slopes(base, cells, workers) == (0.5, 2)


def verdicts():
    return {target.what: targets.verdict(target) for target in targets.targets(a_run())}


@pytest.mark.parametrize("what, verdict", [
    ("trivial, 8 connections: throughput against bwrap", "aim"),
    ("pandas, 8 connections: throughput against bwrap", "missed"),
    ("trivial, unloaded p50 against exec", "missed"),
    ("trivial, unloaded p99 against its own p50", "reached"),
    ("pandas, unloaded p50 against exec", "reached"),
    ("trivial, unloaded p50: bwrap's against Vivarium's", "reached"),
    ("trivial, CPU of one execution, unloaded, against a bare fork and exit", "reached"),
    ("trivial, CPU of one execution, 8 connections, against a bare fork and exit", "missed"),
    ("trivial, 256 connections: throughput against 8 connections", "reached"),
    ("trivial, 256 connections: errors", "reached"),
    ("trivial, 256 connections: p99 against a strictly fair queue", "reached"),
    ("ready to serve after start", "aim"),
    ("idle memory, default templates", "aim"),
    ("memory of each further worker", "reached"),
    ("memory of each parked execution", "reached")])
def test_targets_are_judged_by_the_median(what, verdict):
    assert verdicts()[what] == verdict


def test_what_was_not_measured_is_not_reached():
    assert {targets.verdict(target) for target in targets.targets([])} == {"not measured"}


def test_tables_are_rectangular():
    text = report.render(results())
    for title in ("What it must reach", "Unloaded: an open loop", "Under load: closed loop, wrk",
                  "CPU time of one execution", "The physical limit", "Start: ", "Memory, MB",
                  "Where each microsecond goes", "Counted per execution"):
        assert f"## {title}" in text
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({(len(line), line.count("|")) for line in lines}) <= 1, block


def test_report_says_what_page_faults_cost():
    text = report.render(results())
    assert "costs 0.50 / 0.50 / 0.50 us" in text and "nested paging" in text


def test_report_of_nothing():
    assert "# Benchmark" in report.render({**results(), "records": []})


def test_report_is_the_same_after_json(tmp_path):
    report.write(tmp_path, results())
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert report.render(kept) == (tmp_path / "bench.md").read_text()


def test_figures_can_be_parsed_and_do_not_change(tmp_path):
    paths = figures.draw(tmp_path / "one", a_run())
    again = figures.draw(tmp_path / "two", a_run())
    assert len(paths) == len(figures.FIGURES)
    for path, other in zip(paths, again):
        with open(path, "rb") as one, open(other, "rb") as two:
            text = one.read()
            assert text == two.read()
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"


def test_no_figures_of_nothing(tmp_path):
    assert figures.draw(tmp_path, []) == []


def test_expectation_without_both_sides_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        bench.parse_options(["--rivals", "exec", "--expect-trivial", "14"])
    assert ended.value.code == 2
    assert "needs Vivarium, the rival bwrap" in capsys.readouterr().err


def test_expectation_is_judged():
    assert report.expectation(a_run(), "trivial", 8, 27)[0]
    assert not report.expectation(a_run(), "trivial", 8, 28)[0]
    assert not report.expectation([], "trivial", 8, 1)[0]


def test_process_times_are_read_behind_any_name():
    line = "12 (a ) b) S 3 12 12 0 -1 4194560 1 2 3 4 50 6 70 8 20 0 1 0 999 1 1\n"
    process = proctree.parse_stat(line)
    assert process[:7] == (12, 3, "a ) b", "S", 999, 56, 78)


@pytest.mark.parametrize("name, parent, pids, role", [
    ("nginx", "sh", [10], "nginx"), ("sh", "python3", [10], "start"),
    ("vivarium", "sh", [10], "launcher"), ("vivarium", "vivarium", [11, 1], "master"),
    ("vivarium", "vivarium", [12, 7], "worker"),
    ("vivarium", "vivarium", [13, 8, 1], "dispatcher"),
    ("vivarium-templa", "vivarium", [14, 9], "template"),
    ("vivarium-templa", "vivarium", [15, 20, 1], "warden"),
    ("vivarium-templa", "vivarium-templa", [16, 21, 2], "execution")])
def test_roles(name, parent, pids, role):
    assert proctree.role(name, parent, pids, 2) == role
