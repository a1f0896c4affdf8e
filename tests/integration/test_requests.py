"""What POST /execute takes and what it refuses: strict JSON, fields, media types, scripts."""

import json
import math
import re
import time

import pytest

from answers import failed, ok, refused, result

SCRIPT = "def main(): return 'ran'"
LIMIT = 1 << 20


def body_with(fragment):
    """A body whose script is fine, with a fragment of JSON members behind it."""
    return b'{"script": %s, %s}' % (json.dumps(SCRIPT).encode(), fragment)


# --- strict JSON ----------------------------------------------------------------------------------

NOT_STRICT = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "cut off": b'{"script": "x"',
    "garbage": b"script=x",
    "nul": b"\x00",
    "trailing text": body_with(b'"x": 1') + b"x",
    "two values": body_with(b'"x": 1') + b"{}",
    "trailing comma": b'{"script": "x",}',
    "no comma": b'{"script": "x" "y": 1}',
    "single quotes": b"{'script': 'x'}",
    "comment": body_with(b'"x": 1 /* no */'),
    "duplicate key": body_with(b'"script": "x"'),
    "duplicate unknown key": body_with(b'"x": 1, "x": 1'),
    "duplicate key, escaped": body_with(b'"scr\\u0069pt": "x"'),
    "duplicate key, nested": body_with(b'"x": {"a": [{"b": 1, "b": 2}]}'),
    "NaN": body_with(b'"x": NaN'),
    "Infinity": body_with(b'"x": Infinity'),
    "-Infinity": body_with(b'"x": -Infinity'),
    "nan": body_with(b'"x": nan'),
    "leading zero": body_with(b'"x": 01'),
    "plus": body_with(b'"x": +1'),
    "bare point": body_with(b'"x": .5'),
    "point at the end": body_with(b'"x": 1.'),
    "hexadecimal": body_with(b'"x": 0x10'),
    "True": body_with(b'"x": True'),
    "tab in a string": b'{"script": "def main():\treturn 1"}',
    "newline in a string": b'{"script": "def main():\n  return 1"}',
    "nul in a string": b'{"script": "x\x00"}',
    "unit separator in a key": body_with(b'"x\x1f": 1'),
    "bad escape": body_with(b'"x": "\\x41"'),
    "short escape": body_with(b'"x": "\\u12"'),
    "invalid UTF-8": body_with(b'"x": "\xff"'),
    "cut UTF-8": body_with(b'"x": "\xe6\x97"'),
    "overlong slash": body_with(b'"x": "\xc0\xaf"'),
    "overlong nul": body_with(b'"x": "\xc0\x80"'),
    "overlong of three": body_with(b'"x": "\xe0\x80\xaf"'),
    "encoded surrogate": body_with(b'"x": "\xed\xa0\x80"'),
    "beyond Unicode": body_with(b'"x": "\xf4\x90\x80\x80"'),
    "Latin-1": '{"script": "\xe9"}'.encode("latin-1"),
    "UTF-16": json.dumps({"script": SCRIPT}).encode("utf-16"),
    "high surrogate escape": body_with(b'"x": "\\ud83d"'),
    "low surrogate escape": body_with(b'"x": "\\ude00"'),
    "surrogates swapped": body_with(b'"x": "\\ude00\\ud83d"'),
    "surrogate in the script": b'{"script": "\\ud800"}',
    "nul in a key": b'{"script\\u0000x": "def main(): return 1"}',
    "byte order mark twice": b"\xef\xbb\xbf\xef\xbb\xbf" + body_with(b'"x": 1'),
    "byte order mark alone": b"\xef\xbb\xbf",
    "byte order mark inside": b"{\xef\xbb\xbf" + body_with(b'"x": 1')[1:],
    "space that is none": b"\xc2\xa0" + body_with(b'"x": 1'),
    "depth 65": body_with(b'"x": ' + b"[" * 64 + b"]" * 64),
    "depth 65, objects": body_with(b'"x": ' + b'{"a":' * 64 + b"1" + b"}" * 64),
}


@pytest.mark.parametrize("name", NOT_STRICT)
def test_not_strict(service, name):
    """What some parser somewhere takes, and what none does: 400 before anything runs."""
    data = refused(service.post(NOT_STRICT[name]))
    cause = data["cause"]
    assert set(cause) == {"kind", "field", "allowed", "got"} and all(cause.values())
    if data["error"].startswith("body is empty"):
        assert cause["got"] == "nothing"
    else:
        assert re.fullmatch(r"body is not strict JSON: .* at line 1, column [0-9]+", data["error"]) \
            or name == "newline in a string"


