"""POST /execute with scripts that succeed: values, streams, and the shape of the answer."""

import gzip
import json

import pytest

from answers import check_text, failed, ok, result


def returning(expression):
    return f"def main():\n    return {expression}\n"


# --- the shape ------------------------------------------------------------------------------------


def test_first_example(service):
    """The smallest useful request has exactly the documented answer."""
    answer = service.execute("def main():\n    print('Processing...')\n    return {'answer': 42}")
    data = ok(answer)
    assert data["result"] == {"answer": 42}
    assert data["stdout"] == "Processing...\n"
    assert data["stderr"] == ""
    assert set(data) == {"success", "result", "stdout", "stderr", "usage", "timestamp",
                         "request_id"}
    assert "error" not in data


def test_usage_follows_what_the_script_did(service):
    """wall_ms counts the sleep, cpu_ms does not; memory_mb sees what was filled."""
    idle = ok(service.execute("import time\ndef main():\n    time.sleep(0.3)\n"))["usage"]
    assert 290 <= idle["wall_ms"] < 5000
    assert idle["cpu_ms"] < 200
    busy = ok(service.execute(
        "import time\ndef main():\n    while time.process_time() < 0.3: pass\n"))["usage"]
    assert busy["cpu_ms"] > 200
    assert busy["wall_ms"] >= busy["cpu_ms"] - 50
    large = ok(service.execute("def main():\n    x = bytearray(b'x') * (50 << 20)\n"))["usage"]
    assert 45 < large["memory_mb"] < 80
    small = ok(service.execute("def main():\n    pass\n"))["usage"]
    assert small["memory_mb"] < 20


def test_usage_names_the_library_set(service):
    """template is the name of one of the configured sets."""
    usage = ok(service.execute("def main(): pass"))["usage"]
    assert usage["template"] in {"base", "numpy", "pandas", "scipy", "matplotlib"}


def test_client_request_id_is_kept(service):
    """An id of the client's own comes back, in the header and in the body."""
    body = json.dumps({"script": "def main(): pass"})
    data = ok(service.post(body, X_Request_Id="my-id.1_2"))
    assert data["request_id"] == "my-id.1_2"


def test_unfit_request_id_is_replaced(service):
    """An id that does not match the pattern is not repeated."""
    data = ok(service.post(json.dumps({"script": "def main(): pass"}), X_Request_Id="no spaces"))
    assert data["request_id"] != "no spaces"


def test_query_string_is_ignored(service):
    """/execute?anything is /execute."""
    answer = service.request("POST", "/execute?script=x&timeout=0", json.dumps({
        "script": "def main(): return 1"}), {"Content-Type": "application/json"})
    assert result(answer) == 1


