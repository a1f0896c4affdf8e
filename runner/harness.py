"""Runs one script inside an execution and tells the worker how it ended.

Loaded into the template and inherited by every execution. Everything in here is in reach of the
script once that runs: nothing in here is a secret, and nothing it says is believed beyond the
script's own value and words.
"""

import os

_postponed_hooks = []
_register_at_fork = os.register_at_fork


def _postpone_fork_hooks(**hooks):
    """os.register_at_fork while the template is made: what libraries ask for is kept for later.

    The fork that makes an execution needs none of it, but each hook that runs touches memory that
    then has to be copied. Forks of the script itself get them all (see wake).
    """
    _postponed_hooks.append(hooks)


os.register_at_fork = _postpone_fork_hooks  # before threading and its like are imported

import atexit
import builtins
import gc
import importlib.machinery
import io
import linecache
import signal
import struct
import sys
import threading
import traceback
import types
from json import JSONEncoder

import _random
import _vivarium

SCRIPT_FILE = "script.py"
PACKAGES = "/usr/lib/python3/dist-packages"

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


# --- what the template does once -----------------------------------------------------------------

def prepare():
    """Gives scripts what `site` would, without executing anything the host has lying around."""
    import site
    site.setquit()
    site.setcopyright()
    site.sethelper()
    sys.path.append(PACKAGES)
    sys.path.append(os.environ["TMPDIR"])
    sys.argv = [SCRIPT_FILE]
    sys.stdout.reconfigure(line_buffering=True)
    sys.stderr.reconfigure(line_buffering=True)
    signal.signal(_vivarium.TRACE_SIGNAL, _on_trace_signal)
    sys.meta_path.insert(0, _TrackerFinder)


def import_modules(names):
    """Imports a comma-separated list."""
    for name in filter(None, names.split(",")):
        __import__(name)


class _TrackerFinder:
    """Switches multiprocessing's resource tracker off when it is imported, now or by a script."""

    @staticmethod
    def find_spec(name, path, target=None):
        if name != "multiprocessing.resource_tracker":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            _disable_resource_tracker(module)
        spec.loader.exec_module = exec_module
        return spec


def _disable_resource_tracker(tracker):
    """It is a program of its own, and programs are not started here; the cell is its clean-up."""
    def nothing(*arguments):
        return None
    tracker.ensure_running = tracker.register = tracker.unregister = nothing
    tracker._resource_tracker.ensure_running = nothing
    tracker._resource_tracker.register = tracker._resource_tracker.unregister = nothing


def warm(source):
    """Runs a sample the way a job runs, failures included, and forgets it."""
    modules = set(sys.modules)
    stdout = sys.stdout
    sys.stdout = io.StringIO()
    try:
        outcome = execute(source.decode(), "main")
        if outcome.kind is not None:
            raise RuntimeError(outcome.traceback_text or outcome.error)
        for broken in ("def main(): return 1/0", "def main(: pass"):
            execute(broken, "main")
    finally:
        sys.stdout = stdout
    # what the sample imported stays warm; the sample itself goes
    for name in set(sys.modules) - modules:
        if name in ("script", "__main__"):
            del sys.modules[name]
    sys.modules.pop("script", None)
    linecache.cache.pop(SCRIPT_FILE, None)


def settle():
    """The template is complete: from here on only forks follow."""
    global _template_handlers
    _template_handlers = atexit._ncallbacks()
    linecache.clearcache()
    gc.collect()
    gc.freeze()


# --- what an execution does after the fork --------------------------------------------------------

def wake(directory):
    """No two executions may draw the same numbers; nothing may think it is in another process."""
    modules = sys.modules
    os.register_at_fork = _register_at_fork
    for hooks in _postponed_hooks:
        _register_at_fork(**hooks)
    threading.main_thread()._set_native_id()
    if "random" in modules:
        _reseed_random(modules["random"]._inst)
    if "numpy.random" in modules:
        modules["numpy.random"].seed()
    if "_ssl" in modules:
        modules["_ssl"].RAND_add(os.urandom(32), 32.0)
    if "tempfile" in modules:
        modules["tempfile"]._name_sequence = None
    if sys.path[-1] != directory:  # without mounts each cell's is elsewhere
        sys.path[-1] = directory
        for name in ("HOME", "TMPDIR", "MPLCONFIGDIR"):
            os.environ[name] = directory
    os.chdir(directory)


def _reseed_random(generator):
    """What random's own hook does, without the detour through Python code."""
    _random.Random.seed(generator)
    generator.gauss_next = None


# --- running a script -----------------------------------------------------------------------------

