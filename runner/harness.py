"""Runs one script inside an execution and tells the worker how it ended.

Loaded into the template and inherited by every execution. Everything in here is in reach of the
script once that runs: nothing in here is a secret, and nothing it says is believed beyond the
script's own value and words.
"""

import atexit
import builtins
import gc
import io
import linecache
import os
import signal
import sys
import threading
import traceback
import types

import _random
import _vivarium
import _vivarium_fork_hooks as fork_hooks
from _vivarium_encoding import encode
import _vivarium_failures as failures
import _vivarium_processes as processes
from _vivarium_failures import (SCRIPT_FILE, Outcome, describe_blocked_import, describe_exception,
                                describe_exit, describe_no_entry, describe_syntax, send_failure,
                                stack_text)
from _vivarium_imports import BlockedImport, policy_of
from _vivarium_inputs import apply_inputs
from _vivarium_leavings import send_figures, send_files

PACKAGES = "/usr/lib/python3/dist-packages"
_USUAL = "def main():\n    return {'a': 1}\n"
_CO_OPTIMIZED = 1  # inspect's, which is not worth importing

# --- what the template does once -----------------------------------------------------------------

def prepare():
    """Gives scripts what `site` would, without executing anything the host has lying around."""
    import site
    site.setquit()
    site.setcopyright()
    site.sethelper()
    _add_packages()
    sys.path.append(os.environ["TMPDIR"])
    sys.argv = [SCRIPT_FILE]
    sys.stdout.reconfigure(line_buffering=True)
    sys.stderr.reconfigure(line_buffering=True)
    signal.signal(_vivarium.TRACE_SIGNAL, _on_trace_signal)
    processes.adapt()


def _add_packages():
    """As `bin/python` of the virtual environment would, but no .pth file is read."""
    if _vivarium.VENV:
        sys.prefix = sys.exec_prefix = _vivarium.VENV
        version = "python%d.%d" % sys.version_info[:2]
        sys.path.append(f"{_vivarium.VENV}/lib/{version}/site-packages")
    if _vivarium.SYSTEM_PACKAGES:
        sys.path.append(PACKAGES)


class _ModuleNames:
    """First of the finders while libraries load: says which module is being imported (heat.h)."""

    def find_spec(self, name, path=None, target=None):
        _vivarium.begin_module(name)

    def __enter__(self):
        sys.meta_path.insert(0, self)

    def __exit__(self, *_):
        if self in sys.meta_path:  # which is a library's to change
            sys.meta_path.remove(self)


def import_modules(names):
    """Imports a comma-separated list."""
    fork_hooks.postpone()
    with _ModuleNames():
        for name in filter(None, names.split(",")):
            __import__(name)


def warm(source):
    """Runs a sample the way a job runs, failures included, and forgets it."""
    modules = set(sys.modules)
    stdout = sys.stdout
    sys.stdout = io.StringIO()
    try:
        with _ModuleNames():
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


def restrict_imports(denied, allowed):
    """The operator's lists, which hold for scripts and not for samples."""
    global _import_policy
    _import_policy = policy_of(denied, allowed)


def allows_import(statement):
    """Whether a script may have it, as far as those lists are concerned."""
    try:
        _compile(statement, "main", policy=_import_policy)
    except BlockedImport:
        return False
    return True


def settle():
    """The template is complete: from here on only forks follow."""
    global _template_handlers, _numpy_state
    _template_handlers = atexit._ncallbacks()
    _numpy_state = _find_numpy_state()
    linecache.clearcache()
    fork_hooks.settle()
    gc.collect()
    gc.freeze()


# --- what an execution does after the fork --------------------------------------------------------

def wake(directory):
    """No two executions may draw the same numbers; nothing may think it is in another process."""
    modules = sys.modules
    fork_hooks.run_from_now_on()
    threading.main_thread()._set_native_id()
    if "random" in modules:
        _reseed_random(modules["random"]._inst)
    if _numpy_state:
        _vivarium.draw(*_numpy_state)
    if "_ssl" in modules:
        modules["_ssl"].RAND_add(os.urandom(32), 32.0)
    if "tempfile" in modules:
        modules["tempfile"]._name_sequence = None
    if failures.working_directory != directory:  # without mounts each cell's is elsewhere
        failures.working_directory = sys.path[-1] = directory
        os.environ.update(HOME=directory, TMPDIR=directory, MPLCONFIGDIR=directory + "/.matplotlib")
    os.chdir(directory)


def warm_caches():
    """Leaves nothing but warm caches behind."""
    _compile(_USUAL, "main", policy=_import_policy)
    encode({"a": 1}, "main", False)


def _find_numpy_state():
    """Address and size of the state of numpy's global generator (BitGenerator.ctypes).

    Random bits are as good a state for a Mersenne twister as any seed makes, and drawing them into
    place takes a hundredth of the time of numpy.random.seed().
    """
    numpy = sys.modules.get("numpy")
    if "numpy.random" not in sys.modules:
        return None
    import ctypes
    numpy.random.seed()  # also forgets the second half of a pair of normal deviates
    words = numpy.random.get_state()[1].tobytes()
    address = numpy.random.get_bit_generator().ctypes.state_address
    if ctypes.string_at(address, len(words)) != words:
        raise RuntimeError("numpy keeps the state of its generator elsewhere")
    return address, len(words)


