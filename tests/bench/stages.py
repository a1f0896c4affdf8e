"""Where each microsecond of an execution goes.

One request after the other, with a pause in which the next execution is parked. Client, script and
kernel read the same monotonic clock: the client notes when it sent and when it had all of the
answer, the script when it began and ended, and tracer.py which process made which system call when.
The first call of the next process on the way is where one stage ends and the next begins. Without
root or the kernel's tracing files there are three stages: before, in and after the script.
"""

import json
import os
import platform
import re
import socket
import statistics
import subprocess
import time
from collections import namedtuple

import load
import proctree
import records
import services

PAUSE_S = {"matplotlib": 0.3}
USUAL_PAUSE_S = 0.04
REQUESTS = {"matplotlib": 8}
USUAL_REQUESTS = 25
TRACER_TIMEOUT_S = 60

# Appended to the script: what it returns is when it began and ended.
STAMPED = """import time as _time
_begun = _time.monotonic_ns()
{script}
_main = main
def main():
    _main()
    return [_begun, _time.monotonic_ns()]
"""

Event = namedtuple("Event", "us tid role kind number")

LINE = re.compile(r"^\s*.*-(\d+)\s+\[\d+\]\s+\S+\s+(\d+)\.(\d{6}): (\w+): (.*)$")
NUMBER = re.compile(r"NR (-?\d+)")
FORKED = re.compile(r"child_pid=(\d+)")

# x86-64's numbers.
WRITE, SENDTO, SENDMSG, WRITEV = 1, 44, 46, 20
SENDS = {WRITE, SENDTO, SENDMSG, WRITEV}
FORKS = {56, 57, 435}                       # clone, fork, clone3
WAIT4, KILL, SECCOMP = 61, 62, 317
SWEEP = {KILL, WAIT4}
DESCRIPTORS = {33, 292, 436}                # dup2, dup3, close_range: the first step of the jail

# Stages as (name, from landmark, to landmark).
ON_THE_WAY = (
    ("client connects and sends, nginx wakes", "sent", "nginx"),
    ("nginx reads the request and passes it on", "nginx", "dispatcher"),
    ("dispatcher: FastCGI, JSON, queue, choice of a cell", "dispatcher", "worker"),
    ("worker hands the job from lane to channel", "worker", "execution"),
    ("execution: limits of the job, compile", "execution", "begun"),
    ("execution: the script itself", "begun", "ended"),
    ("execution: encode and send the value", "ended", "worker back"),
    ("worker: drain, verdict, usage", "worker back", "dispatcher back"),
    ("dispatcher: the answer", "dispatcher back", "nginx back"),
    ("nginx: the answer, until the client has it", "nginx back", "answered"))
AFTERWARDS = (
    ("order to end, until the warden has it", "sending", "warden"),
    ("sweep: kill all, reap", "warden", "swept"),
    ("/tmp: untouched, or a fresh one; order to fork", "swept", "forking"),
    ("fork, until the child runs", "forking", "child"),
    ("hot pages are touched", "child", "jail"),
    ("jail: descriptors, namespace, limits, filter", "jail", "jailed"),
    ("Python wakes, reseeds; parked", "jailed", "parked"))
COARSE = (
    ("before the script", "sent", "begun"),
    ("the script itself", "begun", "ended"),
    ("after the script", "ended", "answered"))
WAYS = {"traced": ON_THE_WAY, "afterwards": AFTERWARDS, "untraced": COARSE}


class NotUnderstood(Exception):
    """A trace in which the stages of a request are not to be found."""


# -- requests

def ask(address, text):
    """One request on a socket of its own; ({landmark: us}, what the answer says of usage)."""
    sent = time.monotonic_ns()
    answer = b""
    with socket.create_connection(address, timeout=load.REQUEST_TIMEOUT_S) as connection:
        connection.sendall(text)
        while not is_whole(answer):
            part = connection.recv(65536)
            if not part:
                break
            answer += part
    answered = time.monotonic_ns()
    try:
        data = json.loads(answer.partition(b"\r\n\r\n")[2])
        begun, ended = data["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise load.WrongAnswer("no stamps in the answer: "
                               + answer[:2000].decode(errors="replace")) from error
    return {"sent": sent / 1000, "begun": begun / 1000, "ended": ended / 1000,
            "answered": answered / 1000}, data["usage"]


