"""multiprocessing where no program can be started: what needs one is left out, or says so.

Its processes are forks. Its other start methods run a new Python, and its resource tracker is one.
"""

import errno
import importlib.machinery
import sys


class _Finder:
    """Adapts modules when they are imported, now or by a script."""

    @staticmethod
    def find_spec(name, path, target=None):
        if name not in _ADAPTERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            _ADAPTERS[name](module)
        spec.loader.exec_module = exec_module
        return spec


def _disable_resource_tracker(tracker):
    """The cell is its clean-up."""
    def nothing(*arguments):
        return None
    tracker.ensure_running = tracker.register = tracker.unregister = nothing
    tracker._resource_tracker.ensure_running = nothing
    tracker._resource_tracker.register = tracker._resource_tracker.unregister = nothing


def _refuse_programs(context):
    """At the start of a process: before that a start method is but a name, which many ask for."""
    for kind in (context.SpawnProcess, context.ForkServerProcess):
        kind._Popen = staticmethod(_refusal_of(kind._start_method))


def _refusal_of(start_method):
    def refuse(process):
        raise PermissionError(
            errno.EPERM, "the start method '%s' runs a new Python, which is not allowed here: "
                         "processes can only be started by 'fork'" % start_method)
    return refuse


def _keep_memory_in_tmp(heap):
    """It asks /dev/shm, which is /tmp, how much room it has; no file system says that here."""
    heap.Arena._choose_dir = lambda arena, size: "/dev/shm"


_ADAPTERS = {
    "multiprocessing.context": _refuse_programs,
    "multiprocessing.heap": _keep_memory_in_tmp,
    "multiprocessing.resource_tracker": _disable_resource_tracker,
}


def adapt():
    """From now on, for modules that are not imported yet."""
    sys.meta_path.insert(0, _Finder)