def _reseed_random(generator):
    """What random's own hook does, without the detour through Python code."""
    _random.Random.seed(generator)
    generator.gauss_next = None


# --- running a script -----------------------------------------------------------------------------

def execute(source, entry, flags=0, given=None, policy=None):
    """Compiles and runs the script, calls its entry; returns an Outcome, whatever happens.

    policy: what it may import; None: everything.
    """
    if source.startswith("\ufeff"):
        source = source[1:]
    lines = list(io.StringIO(source, newline=None))  # lines as the compiler counts them
    linecache.cache[SCRIPT_FILE] = (len(source), None, lines, SCRIPT_FILE)
    try:
        entry, body, last = _compile(source, entry, flags, policy)
    except BlockedImport as error:
        return describe_blocked_import(error)
    except BaseException as error:
        return describe_syntax(error)
    module = _make_module(entry)
    arguments, named = (), {}
    try:
        if given:
            arguments, named = apply_inputs(given)
        if policy:
            policy.watch()
        exec(body, module.__dict__)
        if entry is None:
            value = eval(last, module.__dict__) if last else None
        else:
            main = module.__dict__.get(entry)
            if not callable(main):
                return describe_no_entry(entry)
            value = main(*arguments, **named)
        if isinstance(value, types.CoroutineType):
            value = _await(value)
    except SystemExit as error:
        return describe_exit(error)
    except BlockedImport as error:
        return describe_blocked_import(error)
    except BaseException as error:
        return describe_exception(error)
    return encode(value, entry, flags & _vivarium.FLAG_RICH)


def _await(coroutine):
    global _awaited
    import asyncio
    _awaited = coroutine
    return asyncio.run(coroutine)


def _compile(source, entry, flags=0, policy=None):
    """The script's entry, if it has one; its code; without an entry that of its last expression."""
    tree = policy and policy.check(_parse(source))
    if entry is not None:
        code = compile(tree or source, SCRIPT_FILE, "exec", dont_inherit=True)
        if not flags & _vivarium.FLAG_ENTRY_IF_DEFINED or _defines(code, entry):
            return entry, code, None
    import ast
    tree = tree or _parse(source)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
        last = compile(last, SCRIPT_FILE, "eval", dont_inherit=True)
    return None, compile(tree, SCRIPT_FILE, "exec", dont_inherit=True), last


def _parse(source):
    import ast
    return compile(source, SCRIPT_FILE, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)


def _defines(code, name):
    """Whether a script defines a function of that name: at the top level, in an if or try there or
    so. Its code has that of the function among its constants; other code is not optimised.
    """
    return any(isinstance(each, types.CodeType) and each.co_qualname == name
               and each.co_flags & _CO_OPTIMIZED for each in code.co_consts)


def _make_module(entry):
    module = types.ModuleType("script" if entry is not None else "__main__")
    module.__file__ = SCRIPT_FILE
    module.__builtins__ = builtins
    sys.modules["script"] = module
    if entry is None:
        sys.modules["__main__"] = module
    return module


# --- speaking to the worker -----------------------------------------------------------------------

def run(source, entry, flags, given):
    """Runs the job and sends everything there is to say about it.

    given: what came beside script and entry, by name, in bytes, JSON but for outputs; or None.
    """
    outputs = given and given.get("outputs")
    process = os.getpid()
    try:
        policy = None if flags & _vivarium.FLAG_OWN else _import_policy
        outcome = execute(source.decode(), entry, flags, given, policy)
    except MemoryError:  # once more, while the first failure was put into words
        outcome = Outcome(_vivarium.MEMORY, error="MemoryError", type_name="MemoryError")
    if os.getpid() != process:
        _end_child(outcome)
    if outcome.kind is not None:
        _flush()
        if outputs:
            send_files(outputs)
        send_failure(outcome)
    else:
        if flags & _vivarium.FLAG_FIGURES and "matplotlib._pylab_helpers" in sys.modules:
            send_figures()
        is_over = not _has_work_left()
        if is_over:
            _finish()
        if outputs:
            send_files(outputs)
        _vivarium.send(_vivarium.FRAME_RESULT, outcome.value, is_over)
        if not is_over:
            _finish()
            if outputs:
                send_files(outputs)  # once more: threads may have written some
            _vivarium.send(_vivarium.FRAME_DONE, b"")


def _end_child(outcome):
    """A process that the script forked has come to the end of it, too: only the first one answers."""
    code = 0
    if outcome.kind == _vivarium.EXIT:
        code = outcome.exit_code
    elif outcome.kind is not None:
        code = 1
        sys.stderr.write(outcome.traceback_text or outcome.error + "\n")
    _finish()
    os._exit(code)


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


def _on_trace_signal(number, frame):
    """Time is up: say where the main thread stands, then wait for the end."""
    _flush()
    text = stack_text(frame, _awaited)
    if text:
        _vivarium.send(_vivarium.FRAME_TRACEBACK, text)
    _vivarium.send(_vivarium.FRAME_DONE, b"")
    while True:
        signal.pause()


_template_handlers = 0
_numpy_state = None
_import_policy = None
_awaited = None  # the coroutine that the entry gave
prepare()