def execute(source, entry):
    """Compiles and runs the script, calls its entry; returns an Outcome, whatever happens."""
    if source.startswith("\ufeff"):
        source = source[1:]
    lines = list(io.StringIO(source, newline=None))  # lines as the compiler counts them
    linecache.cache[SCRIPT_FILE] = (len(source), None, lines, SCRIPT_FILE)
    try:
        body, last = _compile(source, entry)
    except BaseException as error:
        return _syntax(error)
    module = _make_module(entry)
    try:
        exec(body, module.__dict__)
        if entry is None:
            value = eval(last, module.__dict__) if last else None
        else:
            main = module.__dict__.get(entry)
            if not callable(main):
                return _no_main(entry)
            value = main()
        if isinstance(value, types.CoroutineType):
            import asyncio
            value = asyncio.run(value)
    except SystemExit as error:
        return _exit(error)
    except BaseException as error:
        return _exception(error)
    return _encode(value, entry)


def _compile(source, entry):
    """The code of the script, and, where it has no entry, that of its last expression."""
    if entry is not None:
        return compile(source, SCRIPT_FILE, "exec", dont_inherit=True), None
    import ast
    tree = compile(source, SCRIPT_FILE, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
        last = compile(last, SCRIPT_FILE, "eval", dont_inherit=True)
    return compile(tree, SCRIPT_FILE, "exec", dont_inherit=True), last


def _make_module(entry):
    module = types.ModuleType("script" if entry is not None else "__main__")
    module.__file__ = SCRIPT_FILE
    module.__builtins__ = builtins
    sys.modules["script"] = module
    if entry is None:
        sys.modules["__main__"] = module
    return module


# --- failures in words ----------------------------------------------------------------------------

def _type_name(thing, get=type.__dict__["__name__"].__get__):
    """The name of its type, whatever a metaclass says."""
    return get(type(thing))


def _frames(error, get=BaseException.__traceback__.__get__):
    """Its __traceback__, whatever its class says."""
    return get(error)


def _message(error):
    """str(error) of an object that may lie, raise or exit when asked."""
    try:
        return str(error)
    except BaseException:
        return "<unprintable %s object>" % _type_name(error)


def _one_line(text):
    return "".join(c if c.isprintable() or ord(c) > 0x9f and c not in "\u2028\u2029" else " "
                   for c in text[:8192])


def _named(error):
    message = _message(error)
    name = _type_name(error)
    return "%s: %s" % (name, message) if message else name


def _script_line(error):
    line = 0
    tb = _frames(error)
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == SCRIPT_FILE:
            line = tb.tb_lineno
        tb = tb.tb_next
    return line


def _keep_script_frames(summary, seen):
    """Drops the frames that are not the script's from an exception and all it came from."""
    if summary is None or id(summary) in seen:
        return
    seen.add(id(summary))
    frames = [frame for frame in summary.stack if frame.filename == SCRIPT_FILE]
    summary.stack = traceback.StackSummary.from_list(frames)
    for other in (summary.__cause__, summary.__context__, *(summary.exceptions or ())):
        _keep_script_frames(other, seen)


def _traceback(error):
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
                 if frame.filename == SCRIPT_FILE]
        return _head_and_tail("Traceback (most recent call last):\n"
                              + "".join(traceback.format_list(stack)) + _named(error) + "\n")
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


def _syntax(error):
    return Outcome(_vivarium.SYNTAX, error="Syntax error in script: " + _named(error),
                   type_name=_type_name(error), line=getattr(error, "lineno", 0) or 0,
                   traceback_text=_traceback(error))


def _no_main(entry):
    return Outcome(
        _vivarium.NO_MAIN, type_name="AttributeError",
        error="Script must contain a %s() function (AttributeError: Script requires a callable "
              "'%s' function.)" % (entry, entry))


def _exit(error):
    _vivarium.spare_memory()
    try:
        code = 0 if error.code is None else error.code
        status = int(code) & 0xff if isinstance(code, int) else 1
    except BaseException:
        code, status = error, 1
    message = _message(code)
    return Outcome(_vivarium.EXIT, error="SystemExit: %s" % message, type_name="SystemExit",
                   line=_script_line(error), exit_code=status,
                   traceback_text=_traceback(error))


def _exception(error):
    _vivarium.spare_memory()
    name, asked = _type_name(error), 0
    if isinstance(error, MemoryError):
        name, asked = "MemoryError", _asked_bytes(error)
    return Outcome(_vivarium.EXCEPTION, error=_named(error), type_name=name,
                   line=_script_line(error), traceback_text=_traceback(error), asked_bytes=asked)


def _asked_bytes(error):
    """The size of the allocation that was refused: numpy tells its own, the allocator others'."""
    try:
        return min(int(error._total_size), 2**64 - 1)
    except BaseException:
        return _vivarium.refused_bytes()


# --- the value as JSON ----------------------------------------------------------------------------

