"""Every cause.kind of /execute, with its status, its words and its details."""

import json
import re

import pytest

from answers import ended, failed, ok, refused

MAIN = "def main():\n    "


# --- syntax ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("script, line", [
    ("x = 1\ny = 2\ndef main(: pass\n", 3),
    ("def main():\nreturn 1\n", 2),
    ("def main():\n    return 'open\n", 2),
    ("def main():\n\treturn 1\n        return 2\n", 3),
    ("return 1", 1),
    ("break", 1),
    ("def main():\n    nonlocal x\n", 2),
    ("x = 1 +\n", 1),
    ("\n\n)", 3),
])
def test_syntax(service, script, line):
    """A script that does not compile says where, with the line."""
    data = failed(service.execute(script), "syntax")
    assert re.match(r"Syntax error in script: (Syntax|Indentation|Tab)Error: .*\(script\.py, line "
                    + str(line) + r"\)$", data["error"])
    assert data["cause"]["line"] == line
    assert f'File "script.py", line {line}\n' in data["traceback"]
    assert data["stdout"] == ""


def test_syntax_error_while_running_is_an_exception(service):
    """Only compiling the script itself is `syntax`."""
    for code in ("exec('1 +')", "compile('(', 'x', 'exec')", "raise SyntaxError('mine')"):
        data = failed(service.execute(MAIN + code), "exception")
        assert data["error"].startswith("SyntaxError: ")
        assert data["cause"]["type"] == "SyntaxError"
        assert data["cause"]["line"] == 2


# --- no_main --------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [
    "print('ran')", "print('ran')\nmain = 5", "print('ran')\ndef Main(): pass",
    "print('ran')\nclass A:\n    def main(self): pass", "print('ran')\ndef main(): pass\ndel main"])
def test_no_main(service, script):
    """The script has run before the lack is noticed: its output comes along."""
    data = failed(service.execute(script), "no_main")
    assert data["error"] == ("Script must contain a main() function (AttributeError: Script "
                             "requires a callable 'main' function.)")
    assert data["stdout"] == "ran\n"


def test_other_entry_is_named(service):
    """A missing entry of another name is called by that name."""
    data = failed(service.execute("def main(): pass", entry="run"), "no_main")
    assert "run()" in data["error"] and "'run'" in data["error"]


# --- exception ------------------------------------------------------------------------------------


def test_exception_example(service):
    """The documented example, to the letter."""
    script = ("import os\nimport sys\n\n\nvalue = -1\n\ndef main():\n"
              "    raise ValueError(\"bad input\")\n")
    data = failed(service.execute(script), "exception")
    assert data["error"] == "ValueError: bad input"
    assert data["cause"] == {"kind": "exception", "type": "ValueError", "line": 8}
    assert data["traceback"] == ("Traceback (most recent call last):\n"
                                 "  File \"script.py\", line 8, in main\n"
                                 "    raise ValueError(\"bad input\")\n"
                                 "ValueError: bad input\n")


def test_exception_at_the_top(service):
    """One outside of main() is no different."""
    data = failed(service.execute("print('a')\nx = {}['missing']\ndef main(): pass"), "exception")
    assert data["error"] == "KeyError: 'missing'"
    assert data["cause"] == {"kind": "exception", "type": "KeyError", "line": 2}
    assert '  File "script.py", line 2, in <module>\n' in data["traceback"]
    assert data["stdout"] == "a\n"


def test_line_is_the_innermost_of_the_script(service):
    """Frames of libraries neither count nor show."""
    script = ("import json\n\ndef parse(text):\n    return json.loads(text)\n\n"
              "def main():\n    return parse('{')\n")
    data = failed(service.execute(script), "exception")
    assert data["cause"]["type"] == "JSONDecodeError"
    assert data["cause"]["line"] == 4
    assert re.findall(r'File "([^"]+)", line (\d+)', data["traceback"]) == [
        ("script.py", "7"), ("script.py", "4")]


