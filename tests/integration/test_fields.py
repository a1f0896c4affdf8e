"""The fields that bring something along or ask for more: arguments, input, files, figures."""

import base64
import binascii
import fnmatch
import json
import random
import struct
import zlib

import pytest

from answers import ended, failed, ok, refused, result

SCRIPT = "def main(*args, **kwargs): return 'ran'"
MIB = 1 << 20


def raw(service, fragment, script=SCRIPT):
    """A request with a fragment of JSON members as it stands."""
    return service.post(b'{"script": %s, %s}' % (json.dumps(script).encode(), fragment))


def files_of(data):
    """Path to content; size and order are checked on the way."""
    files = data.get("files", [])
    assert all(set(file) == {"path", "size", "content_base64"} for file in files)
    contents = {file["path"]: base64.b64decode(file["content_base64"], validate=True)
                for file in files}
    assert [file["path"] for file in files] == sorted(contents, key=str.encode)
    assert all(file["size"] == len(contents[file["path"]]) for file in files)
    return contents


# --- wrong values ---------------------------------------------------------------------------------

WRONG = [
    ("args", "{}"), ("args", '"x"'), ("args", "0"), ("args", "true"),
    ("args", "[%s]" % ("9" * 4301)), ("args", '[{"a": [-%s]}]' % ("9" * 4301)),
    ("kwargs", "[]"), ("kwargs", '"x"'), ("kwargs", "5"), ("kwargs", '{"a": %s}' % ("9" * 4301)),
    ("argv", "{}"), ("argv", '"x"'), ("argv", "[1]"), ("argv", '["a", null]'), ("argv", '[["a"]]'),
    ("argv", r'["a\u0000"]'), ("argv", r'["\\\u0000"]'),
    ("env", "[]"), ("env", '"x"'), ("env", '{"A": 1}'), ("env", '{"A": null}'), ("env", '{"": "x"}'),
    ("env", '{"a": "x"}'), ("env", '{"1A": "x"}'), ("env", '{"A-B": "x"}'), ("env", '{"A=B": "x"}'),
    ("env", '{"LD_PRELOAD": "x"}'), ("env", '{"LD_": "x"}'), ("env", r'{"\u004cD_X": "x"}'),
    ("env", '{"PYTHON": "x"}'), ("env", '{"PYTHONPATH": "x"}'), ("env", r'{"A": "x\u0000y"}'),
    ("env", r'{"\u00c4": "x"}'),
    ("stdin", "5"), ("stdin", "[]"), ("stdin", "false"), ("stdin", '{"a": 1}'),
    ("outputs", '"x"'), ("outputs", "{}"), ("outputs", "[1]"), ("outputs", '[""]'),
    ("outputs", '["/tmp/x"]'), ("outputs", '["../x"]'), ("outputs", '["a/../x"]'),
    ("outputs", '["./x"]'), ("outputs", '["a//b"]'), ("outputs", '["a/"]'), ("outputs", '[".."]'),
    ("outputs", r'["a\u0000"]'), ("outputs", '["%s"]' % ("a" * 256)),
    ("outputs", json.dumps(["a"] * 101)),
    ("encode", '"Rich"'), ("encode", '""'), ("encode", "1"), ("encode", "true"),
    ("encode", '["rich"]'), ("encode", '"%s"' % ("rich" * 100)),
    ("visualizations", "0"), ("visualizations", '"true"'), ("visualizations", "[]"),
]


@pytest.mark.parametrize("field, value", WRONG, ids=range(len(WRONG)))
def test_wrong_value(service, field, value):
    """Refused: which field, what is allowed, what came, or the part of it that is wrong."""
    data = refused(raw(service, b'"%s": %s' % (field.encode(), value.encode())))
    cause = data["cause"]
    assert set(cause) == {"kind", "field", "allowed", "got"}
    assert cause["field"] == field
    assert data["error"].startswith(field + " must be ")
    assert cause["got"].removesuffix("...") in value