def _plain_scalar(value):
    """A numpy scalar as the number or boolean it stands for; TypeError for anything else."""
    numpy = sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.generic):
        if isinstance(value, numpy.bool_):
            return bool(value)
        if isinstance(value, numpy.floating):
            return float(value)
        if isinstance(value, numpy.integer) and not isinstance(value, numpy.timedelta64):
            return int(value)
    raise TypeError("Object of type %s is not JSON serializable" % _type_name(value))


def _plain_key(key):
    try:
        return _plain_scalar(key)
    except TypeError:
        raise TypeError("keys must be str, int, float, bool or None, not "
                        + _type_name(key)) from None


def _plain_keys(value):
    """A copy in which keys that are numpy scalars are plain; the rest is shared."""
    if isinstance(value, dict):
        copy = {}
        for key, item in value.items():
            if not isinstance(key, (str, int, float, type(None))):
                key = _plain_key(key)
            item = _plain_keys(item)
            if key in copy:
                raise ValueError("keys that are equal in JSON: %r" % (key,))
            copy[key] = item
        return copy
    if isinstance(value, (list, tuple)):
        return [_plain_keys(item) for item in value]
    return value


_ENCODER = JSONEncoder(allow_nan=False, default=_plain_scalar)


def _dumps(value):
    try:
        return _ENCODER.encode(value)
    except TypeError as error:
        if "numpy" not in sys.modules or not str(error).startswith("keys must be"):
            raise
    return _ENCODER.encode(_plain_keys(value))


def _encode(value, entry):
    _vivarium.spare_memory()
    try:
        text = _dumps(value).encode("ascii")
        wrong = _vivarium.scan(text)
        if wrong is None:
            return Outcome(value=text)
        error = ValueError(wrong)
    except MemoryError as failure:
        return _exception(failure)
    except BaseException as failure:
        error = failure
    what = "Return value of '%s'" % entry if entry is not None else "Value of the last expression"
    return Outcome(_vivarium.NOT_JSON, type_name=_type_name(error),
                   error="%s: %s is not JSON serializable: %s" % (
                       _type_name(error), what, _message(error)),
                   line=_script_line(error), traceback_text=_traceback(error))


# --- speaking to the worker -----------------------------------------------------------------------

def run(source, entry):
    """Runs the job and sends everything there is to say about it."""
    try:
        outcome = execute(source.decode(), entry)
    except MemoryError:  # once more, while the first failure was put into words
        outcome = Outcome(_vivarium.EXCEPTION, error="MemoryError", type_name="MemoryError")
    if outcome.kind is not None:
        _flush()
        _send_failure(outcome)
    elif _has_work_left():
        _vivarium.send(_vivarium.FRAME_RESULT, outcome.value)
        _finish()
    else:
        _finish()
        _vivarium.send(_vivarium.FRAME_RESULT, outcome.value)
    _vivarium.send(_vivarium.FRAME_DONE, b"")


def _has_work_left():
    """Whether the script left threads or atexit handlers that may take their time."""
    return atexit._ncallbacks() > _template_handlers or threading.active_count() > 1


def _finish():
    """What the end of a Python process does, as far as a script can notice it."""
    try:
        if threading.active_count() > 1:
            threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    _flush()


def _flush():
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except BaseException:
            pass


def _clip(text, limit):
    """UTF-8 of at most so many bytes, no character cut in two."""
    data = text.encode("utf-8", "backslashreplace")
    return data if len(data) <= limit else data[:limit].decode("utf-8", "ignore").encode()


def _send_failure(outcome):
    type_name = _clip(_one_line(outcome.type_name), _vivarium.ERROR_TYPE_MAX_BYTES)
    error = _clip(_one_line(outcome.error), _vivarium.ERROR_TEXT_MAX_BYTES)
    trace = _clip(outcome.traceback_text, _vivarium.TRACEBACK_MAX_BYTES)
    header = FAILURE_HEADER.pack(outcome.kind, outcome.line, outcome.exit_code,
                                 len(type_name), len(error), len(trace),
                                 outcome.asked_bytes)
    _vivarium.send(_vivarium.FRAME_FAILURE, header + type_name + error + trace)


def _on_trace_signal(number, frame):
    """Time is up: say where the main thread stands, then wait for the end."""
    frames = [(f, line) for f, line in traceback.walk_stack(frame)
              if f.f_code.co_filename == SCRIPT_FILE]
    frames.reverse()
    lines = traceback.StackSummary.extract(iter(frames)).format()
    text = "Traceback (most recent call last):\n" + "".join(lines)
    _flush()
    _vivarium.send(_vivarium.FRAME_TRACEBACK, _clip(_head_and_tail(text),
                                                    _vivarium.TRACEBACK_MAX_BYTES))
    _vivarium.send(_vivarium.FRAME_DONE, b"")
    while True:
        signal.pause()


_template_handlers = 0
prepare()
