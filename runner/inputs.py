"""What came with a job beside its script: arguments, argv, environment."""

import errno
import os
import sys
from json import loads


def apply_inputs(given):
    """Sets sys.argv and the environment; returns the entry's arguments, positional and named.

    given: JSON in bytes by name, strict as the dispatcher has seen to. Raises what stood in the
    way of the input files.
    """
    if "input_error" in given:
        _raise(*given["input_error"])
    if "argv" in given:
        sys.argv += loads(given.pop("argv"))
    if "env" in given:
        _set_environment(loads(given.pop("env")))
    arguments = loads(given.pop("args")) if "args" in given else ()
    return arguments, loads(given.pop("kwargs")) if "kwargs" in given else {}


def _raise(code, path):
    if code == errno.ENOMEM:
        raise MemoryError
    raise OSError(code, os.strerror(code), path)


def _set_environment(variables):
    os.environ.update(variables)
    if "TZ" in variables:
        import time
        time.tzset()
