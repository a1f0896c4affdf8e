"""Records the system calls, forks and page faults of processes and of their future children.

    unshare --mount /usr/bin/python3 tracer.py OUT PID...

Uses the kernel's own tracing files, in a buffer of its own (an instance); needs root. Run in a
mount namespace of its own, because tracefs may have to be mounted first. Prints "ready", traces
until its standard input ends, then writes what was seen to OUT, with times of CLOCK_MONOTONIC.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

TRACEFS = "/sys/kernel/tracing"
BUFFER_KIB = 16384     # for each processor
EVENTS = ("raw_syscalls/sys_enter", "raw_syscalls/sys_exit", "sched/sched_process_fork",
          "exceptions/page_fault_user")


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def threads(pids):
    found = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += os.listdir(f"/proc/{pid}/task")
    return found


def switch_on(instance, pids):
    for name, value in (("tracing_on", "0"), ("buffer_size_kb", str(BUFFER_KIB)),
                        ("trace_clock", "mono"), ("options/event-fork", "1"),
                        ("set_event_pid", " ".join(threads(pids)))):
        write(os.path.join(instance, name), value)
    for event in EVENTS:
        write(os.path.join(instance, "events", event, "enable"), "1")
    write(os.path.join(instance, "tracing_on"), "1")


def main(out, pids):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    if not os.path.exists(os.path.join(TRACEFS, "instances")):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACEFS], check=True)
    instance = os.path.join(TRACEFS, "instances", f"vivarium-bench-{os.getpid()}")
    os.mkdir(instance)
    try:
        switch_on(instance, pids)
        print("ready", flush=True)
        sys.stdin.read()
        write(os.path.join(instance, "tracing_on"), "0")
        with open(os.path.join(instance, "trace"), "rb") as trace, open(out, "wb") as file:
            shutil.copyfileobj(trace, file)
    finally:
        write(os.path.join(instance, "tracing_on"), "0")
        os.rmdir(instance)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
