"""The operator's import lists: what a script's own code may import, judged before it runs and again
while it does.

A policy for scripts that mean well, and no boundary: whoever wants to can get around it from inside
the interpreter. The boundary is the jail.
"""

import builtins
import importlib
import os
import sys
from importlib.machinery import PathFinder

import _vivarium
import _vivarium_failures as failures

_ALWAYS = {"__future__"}  # an instruction to the compiler
_OWN = {"script", "__main__"}
_CALLS = {"__import__", "import_module"}


class BlockedImport(ImportError):
    """An import that the lists do not allow; as any ImportError, a script may catch it."""

    def __init__(self, module, what, line=0):
        super().__init__("Script contains potentially dangerous code: " + what, name=module)
        self.line = line


class Policy:
    """Two lists of module names. Each name stands for the module and all that lies below it; what
    is denied stays denied if it is allowed as well, and no allowed names at all allow everything.
    """

    def __init__(self, denied, allowed):
        self._denied = frozenset(denied)
        self._allowed = frozenset(allowed)
        import ast  # templates without lists do without it
        self._ast = ast

    # --- before the script runs ---

    def check(self, tree):
        """A script's syntax tree; raises BlockedImport for the first import in it that is refused."""
        refused = []
        for node in self._ast.walk(tree):
            refused += self._refused_by(node)
        if refused:
            line, _, module, what = min(refused)
            raise BlockedImport(module, what, line)
        return tree

    def _refused_by(self, node):
        """(line, column, module, words) of what a node of the tree imports and may not."""
        ast = self._ast
        if isinstance(node, ast.Import):
            found = [(self._find(alias.name), "import " + alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [alias.name for alias in node.names]
            found = [self._find_from(node.module, names)]
        elif isinstance(node, ast.Call):
            found = [self._find_called(node)]
        else:
            found = ()
        return [(node.lineno, node.col_offset, module, what) for module, what in found if module]

    def _find_called(self, node):
        """__import__("x") and import_module("x"), also as attributes of something."""
        function = node.func
        name = getattr(function, "attr", getattr(function, "id", None))
        if name not in _CALLS:
            return None, ""
        given = node.args[:1] + [word.value for word in node.keywords if word.arg == "name"]
        module = given[0].value if given and isinstance(given[0], self._ast.Constant) else None
        if not isinstance(module, str) or module.startswith("."):
            return None, ""
        return self._find(module), '%s("%s")' % (name, module)

    # --- while it runs ---

    def watch(self):
        """From now on imports by the script's own code are judged, those of libraries not."""
        builtins.__import__ = _vivarium.guarded(self._judge_import, builtins.__import__)
        importlib.import_module = _vivarium.guarded(self._judge_import_module,
                                                    importlib.import_module)

    def _judge_import(self, name=None, globals=None, locals=None, fromlist=(), level=0):
        # Only C code has an empty list there: PyImport_Import(), on behalf of a library
        if type(fromlist) is list and not fromlist or not isinstance(name, str):
            return
        frame = sys._getframe(1)
        if not _is_own_code(frame):
            return
        if level:
            name = _absolute(name, level, frame.f_globals.get("__package__"))
        names = [each for each in fromlist or () if isinstance(each, str)]
        if names:
            module, what = self._find_from(name, names)
        else:
            module, what = self._find(name), "import " + name
        if module:
            raise BlockedImport(module, what)

    def _judge_import_module(self, name=None, package=None):
        if not isinstance(name, str) or not _is_own_code(sys._getframe(1)):
            return
        level = len(name) - len(name.lstrip("."))
        if level:
            name = _absolute(name[level:], level, package)
        if self._find(name):
            raise BlockedImport(name, "import " + name)

    # --- the lists ---

    def _find(self, name):
        """The name, if it may not be imported; else None. "": it is no name to judge."""
        return name if self._is_denied(name) or not self._is_allowed(name) else None

    def _find_from(self, module, names):
        """(What may not be imported, the words for it) of "from module import names"."""
        if self._is_denied(module):
            return module, _from(module, names)
        for name in names:  # they may be modules, or not
            if self._is_denied(module + "." + name):
                return module + "." + name, _from(module, [name])
        if self._is_allowed(module):
            return None, ""
        refused = [name for name in names if not self._is_allowed(module + "." + name)]
        return (module, _from(module, refused)) if refused else (None, "")

    def _is_denied(self, name):
        return _is_covered(name, self._denied)

    def _is_allowed(self, name):
        return (not self._allowed or not name or _is_covered(name, self._allowed)
                or name in _ALWAYS or _is_own_module(name.partition(".")[0]))


def _from(module, names):
    return "from %s import %s" % (module, ", ".join(names))


def _is_covered(name, names):
    """Whether the module or a package around it is among the names."""
    while name not in names:
        name = name.rpartition(".")[0]
        if not name:
            return False
    return True


def _absolute(name, level, package):
    """What a relative import means; "" for one that Python itself refuses."""
    if not isinstance(package, str) or package.count(".") < level - 1:
        return ""
    base = package.rsplit(".", level - 1)[0]
    return base + "." + name if name and base else base


def _is_own_code(frame):
    """Whether a frame is the script's or of a module that came with it, also by way of exec()."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith("<") or name.startswith("<frozen "):
            return failures.is_own(name)
        name = frame.f_globals.get("__file__")
        if isinstance(name, str):
            return failures.is_own(name)
        frame = frame.f_back
    return False


def _is_own_module(name):
    """Whether the script itself or a module of its working directory is what that name means."""
    if name in _OWN:
        return True
    directory = failures.working_directory
    if name in sys.stdlib_module_names or not any(
            os.path.exists(os.path.join(directory, each)) for each in (name + ".py", name)):
        return False
    return PathFinder.find_spec(name, [each for each in sys.path if each != directory]) is None


def policy_of(denied, allowed):
    """A Policy of two texts, names separated by blanks; None where both are empty."""
    if denied.split() or allowed.split():
        return Policy(denied.split(), allowed.split())
    return None