@pytest.mark.parametrize("field", ["args", "kwargs", "argv", "env", "stdin", "files", "outputs",
                                   "encode", "visualizations"])
def test_null_is_the_default(service, field):
    """As if the field were not there; twice it is a duplicate key."""
    data = ok(raw(service, b'"%s": null' % field.encode()))
    assert data["result"] == "ran" and "warnings" not in data
    data = refused(raw(service, b'"%s": null, "%s": null' % (field.encode(), field.encode())))
    assert "duplicate key" in data["error"]


@pytest.mark.parametrize("field, value", [
    ("args", []), ("kwargs", {}), ("argv", []), ("env", {}), ("stdin", ""), ("files", []),
    ("outputs", []), ("encode", "strict"), ("visualizations", True)])
def test_default_may_be_written(service, field, value):
    """And changes nothing."""
    data = ok(service.execute(SCRIPT, **{field: value}))
    assert data["result"] == "ran"
    assert not {"warnings", "files", "visualizations"} & set(data)


# --- args and kwargs ------------------------------------------------------------------------------

@pytest.mark.parametrize("text", [
    "[]", "[null]", "[1, -0, 0.1, 1e400, -1E5, 12345678901234567890123456789]",
    '[{"a": {"b": [true, false, null]}}, "h\\u00e9\\ud83d\\ude00"]', "[%s]" % ("7" * 4300),
    "[" * 62 + "]" * 62, "[ 1 ,\n2\t]", '["\\\\", "\\"", "]"]', "[0.1000000000000000055511151231257827]"])
def test_args_are_what_python_reads(service, text):
    """Numbers and all: compared in the jail with json.loads of the same text."""
    assert result(raw(service, b'"args": %s, "kwargs": {"text": %s}' % (
        text.encode(), json.dumps(text).encode()),
        "import json\ndef main(*args, text):\n"
        "    return repr(list(args)) == repr(json.loads(text))")) is True


def test_kwargs(service):
    """By name, keyword-only ones and ** as well; names may be anything that is a string."""
    script = "def main(a, *, b=2, **more): return [a, b, more]"
    assert result(service.execute(script, args=[1], kwargs={"b": 3, "\xe9 !": {"x": 1.0}})) == \
        [1, 3, {"\xe9 !": {"x": 1.0}}]
    assert result(service.execute(script, kwargs={"a": None})) == [None, 2, {}]


def test_arguments_that_do_not_fit(service):
    """An ordinary TypeError of the script."""
    data = failed(service.execute("def main(): return 1", args=[1]), "exception")
    assert data["error"] == "TypeError: main() takes 0 positional arguments but 1 was given"
    data = failed(service.execute("def main(a): return 1", kwargs={"b": 1}), "exception")
    assert data["cause"]["type"] == "TypeError"


def test_arguments_of_async_main_and_other_entries(service):
    """They go to whatever the entry is."""
    assert result(service.execute(
        "import asyncio\nasync def main(a):\n    await asyncio.sleep(0)\n    return a * 2",
        args=[21])) == 42
    assert result(service.execute("class f:\n    def __new__(cls, a): return a", entry="f",
                                  args=["x"])) == "x"


@pytest.mark.parametrize("fields", [{"args": [1]}, {"kwargs": {"a": 1}}])
def test_arguments_without_an_entry(service, fields):
    """There is nothing that they could be passed to."""
    data = refused(service.execute("1 + 1", entry=None, **fields))
    (field, value), = fields.items()
    assert data["cause"] == {"kind": "invalid_request", "field": field,
                             "allowed": "nothing where entry is null", "got": json.dumps(value)}
    assert result(service.execute("1 + 1", entry=None, args=[], kwargs={})) == 2


def test_many_arguments_count_as_memory(service):
    """Millions of lists are the script's memory, not the service's."""
    body = b'"memory": 64, "args": [%s]' % b",".join([b"[]"] * 3000000)
    data = failed(raw(service, body), "memory")
    assert data["cause"]["limit"] == 64 and data["cause"]["unit"] == "MiB"