def test_large_answer_is_gzipped_on_request(service):
    """A large answer is compressed for a client that asks for it, and for no other."""
    script = json.dumps({"script": returning("'ab' * 100000")})
    plain = service.post(script)
    assert "Content-Encoding" not in plain.headers
    packed = service.post(script, Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 10
    assert json.loads(gzip.decompress(packed.body))["result"] == "ab" * 100000


# --- values ---------------------------------------------------------------------------------------

VALUES = [
    None, True, False, 0, -0.0, 0.0, 1, -1, 2 ** 53 + 1, 2 ** 64, -2 ** 200, 10 ** 4299,
    0.1, 1e100, 1e-7, 1.5e300, 5e-324, 123456789.123456789, 1e16, 1e22, 100.0,
    "", "plain", 'quotes " and \\ and /', "\b\f\n\r\t", "\x00", "a\x00b", "\x01\x1f\x7f",
    "\x80\xa0\xff", "\u2028\u2029", "h\xe9llo", "\u65e5\u672c\u8a9e", "\U0001f600", "\ufeff",
    "\uffff", "\U0010ffff", "</script>", "\u200b\u202e", "{}", "null",
    [], {}, [[]], [{}], {"a": []}, [1, "two", None, True, 3.0], (1, 2), ((1,), [2, (3,)]), [()],
    {"": ""}, {"a": 1, "b": 2}, {"b": 1, "a": 2}, {"\u00e9": "\u00e9"}, {"a\nb": 1},
    {1: "int", 2.5: "float", True + 2: "three"}, {None: 1}, {True: 1, False: 0}, {1.0: 1},
    {"__proto__": 1}, {"$type": "x"}, {"result": {"error": 1}, "stdout": ", \"stdout\": "},
    {"a" * 1000: "b" * 1000}, list(range(1000)), {str(i): i for i in range(1000)},
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_value_is_what_json_dumps_writes(service, value):
    """Byte for byte, whatever a plain value is made of."""
    answer = service.execute(returning(repr(value)) if not isinstance(value, int)
                             or value < 10 ** 100 else returning("10 ** 4299"))
    assert ok(answer)["result"] == json.loads(json.dumps(value))
    check_text(answer, value)


SUBCLASSES = {
    "class T(str): pass\ndef main(): return T('x')": '"x"',
    "class T(int):\n    def __repr__(self): return 'no'\ndef main(): return T(7)": "7",
    "class T(float):\n    def __repr__(self): return 'no'\ndef main(): return T(7.5)": "7.5",
    "class T(dict): pass\ndef main(): return T(a=1)": '{"a": 1}',
    "class T(list): pass\ndef main(): return T([1])": "[1]",
    "import enum\nclass T(enum.IntEnum):\n    A = 3\ndef main(): return [T.A, {T.A: 1}]":
        '[3, {"3": 1}]',
    "import collections\ndef main():\n    P = collections.namedtuple('P', 'x y')\n"
    "    return P(1, 2)": "[1, 2]",
    "import collections\ndef main(): return collections.OrderedDict(b=1, a=2)":
        '{"b": 1, "a": 2}',
    "import collections\ndef main(): return collections.Counter('aab')": '{"a": 2, "b": 1}',
    "def main(): return '\\ud83d\\ude00'": '"\\ud83d\\ude00"',
}


@pytest.mark.parametrize("script", SUBCLASSES, ids=range(len(SUBCLASSES)))
def test_subclasses_are_what_json_dumps_writes(service, script):
    """Subclasses of the plain types, named tuples and enumerations included."""
    assert b'"result": %s, "stdout"' % SUBCLASSES[script].encode() in service.execute(script).body


NUMPY = {
    "np.int64(5)": "5",
    "np.int8(-5)": "-5",
    "np.uint64(2**64 - 1)": "18446744073709551615",
    "np.float64(1.5)": "1.5",
    "np.float32(0.5)": "0.5",
    "np.float32(0.1)": json.dumps(0.10000000149011612),
    "np.float16(2)": "2.0",
    "np.bool_(True)": "true",
    "np.arange(4).sum()": "6",
    "np.array([1, 2]) .max() > 1": "true",
    "[np.int64(1), (np.bool_(False),)]": "[1, [false]]",
    "{'a': {'b': [np.float32(0.5)]}}": '{"a": {"b": [0.5]}}',
    "{np.int64(1): 'a', np.int64(2): np.int64(3)}": '{"1": "a", "2": 3}',
    "{np.bool_(True): 1}": '{"true": 1}',
    "{np.float32(0.5): 1, np.float64(1.5): 2}": '{"0.5": 1, "1.5": 2}',
    "[{'x': ({np.int64(7): None},)}]": '[{"x": [{"7": null}]}]',
    "np.str_('x')": '"x"',
    "{np.str_('k'): 1}": '{"k": 1}',
    "dict(zip(*np.unique(np.array([3, 3, 4]), return_counts=True)))": '{"3": 2, "4": 1}',
    "np.arange(3).tolist()": "[0, 1, 2]",
}


@pytest.mark.parametrize("expression", NUMPY)
def test_numpy_scalars_are_plain(service, expression):
    """Scalars of numpy become numbers and booleans, as values and as keys."""
    answer = service.execute("import numpy as np\n" + returning(expression))
    ok(answer)
    assert b'"result": %s, "stdout"' % NUMPY[expression].encode() in answer.body, answer


def test_pandas_maximum_is_plain(service):
    """df["x"].max() is the reason for the exception."""
    script = ("import pandas as pd\ndef main():\n    df = pd.DataFrame({'x': [1, 2], 'y': [.5, 1]})\n"
              "    return [df['x'].max(), df['y'].mean(), (df['x'] > 1).any(), df['x'].nunique(),\n"
              "            df['x'].value_counts().to_dict()]")
    assert result(service.execute(script)) == [2, 0.75, True, 2, {"2": 1, "1": 1}]


@pytest.mark.parametrize("depth", [200, 500])
@pytest.mark.parametrize("shape", ["[{}]", "{{'k': {}}}"])
def test_deep_values(service, depth, shape):
    """Values nest at least 200 deep; somewhat more is no problem either."""
    script = f"def main():\n    v = 1\n    for i in range({depth}): v = {shape.format('v')}\n    return v"
    answer = service.execute(script)
    assert answer.status == 200, answer
    value = 1
    for _ in range(depth):
        value = [value] if shape[0] == "[" else {"k": value}
    check_text(answer, value)


def test_value_just_within_the_limit(service):
    """4 MiB of JSON is not over 4 MiB."""
    answer = service.execute(returning("'x' * (4194304 - 2)"))
    assert answer.status == 200
    assert len(answer.data["result"]) == 4194302


def test_without_a_return_the_result_is_null(service):
    """main() that returns nothing returns None."""
    assert ok(service.execute("def main(): pass"))["result"] is None


# --- standard output and standard error -----------------------------------------------------------


def test_both_streams_come_back(service):
    """What is printed, and what is written to standard error, apart."""
    data = ok(service.execute("import sys\nprint('before')\ndef main():\n    print('out')\n"
                              "    print('err', file=sys.stderr)\n    sys.stdout.write('no newline')"))
    assert data["stdout"] == "before\nout\nno newline"
    assert data["stderr"] == "err\n"


def test_streams_are_unicode(service):
    """Text outside ASCII, and bytes that are none, in an ASCII body."""
    data = ok(service.execute(
        "import sys\ndef main():\n    print('h\xe9llo \u65e5\u672c \U0001f600 \\x00')\n"
        "    sys.stdout.flush()\n"
        "    sys.stdout.buffer.write(b'a\\xffb\\xc3\\xe2\\x82c\\xed\\xa0\\x80\\n')"))
    assert data["stdout"] == ("h\xe9llo \u65e5\u672c \U0001f600 \x00\n"
                              + b"a\xffb\xc3\xe2\x82c\xed\xa0\x80\n".decode("utf-8", "replace"))


def test_streams_by_descriptor(service):
    """What native code writes to descriptors 1 and 2 belongs to the streams too."""
    data = ok(service.execute("import os\ndef main():\n    os.write(1, b'one')\n    os.write(2, b'two')"))
    assert (data["stdout"], data["stderr"]) == ("one", "two")


def test_output_of_children(service):
    """What a forked child prints is there, if it was printed before the end."""
    data = ok(service.execute("import os\ndef main():\n    pid = os.fork()\n    if not pid:\n"
                              "        print('child', flush=True)\n        os._exit(0)\n"
                              "    os.waitpid(pid, 0)\n    print('parent')"))
    assert data["stdout"] == "child\nparent\n"


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(0)", "os.abort()"])
def test_lines_before_a_sudden_end_are_there(service, end):
    """Both streams are line-buffered: a script that is killed has not lost its lines."""
    answer = service.execute(f"import os, sys\ndef main():\n    print('one')\n    print('two')\n"
                             f"    print('err', file=sys.stderr)\n    {end}")
    assert answer.status == 400
    assert answer.data["stdout"] == "one\ntwo\n"
    assert answer.data["stderr"] == "err\n"


def test_streams_are_line_buffered(service):
    """Both say so."""
    assert result(service.execute("import sys\ndef main():\n"
                                  "    return [sys.stdout.line_buffering, sys.stderr.line_buffering,\n"
                                  "            sys.stdout.encoding.lower()]")) == [True, True, "utf-8"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_exactly_a_mebibyte_is_whole(service, stream):
    """1 MiB is not over 1 MiB."""
    data = ok(service.execute(f"import sys\ndef main():\n    sys.{stream}.write('x' * 1048576)"))
    assert data[stream] == "x" * 1048576
    assert "truncated" not in data


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_too_much_output_keeps_both_ends(service, stream):
    """Half head, half tail, nothing inserted; the bytes dropped and where are named."""
    text = "".join(f"{i:015}\n" for i in range(100000))
    data = ok(service.execute(
        f"import sys\ndef main():\n    for i in range(100000):\n"
        f"        print('%015d' % i, file=sys.{stream})\n    return 1"))
    half = 524288
    assert data[stream] == text[:half] + text[-half:]
    assert data["truncated"] == {stream: 1600000 - 1048576, stream + "_at": half}
    assert data["result"] == 1


def test_one_byte_too_many(service):
    """The smallest overflow drops a single byte."""
    data = ok(service.execute("import sys\ndef main():\n"
                              "    sys.stdout.write('a' * 524288 + 'b' + 'c' * 524288)"))
    assert data["stdout"] == "a" * 524288 + "c" * 524288
    assert data["truncated"] == {"stdout": 1, "stdout_at": 524288}


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("character", ["\xe9", "\u65e5", "\U0001f600"])
def test_output_is_cut_between_characters(service, character, shift):
    """No half of a character is left at the cut; what is kept and dropped adds up."""
    data = ok(service.execute(
        f"import sys\ndef main():\n"
        f"    sys.stdout.buffer.write(b'.' * {shift} + {character!r}.encode() * 600000)"))
    width = len(character.encode())
    total = shift + 600000 * width
    kept = data["stdout"].encode()
    dropped, at = data["truncated"]["stdout"], data["truncated"]["stdout_at"]
    assert "\ufffd" not in data["stdout"]
    assert len(kept) + dropped == total
    assert 524288 - width < at <= 524288
    assert data["stdout"] == "." * shift + character * ((len(kept) - shift) // width)
    assert 1048576 - 2 * width < len(kept) <= 1048576


def test_both_streams_can_overflow(service):
    """Each on its own, and a script is never killed for printing."""
    data = ok(service.execute(
        "import os\ndef main():\n    for i in range(400):\n"
        "        os.write(1, b'o' * 65536); os.write(2, b'e' * 65536)\n    return 'done'",
        timeout=60))
    for stream, letter in (("stdout", "o"), ("stderr", "e")):
        assert data[stream] == letter * 1048576
        assert data["truncated"][stream] == 400 * 65536 - 1048576
    assert data["result"] == "done"


def test_failures_have_their_output(service):
    """A failed script's streams come along just so."""
    data = failed(service.execute("import sys\ndef main():\n    print('out')\n"
                                  "    print('err', file=sys.stderr)\n    raise ValueError('x')"),
                  "exception")
    assert (data["stdout"], data["stderr"]) == ("out\n", "err\n")
