"""Starting, watching and ending the services under measurement.

Only processes that were started here, and their descendants, are ever signalled.
"""

import os
import shlex
import signal
import socket
import subprocess
import time

import load
import proctree

PYTHON = "/usr/bin/python3"
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
IDLE_STEP_S = 0.1
FINAL_S = 3           # after the word of it: Vivarium's idle cells move over within two
IDLE_CPU_S = 0.015    # one tick
HEALTH_STEP_S = 0.005
KILL_AFTER_S = 5
RIVAL_STOP_S = 0.2
SLOW_BACKLOG = 8


class ServiceError(Exception):
    """A service that does not start, answer or end; the text is for people."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """One HTTP service. `command` is None when it was started elsewhere: it is not ended here then.

    stop_signal: what asks its process group to end. slow: it is asked less.
    is_rival: may be restarted at any time. final: what its log says when it is as it stays, some
    time after it serves; "": at once.
    """

    def __init__(self, name, address, command=None, *, note="", env=None, folder=None,
                 stop_signal=signal.SIGTERM, slow=False, is_rival=False, final=""):
        self.name, self.address, self.command, self.note = name, address, command, note
        self.env, self.folder, self.stop_signal = env or {}, folder, stop_signal
        self.slow, self.is_rival, self.final = slow, is_rival, final
        self.process = None     # reaper.py, the ancestor of all of the service's processes

    # -- life

    def start(self):
        if load.can_connect(self.address):
            raise ServiceError(f"{self.name}: something listens on port {self.address[1]} already")
        with open(self.log_path(), "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", PYTHON, "-I", os.path.join(HERE, "reaper.py"),
                 *self.command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.env}, start_new_session=True)

    def wait_healthy(self, timeout_s):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process and self.process.poll() is not None:
                raise ServiceError(f"{self.name} ended with status {self.process.returncode} "
                                   f"instead of serving; its last words:\n{self.last_words()}")
            if load.is_healthy(self.address):
                return
            time.sleep(HEALTH_STEP_S)
        raise ServiceError(f"{self.name}: GET /health was not 200 within {timeout_s:.0f} s"
                           f"{self.last_words()}")

    def wait_final(self, timeout_s):
        end = time.monotonic() + timeout_s
        while self.process and self.final not in self.last_words():
            if time.monotonic() > end:
                raise ServiceError(f"{self.name}: \"{self.final}\" was not in its log within "
                                   f"{timeout_s:.0f} s{self.last_words()}")
            time.sleep(IDLE_STEP_S)
        if self.final:
            time.sleep(FINAL_S)

    def stop(self, timeout_s):
        """Ask it to end, kill what does not; return complaints (none if all ended by itself)."""
        if not self.process:
            return []
        if self.process.poll() is not None:
            return [f"{self.name}: ended too early, with status {self.process.returncode}"
                    + self.last_words()]
        self.signal_group()
        left = [] if self.has_ended(timeout_s) else proctree.below(self.process.pid)
        complaints = [f"{self.name}: still running {timeout_s:.0f} s after "
                      f"{self.stop_signal.name}: {p.name} (pid {p.pid})" for p in left]
        self.kill_rest()
        if load.can_connect(self.address):
            complaints.append(f"{self.name}: port {self.address[1]} still accepts connections")
        self.process = None
        return complaints

    def restart(self):
        """Throw away queued work of clients that have gone. For rivals that live."""
        if self.process.poll() is not None:
            raise ServiceError(f"{self.name} ended by itself, with status "
                               f"{self.process.returncode}; its last words:{self.last_words()}")
        self.stop(RIVAL_STOP_S)
        self.start()
        self.wait_healthy(30)

    def has_ended(self, timeout_s):
        """Wait for reaper.py, which outlives all others of the service."""
        try:
            self.process.wait(timeout_s)
            return True
        except subprocess.TimeoutExpired:
            return False

    def kill_rest(self):
        end = time.monotonic() + KILL_AFTER_S
        while not self.has_ended(0.05) and time.monotonic() < end:
            for process in proctree.below(self.process.pid):
                proctree.kill(process)

    def signal_group(self):
        try:
            os.killpg(self.process.pid, self.stop_signal)
        except ProcessLookupError:
            pass

    # -- sight

    def cpu_seconds(self):
        """CPU time of all its processes so far, or None if they are not ours to know."""
        return proctree.cpu_seconds(self.process.pid) if self.process else None

    def cpu_by_role(self):
        """CPU seconds of Vivarium's kinds of processes so far."""
        return proctree.cpu_by_role(self.process.pid)

    def is_idle(self, timeout_s):
        """Wait until its processes use no CPU to speak of; False if they went on."""
        if not self.process:
            time.sleep(2 * IDLE_STEP_S)
            return True
        end, before = time.monotonic() + timeout_s, self.cpu_seconds()
        while time.monotonic() < end:
            time.sleep(IDLE_STEP_S)
            now = self.cpu_seconds()
            if now - before <= IDLE_CPU_S:
                return True
            before = now
        return False

    def log_path(self):
        return os.path.join(self.folder, self.name + ".log")

    def last_words(self):
        if not self.process:
            return ""
        with open(self.log_path(), encoding="utf-8", errors="replace") as log:
            return "\n" + "".join(log.readlines()[-20:])


BWRAP_WORKERS = 4


def vivarium(start, address, folder, settings=()):
    """Vivarium by its start command, in which {port} becomes a free port; settings: "key=value"."""
    address = address or ("127.0.0.1", free_port() if "{port}" in start else 8080)
    command = shlex.split(start.replace("{port}", str(address[1])))
    for setting in ("template_quick_age=1", *settings):
        command += ["--set", setting]
    # what is published says nothing of where the tree lies
    return Service("vivarium", address, command, note=start.replace(TOP + "/", ""), folder=folder,
                   stop_signal=signal.SIGINT, final="is replaced after")


def bwrap(folder):
    return gunicorn("bwrap", "rival_bwrap:app", BWRAP_WORKERS, folder, slow=True)


def no_isolation(folder, workers):
    return gunicorn("exec", "rival_exec:app", workers, folder)


def gunicorn(name, app, workers, folder, *, slow=False):
    """A Flask app of this folder under gunicorn's sync workers, on a free port."""
    port = free_port()
    command = [PYTHON, "-m", "gunicorn", "--workers", str(workers), "--preload",
               "--bind", f"127.0.0.1:{port}", "--timeout", "60", "--log-level", "warning",
               "--worker-tmp-dir", "/dev/shm", "--chdir", HERE, app]
    env = {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
           "MPLCONFIGDIR": folder, "BENCH_CACHE": folder}
    return Service(name, ("127.0.0.1", port), command, env=env, folder=folder, slow=slow,
                   is_rival=True, note=f"gunicorn, {workers} sync workers")


def settle(service, script, backlog):
    """After a load: let what is still queued pass, so that it does not disturb the next service.

    backlog: clients of that load. Sync workers run the requests of clients that have long gone: a
    rival that has much of that before it is restarted.
    """
    if service.slow and backlog > SLOW_BACKLOG:
        service.restart()
        return
    try:
        load.execute(service.address, script, timeout_s=3 if service.is_rival else 60)
        quiet = service.is_idle(timeout_s=3)
    except load.NO_ANSWER as error:
        if not service.is_rival:
            raise ServiceError(f"{service.name}: no answer after the load: {error!r}") from error
        quiet = False
    if service.is_rival and not quiet:
        service.restart()
