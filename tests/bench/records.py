"""Records of measurements, and what is computed of them: percentiles, spreads, ratios.

A record is a flat dict with a "kind" and, mostly, "service", "script" and "repetition".
"""

import statistics

SUBJECT = "vivarium"
SPREAD = "min / median / max"


def percentile(values, percent):
    """The nearest-rank percentile of a list that is not empty."""
    ordered = sorted(values)
    # In thousandths of a percent, or the floating point of 99.9 would round the rank up.
    rank = max(1, -(-len(ordered) * round(percent * 1000) // 100_000))
    return ordered[rank - 1]


def short(number):
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def known(values):
    return [value for value in values if value is not None]


def spread(values):
    """'min / median / max' of what was measured; '-' for nothing."""
    values = known(values)
    if not values:
        return "-"
    return " / ".join(short(f(values)) for f in (min, statistics.median, max))


def median(values):
    """Of what was measured; None for nothing."""
    values = known(values)
    return statistics.median(values) if values else None


def times(numbers):
    """'3 x 60' for 60, 60, 60."""
    if len(set(numbers)) == 1:
        return f"{len(numbers)} x {numbers[0]}"
    return " + ".join(map(str, numbers))


def unique(records, key):
    return list(dict.fromkeys(record[key] for record in records if key in record))


def select(records, **wanted):
    return [r for r in records if all(r.get(key) == value for key, value in wanted.items())]


def column(records, key):
    return [record.get(key) for record in records]


def quotients(above, below, above_key, below_key=None):
    """above / below of the same repetition, as they ran side by side; one for each pair."""
    found = []
    for one in above:
        for other in select(below, repetition=one["repetition"]):
            a, b = one.get(above_key), other.get(below_key or above_key)
            if a is not None and b:
                found.append(a / b)
    return found


def throughput_ratios(records, rival, script, connections, tool="wrk"):
    """How many times the rival's throughput the subject has."""
    loads = select(records, kind="load", tool=tool, script=script, connections=connections)
    return quotients(select(loads, service=SUBJECT), select(loads, service=rival), "rps")


def latency_ratios(records, rival, script, key="p50_ms"):
    """The subject's unloaded latency by the rival's: below 1 is better."""
    mine = select(records, kind="open", script=script)
    return quotients(select(mine, service=SUBJECT), select(mine, service=rival), key)


def pooled_percentile(runs, percent, at_least):
    """Over all runs of open loops together, from the slowest that each kept; None where fewer
    answers than at_least are there."""
    total = sum(run["good"] for run in runs)
    if total < at_least:
        return None
    slowest = sorted((value for run in runs for value in run["slowest_ms"]), reverse=True)
    above = total - max(1, -(-total * round(percent * 1000) // 100_000))
    return slowest[above] if above < min(len(run["slowest_ms"]) for run in runs) else None
