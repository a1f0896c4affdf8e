"""What went wrong, in words: errors as one line, tracebacks with the script's own frames.

Exceptions of a script may lie, raise or exit when they are asked about themselves.
"""

import opcode
import os
import struct
import traceback
import types

import _vivarium

SCRIPT_FILE = "script.py"
working_directory = os.environ["TMPDIR"]  # an execution may be given another one

_RAISE = bytes([opcode.opmap["RAISE_VARARGS"]])
_CHAIN_MAX = 100  # a script may have made a circle
FAILURE_HEADER = struct.Struct("=IiiIIIQ")


class Outcome:
    """What one run came to: a value as JSON text, or a failure in words."""

    def __init__(self, kind=None, value=None, error="", type_name="", line=0, exit_code=0,
                 traceback_text="", asked_bytes=0):
        self.kind = kind
        self.value = value
        self.error = error
        self.type_name = type_name
        self.line = line
        self.exit_code = exit_code
        self.traceback_text = traceback_text
        self.asked_bytes = asked_bytes


def type_name_of(thing, get=type.__dict__["__name__"].__get__):
    """The name of its type, whatever a metaclass says."""
    return get(type(thing))


def _frames(error, get=BaseException.__traceback__.__get__):
    """Its __traceback__, whatever its class says."""
    return get(error)


def _context(error, cause=BaseException.__cause__.__get__,
             context=BaseException.__context__.__get__):
    """What it was raised in the face of, or None."""
    return context(error) if cause(error) is None else cause(error)


def message_of(error):
    """str(error) of an object that may lie, raise or exit when asked."""
    try:
        return str(error)
    except BaseException:
        return "<unprintable %s object>" % type_name_of(error)


def one_line(text):
    return "".join(c if c.isprintable() or ord(c) > 0x9f and c not in "\u2028\u2029" else " "
                   for c in text[:8192])


def named(error):
    message = message_of(error)
    name = type_name_of(error)
    return "%s: %s" % (name, message) if message else name


def script_line(error):
    line = 0
    tb = _frames(error)
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == SCRIPT_FILE:
            line = tb.tb_lineno
        tb = tb.tb_next
    return line


def is_own(file_name):
    """Whether a frame's file is the script, or a module that came with it or that it wrote."""
    return file_name == SCRIPT_FILE or file_name.startswith(working_directory + "/")


def _keep_script_frames(summary, seen):
    """Drops the frames that are not the script's from an exception and all it came from."""
    if summary is None or id(summary) in seen:
        return
    seen.add(id(summary))
    frames = [frame for frame in summary.stack if is_own(frame.filename)]
    summary.stack = traceback.StackSummary.from_list(frames)
    for other in (summary.__cause__, summary.__context__, *(summary.exceptions or ())):
        _keep_script_frames(other, seen)


def traceback_of(error):
    try:
        summary = traceback.TracebackException(type(error), error, _frames(error),
                                               lookup_lines=False, compact=True)
        if not hasattr(summary, "exceptions"):
            summary.exceptions = None
        _keep_script_frames(summary, set())
        return _head_and_tail("".join(summary.format()))
    except BaseException:
        return _plain_traceback(error)


def _plain_traceback(error):
    """Without what the exception came from, for one that raises when it is asked."""
    try:
        stack = [frame for frame in traceback.extract_tb(_frames(error))
                 if is_own(frame.filename)]
        return _head_and_tail("Traceback (most recent call last):\n"
                              + "".join(traceback.format_list(stack)) + named(error) + "\n")
    except BaseException:
        return ""