@pytest.mark.parametrize("name, field, got", [
    ("blank", "body", "nothing"), ("trailing text", "body", "x"), ("cut off", "body", "the end of the body"),
    ("duplicate key", "script", '"script"'), ("duplicate unknown key", "x", '"x"'),
    ("duplicate key, nested", "x", '"b"'), ("NaN", "x", "NaN"), ("nul in a string", "script", "U+0000"),
    ("invalid UTF-8", "x", "byte 0xFF"), ("high surrogate escape", "x", r"\ud83d"),
    ("surrogate in the script", "script", r"\ud800"), ("depth 65", "x", "[")])
def test_where_it_is_not_strict(service, name, field, got):
    """The field that the error is in, and what stands there."""
    cause = refused(service.post(NOT_STRICT[name]))["cause"]
    assert (cause["field"], cause["got"]) == (field, got)


@pytest.mark.parametrize("body", [b"null", b"true", b"0", b'"def main(): pass"', b"[]",
                                  b'[{"script": "def main(): pass"}]'])
def test_not_an_object(service, body):
    """Valid JSON of another shape."""
    data = refused(service.post(body))
    assert "object" in data["error"]
    assert data["cause"] == {"kind": "invalid_request", "field": "body", "allowed": "an object",
                             "got": body.decode()}


STRICT = {
    "depth 64": body_with(b'"x": ' + b"[" * 63 + b"]" * 63),
    "depth 64, objects": body_with(b'"x": ' + b'{"a":' * 63 + b"1" + b"}" * 63),
    "byte order mark": b"\xef\xbb\xbf" + body_with(b'"x": 1'),
    "white space": b" \t\r\n" + body_with(b'"x" : [ 1 , 2 ] ') + b" \t\r\n",
    "escaped name": b'{"\\u0073cript": %s, "x": 1}' % json.dumps(SCRIPT).encode(),
    "same key at two depths": body_with(b'"x": {"x": {"x": 1}, "script": 2}'),
    "keys that differ in case": body_with(b'"x": {"a": 1, "A": 2}'),
    "nul in a value": body_with(b'"x": "\\u0000"'),
    "surrogate pair": body_with(b'"x": "\\ud83d\\ude00"'),
    "huge numbers": body_with(b'"x": [1e400, -1e-400, ' + b"9" * 5000 + b"]"),
}


@pytest.mark.parametrize("name", STRICT)
def test_strict(service, name):
    """What is JSON to the letter is taken."""
    data = ok(service.post(STRICT[name]))
    assert data["result"] == "ran"
    assert data["warnings"] == ["unknown field: x"]


@pytest.mark.parametrize("body", [b"[" * 100000, b'{"a":' * 100000, b"[" * 100000 + b"]" * 100000,
                                  b'{"x": ' + b"[" * (1 << 20)])
def test_many_brackets_are_refused_fast(service, body):
    """Depth costs nothing, and no stack."""
    started = time.monotonic()
    refused(service.post(body))
    assert time.monotonic() - started < 2


def test_many_keys_are_fast(service):
    """So do keys: no quadratic search for duplicates."""
    keys = b", ".join(b'"key%d": 0' % i for i in range(300000))
    started = time.monotonic()
    assert len(ok(service.post(body_with(keys)))["warnings"]) <= 11
    assert time.monotonic() - started < 5


# --- fields ---------------------------------------------------------------------------------------

