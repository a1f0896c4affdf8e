"""What can be counted of an idle instance, to be compared with itself later."""

import os
import re
from pathlib import Path

from supervision import eventually, standing_cells


def count_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def count_kept_connections(pid):
    """Accepted connections that nginx keeps for later requests, as many as it likes."""
    kept = {f"socket:[{line.split()[6]}]"
            for line in Path("/proc/net/unix").read_text().splitlines()
            if line.endswith("/execute.sock") and line.split()[5] == "03"}
    return sum(os.readlink(f"/proc/{pid}/fd/{fd}") in kept for fd in os.listdir(f"/proc/{pid}/fd"))


def count_mounts(pid):
    return len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())


def mounts_of(pid):
    """The flags of each mount by its place, of two on one place those of the upper."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return {line.split()[4]: set(line.split()[5].split(",")) for line in lines}


def private_kib(pid):
    """Memory that is this process' own: fork and page cache share the rest with others."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.M))


def namespaces(tree, kind):
    found = set()
    for process in tree.all:
        try:
            found.add(os.readlink(f"/proc/{process.pid}/ns/{kind}"))
        except OSError:
            continue
    return found


def roles(tree):
    named = {"launcher": tree.launcher, "master": tree.master, "dispatcher": tree.dispatcher,
             "base": tree.base, "nginx": tree.nginx}
    for kind in ("workers", "wardens", "sets", "nginx_workers"):
        for index, process in enumerate(sorted(getattr(tree, kind), key=lambda p: p.pid)):
            named[f"{kind} {index}"] = process
    return named


class Measures:
    """Of an idle instance."""

    def __init__(self, service):
        tree = standing_cells(service)
        named = roles(tree)
        self.pids = {name: process.key for name, process in named.items()}
        self.descriptors = {name: count_descriptors(p.pid) for name, p in named.items()}
        # nginx closes in its own time: an upper bound is all that can be asked
        self.nginx_descriptors = sum(self.descriptors.pop(name) for name in list(named)
                                     if name.startswith("nginx_workers"))
        # it makes threads as they are needed, keeps them, and each has a descriptor of its own
        self.descriptors["dispatcher"] -= tree.dispatcher.threads
        kept = count_kept_connections(tree.dispatcher.pid)
        self.descriptors["dispatcher"] -= kept
        self.nginx_descriptors -= kept
        self.mounts = {name: count_mounts(p.pid) for name, p in named.items()}
        self.memory = {name: private_kib(p.pid) for name, p in named.items()}
        # the shell that watches them waits with a "sleep"
        self.processes = len([p for p in tree.all if p.name != "sleep"])
        self.namespaces = {kind: len(namespaces(tree, kind))
                           for kind in ("user", "pid", "mnt", "ipc", "net", "uts", "cgroup")}
        self.threads = {name: p.threads for name, p in named.items() if name != "dispatcher"}


def measure(service):
    """A cell that is just being replaced may go while one looks at it: then again."""
    for _ in range(20):
        try:
            return Measures(service)
        except OSError:
            continue
    return Measures(service)


COUNTED = ("pids", "descriptors", "mounts", "processes", "namespaces", "threads")


def is_same(one, other):
    return all(getattr(one, field) == getattr(other, field) for field in COUNTED)


def settle(service):
    """Measures that stay: connections that have just ended are gone from nginx, too."""
    last = [measure(service)]

    def look():
        last.append(measure(service))
        return is_same(last[-1], last[-2])
    assert eventually(look, 10, pause=0.3)
    return last[-1]


def assert_same(service, before, growth_kib):
    """Everything countable is equal, and memory grew by no more than that."""
    eventually(lambda: is_same(measure(service), before), 5, pause=0.3)
    after = measure(service)
    for field in COUNTED:
        now, then = getattr(after, field), getattr(before, field)
        assert now == then, (field, now, then)
    assert after.nginx_descriptors <= before.nginx_descriptors + 2
    grown = {name: after.memory[name] - before.memory[name] for name in before.memory}
    assert max(grown.values()) <= growth_kib, grown