# --- argv and env ---------------------------------------------------------------------------------

def test_argv(service):
    """Behind the script's name."""
    script = "import sys\nargv = list(sys.argv)\ndef main(): return [argv, sys.argv]"
    assert result(service.execute(script)) == [["script.py"]] * 2
    given = ["a", "", "--x=1", "\xe9\u20ac", r"\u0000"]
    assert result(service.execute(script, argv=given)) == [["script.py", *given]] * 2


def test_env(service):
    """In os.environ and in the C library's environment, before the first line of the script."""
    script = ("import ctypes, os\nearly = os.environ['A_1']\n"
              "get = ctypes.CDLL(None).getenv\nget.restype = ctypes.c_char_p\n"
              "def main(): return [early, os.environ['_'], get(b'A_1').decode(), get(b'HOME').decode()]")
    assert result(service.execute(script, env={"A_1": "b=\u20ac", "_": "", "HOME": "/nowhere"})) == \
        ["b=\u20ac", "", "b=\u20ac", "/nowhere"]
    assert "KeyError" in failed(service.execute(script), "exception")["error"]


def test_time_zone(service):
    """UTC, unless the client says otherwise."""
    script = "import time\ndef main(): return list(time.tzname)"
    assert result(service.execute(script)) == ["UTC", "UTC"]
    assert result(service.execute(script, env={"TZ": "Europe/Vienna"})) == ["CET", "CEST"]


# --- stdin ----------------------------------------------------------------------------------------

def test_stdin_is_empty_by_default(service):
    """End of file at once."""
    script = "import sys\ndef main():\n    rest = sys.stdin.read()\n    input()"
    data = failed(service.execute(script), "exception")
    assert data["cause"]["type"] == "EOFError"


def test_stdin(service):
    """input(), sys.stdin and descriptor 0 read it."""
    script = ("import os, sys\ndef main():\n    first = input('? ')\n    second = sys.stdin.readline()\n"
              "    third = sys.stdin.read()\n    os.lseek(0, 0, 0)\n"
              "    return [first, second, third, os.read(0, 5).decode()]")
    data = ok(service.execute(script, stdin="one\ntwo \xe9\nthree\n"))
    assert data["result"] == ["one", "two \xe9\n", "three\n", "one\nt"]
    assert data["stdout"] == "? "


def test_stdin_of_any_kind(service):
    """NUL, no newline at the end, carriage returns: the bytes are the text's UTF-8."""
    text = "a\0b\r\n\u20ac\U0001f600"
    assert result(service.execute(
        "import sys\ndef main(): return sys.stdin.buffer.read().hex()", stdin=text)) == \
        text.encode().hex()


def test_large_stdin(service):
    """8 MiB, and not a byte more."""
    script = "import sys\ndef main(): return len(sys.stdin.read())"
    data = ok(service.execute(script, stdin="x" * (8 * MIB), memory=128))
    assert data["result"] == 8 * MIB
    data = refused(service.execute(script, stdin="x" * (8 * MIB + 1)))
    assert data["error"] == "stdin and files are 8388609 bytes together, over the limit of 8388608"
    cause = data["cause"]
    assert (cause["field"], cause["limit"], cause["used"], cause["unit"]) == \
        ("stdin", 8388608, 8388609, "bytes")


def test_stdin_stays_with_its_execution(make_service):
    """The next one in the same cell reads nothing."""
    service = make_service(workers=1, cells_per_worker=1)
    script = "import os, sys\ndef main(): return [sys.stdin.read(), os.listdir('/tmp')]"
    for text in ("secret\n", "", "other", ""):
        assert result(service.execute(script, stdin=text)) == [text, []]


# --- files ----------------------------------------------------------------------------------------

READ = ("import os\ndef main():\n    return sorted([os.path.join(at, name)[2:],"
        " open(os.path.join(at, name), 'rb').read().hex()]\n"
        "        for at, _, names in os.walk('.') for name in names)")