WRONG = [
    ("script", 5), ("script", None), ("script", True), ("script", ["def main(): pass"]),
    ("script", {}), ("script", ""), ("script", " \r\n\t\f"), ("script", "x" * (LIMIT + 1)),
    ("script", "\u65e5" * (LIMIT // 3 + 1)),
    ("entry", 5), ("entry", True), ("entry", ["main"]), ("entry", {}), ("entry", ""),
    ("timeout", 0), ("timeout", -1), ("timeout", 0.0099), ("timeout", 300.001), ("timeout", 301),
    ("timeout", 1e300), ("timeout", "15"), ("timeout", True), ("timeout", [15]), ("timeout", {}),
    ("memory", 15), ("memory", 0), ("memory", -128), ("memory", 2049), ("memory", 128.5),
    ("memory", 1e300), ("memory", "128"), ("memory", True), ("memory", [128]), ("memory", {}),
]


@pytest.mark.parametrize("field, value", WRONG, ids=range(len(WRONG)))
def test_wrong_values(service, field, value):
    """Refused and never clamped: which field, what is allowed, what came."""
    data = refused(service.post(json.dumps({"script": SCRIPT, field: value})))
    cause = data["cause"]
    size = {"limit", "used", "unit"} if "at most" in data["error"] else set()
    assert set(cause) == {"kind", "field", "allowed", "got"} | size
    assert cause["field"] == field
    assert isinstance(cause["allowed"], str) and cause["allowed"]
    assert isinstance(cause["got"], str) and len(cause["got"]) <= 100
    assert "\ufffd" not in cause["got"]
    assert json.dumps(value)[:20] in cause["got"] or not json.dumps(value).isascii() \
        or "\\u" in json.dumps(value)
    assert data["error"].startswith(field + " must be ")


def test_clipped_value_is_whole_characters(service):
    """got is clipped between characters, however they fall."""
    for shift in range(3):
        body = json.dumps({"script": SCRIPT, "timeout": "x" * shift + "\u65e5" * 200},
                          ensure_ascii=False).encode()
        got = refused(service.post(body))["cause"]["got"]
        assert got.startswith('"' + "x" * shift + "\u65e5") and "\ufffd" not in got


def test_missing_script(service):
    """The documented words."""
    for body in (b"{}", b'{"Script": "def main(): pass"}', b'{"timeout": 5}'):
        data = refused(service.post(body))
        assert data["error"] == "script must be a non-empty string"
        assert data["cause"]["field"] == "script" and data["cause"]["got"] == "nothing"


@pytest.mark.parametrize("script", ["\xa0", "\u2003\n\u3000", "\x1c\x1f", "\ufeff", "\ufeff \x85"])
def test_white_space_of_unicode_is_blank(service, script):
    """Whatever str.strip() strips, and the byte order mark that is skipped before a script."""
    data = refused(service.execute(script))
    assert data["error"] == "script must be a non-empty string"


def test_raw_numbers(service):
    """Numbers that Python's json module would not write."""
    for text in (b"1e400", b"-0", b"0e5", b"0.0009e1", b"1" * 5000):
        assert refused(service.post(body_with(b'"timeout": ' + text)))["cause"]["field"] == "timeout"
    for text in (b"1e400", b"1280e-1000", b"9" * 5000, b"12.8"):
        assert refused(service.post(body_with(b'"memory": ' + text)))["cause"]["field"] == "memory"
    assert result(service.post(body_with(b'"timeout": 1.5e1, "memory": 1.28E+2'))) == "ran"
    assert result(service.post(body_with(b'"timeout": 3000e-1, "memory": 12800e-2'))) == "ran"


@pytest.mark.parametrize("fields", [
    {"timeout": 0.5}, {"timeout": 300}, {"timeout": 300.0}, {"timeout": 1}, {"memory": 16},
    {"memory": 2048}, {"memory": 128.0}, {"timeout": None}, {"memory": None},
    {"timeout": None, "memory": None}, {"entry": "main"}])
def test_right_values(service, fields):
    """The ends of the ranges are in; null is the default; 128.0 is an integer."""
    data = ok(service.execute(SCRIPT, **fields))
    assert data["result"] == "ran" and "warnings" not in data


def test_defaults(service):
    """15 seconds, 512 MiB, main()."""
    script = "import resource\ndef main(): return resource.getrlimit(resource.RLIMIT_CPU)[0]"
    assert result(service.execute(script)) == 31
    assert result(service.execute(script, timeout=None)) == 31
    script = "def main():\n    x = bytearray(%d << 20)\n    return 1"
    assert result(service.execute(script % 480)) == 1
    failed(service.execute(script % 530), "memory")


def test_configured_limits_are_named(make_service):
    """max_timeout and max_memory are the operator's; so are the defaults."""
    service = make_service(workers=1, max_timeout=2.5, default_timeout=0.2, max_memory=64,
                           default_memory=32)
    assert "2.5" in refused(service.execute(SCRIPT, timeout=3))["cause"]["allowed"]
    assert "64" in refused(service.execute(SCRIPT, memory=65))["cause"]["allowed"]
    assert result(service.execute(SCRIPT, timeout=2.5, memory=64)) == "ran"
    data = failed(service.execute("while True: pass"), "time", 408)
    assert data["error"] == "Script execution timed out after 0.2 seconds"
    data = failed(service.execute("def main(): bytearray(1 << 26)", timeout=2), "memory")
    assert "(32 MiB)" in data["error"]


# --- unknown fields -------------------------------------------------------------------------------


def test_unknown_field_is_a_warning(service):
    """A misspelt field does not stop the script, and does not pass unseen."""
    data = ok(service.execute(SCRIPT, timeot=5))
    assert data["warnings"] == ["unknown field: timeot"]


def test_at_most_ten_unknown_fields_are_named(service):
    """The first ten, in their order."""
    data = ok(service.execute(SCRIPT, **{f"field{i}": i for i in range(30)}))
    assert data["warnings"] == [f"unknown field: field{i}" for i in range(10)]


@pytest.mark.parametrize("name", ["", "h\xe9llo", "\U0001f600" * 100, "x" * 100000, "a\nb",
                                  "x" * 78 + "\xe9" * 10, "x" * 77 + "\u65e5"], ids=range(7))
def test_odd_names_of_unknown_fields(service, name):
    """Names of any kind and length are quoted, the long ones clipped between characters."""
    body = json.dumps({"script": SCRIPT, name: 1}, ensure_ascii=False).encode()
    if "\n" in name:
        body = json.dumps({"script": SCRIPT, name: 1}).encode()
    warnings = ok(service.post(body))["warnings"]
    assert len(warnings) == 1 and len(warnings[0]) < 200
    assert warnings[0].startswith("unknown field: " + name[:15].replace("\n", " ")) or \
        warnings[0].startswith("unknown field: " + name[:15])
    assert "\ufffd" not in warnings[0]


def test_unknown_fields_of_a_failure(service):
    """The warning comes with failures as well."""
    data = failed(service.execute("1 / 0", timeot=5), "exception")
    assert data["warnings"] == ["unknown field: timeot"]


# --- media types ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [
    "application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8",
    'application/json; charset="utf-8"', "Application/JSON", "application/json ; charset=utf-8",
    "application/json; Charset=Utf-8", "application/json; profile=x; charset=utf-8",
    "application/json;", "application/json; charset=utf8", 'application/json; charset="UTF8"'])