@pytest.mark.parametrize("code, name, message", [
    ("1 / 0", "ZeroDivisionError", "division by zero"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
    ("raise GeneratorExit('x')", "GeneratorExit", "x"),
    ("raise BaseException('b')", "BaseException", "b"),
    ("import nothing_of_that_name", "ModuleNotFoundError",
     "No module named 'nothing_of_that_name'"),
    ("open('missing')", "FileNotFoundError", "[Errno 2] No such file or directory: 'missing'"),
    ("assert False", "AssertionError", ""),
    ("raise Exception('two\\nlines\\r\\x00\\x1b[31m\\x85end')", "Exception",
     "two lines   [31m end"),
    ("raise Exception('h\xe9llo \u65e5 \U0001f600')", "Exception", "h\xe9llo \u65e5 \U0001f600"),
    ("raise Exception('a\\u2028b\\u2029c')", "Exception", "a b c"),
])
def test_exceptions_by_name(service, code, name, message):
    """Type and text on one line; line breaks and control characters became spaces."""
    data = failed(service.execute(MAIN + code), "exception")
    assert data["error"] == (f"{name}: {message}" if message else name)
    assert data["cause"]["type"] == name
    assert data["cause"]["line"] == 2


def test_lone_surrogate_in_the_text(service):
    """It cannot be sent as it is, and stops nothing."""
    data = failed(service.execute(MAIN + "raise ValueError('a\\ud800b')"), "exception")
    assert re.fullmatch(r"ValueError: a.+b", data["error"])


def test_long_text_is_clipped(service):
    """error has at most 4 KiB, cut between characters."""
    data = failed(service.execute(MAIN + "raise ValueError('\u65e5' * 100000)"), "exception")
    assert 4000 < len(data["error"].encode()) <= 4096
    assert data["error"] == "ValueError: " + "\u65e5" * (len(data["error"]) - 12)


def test_long_traceback_keeps_head_and_tail(service):
    """traceback has at most 64 KiB: where it began and how it ended."""
    script = ("def f(n):\n    if n:\n        f(n - 1)\n    else:\n"
              "        raise ValueError('x' * 100000 + 'the end')\ndef main():\n    f(50)")
    data = failed(service.execute(script), "exception")
    text = data["traceback"]
    assert 32 * 1024 < len(text.encode()) <= 64 * 1024
    assert text.startswith('Traceback (most recent call last):\n  File "script.py", line 7, in main')
    assert text.endswith("the end\n")


@pytest.mark.parametrize("body", [
    "raise ValueError", "import sys; sys.exit(3)", "import os; os._exit(1) if 0 else 1 / 0",
    "return 5", "self.__str__()"])
def test_unprintable_exception(service, body):
    """One whose __str__ raises, exits, lies or never ends is still an exception."""
    data = failed(service.execute(
        f"class Odd(Exception):\n    def __str__(self):\n        {body}\ndef main():\n"
        "    raise Odd"), "exception")
    assert data["error"].startswith("Odd: <")
    assert data["cause"]["type"] == "Odd"
    assert data["cause"]["line"] == 5


def test_exception_whose_class_lies(service):
    """A metaclass and properties that raise stop nothing."""
    script = ("class Meta(type):\n    __name__ = property(lambda s: 1 / 0)\n"
              "class Odd(Exception, metaclass=Meta):\n    __cause__ = property(lambda s: 1 / 0)\n"
              "def main():\n    raise Odd('x')")
    data = failed(service.execute(script), "exception")
    assert data["cause"]["line"] == 6


def test_chained_exceptions(service):
    """`from` and `during handling` show both parts, the script's frames only."""
    script = ("import json\ndef inner():\n    json.loads('x')\n"
              "def main():\n    try:\n        inner()\n    except ValueError as e:\n"
              "        raise RuntimeError('outer') from e\n")
    data = failed(service.execute(script), "exception")
    text = data["traceback"]
    assert data["error"] == "RuntimeError: outer"
    assert "The above exception was the direct cause of the following exception:" in text
    assert set(re.findall(r'File "([^"]+)"', text)) == {"script.py"}
    data = failed(service.execute(script.replace(" from e", "")), "exception")
    assert "During handling of the above exception, another exception occurred:" in data["traceback"]
    data = failed(service.execute(script.replace(" from e", " from None")), "exception")
    assert data["traceback"].count("Traceback (most recent call last)") == 1


def test_notes_and_groups(service):
    """add_note() and exception groups are shown as Python shows them."""
    data = failed(service.execute(MAIN + "e = ValueError('x'); e.add_note('look here'); raise e"),
                  "exception")
    assert data["traceback"].endswith("ValueError: x\nlook here\n")
    data = failed(service.execute(
        MAIN + "raise ExceptionGroup('both', [ValueError('one'), TypeError('two')])"), "exception")
    assert data["error"] == "ExceptionGroup: both (2 sub-exceptions)"
    assert "ValueError: one" in data["traceback"] and "TypeError: two" in data["traceback"]


def test_traceback_lines_are_pythons_lines(service):
    """Form feeds and exotic separators in the text do not shift the lines shown."""
    script = "a = 'x\u2028y\x0cz\x1c'\n\x0c\ndef main():\n    raise ValueError('here')  # shown\n"
    data = failed(service.execute(script), "exception")
    assert data["cause"]["line"] == 4
    assert "    raise ValueError('here')  # shown\n" in data["traceback"]


def test_endless_recursion(service):
    """RecursionError, with a traceback that is not endless."""
    data = failed(service.execute("def f(): return f()\ndef main():\n    f()"), "exception")
    assert data["error"].startswith("RecursionError: maximum recursion depth exceeded")
    assert len(data["traceback"]) < 5000


# --- exit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code, text, status", [
    ("raise SystemExit(3)", "3", 3),
    ("import sys; sys.exit(0)", "0", 0),
    ("import sys; sys.exit('a reason')", "a reason", 1),
    ("exit(7)", "7", 7),
    ("quit(1)", "1", 1),
    ("raise SystemExit(256 + 5)", "261", 5),
    ("raise SystemExit(-1)", "-1", 255),
    ("raise SystemExit(10 ** 5000)", None, None),
    ("class Odd:\n        def __str__(self): 1 / 0\n    raise SystemExit(Odd())", None, 1),
])
def test_system_exit(service, code, text, status):
    """The code is named; so is the line."""
    data = failed(service.execute("print('a')\n" + MAIN + code), "exit")
    assert data["error"].startswith("SystemExit")
    if text is not None:
        assert data["error"] == "SystemExit: " + text
    if status is not None:
        assert data["cause"]["exit_code"] == status
    assert type(data["cause"]["exit_code"]) is int
    assert "SystemExit" in data["traceback"]
    assert data["stdout"] == "a\n"


