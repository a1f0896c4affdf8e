"""A core handler of the host, which the kernel starts as root, never runs for an execution."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from test_systemd import Unit

PATTERN = Path("/proc/sys/kernel/core_pattern")
FATAL = ("SIGSEGV", "SIGABRT", "SIGQUIT", "SIGILL", "SIGFPE", "SIGBUS", "SIGSYS", "SIGTRAP")


@pytest.fixture
def calls(tmp_path):
    """Where a handler in the place of the host's own writes a line for each time it is called."""
    file, handler = tmp_path / "calls", tmp_path / "handler"
    file.touch()
    handler.write_text(f"#!/bin/sh\ncat >/dev/null\necho called >>{file}\n")
    handler.chmod(0o755)
    before = PATTERN.read_text()
    PATTERN.write_text(f"|{handler}")
    yield lambda: len(file.read_text().splitlines())
    PATTERN.write_text(before)


def test_core_handler(calls):
    """It is called for a process of the host that crashes, and for no script that does."""
    victim = subprocess.Popen(["sleep", "60"])
    victim.send_signal(signal.SIGSEGV)
    victim.wait()
    deadline = time.monotonic() + 60
    while calls() != 1:
        assert time.monotonic() < deadline, "the handler does not work"
        time.sleep(0.2)
    unit = Unit("vivarium-core")
    try:
        for name in FATAL:
            answer = unit.execute(f"import os, signal\ndef main():\n"
                                  f"    os.kill(os.getpid(), signal.{name})")
            assert answer.data["cause"]["signal"] == name, answer
        ends = unit.execute("import ctypes\ndef main(): ctypes.string_at(0)")
        assert ends.data["cause"]["signal"] == "SIGSEGV", ends
        children = ("import os\ndef main():\n    pid = os.fork()\n    if not pid: os.abort()\n"
                    "    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])")
        assert unit.execute(children).data["result"] == -signal.SIGABRT
        time.sleep(5)
    finally:
        unit.stop()
    assert calls() == 1
