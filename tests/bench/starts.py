"""Start-up time and idle memory: every service is started several times, alone on the machine,
because processes of several services share pages and would make each other look smaller.

Vivarium also with more cells, and with more workers: what each of those costs is a difference.
"""

import time

import load
import memory
import records
import services

WARM_SCRIPT = "pandas"
MANY = 2    # times as many cells or workers


def measure(bench):
    """Records of kinds "start" and "memory", for each repetition."""
    shapes = {}
    for repetition in range(bench.options.repetitions):
        for name in in_turns(bench.contenders, repetition):
            if name == records.SUBJECT:
                measure_vivarium(bench, repetition, shapes)
            else:
                measure_one(bench, bench.contenders[name](), repetition, {"settings": "default"})
        bench.progress(repetition, "starts")


def in_turns(names, repetition):
    names = list(names)
    shift = repetition % len(names)
    return names[shift:] + names[:shift]


def measure_vivarium(bench, repetition, shapes):
    """As configured; then with more cells; then with more workers."""
    make = bench.contenders[records.SUBJECT]
    measure_one(bench, make(), repetition, {"settings": "default"}, shapes)
    if not shapes:
        return
    workers, cells = shapes["workers"], shapes["cells"]
    for settings, shape in (("more cells", (workers, MANY * cells)),
                            ("more workers", (MANY * workers, cells))):
        measure_one(bench, make((f"workers={shape[0]}", f"cells_per_worker={shape[1]}")),
                    repetition, {"settings": settings})


def measure_one(bench, service, repetition, about, shapes=None):
    about = {"service": service.name, "repetition": repetition, **about}
    bench.running.append(service)
    begin = time.monotonic()
    service.start()
    service.wait_healthy(bench.options.start_timeout)
    load.verify(service, "trivial")
    bench.records.append({"kind": "start", "ready_s": time.monotonic() - begin, **about})
    service.wait_final(bench.options.start_timeout)
    try:
        measure_memory(bench, service, about, shapes)
    except PermissionError:
        bench.note_once("memory was not measured: to read it of Vivarium's processes needs root")
    bench.stop(service)


def measure_memory(bench, service, about, shapes):
    service.is_idle(timeout_s=10)
    state = {"kind": "memory", "state": "idle", **about, **shape_of(service, shapes)}
    bench.records.append(state)
    if service.name != records.SUBJECT or WARM_SCRIPT not in bench.options.scripts:
        return
    # As many clients as there are cells, so that all come to hold that script's libraries.
    clients = state["workers"] * state["cells"]
    bench.tools.load("wrk", service, WARM_SCRIPT, clients, max(2, clients // 8))
    services.settle(service, WARM_SCRIPT, clients)
    bench.records.append({"kind": "memory", "state": WARM_SCRIPT, **about, **shape_of(service)})


def shape_of(service, shapes=None):
    """Memory by role, and how many workers and cells Vivarium has."""
    found = memory.measure(service.process.pid)
    if service.name != records.SUBJECT:
        return found
    workers = found["by_role"].get("worker", {}).get("processes", 0)
    cells = found["by_role"].get("warden", {}).get("processes", 0)
    if not workers or cells % workers:
        raise services.ServiceError(f"{service.name}: {workers} workers and {cells} wardens were "
                                    "found: the benchmark does not know its processes any more")
    found.update(workers=workers, cells=cells // workers)
    if shapes is not None:
        shapes.update(workers=workers, cells=cells // workers)
    return found


def growth(found, state):
    """[(MB of a parked execution, MB of a worker)] of each repetition."""
    grown = []
    for base in records.select(found, kind="memory", state=state, settings="default",
                               service=records.SUBJECT):
        others = [records.select(found, kind="memory", state=state, settings=settings,
                                 repetition=base["repetition"])
                  for settings in ("more cells", "more workers")]
        if all(others):
            grown.append(memory.slopes(base, others[0][0], others[1][0]))
    return grown