def test_content_types_that_are_json(service, value):
    """Case, white space, quotes and other parameters do not matter."""
    assert result(service.post(json.dumps({"script": SCRIPT}), Content_Type=value)) == "ran"


@pytest.mark.parametrize("value", [
    "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data",
    "application/jsonx", "application/json5", "application/", "json", "*/*", "",
    "application/json; charset=latin-1", "application/json; charset=utf-16",
    "application/json; charset=iso-8859-1; charset=utf-8", 'application/json; charset="ascii"',
    "application/json; charset=", "application/json; charset=utf", "application/json; charset='utf8'",
    "application/problem+json", "application/octet-stream"])
def test_content_types_that_are_not(service, value):
    """415 for everything else."""
    answer = service.post(json.dumps({"script": SCRIPT}), Content_Type=value)
    cause = refused(answer, "unsupported_media_type", 415)["cause"]
    assert (cause["field"], cause["got"]) == ("Content-Type", value or "nothing")
    assert cause["allowed"].startswith("application/json, ")


def test_no_content_type(service):
    """A missing one is not guessed."""
    answer = service.request("POST", "/execute", json.dumps({"script": SCRIPT}))
    cause = refused(answer, "unsupported_media_type", 415)["cause"]
    assert (cause["field"], cause["got"]) == ("Content-Type", "nothing")


def test_long_content_type(service):
    """What came is clipped."""
    answer = service.post(json.dumps({"script": SCRIPT}), Content_Type="text/" + "x" * 1000)
    got = refused(answer, "unsupported_media_type", 415)["cause"]["got"]
    assert got == "text/" + "x" * 75 + "..."


@pytest.mark.parametrize("value", ["gzip", "deflate", "br", "identity", "x"])
def test_content_encoding(service, value):
    """Any Content-Encoding is 415."""
    answer = service.post(json.dumps({"script": SCRIPT}), Content_Encoding=value)
    cause = refused(answer, "unsupported_media_type", 415)["cause"]
    assert (cause["field"], cause["allowed"], cause["got"]) == ("Content-Encoding", "nothing", value)