def _head_and_tail(text):
    limit = _vivarium.TRACEBACK_MAX_BYTES - 256
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return text
    head, tail = data[:limit // 2], data[-limit // 2:]
    middle = "\n... %d bytes left out ...\n" % (len(data) - limit)
    return head.decode("utf-8", "ignore") + middle + tail.decode("utf-8", "ignore")


def describe_syntax(error):
    return Outcome(_vivarium.SYNTAX, error="Syntax error in script: " + named(error),
                   type_name=type_name_of(error), line=getattr(error, "lineno", 0) or 0,
                   traceback_text=traceback_of(error))


def describe_no_entry(entry):
    return Outcome(
        _vivarium.NO_MAIN, type_name="AttributeError",
        error="Script must contain a %s() function (AttributeError: Script requires a callable "
              "'%s' function.)" % (entry, entry))


def describe_blocked_import(error):
    """What may not be imported goes where the type of another failure would."""
    return Outcome(_vivarium.BLOCKED_IMPORT, error=message_of(error), type_name=str(error.name),
                   line=error.line or script_line(error))


def describe_exit(error):
    _vivarium.spare_memory()
    try:
        code = 0 if error.code is None else error.code
        status = int(code) & 0xff if isinstance(code, int) else 1
    except BaseException:
        code, status = error, 1
    message = message_of(code)
    return Outcome(_vivarium.EXIT, error="SystemExit: %s" % message, type_name="SystemExit",
                   line=script_line(error), exit_code=status,
                   traceback_text=traceback_of(error))


def describe_exception(error):
    _vivarium.spare_memory()
    kind, name, asked = _vivarium.EXCEPTION, type_name_of(error), 0
    if isinstance(error, MemoryError) and not _is_own_raise(error):
        kind, name, asked = _vivarium.MEMORY, "MemoryError", _asked_bytes(error)
    return Outcome(kind, error=named(error), type_name=name, line=script_line(error),
                   traceback_text=traceback_of(error), asked_bytes=asked)


def _is_own_raise(error):
    """Whether a MemoryError is of a raise statement of the script, and not of a limit.

    The innermost frame tells: in one of C code, or of a library, it came from an allocation. Nor is
    it the script's own where it was raised in the face of another one.
    """
    for _ in range(_CHAIN_MAX):
        if not isinstance(error, MemoryError):
            return True
        tb = _frames(error)
        while tb is not None and tb.tb_next is not None:
            tb = tb.tb_next
        if tb is None:
            return False
        code = tb.tb_frame.f_code
        if not is_own(code.co_filename) or code.co_code[tb.tb_lasti:tb.tb_lasti + 1] != _RAISE:
            return False
        error = _context(error)
    return False


def _asked_bytes(error):
    """The size of the allocation that was refused: numpy tells its own, the allocator others'."""
    try:
        return min(int(error._total_size), 2**64 - 1)
    except BaseException:
        return _vivarium.refused_bytes()


def stack_text(frame, awaited):
    """Where a thread stands, as the payload of a FRAME_TRACEBACK; b"": in nothing of the script's.

    awaited: the coroutine that an event loop runs there, or None. Where the loop itself waits, the
    script stands where that coroutine does.
    """
    frames = _own_frames(traceback.walk_stack(frame))
    frames.reverse()
    frames = frames or _own_frames(_walk_awaited(awaited))
    if not frames:
        return b""
    lines = traceback.StackSummary.extract(iter(frames)).format()
    text = "Traceback (most recent call last):\n" + "".join(lines)
    return clip(_head_and_tail(text), _vivarium.TRACEBACK_MAX_BYTES)


def _own_frames(walk):
    return [(frame, line) for frame, line in walk if is_own(frame.f_code.co_filename)]


def _walk_awaited(thing):
    """The frames of a coroutine that waits, and of all that it waits for; outermost first."""
    while thing is not None:
        if type(thing) is types.CoroutineType:
            frame, thing = thing.cr_frame, thing.cr_await
        elif type(thing) is types.GeneratorType:  # an older kind of coroutine, or an __await__
            frame, thing = thing.gi_frame, thing.gi_yieldfrom
        else:
            return
        if frame is not None:
            yield frame, frame.f_lineno


def clip(text, limit):
    """UTF-8 of at most so many bytes, no character cut in two."""
    data = text.encode("utf-8", "backslashreplace")
    return data if len(data) <= limit else data[:limit].decode("utf-8", "ignore").encode()


def send_failure(outcome):
    type_name = clip(one_line(outcome.type_name), _vivarium.ERROR_TYPE_MAX_BYTES)
    error = clip(one_line(outcome.error), _vivarium.ERROR_TEXT_MAX_BYTES)
    trace = clip(outcome.traceback_text, _vivarium.TRACEBACK_MAX_BYTES)
    header = FAILURE_HEADER.pack(outcome.kind, outcome.line, outcome.exit_code,
                                 len(type_name), len(error), len(trace),
                                 outcome.asked_bytes)
    _vivarium.send(_vivarium.FRAME_FAILURE, header + type_name + error + trace, True)
