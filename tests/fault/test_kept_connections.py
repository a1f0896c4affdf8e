"""Connections that nginx keeps to the dispatcher: one that is refused something is no broken one."""

import signal
import subprocess
import time
from pathlib import Path

from supervision import Tree, eventually


def slow_to_close(process, milliseconds):
    """A tracer under which the process takes its time to close a connection."""
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=shutdown",
                               "-e", f"inject=shutdown:delay_enter={milliseconds}000",
                               f"--attach={process.pid}"])
    status = Path(f"/proc/{process.pid}/status")
    assert eventually(lambda: "TracerPid:\t0" not in status.read_text(), 10)
    return tracer


def test_a_refusal_keeps_the_connection(service):
    """nginx may send the next request as soon as it has an answer: one that was then closed is 502.

    The body of what is refused by its header is read all the same, whatever its size.
    """
    tracer = slow_to_close(Tree(service).dispatcher, 30)
    try:
        for number in range(40):
            answer = service.request("POST", "/execute", "x" * (100, 20000, 300000)[number % 3],
                                     {"Content-Type": "text/plain"})
            assert answer.status == 415, (number, answer)
            time.sleep(0.001 * (number % 4))
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
