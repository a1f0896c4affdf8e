"""Members of a process tree, their roles, CPU time and memory, read from /proc."""

import os
import signal
from collections import namedtuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Process = namedtuple("Process", "pid ppid name state start_ticks own_ticks reaped_ticks")


def parse_stat(text):
    """One /proc/PID/stat: user and system time, its own and of children it reaped."""
    head, _, tail = text.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = tail.split()
    ticks = [int(field) for field in fields[11:15]]
    return Process(int(pid), int(fields[1]), name, fields[0], int(fields[19]),
                   ticks[0] + ticks[1], ticks[2] + ticks[3])


def processes():
    """All processes that can be seen, by pid."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                process = parse_stat(stat.read())
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[process.pid] = process
    return found


def tree(root):
    """The process `root` (a pid) and all below it that live now."""
    everybody = processes()
    children = {}
    for process in everybody.values():
        children.setdefault(process.ppid, []).append(process.pid)
    members, to_do = {}, [root]
    while to_do:
        pid = to_do.pop()
        if pid in everybody and pid not in members:
            members[pid] = everybody[pid]
            to_do += children.get(pid, [])
    return list(members.values())


def cpu_seconds(root):
    """CPU time of the tree so far. A reaped child stays counted, in the one that reaped it."""
    return sum(p.own_ticks + p.reaped_ticks for p in tree(root)) / TICKS_PER_S


def below(root):
    """The live processes below `root`, without zombies."""
    return [p for p in tree(root) if p.pid != root and p.state not in "ZX"]


def kill(process):
    """SIGKILL to a Process, unless its pid has become another's in the meantime."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        now = processes().get(process.pid)
        if now and now.start_ticks == process.start_ticks:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


# -- roles of Vivarium's processes

def namespace_pids(pid):
    """Its process ids, one for each PID namespace that it is in, the outermost first."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
            for line in status:
                if line.startswith("NSpid:"):
                    return [int(word) for word in line.split()[1:]]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return [pid]


def role(name, parent_name, pids, service_depth):
    """What a process is, by its name, its parent's and its numbers in nested PID namespaces.

    service_depth: how many of those the master has. Each cell has one namespace more, in which the
    warden is process 1, and the dispatcher has one of its own.
    """
    is_first, is_deeper = pids[-1] == 1, len(pids) > service_depth
    if name == "nginx":
        return "nginx"
    if name.startswith("vivarium-templ"):
        return "template" if not is_deeper else "warden" if is_first else "execution"
    if name == "vivarium":
        if parent_name != "vivarium":
            return "launcher"
        return "dispatcher" if is_deeper else "master" if is_first else "worker"
    return "start"


def roles(members):
    """{pid: role} of the processes of one instance."""
    by_pid = {process.pid: process for process in members}
    numbers = {pid: namespace_pids(pid) for pid in by_pid}

    def parent_name(process):
        parent = by_pid.get(process.ppid)
        return parent.name if parent else ""
    depths = [len(numbers[p.pid]) for p in members
              if p.name == "vivarium" and parent_name(p) == "vivarium"]
    depth = min(depths, default=1)
    return {p.pid: role(p.name, parent_name(p), numbers[p.pid], depth) for p in members}


# Whom a process reaps, where that is not its like: cells that are given up end as the master's.
REAPS = {"warden": "execution", "master": "replaced cells"}


def cpu_by_role(root):
    """{role: CPU seconds so far}."""
    members = tree(root)
    of = roles(members)
    seconds = {}
    for process in members:
        own = of[process.pid]
        reaped = REAPS.get(own, own)
        seconds[own] = seconds.get(own, 0) + process.own_ticks / TICKS_PER_S
        seconds[reaped] = seconds.get(reaped, 0) + process.reaped_ticks / TICKS_PER_S
    return seconds
