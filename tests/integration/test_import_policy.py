"""import_denylist and import_allowlist: what a script's own code may import."""

import json
import subprocess

import pytest

from answers import ended, failed, ok, result
from conftest import BUILD, CONF, Service

WORDS = "Script contains potentially dangerous code: "
DENIED = "os subprocess socket xml.sax"
ALLOWED = "json math time datetime collections importlib numpy scipy.stats xml"
MAIN = "def main():\n    "


def instance(**settings):
    with Service(workers=1, cells_per_worker=2, **settings) as service:
        yield service


@pytest.fixture(scope="module")
def denying():
    """A service with a denylist alone."""
    yield from instance(import_denylist=DENIED, library_sets="base numpy:base:numpy "
                        "pandas:numpy:pandas")


@pytest.fixture(scope="module")
def allowing():
    """A service with an allowlist, and something denied that it allows."""
    yield from instance(import_allowlist=ALLOWED, import_denylist="xml.sax socket",
                        library_sets="base numpy:base:numpy")


def blocked(answer, module, words, line):
    """The body of an answer that must be the refusal of an import."""
    data = ended(answer, "blocked_import")
    assert data["error"] == WORDS + words
    assert data["cause"] == {"kind": "blocked_import", "module": module, "line": line}
    return data


# --- before anything runs -------------------------------------------------------------------------


@pytest.mark.parametrize("line, code, module, words", [
    (1, "import os", "os", "import os"),
    (1, "import os.path", "os.path", "import os.path"),
    (1, "import os.path as p", "os.path", "import os.path"),
    (1, "import json, os as o, subprocess", "os", "import os"),
    (1, "from os import path", "os", "from os import path"),
    (1, "from os import *", "os", "from os import *"),
    (1, "from os.path import join as j, split", "os.path", "from os.path import join, split"),
    (1, "from xml import dom, sax", "xml.sax", "from xml import sax"),
    (1, "import xml.sax.handler", "xml.sax.handler", "import xml.sax.handler"),
    (1, "x = 1; import  \\\n  os", "os", "import os"),
    (1, "if False: import os", "os", "import os"),
    (2, "try:\n  import os\nexcept ImportError: pass", "os", "import os"),
    (2, "try: pass\nfinally: from os import path", "os", "from os import path"),
    (3, "class A:\n  async def f(self):\n    def g(): import os", "os", "import os"),
    (1, "f = lambda: [__import__('os') for i in x]", "os", '__import__("os")'),
    (1, "def f(x=__import__(name='os')): pass", "os", '__import__("os")'),
    (2, "import builtins\nbuiltins.__import__('os.path')", "os.path", '__import__("os.path")'),
    (1, "__\uff49mport__('os')", "os", '__import__("os")'),
    (2, "import importlib\nimportlib.import_module('subprocess')", "subprocess",
     'import_module("subprocess")'),
    (2, "from importlib import import_module\n@import_module('o' 's')\ndef f(): pass", "os",
     'import_module("os")'),
    (2, "match 1:\n  case 2: import os", "os", "import os"),
])
def test_spellings(denying, line, code, module, words):
    """Wherever the import stands, nothing has run; the first in the text is named."""
    script = "print('ran')\n\n" + code + "\ndef main(): import socket\n"
    for entry in ("main", None):
        data = blocked(denying.execute(script, entry=entry), module, words, line + 2)
        assert data["stdout"] == ""


@pytest.mark.parametrize("code", [
    "import optparse", "import xml.dom.minidom", "from xml import dom", "import posixpath",
    "'import os'", "# import os", "from json import decoder as os",
])
def test_what_is_no_import_of_these(denying, code):
    """Names that only begin like a denied one, and texts, are nothing."""
    assert result(denying.execute(code + "\n" + MAIN + "return 1")) == 1


def test_syntax_errors_come_first(denying):
    """What cannot be read cannot be judged."""
    failed(denying.execute("import os\ndef main(: pass"), "syntax")


# --- while it runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("code, words", [
    ("exec('import os')", "import os"),
    ("exec('import os', {})", "import os"),
    ("exec('from os import path')", "from os import path"),
    ("exec('def f(): import os', globals()); f()", "import os"),
    ("eval('__import__(\"os\")')", "import os"),
    ("__import__('o' + 's')", "import os"),
    ("__import__('o' + 's', globals(), locals(), ['path'])", "from os import path"),
    ("import builtins; getattr(builtins, '__im' + 'port__')('o' + 's')", "import os"),
    ("list(map(__import__, ['os']))", "import os"),
    ("import functools; functools.partial(__import__, 'os')()", "import os"),
    ("import importlib; importlib.import_module('o' + 's')", "import os"),
    ("import importlib; importlib.import_module('.path', 'o' + 's')", "import os.path"),
])
def test_made_up_while_running(denying, code, words):
    """Names that nobody can see in the text are judged when they are imported."""
    data = ended(denying.execute("print('ran')\n" + MAIN + code), "blocked_import")
    assert data["error"] == WORDS + words
    assert data["cause"]["line"] == 3
    assert data["stdout"] == "ran\n"


