"""CPU time and members of a process tree, read from /proc."""

import os
import signal
from collections import namedtuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Process = namedtuple("Process", "pid ppid name state start_ticks cpu_ticks")


def parse_stat(text):
    """One /proc/PID/stat; cpu_ticks: user and system time, its own and of children it reaped."""
    head, _, tail = text.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = tail.split()
    return Process(int(pid), int(fields[1]), name, fields[0], int(fields[19]),
                   sum(int(ticks) for ticks in fields[11:15]))


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
    return sum(process.cpu_ticks for process in tree(root)) / TICKS_PER_S


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