@pytest.mark.parametrize("code", [0, 3, 255])
def test_os_exit(service, code):
    """A process that ends by itself never returned from main()."""
    data = ended(service.execute(f"import os\ndef main():\n    os._exit({code})"), "exit")
    assert data["error"] == f"Script ended without returning from main() (exit code {code})"
    assert data["cause"] == {"kind": "exit", "exit_code": code}


# --- not_json -------------------------------------------------------------------------------------


@pytest.mark.parametrize("expression, words", [
    ("np.arange(3)", "TypeError: Return value of 'main' is not JSON serializable: Object of type "
                     "ndarray is not JSON serializable"),
    ("object()", "TypeError: Return value of 'main' is not JSON serializable: Object of type "
                 "object is not JSON serializable"),
    ("{1, 2}", "Object of type set is not JSON serializable"),
    ("b'x'", "Object of type bytes is not JSON serializable"),
    ("1j", "Object of type complex is not JSON serializable"),
    ("main", "Object of type function is not JSON serializable"),
    ("(i for i in ())", "Object of type generator is not JSON serializable"),
    ("np.complex64(1)", "Object of type complex64 is not JSON serializable"),
    ("np.datetime64('2020-01-01')", "Object of type datetime64 is not JSON serializable"),
    ("np.timedelta64(1, 's')", "Object of type timedelta64 is not JSON serializable"),
    ("__import__('decimal').Decimal(1)", "Object of type Decimal is not JSON serializable"),
    ("__import__('datetime').date(2020, 1, 1)", "Object of type date is not JSON serializable"),
    ("{(1, 2): 3}", "keys must be str, int, float, bool or None, not tuple"),
    ("{b'k': 3}", "keys must be str, int, float, bool or None, not bytes"),
    ("float('nan')", ""), ("[1, float('inf')]", ""), ("{'x': -float('inf')}", ""),
    ("np.float32('nan')", ""), ("np.float64('inf')", ""), ("{float('nan'): 1}", ""),
    ("{np.float32('nan'): 1}", ""), ("{float('inf'): 1}", ""),
    ("'\\ud800'", ""), ("['a\\udfffb']", ""), ("{'\\ud800': 1}", ""),
    ("'\\udc00\\ud800'", ""),
    ("{1: 'a', '1': 'b'}", ""), ("{None: 1, 'null': 2}", ""), ("{True: 1, 'true': 2}", ""),
    ("{1.5: 1, '1.5': 2}", ""), ("{np.int64(1): 'a', '1': 'b'}", ""),
    ("[{'x': {2: 'a', '2': 'b'}}]", ""),
    ("10 ** 4300", ""), ("[-10 ** 5000]", ""), ("{10 ** 4300: 1}", ""),
])
def test_not_json(service, expression, words):
    """What json.dumps does not take, and the few things that it takes and should not."""
    data = failed(service.execute("import numpy as np\ndef main():\n    return " + expression),
                  "not_json")
    assert re.match(r"\w+Error: Return value of 'main' is not JSON serializable: .",
                    data["error"])
    assert words in data["error"]
    assert data["cause"]["type"] == data["error"].partition(":")[0]
    assert data["cause"]["type"] in data["traceback"]