def test_at_the_top(denying):
    """Not only in main(); with an entry or without."""
    for entry in ("main", None):
        data = ended(denying.execute("x = 1\n__import__('o' + 's')\ndef main(): pass",
                                     entry=entry), "blocked_import")
        assert data["cause"] == {"kind": "blocked_import", "module": "os", "line": 2}


def test_caught(denying):
    """It is an ImportError, so that a script may do without."""
    script = MAIN + ("try:\n        __import__('o' + 's')\n"
                     "    except ImportError as e:\n        return [e.name, str(e)]")
    assert result(denying.execute(script)) == ["os", WORDS + "import os"]


def test_modules_of_its_own(denying):
    """Input files and what a script writes are its code as well."""
    files = [{"path": "helper.py", "content": "import os\n"},
             {"path": "pack/__init__.py", "content": "from . import part\n"},
             {"path": "pack/part.py", "content": "def f():\n    from os import path\n"}]
    blocked(denying.execute("\nimport helper\ndef main(): pass", files=files), "os", "import os", 2)
    blocked(denying.execute("import pack\ndef main():\n    pack.part.f()", files=files), "os",
            "from os import path", 3)


def test_in_a_thread(denying):
    """The policy holds there, and the thread's failure is told as any."""
    script = ("import threading\ndef work(): __import__('o' + 's')\n"
              + MAIN + "t = threading.Thread(target=work); t.start(); t.join()")
    assert WORDS + "import os" in ok(denying.execute(script))["stderr"]


# --- libraries ------------------------------------------------------------------------------------


def test_libraries_import_what_they_like(denying):
    """Whoever denies os need not do without numpy, pandas, tempfile or subprocess' friends."""
    script = """
import asyncio, concurrent.futures, datetime, logging, multiprocessing, pickle, tempfile
import numpy as np
import pandas as pd

def main():
    with tempfile.TemporaryFile("w+") as file:
        file.write("x,y\\n1,2\\n")
        file.seek(0)
        frame = pd.read_csv(file)
    datetime.datetime.strptime("2026-01-02", "%Y-%m-%d")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert list(pool.map(str, [1])) == ["1"]
    pickle.loads(pickle.dumps(logging.WARNING))
    return [int(np.arange(4).sum()), int(frame.describe()["x"]["count"])]
"""
    assert result(denying.execute(script)) == [6, 1]


def test_imports_of_c_code(allowing):
    """What a function of C imports for itself is not the script's: strptime is Python's."""
    script = ("import datetime, time\n" + MAIN
              + "time.strptime('2026', '%Y')\n"
              "    return datetime.datetime.strptime('2026', '%Y').year")
    assert result(allowing.execute(script)) == 2026


# --- the allowlist --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [
    "import json, json.decoder", "from json import *", "import numpy.random as r",
    "from __future__ import annotations", "import xml.dom", "import scipy.stats",
    "from scipy import stats",
    "import script", "from collections.abc import Mapping",
    "import importlib; importlib.import_module('json')", "exec('import math')",
])
def test_allowed(allowing, code):
    """What is in the list, what lies below it, and the script itself."""
    assert result(allowing.execute(code + "\n" + MAIN + "return 1")) == 1


@pytest.mark.parametrize("code, module, words", [
    ("import os", "os", "import os"),
    ("import jsonschema", "jsonschema", "import jsonschema"),
    ("import sys", "sys", "import sys"),
    ("import nothing_of_that_name", "nothing_of_that_name", "import nothing_of_that_name"),
    ("import scipy", "scipy", "import scipy"),
    ("from scipy import stats, optimize, linalg", "scipy", "from scipy import optimize, linalg"),
    ("from scipy import *", "scipy", "from scipy import *"),
    ("from xml import sax", "xml.sax", "from xml import sax"),
    ("import xml.sax", "xml.sax", "import xml.sax"),
    ("__import__('o' + 's')", "os", "import os"),
])
def test_not_allowed(allowing, code, module, words):
    """All else, and what is denied although it is allowed."""
    blocked(allowing.execute(code + "\ndef main(): pass"), module, words, 1)