def test_chunked_body(service):
    """A body without a length is a body."""
    pieces = [b'{"script": ', json.dumps(SCRIPT).encode(), b"}"]
    assert result(service.post(iter(pieces))) == "ran"


# --- what a script may look like ------------------------------------------------------------------


@pytest.mark.parametrize("filler", ["x", "\u65e5"])
def test_script_of_exactly_a_mebibyte(service, filler):
    """1 MiB of UTF-8 is taken, however the body escapes it; a byte more is not."""
    head = "def main(): return 'ran'\n#"
    room = LIMIT - len(head)
    script = head + filler * (room // len(filler.encode())) + "y" * (room % len(filler.encode()))
    assert len(script.encode()) == LIMIT
    for ascii_only in (True, False):
        body = json.dumps({"script": script}, ensure_ascii=ascii_only).encode()
        assert result(service.post(body)) == "ran"
        body = json.dumps({"script": script + "z"}, ensure_ascii=ascii_only).encode()
        assert refused(service.post(body))["cause"]["field"] == "script"


def test_large_script_of_code(service):
    """A mebibyte of statements compiles in the time there is."""
    script = "x = 1\n" * 170000 + "def main(): return x"
    assert result(service.execute(script, timeout=60, memory=1024)) == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends(service, newline):
    """Lines of any kind, and the right line numbers."""
    script = newline.join(["def main():", "    text = '''a", "b'''", "    return text", ""])
    assert result(service.execute(script)) == "a\nb"
    script = newline.join(["import sys", "def main():", "    return 1 / 0  # here"])
    data = failed(service.execute(script), "exception")
    assert data["cause"]["line"] == 3
    assert "    return 1 / 0  # here\n" in data["traceback"]


@pytest.mark.parametrize("cookie", ["latin-1", "utf-16", "ascii", "cp1252", "no-such-coding",
                                    "shift_jis", "utf-8"])
def test_coding_cookie_is_a_comment(service, cookie):
    """The text is UTF-8, whatever it says about itself."""
    script = f"# -*- coding: {cookie} -*-\ndef main(): return 'h\xe9llo \u65e5'"
    assert result(service.execute(script)) == "h\xe9llo \u65e5"
    assert result(service.execute(script.replace("main()", "run()"), entry="run")) is not None


def test_byte_order_mark_in_the_script(service):
    """An editor's mark before the first line is no syntax error."""
    assert result(service.execute("\ufeffdef main(): return 1")) == 1
    assert result(service.execute("\ufeff1 + 1", entry=None)) == 2


@pytest.mark.parametrize("script", ["x = '\x00'", "\x00", "def main(): pass\n\x00"])
def test_nul_in_the_script(service, script):
    """Python says what it thinks of it."""
    data = failed(service.execute(script), "syntax")
    assert "null bytes" in data["error"]


@pytest.mark.parametrize("script", [
    "x = " + "(" * 300 + ")" * 300, "x = " + "[" * 5000 + "]" * 5000,
    "x = " + "-" * 200000 + "1", "x = " + "not " * 100000 + "1",
    "x = " + "1+" * 200000 + "1", "x = a" + ".b" * 200000, "x = f" + "()" * 200000,
    "".join(" " * i + "if 1:\n" for i in range(300)) + " " * 300 + "pass",
    "lambda: " * 50000 + "1", "x = " + "{1: " * 3000 + "1" + "}" * 3000,
    "@a\n" * 100000 + "def f(): pass", "x = " + "1 if 1 else " * 50000 + "1"])
def test_deeply_nested_source(service, script):
    """Documented answers for what makes compilers fall over."""
    answer = service.execute(script + "\ndef main(): return 1", timeout=30)
    assert answer.status == 400, answer
    assert answer.data["cause"]["kind"] in ("syntax", "exception"), answer


@pytest.mark.parametrize("script", ["# nothing", "\n\n;".replace(";", "0"), "...", "''"])
def test_nearly_blank_scripts(service, script):
    """Something is not nothing: it runs, and has no main()."""
    failed(service.execute(script), "no_main")


def test_timeout_is_rounded_to_the_millisecond(service):
    """A tenth of a millisecond more or less is nobody's."""
    data = failed(service.execute("while True: pass", timeout=0.0501), "time", 408)
    assert math.isclose(data["cause"]["limit"], 0.05)
