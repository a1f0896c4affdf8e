# What every attack begins with: system calls without libc's or Python's opinion of them.
import ctypes
import errno
import os
import signal
import struct
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def call(name, *arguments):
    """The value of a system call by name or number, or the name of its error."""
    number = NUMBERS[name] if isinstance(name, str) else name
    words = [a if isinstance(a, ctypes._Pointer) or hasattr(a, "_obj") else
             ctypes.c_char_p(a) if isinstance(a, bytes) else
             a if isinstance(a, (ctypes.Array, ctypes.Structure, ctypes._SimpleCData)) else
             ctypes.c_long(a) for a in arguments]
    ctypes.set_errno(0)
    value = LIBC.syscall(ctypes.c_long(number), *words)
    return errno.errorcode[ctypes.get_errno()] if value == -1 else value


def attempt(function, *arguments, **named):
    """The class and errno of the exception that a call raises, or "done"."""
    try:
        function(*arguments, **named)
    except OSError as error:
        return [type(error).__name__, errno.errorcode.get(error.errno)]
    except BaseException as error:
        return [type(error).__name__, None]
    return "done"


def in_child(function, *arguments):
    """What function returns in a fork of this process (short, as text), or how that ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, repr(function(*arguments)).encode()[:4096])
        finally:
            os._exit(0)
    os.close(writing)
    status = os.waitpid(child, 0)[1]
    text = os.read(reading, 4096).decode()
    os.close(reading)
    return text if status == 0 else "signal %d" % os.WTERMSIG(status)


def frame(kind, payload=b"", length=None):
    return struct.pack("=II", kind, len(payload) if length is None else length) + payload


def say(data):
    """Writes to the result channel, as the runner does."""
    view = memoryview(data)
    while view:
        view = view[os.write(1000, view):]
