"""Runs a service and stays its ancestor: reaper.py COMMAND [ARGUMENT...]

Orphans of the service (daemons, and bubblewrap's process 1, which its parent leaves behind) become
children of this process, so that nothing gets out of sight and all CPU time ends up in the process
tree of the service. It ends, with the status of COMMAND, when the last of them has.
"""

import ctypes
import os
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36


def main(command):
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Signals to the group are for the service. Handlers, unlike "ignore", are not inherited by it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    # When this process is killed, the service is told to end.
    service = os.posix_spawnp("setpriv", ["setpriv", "--pdeathsig", "TERM", *command], os.environ)
    status = 0
    while True:
        try:
            pid, ended = os.waitpid(-1, 0)
        except ChildProcessError:
            return status
        if pid == service:
            status = os.waitstatus_to_exitcode(ended)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.exit(code if code >= 0 else 128 - code)