def is_whole(answer):
    head, blank, body = answer.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head, re.I)
    return bool(blank and found and len(body) >= int(found[1]))


def request_text(script):
    body = json.dumps({"script": STAMPED.format(script=load.read_script(script))}).encode()
    return (b"POST /execute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)) + body


def ask_many(service, script, count):
    text = request_text(script)
    found = []
    for _ in range(count):
        found.append(ask(service.address, text))
        time.sleep(PAUSE_S.get(script, USUAL_PAUSE_S))
    return found


# -- the trace

def thread_roles(root):
    """{thread id: role} of all processes of the service."""
    members = proctree.tree(root)
    found = {}
    for pid, role in proctree.roles(members).items():
        try:
            found.update((int(tid), role) for tid in os.listdir(f"/proc/{pid}/task"))
        except FileNotFoundError:
            pass
    return found


def parse_trace(lines, roles):
    """Events in the order of time. roles: {thread: role} at the start; children follow parents."""
    roles, events = dict(roles), []
    for line in lines:
        found = LINE.match(line)
        if not found:
            continue
        tid, us = int(found[1]), int(found[2]) * 1_000_000 + int(found[3])
        kind, rest = found[4], found[5]
        role = roles.get(tid, "?")
        if kind == "sched_process_fork":
            number = int(FORKED.search(rest)[1])
            roles[number] = "execution" if role == "warden" else role
        elif kind in ("sys_enter", "sys_exit"):
            number = int(NUMBER.search(rest)[1])
        else:
            number = 0
        events.append(Event(us, tid, role, kind, number))
    return events


def first(events, after_us, **wanted):
    """The first event from then on; kind, role and tid as wanted, number among `numbers`."""
    numbers = wanted.pop("numbers", None)
    for event in events:
        if event.us >= after_us and (numbers is None or event.number in numbers) \
                and all(getattr(event, key) == value for key, value in wanted.items()):
            return event
    raise NotUnderstood(f"no {wanted} {numbers or ''}")


def last(events, before_us, **wanted):
    return first([e for e in reversed(events) if e.us <= before_us], 0, **wanted)


def find_way(events, stamps):
    """Landmarks of one request from the client and back to it."""
    at = dict(stamps)
    at["nginx"] = first(events, at["sent"], role="nginx").us
    at["dispatcher"] = first(events, at["nginx"], role="dispatcher").us
    at["worker"] = first(events, at["dispatcher"], role="worker").us
    ours = last(events, at["begun"], role="execution").tid
    at["execution"] = first(events, at["worker"], tid=ours).us
    at["sending"] = first(events, at["ended"], tid=ours, kind="sys_enter", numbers=SENDS).us
    at["worker back"] = first(events, at["sending"], role="worker").us
    at["dispatcher back"] = first(events, at["worker back"], role="dispatcher").us
    at["nginx back"] = first(events, at["dispatcher back"], role="nginx").us
    return at


def find_next(events, sending_us):
    """Landmarks from the value to the next execution that is parked."""
    at = {"sending": sending_us}
    warden = first(events, sending_us, role="warden")
    at["warden"] = warden.us
    forking = first(events, at["warden"], tid=warden.tid, kind="sys_enter", numbers=FORKS)
    at["forking"] = forking.us
    calls = [e for e in events if e.tid == warden.tid and e.kind == "sys_enter"]
    killing = first(calls, at["warden"], number=KILL)
    at["swept"] = first([e for e in calls if e.number not in SWEEP], killing.us).us
    child = first(events, forking.us, tid=warden.tid, kind="sched_process_fork").number
    at["child"] = first(events, forking.us, tid=child).us
    at["jail"] = first(events, at["child"], tid=child, kind="sys_enter", numbers=DESCRIPTORS).us
    at["jailed"] = last(events, events[-1].us, tid=child, kind="sys_exit", numbers={SECCOMP}).us
    at["parked"] = first(events, at["jailed"], tid=child, kind="sys_exit", numbers=SENDS).us
    return at


def durations(way, at):
    """{stage: microseconds}; NotUnderstood where landmarks are out of order."""
    found = {name: at[end] - at[begin] for name, begin, end in way}
    if min(found.values()) < 0:
        raise NotUnderstood("landmarks out of order")
    return found


def analyse(events, asked):
    """({way: [durations of each request]}, what was not understood)."""
    found = {"traced": [], "afterwards": []}
    failures = []
    for i, (stamps, _usage) in enumerate(asked):
        end = asked[i + 1][0]["sent"] if i + 1 < len(asked) else float("inf")
        window = [e for e in events if stamps["sent"] <= e.us < end]
        try:
            at = find_way(window, stamps)
            found["traced"].append(durations(ON_THE_WAY, at))
            found["afterwards"].append(durations(AFTERWARDS, find_next(window, at["sending"])))
        except NotUnderstood as error:
            failures.append(str(error))
    return found, failures


def count_calls(events, requests):
    """{role: (system calls, page faults)} of one execution, on average."""
    found = {}
    for role in {event.role for event in events} - {"?", "start"}:
        mine = [event.kind for event in events if event.role == role]
        found[role] = (mine.count("sys_enter") / requests,
                       mine.count("page_fault_user") / requests)
    return found


# -- the measurement

def can_trace():
    return os.geteuid() == 0 and platform.machine() == "x86_64"


def trace(bench, service, script, count):
    """Requests with the tracer running; (events, what the client saw)."""
    out = os.path.join(bench.folder, "trace.txt")
    roles = thread_roles(service.process.pid)
    command = ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount", services.PYTHON, "-I",
               os.path.join(services.HERE, "tracer.py"), out,
               *(str(process.pid) for process in proctree.tree(service.process.pid))]
    tracer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    try:
        if tracer.stdout.readline() != "ready\n":
            raise load.ToolError("the kernel's tracing cannot be used: "
                                 + tracer.communicate(timeout=TRACER_TIMEOUT_S)[1][-500:])
        asked = ask_many(service, script, count)
        complaints = tracer.communicate(timeout=TRACER_TIMEOUT_S)[1]
    finally:
        if tracer.poll() is None:
            tracer.terminate()
            tracer.wait(TRACER_TIMEOUT_S)
    if tracer.returncode:
        raise load.ToolError("the tracer failed: " + complaints[-500:])
    with open(out, encoding="utf-8", errors="replace") as file:
        return parse_trace(file, roles), asked