PLACES = [
    ("[1, {2}]", "[1]"), ("{'a': [0, 0, 0, {'b': object()}]}", '["a"][3]["b"]'),
    ("(0, (0, float('nan')))", "[1][1]"), ("[1] * 999 + [float('inf')]", "[999]"),
    ("{'a': ['x', '\\ud800']}", '["a"][1]'), ("[{'\\ud800': 1}]", '[0]["\\ud800"]'),
    ("{'a': {1: 'a', '1': 'b'}}", '["a"]["1"]'), ("{1: 'a', 2: 'c', '1': 'b'}", '["1"]'),
    ("[{1: 0, 3: 0, 5: 0, 7: 0, '7': 0}, 0]", '[0]["7"]'),
    ("{'a': {'b': 1, 'null': 2, None: [3]}}", '["a"]["null"]'),
    ("{'a': {np.int64(1): 'a', '1': 'b'}}", '["a"]["1"]'), ("{np.int64(7): [0, {2}]}", '["7"][1]'),
    ("{1.5: {2}}", '["1.5"]'), ("{True: {2}}", '["true"]'), ("{'a': {(1, 2): 3}}", '["a"]'),
    ("{'a': [10 ** 4300]}", '["a"][0]'), ("{'\"x': {2}}", '["\\"x"]'),
    ("{'k' * 5000: {2}}", '["' + "k" * 39 + '..."]'),
    ("[[[{2}]]] if not globals().update(v=[]) and not v.append([v]) else 0", "[0][0][0]"),
    ("v if not globals().update(v=[]) and not v.append([v]) else 0", "[0][0]"),
    ("{2}", ""), ("'\\ud800'", ""), ("{(1, 2): 3}", ""), ("{float('nan'): 1}", "")]


@pytest.mark.parametrize("encode", ["strict", "rich"])
@pytest.mark.parametrize("expression, place", PLACES)
def test_place_of_what_is_not_json(service, expression, place, encode):
    """Somebody who returns a large value wants to know which part of it is meant."""
    answer = service.execute("import numpy as np\ndef main():\n    return " + expression,
                             encode=encode)
    if encode == "rich" and answer.status == 200:
        return  # rich takes it
    error = failed(answer, "not_json")["error"]
    assert error.partition(", at result")[2] == place, error