def test_own_modules_need_no_permission(allowing):
    """They are the script, in more files than one; a library's name makes no own module."""
    files = [{"path": "helper.py", "content": "import json\nvalue = 7"},
             {"path": "pack/__init__.py", "content": "from .part import value"},
             {"path": "pack/part.py", "content": "value = 8"},
             {"path": "os.py", "content": "value = 9"}]
    script = "import helper\nfrom pack.part import value\n" + MAIN + "return [helper.value, value]"
    assert result(allowing.execute(script, files=files)) == [7, 8]
    blocked(allowing.execute("import os\ndef main(): pass", files=files), "os", "import os", 1)
    files[0]["content"] = "import os"
    blocked(allowing.execute(script, files=files), "os", "import os", 1)


# --- nothing else changes -------------------------------------------------------------------------


@pytest.mark.parametrize("script", [
    "def main():\n    raise ValueError('bad input')\n",
    "def f(x):\n    return (1 +\n            x['a'] / 0)\n\ndef main():\n    return f({'a': 1})\n",
    "import json\n\ndef main():\n    return json.loads('{')\n",
    "'''doc'''\nfrom __future__ import annotations\ndef main(x: no.such = 1):\n"
    "    assert main.__annotations__ == {'x': 'no.such'}\n    return [__doc__, main.__code__."
    "co_firstlineno, main.__code__.co_consts]\n",
    "def main():\n    import nothing_of_that_name\n",
    "import nothing_of_that_name.below\n",
    "def main(: pass", "x = 1\nreturn 5\n", "def f():\n    nonlocal x\n", "a = 1 2", "f(**a, *b)",
    "def main():\n    try:\n        1 / 0\n    except Exception as e:\n"
    "        raise KeyError('k') from e\n",
    "def main():\n    exit(3)", "def main():\n    return {1, 2}", "print(1)",
    "# -*- coding: latin-1 -*-\ndef main(): return '\u65e5'", "\ufeffdef main(): return 1",
    "import traceback\ndef main():\n    try:\n        import nothing_of_that_name\n"
    "    except ImportError:\n        traceback.print_exc()\n",
    "import sys\ndef main():\n    import json.tool\n    return sys._getframe().f_lineno\n",
    "import warnings\ndef main():\n    warnings.warn('w', stacklevel=1)\n",
    "def main():\n    __import__()",
])
def test_answers_are_the_same(service, denying, script):
    """Errors, lines, tracebacks and output do not change where the lists are on."""
    for entry in ("main", None):
        bodies = [each.execute(script, entry=entry).data for each in (service, denying)]
        for data in bodies:
            for key in ("usage", "timestamp", "request_id"):
                del data[key]
        assert bodies[0] == bodies[1]


def test_off_at_first(service):
    """Without a list everything may be imported, and nobody has replaced Python's import."""
    script = ("import builtins, importlib, os, socket, subprocess\n" + MAIN
              + "return [repr(builtins.__import__), type(importlib.import_module).__name__]")
    assert result(service.execute(script)) == ["<built-in function __import__>", "function"]


def test_it_is_no_boundary(denying):
    """Said in docs/imports.md: who wants to get around the lists can. The jail is the boundary."""
    for code in ("import sys; return sys.modules['os'].getpid() > 0",
                 "import tempfile; return tempfile._os.getpid() > 0",
                 "import posix; return posix.getpid() > 0",
                 "import importlib.util as u; s = u.find_spec('subprocess'); "
                 "m = u.module_from_spec(s); return m.__name__ == 'subprocess'"):
        assert result(denying.execute(MAIN + code)) is True


# --- the command ----------------------------------------------------------------------------------


def test_vivarium_run():
    """The shell and HTTP behave alike."""
    command = [BUILD / "vivarium", "run", "--config", CONF, "--set", "import_denylist=os", "-"]
    done = subprocess.run(command, input="import os\ndef main(): pass", capture_output=True,
                          text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"vivarium: {WORDS}import os\n"
    done = subprocess.run(command[:-1] + ["--json", "-"], input="def main(): exec('import os')",
                          capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["cause"] == {"kind": "blocked_import", "module": "os", "line": 1}


def test_wrong_lists_are_refused():
    """A name that is none is an error of the configuration, with the key."""
    done = subprocess.run([BUILD / "vivarium", "--check-config", "--config", CONF, "--set",
                           "import_allowlist=os,sys"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert 'import_allowlist takes names of modules separated by blanks, not "os,sys"' in done.stderr


def test_vivarium_check_attacks_the_jail():
    """A policy neither hinders the attacks nor passes for what stops them."""
    command = [BUILD / "vivarium", "check", "--config", CONF, "--json"]
    told = []
    for more in ([], ["--set", "import_allowlist=math"]):
        done = subprocess.run(command + more, capture_output=True, text=True, timeout=120)
        attacks = json.loads(done.stdout)["attacks"]
        told.append([(each["attack"], each["contained"]) for each in attacks])
        assert "blocked_import" not in [each["came"] for each in attacks]
    assert told[0] and told[0] == told[1]
