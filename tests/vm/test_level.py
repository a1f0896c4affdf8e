"""Many executions, and nothing that piles up: EXECUTIONS says how many."""

import concurrent.futures
import os
import re
import subprocess
import time
from pathlib import Path

from test_systemd import SETS, Unit

EXECUTIONS = int(os.environ.get("EXECUTIONS", 1000))
CLIENTS = 4
SCRIPTS = [
    ("def main():\n    return 1", 200),
    ("def main():\n    open('/tmp/x', 'w').write('x' * 100000)\n    return 2", 200),
    ("import numpy as np\ndef main():\n    return float(np.arange(1000).sum())", 200),
    ("import os\ndef main():\n    if not os.fork(): os._exit(0)\n    os.wait()\n    return 3", 200),
    ("def main():\n    raise ValueError('bad')", 400),
    ("import os, signal\ndef main():\n    os.kill(os.getpid(), signal.SIGKILL)", 400),
]
SLABS = ("mnt_cache", "net_namespace", "pid_namespace", "user_namespace", "nsproxy",
         "cgroup_namespace", "uts_namespace", "cred", "task_struct", "shmem_inode_cache",
         "sock_inode_cache", "pid", "pid_2")


def slabs():
    """
    Objects in use of those caches that would show a leak; the others are caches indeed. The free
    ones that each processor keeps for itself would count as used: they are given back first.
    """
    found = {}
    for name in SLABS:
        shrink = Path(f"/sys/kernel/slab/{name}/shrink")
        if shrink.exists():
            shrink.write_text("1")
    for line in Path("/proc/slabinfo").read_text().splitlines()[2:]:
        name, active = line.split()[:2]
        if name in SLABS:
            found[name] = int(active)
    return found


def namespaces():
    lines = subprocess.check_output(["lsns", "--noheadings", "--output", "TYPE"], text=True).split()
    return {kind: lines.count(kind) for kind in set(lines)}


def kernel_kib():
    """Memory of the kernel that cannot be reclaimed."""
    fields = dict(re.findall(r"^(\w+): +(\d+) kB", Path("/proc/meminfo").read_text(), re.M))
    return sum(int(fields[name]) for name in ("SUnreclaim", "KernelStack", "PageTables", "Percpu"))


def measure(service):
    """When all is quiet, and the kernel has freed what it frees later."""
    deadline = time.monotonic() + 120
    while service.get("/health").data["workers"]["busy"] and time.monotonic() < deadline:
        time.sleep(0.5)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    time.sleep(5)
    return {"namespaces": namespaces(), "slabs": slabs(), "kernel_kib": kernel_kib(),
            "groups": len(list(Path("/sys/fs/cgroup").rglob("cgroup.procs"))),
            "dying groups": int(re.search(r"nr_dying_descendants (\d+)", Path(
                "/sys/fs/cgroup/cgroup.stat").read_text())[1]),
            "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines())}


def choose(number):
    """All of the scripts in turn; where there are very many, three quarters are the plainest."""
    if EXECUTIONS <= 10000:
        return SCRIPTS[number % len(SCRIPTS)]
    return SCRIPTS[0] if number % 4 else SCRIPTS[number // 4 % len(SCRIPTS)]


def run_many(service, count):
    """Returns the answers that were not as expected, the first few of them."""
    def run(number):
        script, status = choose(number)
        answer = service.execute(script, timeout=60, memory=128)
        return None if answer.status == status else (number, answer)
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        return [wrong for wrong in clients.map(run, range(count)) if wrong][:3]


def test_executions_leave_the_kernel_level():
    # the clients' closed connections would be in the caches for a minute more
    Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").write_text("0")
    service = Unit("vivarium-level", library_sets=SETS, cell_executions=500, queue_timeout=60)
    try:
        assert run_many(service, 100) == []
        before = measure(service)
        begun = time.monotonic()
        wrong = run_many(service, EXECUTIONS)
        seconds = time.monotonic() - begun
        after = measure(service)
        print(f"\n{EXECUTIONS} executions in {seconds:.0f} s\nbefore {before}\nafter  {after}")
        assert wrong == []
        for name in ("namespaces", "groups", "mounts"):
            assert after[name] == before[name], name
        assert after["dying groups"] <= before["dying groups"] + 4
        for name, count in after["slabs"].items():
            assert count <= before["slabs"][name] * 1.1 + 50, (name, before["slabs"][name], count)
        assert after["kernel_kib"] < before["kernel_kib"] + 8192
    finally:
        service.stop()