def test_files(service):
    """Text as UTF-8, bytes as base64, directories made on the way."""
    blob = bytes(range(256))
    files = [{"path": "a.txt", "content": "h\xe9\r\n\0"}, {"path": "d/e/f.bin",
             "content_base64": base64.b64encode(blob).decode()}, {"path": "d/empty", "content": ""},
             {"path": "d/none", "content_base64": ""}, {"path": ".hidden", "content": "x"},
             {"path": "caf\xe9 \u20ac/...", "content": "y", "content_base64": None}]
    expected = [["a.txt", "h\xe9\r\n\0".encode().hex()], ["d/e/f.bin", blob.hex()], ["d/empty", ""],
                ["d/none", ""], [".hidden", "78"], ["caf\xe9 \u20ac/...", "79"]]
    assert result(service.execute(READ, files=files)) == sorted(expected)


def test_module_among_the_files(service):
    """Imported as from anywhere, and its frames are the script's own."""
    files = [{"path": "helper.py", "content": "def double(x):\n    return x * 2\n\ndef fail():\n"
              "    raise KeyError('x')\n"}]
    assert result(service.execute("from helper import double\ndef main(): return double(4)",
                                  files=files)) == 8
    data = failed(service.execute("import helper\ndef main():\n    helper.fail()", files=files),
                  "exception")
    assert 'File "/tmp/helper.py", line 5, in fail\n    raise KeyError(' in data["traceback"]
    assert data["cause"]["line"] == 3