def measure(bench, repetition):
    """Records of kinds "stage", "usage" and "calls"."""
    service = next((s for s in bench.running if s.name == records.SUBJECT and s.process), None)
    if not service:
        return
    for script in bench.options.scripts:
        about = {"script": script, "repetition": repetition}
        count = REQUESTS.get(script, USUAL_REQUESTS) // (2 if bench.options.quick else 1)
        for _ in range(2):
            ask_many(service, script, 2)
        asked = ask_many(service, script, count)
        coarse = [durations(COARSE, stamps) for stamps, _usage in asked]
        keep(bench, {"untraced": coarse}, about)
        usages = [usage for _stamps, usage in asked]
        bench.records.append({
            "kind": "usage", **about, "parked": sum(usage["parked"] for usage in usages),
            "requests": len(usages),
            **{key: statistics.median(usage[key] for usage in usages)
               for key in ("queue_ms", "wall_ms", "cpu_ms")}})
        if can_trace():
            measure_traced(bench, service, script, count, about)
        else:
            bench.note_once("stages by system calls were not measured: that needs root and x86-64")


def measure_traced(bench, service, script, count, about):
    try:
        events, asked = trace(bench, service, script, count)
    except load.ToolError as error:
        bench.note_once(f"stages by system calls were not measured: {error}")
        return
    found, failures = analyse(events, asked)
    if len(failures) > count // 2:
        bench.failures.append(f"stages of {script}: {len(failures)} of {count} requests were not "
                              f"understood, such as: {failures[0]}")
        return
    keep(bench, found, about)
    for role, (calls, faults) in count_calls(events, count).items():
        bench.records.append({"kind": "calls", **about, "role": role, "calls": calls,
                              "faults": faults})


def keep(bench, found, about):
    """The median of each stage, and of all of it, in one repetition."""
    for way, runs in found.items():
        for stage, *_ in WAYS[way]:
            bench.records.append({"kind": "stage", "way": way, "stage": stage, **about,
                                  "us": statistics.median(run[stage] for run in runs)})
        bench.records.append({"kind": "stage", "way": way, "stage": "all", **about,
                              "us": statistics.median(sum(run.values()) for run in runs)})