def test_place_in_a_large_value(service):
    """The search is quick, and gives up where the value does not stand still."""
    data = failed(service.execute(
        "def main(): return {'rows': [{'id': i, 'x': [float(i)] * 5} for i in range(40000)] + [{1}]}"),
        "not_json")
    assert data["error"].endswith("Object of type set is not JSON serializable, at result[\"rows\"][40000]")
    assert data["usage"]["wall_ms"] < 5000
    data = failed(service.execute(
        "seen = []\nclass L(list):\n    def __iter__(self):\n        if seen: raise SystemExit\n"
        "        seen.append(1)\n        return iter([{3}])\ndef main(): return [L([1])]"), "not_json")
    assert data["error"].endswith("not JSON serializable, at result[0]")


def test_not_json_without_numpy(service):
    """The words do not depend on what was imported."""
    data = failed(service.execute("def main(): return {(1, 2): 3}"), "not_json")
    assert data["error"].endswith("keys must be str, int, float, bool or None, not tuple")


def test_huge_integers_stay_refused(service):
    """Lifting Python's own limit does not lift that of the answer."""
    failed(service.execute("import sys\nsys.set_int_max_str_digits(0)\n"
                           "def main(): return 10 ** 4300"), "not_json")
    assert ok(service.execute("import sys\nsys.set_int_max_str_digits(0)\n"
                              "def main(): return 10 ** 4299"))["result"] == 10 ** 4299


@pytest.mark.parametrize("loop", ["v.append(v)", "v.append({'k': (v,)})"])
def test_circular_value(service, loop):
    """A value that contains itself is no JSON."""
    data = failed(service.execute(f"def main():\n    v = []\n    {loop}\n    return v"), "not_json")
    assert "ircular" in data["error"]


def test_endless_depth(service):
    """Too deep for Python's own encoder is too deep."""
    failed(service.execute("def main():\n    v = []\n    for i in range(100000): v = [v]\n"
                           "    return v"), "not_json")


def test_value_of_the_last_expression_that_is_not_json(service):
    """Without an entry the words do not speak of main()."""
    data = failed(service.execute("object()", entry=None), "not_json")
    assert data["error"].endswith("Object of type object is not JSON serializable")
    assert "main" not in data["error"]


# --- result_too_large -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4194305, 12582912, 100 << 20])
def test_result_too_large(service, size):
    """A value over 4 MiB of JSON names its size."""
    data = ended(service.execute(f"print('a')\ndef main():\n    return 'x' * ({size} - 2)"),
                 "result_too_large")
    assert data["error"] == (f"Return value of 'main' is {size} bytes of JSON, over the limit of "
                             "4194304")
    assert data["cause"] == {"kind": "result_too_large", "limit": 4194304, "used": size,
                             "unit": "bytes"}
    assert data["stdout"] == "a\n"


# --- before a run ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nothing", "/execute/", "/Execute", "/execute/x", "/health/x",
                                  "/index.html", "/favicon.ico", "/%65xecut", "/live."])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_not_found(service, method, path):
    """Unknown paths, whatever the method."""
    refused(service.request(method, path), "not_found", 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "FOO"])
def test_method_not_allowed_on_execute(service, method):
    """405 names what is allowed there."""
    answer = service.request(method, "/execute", body="{}" if method != "GET" else None)
    refused(answer, "method_not_allowed", 405)
    assert answer.headers["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("path", ["/", "/health", "/live"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_method_not_allowed_elsewhere(service, method, path):
    """The other paths are for reading."""
    answer = service.request(method, path, body="{}")
    refused(answer, "method_not_allowed", 405)
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_payload_too_large(service):
    """20 MiB and a byte."""
    answer = service.post(b'{"script": "' + b"x" * (20 << 20) + b'"}')
    refused(answer, "payload_too_large", 413)


def test_body_that_was_not_read_is_not_the_next_request(service):
    """What is refused by its header leaves nothing on the connection that nginx keeps."""
    for number in range(30):
        # small enough to be sent whole, and so for nginx to keep the connection
        unknown = "x" * (1000, 20000, 100000)[number % 3]
        body = json.dumps({"script": "def main(): return 'refused'", "unknown": unknown})
        answer = service.request("POST", "/execute", body, {"Content-Type": "text/plain"})
        assert answer.status == 415, answer
        assert ok(service.execute(f"def main(): return {number}"))["result"] == number