GOOD = {"path": "a", "content": "x"}
WRONG_FILES = {
    "no array": ({"path": "a", "content": ""}, "files must be an array"),
    "no object": ([GOOD, "a"], "files[1] must be an object"),
    "null": ([None], "files[0] must be an object"),
    "no path": ([{"content": "x"}], "files[0].path must be a string"),
    "path null": ([{"path": None, "content": "x"}], "files[0].path must be a string"),
    "path number": ([{"path": 1, "content": "x"}], "files[0].path must be a string"),
    "no content": ([GOOD, {"path": "b"}], "files[1] must have exactly one of"),
    "both": ([{"path": "b", "content": "", "content_base64": ""}], "files[0] must have exactly one"),
    "content number": ([{"path": "b", "content": 1}], "files[0].content must be a string"),
    "content list": ([{"path": "b", "content_base64": []}], "files[0].content_base64 must be a string"),
    **{f"path {path!r:.20}": ([{"path": path, "content": ""}], "files[0].path must be a relative path")
       for path in ("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "./a", "a/./b",
                    "a\0b", "a" * 256, "/tmp/a", "\xe9" * 128)},
    "twice": ([GOOD, GOOD], "files[1].path is there twice"),
    "file and directory": ([GOOD, {"path": "a/b", "content": ""}], "files[1].path is there twice"),
    "directory and file": ([{"path": "d/e/f", "content": ""}, {"path": "d/e", "content": ""}],
                           "files[1].path is there twice"),
    **{f"base64 {text!r}": ([{"path": "a", "content_base64": text}],
                            "files[0].content_base64 must be strict base64")
       for text in ("A", "AA", "AAA", "AA=", "A===", "====", "AAAA=", "AA==AAAA", "AB==", "AAB=",
                    "AA\nAA", " AAAA", "AA-_", "AA==\n", "\xe9AAA", "AAA\0")},
    "101": ([{"path": str(i), "content": ""} for i in range(101)], "files must have at most 100"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_wrong_files(service, name):
    """Refused, with the index of the one that is wrong."""
    files, words = WRONG_FILES[name]
    data = refused(service.execute(SCRIPT, files=files))
    assert data["error"].startswith(words)
    cause = data["cause"]
    assert set(cause) == {"kind", "field", "allowed", "got"} and all(cause.values())
    assert cause["field"] == "files"


def test_paths_at_their_limit(service):
    """255 bytes, 100 files; similar names are no collision; the slash may be escaped."""
    long = "/".join(["a" * 50] * 5)
    files = [{"path": long, "content": "x"}, {"path": "ab", "content": ""}]
    files += [{"path": f"f{i}", "content": str(i)} for i in range(97)]
    assert len(long) == 254
    assert len(result(service.execute(READ, files=[*files, {"path": "a" * 255, "content": ""}]))) == 100
    assert result(raw(service, rb'"files": [{"path": "d\/\u0065", "content_base64": "\/\/8="}]',
                      READ)) == [["d/e", "ffff"]]


def test_unknown_member_of_a_file(service):
    """A warning, as for any unknown field."""
    data = ok(service.execute(SCRIPT, files=[GOOD, {"path": "b", "content": "", "mode": 0o755}]))
    assert data["warnings"] == ["unknown field: files[1].mode"]


def test_sizes_are_counted_together(service):
    """Decoded contents and stdin: 8 MiB."""
    half = base64.b64encode(bytes(4 * MIB)).decode()
    files = [{"path": "a", "content_base64": half}, {"path": "b", "content": "x" * (4 * MIB - 1)}]
    script = "import os, sys\ndef main(): return os.stat('a').st_size + os.stat('b').st_size + len(sys.stdin.read())"
    assert result(service.execute(script, files=files, stdin="y", memory=64)) == 8 * MIB
    cause = refused(service.execute(script, files=files, stdin="yy"))["cause"]
    assert (cause["field"], cause["limit"], cause["used"], cause["unit"]) == \
        ("files", 8388608, 8388609, "bytes")


def test_files_that_do_not_fit_into_tmp(make_service):
    """The script's OSError, before its first line."""
    service = make_service(workers=1, cells_per_worker=1, tmp_size=1)
    data = failed(service.execute("print('ran')\ndef main(): pass",
                                  files=[{"path": "a", "content": "x" * (2 * MIB)}]), "exception")
    assert data["error"] == "OSError: [Errno 28] No space left on device: 'a'"
    assert data["stdout"] == ""
    assert result(service.execute("def main(): return 1")) == 1


# --- outputs --------------------------------------------------------------------------------------

WRITE = """
import os
def write(*paths):
    for path in paths:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(path, 'w') as file:
            file.write(path)
"""


@pytest.mark.parametrize("globs, expected", [
    (["a.csv"], ["a.csv"]),
    (["*.csv"], ["a.csv", "b.csv"]),
    (["?.csv", "*.csv"], ["a.csv", "b.csv"]),
    (["[!a].csv"], ["b.csv"]),
    (["*/*.csv"], ["d/c.csv"]),
    (["**/*.csv"], ["a.csv", "b.csv", "d/c.csv", "d/e/f.csv"]),
    (["**"], ["a.csv", "b.csv", "d/c.csv", "d/e/f.csv", "d/e/g", "\xe9.txt"]),
    (["d/**"], ["d/c.csv", "d/e/f.csv", "d/e/g"]),
    (["d/**/e/**/f.csv"], ["d/e/f.csv"]),
    (["**/e/g", "**/**/c.csv"], ["d/c.csv", "d/e/g"]),
    ([".h/*", "**/.x"], [".h/i", "d/.x"]),
    (["\xe9*"], ["\xe9.txt"]),
    (["d", "d/e", "none", "A.csv", "[", "**/.h/*"], [".h/i"]),
])
def test_globs(service, globs, expected):
    """As of pathlib and glob: * stays in one directory, ** does not, a dot has to be written."""
    script = WRITE + ("def main(): write('a.csv', 'b.csv', 'd/c.csv', 'd/e/f.csv', 'd/e/g', "
                      "'\xe9.txt', '.h/i', 'd/.x')")
    data = ok(service.execute(script, outputs=globs))
    assert files_of(data) == {path: path.encode() for path in expected}
    assert "warnings" not in data


def glob_matches(glob, path):
    """What a glob means, in terms of Python's fnmatch: part by part, "**" any number of parts."""
    if not glob:
        return not path
    if glob[0] == "**":
        return glob_matches(glob[1:], path) or bool(path) and path[0][0] != "." and glob_matches(glob, path[1:])
    return bool(path) and (path[0][0] != "." or glob[0][0] == ".") and \
        fnmatch.fnmatchcase(path[0], glob[0]) and glob_matches(glob[1:], path[1:])


def test_globs_are_those_of_fnmatch(service):
    """Odd globs over odd paths, held against Python's own."""
    chance = random.Random(5)
    names = ["a", "b", "ab", "ba", "aab", ".a", "-", "]", "[", "!a", "\\", "^", "é", "🐍", "&|~", "a.b", "..."]
    paths = sorted({"/".join(chance.choices(names, k=chance.choice((1, 1, 2, 3)))) for _ in range(120)})
    files = [path for path in paths if not any(other.startswith(path + "/") for other in paths)]
    parts = ["*", "?", "**", "a*", "*b", "[ab]", "[!a]", "[a-é]*", "[b-a]", "[]-a]", "[^a]", "[a-", "[!]",
             "[a-b-]*", "[\\-]]?", ".*", "?*", "*?b", "*.*", "é", "a", "[[-a]b", "[!!-a]*", "[&-~]|[~]"]
    script = WRITE + f"def main(): write(*{files!r})"
    found = 0
    for _ in range(120):
        globs = ["/".join(chance.choices(parts, k=chance.choice((1, 1, 2, 3)))) for _ in range(2)]
        expected = [path for path in files
                    if any(glob_matches(glob.split("/"), path.split("/")) for glob in globs)]
        assert list(files_of(ok(service.execute(script, outputs=globs)))) == \
            sorted(expected, key=str.encode), globs
        found += len(expected)
    assert found > 200


@pytest.mark.parametrize("end, kind", [
    ("raise ValueError('x')", "exception"), ("import sys; sys.exit(3)", "exit"),
    ("return object()", "not_json"), ("return 'x' * (5 << 20)", "result_too_large"),
    ("return bytearray(1 << 40)", "memory")])
def test_outputs_of_a_failure(service, end, kind):
    """What was written is there, also in a file that was never closed."""
    answer = service.execute(f"file = open('log', 'w')\ndef main():\n    file.write('so far')\n    {end}",
                             outputs=["*"])
    data = (ended if kind == "result_too_large" else failed)(answer, kind)
    assert files_of(data) == {"log": b"so far"}


@pytest.mark.parametrize("end, kind, status", [
    ("while True: pass", "time", 408), ("os.abort()", "signal", 400), ("os._exit(0)", "exit", 400)])
def test_no_outputs_of_what_was_cut_off(service, end, kind, status):
    """Nobody is left who could read them."""
    answer = service.execute(WRITE + f"def main():\n    write('a')\n    {end}", outputs=["*"],
                             timeout=0.5)
    assert answer.status == status and answer.data["cause"]["kind"] == kind
    assert "files" not in answer.data


def test_outputs_without_an_entry(service):
    """No main(): what the script wrote is there."""
    data = ended(service.execute(WRITE + "write('a')", outputs=["*"]), "no_main")
    assert files_of(data) == {"a": b"a"}
    assert files_of(ok(service.execute(WRITE + "write('a')", outputs=["*"], entry=None))) == {"a": b"a"}


def test_input_files_come_back_if_asked_for(service):
    """They are files of the working directory."""
    data = ok(service.execute(SCRIPT, files=[{"path": "d/a", "content": "x"}], outputs=["**"]))
    assert files_of(data) == {"d/a": b"x"}


def test_binary_output_of_many_sizes(service):
    """All lengths modulo 3, an empty one, one over several frames."""
    script = ("import random\ndef main():\n    for size in (0, 1, 2, 3, 4, 65535, 65536, 65537, 1000000):\n"
              "        open('%07d' % size, 'wb').write(random.Random(size).randbytes(size))")
    contents = files_of(ok(service.execute(script, outputs=["*"])))
    assert contents == {"%07d" % size: random.Random(size).randbytes(size)
                        for size in (0, 1, 2, 3, 4, 65535, 65536, 65537, 1000000)}


def test_outputs_at_their_limits(service):
    """100 files, 8 MiB: the first in order, what goes over is named."""
    script = "def main():\n    for i in range(115): open('%03d' % i, 'w').write('x')"
    data = ok(service.execute(script, outputs=["*"]))
    assert list(files_of(data)) == ["%03d" % i for i in range(100)]
    assert data["warnings"] == [f"file {i} left out: over the limit of 100 files"
                                for i in range(100, 110)] + ["5 more files left out"]
    script = ("def main():\n    for name, size in ('a', 5 << 20), ('b', 4 << 20), ('c', 3 << 20):\n"
              "        open(name, 'wb').write(bytes(size))")
    data = ok(service.execute(script, outputs=["*"]))
    assert {name: len(content) for name, content in files_of(data).items()} == \
        {"a": 5 * MIB, "c": 3 * MIB}
    assert data["warnings"] == ["file b left out: 4194304 bytes, over the limit of 8388608 bytes together"]


def test_outputs_of_threads_and_atexit(service):
    """What is written in the second after the value counts, if all ends in it."""
    late = ("import atexit, threading, time\ndef later(name, seconds):\n    time.sleep(seconds)\n"
            "    open(name, 'w').write(name)\natexit.register(later, 'b', 0)\n"
            "def main():\n    open('a', 'w').write('a')\n"
            "    threading.Thread(target=later, args=('c', %s)).start()\n    return 1")
    assert files_of(ok(service.execute(late % 0.1, outputs=["*"]))) == {"a": b"a", "b": b"b", "c": b"c"}
    data = ok(service.execute(late % 30, outputs=["*"]))
    assert files_of(data) == {"a": b"a"} and len(data["warnings"]) == 1


def test_caches_of_libraries_are_no_outputs(make_service):
    """matplotlib writes its list of fonts where it was not warm."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base")
    data = ok(service.execute("import matplotlib.pyplot\nimport os\n"
                              "def main(): return os.listdir('/tmp')", outputs=["**"], timeout=60))
    assert data["result"] == [".matplotlib"] and "files" not in data


def test_timeout_covers_outputs(service):
    """Collecting that takes for ever is out of time like anything else."""
    answer = service.execute("def main(): open('a' * 200, 'w')\nimport gc\n"
                             "gc.get_objects = lambda: iter(int, 1)", outputs=["*"], timeout=0.5)
    assert answer.status == 408 and answer.data["cause"]["kind"] == "time"


# --- figures --------------------------------------------------------------------------------------

def png_size(figure):
    """Width and height; every chunk of the PNG is checked."""
    prefix = "data:image/png;base64,"
    assert figure["data"].startswith(prefix)
    data = base64.b64decode(figure["data"][len(prefix):], validate=True)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, names, pixels = 8, [], b""
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length:at + 12 + length])[0] == binascii.crc32(name + body)
        names.append(name)
        pixels += body if name == b"IDAT" else b""
        at += 12 + length
    assert names[0] == b"IHDR" and names[-1] == b"IEND" and zlib.decompress(pixels)
    return struct.unpack(">II", data[16:24])


PLOT = "import matplotlib.pyplot as plt\ndef main():\n    "


def test_figures(service):
    """Those that are open at the end, in the order of their numbers."""
    data = ok(service.execute(PLOT + "plt.figure(7, figsize=(2, 1), dpi=50)\n    plt.plot([1, 2])\n"
                              "    plt.close(plt.figure(3))\n    plt.figure(2, figsize=(1, 1), dpi=100)\n"
                              "    return 5"))
    assert data["result"] == 5
    figures = data["visualizations"]
    assert [(f["type"], f["format"], f["figure_number"]) for f in figures] == \
        [("matplotlib", "png", 2), ("matplotlib", "png", 7)]
    assert all(set(f) == {"type", "format", "figure_number", "data"} for f in figures)
    assert [png_size(figure) for figure in figures] == [(100, 100), (100, 50)]


def test_no_figures(service):
    """Not asked for, none open, or the script failed."""
    assert "visualizations" not in ok(service.execute(PLOT + "plt.plot([1])", visualizations=False))
    assert "visualizations" not in ok(service.execute(PLOT + "plt.plot([1]); plt.close('all')"))
    assert "visualizations" not in ok(service.execute(SCRIPT))
    failed(service.execute(PLOT + "plt.plot([1]); 1 / 0"), "exception")


def test_figures_over_their_limits(service):
    """16 figures, 8 MiB; one that cannot be drawn is left out too."""
    data = ok(service.execute(PLOT + "for i in range(18): plt.figure(i + 1, figsize=(.5, .5), dpi=20)"))
    assert [f["figure_number"] for f in data["visualizations"]] == list(range(1, 17))
    assert data["warnings"] == [f"figure {i} left out: over the limit of 16 figures" for i in (17, 18)]
    data = ok(service.execute(
        "import numpy as np\n" + PLOT + "plt.figure(1, figsize=(20, 20), dpi=100).figimage("
        "np.random.default_rng(1).random((2000, 2000, 3)))\n    plt.figure(2, figsize=(1, 1))",
        timeout=60, memory=1024))
    assert [f["figure_number"] for f in data["visualizations"]] == [2]
    assert data["warnings"][0].startswith("figure 1 left out: ")
    assert "over the limit of 8388608 bytes together" in data["warnings"][0]
    data = ok(service.execute(PLOT + "plt.title('$\\\\bad$'); plt.figure(2)"))
    assert [f["figure_number"] for f in data["visualizations"]] == [2]
    assert data["warnings"][0].startswith("figure 1 left out: ValueError: ")
    data = ok(service.execute(PLOT + "for i in range(28): plt.figure(i + 1, figsize=(.5, .5), dpi=20)"))
    assert data["warnings"] == [f"figure {i} left out: over the limit of 16 figures"
                                for i in range(17, 27)] + ["2 more figures left out"]


def test_timeout_covers_figures(service):
    """Drawing is part of the run."""
    answer = service.execute(PLOT + "import time\n    f = plt.figure()\n"
                             "    f.savefig = lambda *a, **k: time.sleep(30)", timeout=1)
    assert answer.status == 408 and answer.data["cause"]["kind"] == "time"


# --- warnings and causes --------------------------------------------------------------------------

def test_warnings_are_put_together(service):
    """Unknown fields first, then what was left out, then what was cut off."""
    data = ok(service.execute("import os, threading, time\ndef main():\n    os.mkfifo('p')\n"
                              "    threading.Thread(target=time.sleep, args=(30,)).start()",
                              outputs=["*"], timeot=5))
    assert data["warnings"][:2] == ["unknown field: timeot", "file p left out: not a regular file"]
    assert data["warnings"][2].startswith("threads or atexit handlers") and len(data["warnings"]) == 3


def test_large_body_has_a_limit(service):
    """413 says how much is allowed, and how much came."""
    body = b'{"script": "%s"}' % (b"x" * (20 * MIB))
    data = refused(service.post(body), "payload_too_large", 413)
    assert data["cause"] == {"kind": "payload_too_large", "limit": 20 * MIB, "used": len(body),
                             "unit": "bytes"}


@pytest.mark.parametrize("env, got", [
    ({"GOOD": "secret", "bad": "hidden"}, '"bad"'), ({"LD_PRELOAD": "hidden"}, '"LD_PRELOAD"'),
    ({"GOOD": 5}, "5")])
def test_what_is_wrong_with_env(service, env, got):
    """A name that is not allowed is told, and its value is not."""
    answer = service.execute("def main(): pass", env=env)
    assert refused(answer)["cause"]["got"] == got
    assert b"hidden" not in answer.body
