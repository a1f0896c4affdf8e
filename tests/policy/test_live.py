"""The system-call policy in force, asked from inside of an execution."""

import re
import sys
from pathlib import Path

from conftest import TOP

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "escape"))
from attacks import NUMBERS, assert_serves, run  # noqa: E402

NEWER = {449: "futex_waitv", 452: "fchmodat2"}  # in the policy, not in every kernel's headers
PROBES = {335: "uretprobe", 336: "uprobe"}  # newer kernels do not ask a filter about these two


def names_in_policy():
    """All calls that some line of the file speaks of."""
    names = set()
    for line in (TOP / "conf" / "seccomp.policy").read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line and not line.startswith("["):
            names.update(word.rstrip("?") for word in line.partition(":")[0].split())
    return names


def test_all_calls_that_the_policy_does_not_name_are_refused(service):
    """Every number up to 600 but those in the file, with impossible arguments: EPERM."""
    named = sorted(set(NUMBERS) & names_in_policy())
    others = sorted(set(range(600)) - {NUMBERS[name] for name in named} - set(NEWER)
                    - set(PROBES))
    answer = run(service, f"""
def main():
    return [[number, call(number, -1, -1, -1, -1, -1, -1)] for number in {others}]
""")
    assert answer.status == 200, answer
    print(f"the policy names {len(named)} system calls; {len(others)} others were tried")
    assert [(n, said) for n, said in answer.data["result"] if said != "EPERM"] == []
    assert len(answer.data["result"]) == len(others)
    assert 120 < len(named) < 200
    assert_serves(service)


def test_calls_of_probes_are_of_no_use(service):
    """Where the kernel lets them past the filter it kills whoever is not a probe of its own."""
    answer = run(service, f"""
def main():
    return [in_child(call, number, 0, 0, 0, 0, 0, 0) for number in {sorted(PROBES)}]
""")
    assert answer.status == 200, answer
    assert set(answer.data["result"]) <= {"'EPERM'", "'ENXIO'", "signal 4"}
    assert_serves(service)


def test_calls_of_the_warden_are_closed_to_scripts(service):
    """What [warden] allows is refused once a script may run, with its mark and without."""
    text = (TOP / "conf" / "seccomp.policy").read_text()
    section = text.partition("\n[warden]\n")[2].partition("\n[")[0]
    names = [word for line in section.splitlines() if ":" not in line
             for word in line.partition("#")[0].split()]
    assert {"capset", "seccomp", "umount2", "move_mount", "statfs"} <= set(names)
    mark = re.search(r"WARDEN_CALL_MARK (0x\w+)", (TOP / "sandbox/warden_call.h").read_text())[1]
    attempts = [*((name, (-1,) * 5) for name in names), ("unshare", (0x10000000, 0, 0, 0, 0)),
                ("unshare", (0x20000, 0, 0, 0, 0)), ("prctl", (4, 1, 0, 0, 0)),
                ("prctl", (24, 0, 0, 0, 0)), ("prctl", (47, 4, 0, 0, 0))]
    answer = run(service, f"""
def main():
    return [call(name, *arguments, last) for name, arguments in {attempts}
            for last in ({mark}, {mark} | 1 << 32, 0)]
""")
    assert answer.status == 200, answer
    unmarked = {"statfs": "ENOSYS"}  # libraries ask, and do without
    assert answer.data["result"] == [said for name, _ in attempts for said in (
        "EPERM", *[unmarked.get(name, "EPERM")] * 2)]
    assert_serves(service)


def test_filters_are_in_force(service):
    """The kernel says so itself: mode 2 (PR_GET_SECCOMP), and no_new_privs."""
    answer = run(service, """
def main():
    return [call("prctl", 21, 0, 0, 0, 0), call("prctl", 39, 0, 0, 0, 0)]
""")
    assert answer.data["result"] == [2, 1]


def test_names_are_read_right():
    """The reader of the file above sees conditions, markers and comments for what they are."""
    names = names_in_policy()
    assert {"read", "clone", "clone3", "setxattr", "fchmodat2", "prctl"} <= names
    assert not names & {"arg0", "Files", "execve", "socket", "mount", "bpf", "F_DUPFD"}
