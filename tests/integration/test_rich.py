"""Rich encoding: each type of docs/API.md, in the form it has there; strict beside it."""

import base64
import json

import pytest

from answers import check_text, failed, ok, result

IMPORTS = """
import collections, dataclasses, datetime, decimal, enum, fractions, pathlib, uuid
import numpy as np
import pandas as pd
NaN = float('nan')
UTC = datetime.timezone.utc
@dataclasses.dataclass
class Point:
    x: int
    y: object = None
class Color(enum.Enum):
    RED = 1
class Level(enum.IntEnum):
    LOW = 2
class Odd:
    def __repr__(self): return '<odd>'
class Broken:
    def __repr__(self): raise ValueError
Pair = collections.namedtuple('Pair', 'a b')
"""


def typed(name, value):
    return {"$type": name, "value": value}


PLAIN = {
    # the standard library
    "None": None, "True": True, "5": 5, "1.5": 1.5, "'h\xe9'": "h\xe9", "10 ** 40": 10 ** 40,
    "[1, (2, [3])]": [1, [2, [3]]], "{'a': {'b': ()}}": {"a": {"b": []}}, "Pair(1, {2})": [1, typed("set", [2])],
    "collections.OrderedDict(a=1)": {"a": 1}, "collections.Counter('aab')": {"a": 2, "b": 1},
    "NaN": None, "[float('inf'), -float('inf'), 0.5]": [None, None, 0.5],
    "datetime.datetime(2026, 1, 2, 3, 4, 5)": typed("datetime", "2026-01-02T03:04:05"),
    "datetime.datetime(2026, 1, 2, 3, 4, 5, 6, UTC)": typed("datetime", "2026-01-02T03:04:05.000006+00:00"),
    "datetime.date(2026, 1, 2)": typed("date", "2026-01-02"),
    "datetime.time(3, 4, 5)": typed("time", "03:04:05"),
    "datetime.timedelta(days=1, milliseconds=500)": typed("timedelta", 86400.5),
    "decimal.Decimal('1.10')": typed("decimal", "1.10"), "decimal.Decimal('NaN')": typed("decimal", "NaN"),
    "{3, 1, 2}": typed("set", [1, 2, 3]), "frozenset('a')": typed("set", ["a"]), "set()": typed("set", []),
    "b'\\xff\\x00'": typed("bytes", "/wA="), "bytearray(b'a')": typed("bytes", "YQ=="),
    "memoryview(b'')": typed("bytes", ""),
    "1 + 2j": typed("complex", [1.0, 2.0]), "complex(NaN, 1)": typed("complex", [None, 1.0]),
    "Point(1, {2})": {"x": 1, "y": typed("set", [2])}, "[Point(1, Point(2))]": [{"x": 1, "y": {"x": 2, "y": None}}],
    "Level.LOW": 2, "Color.RED": typed("object", "<Color.RED: 1>"), "Odd()": typed("object", "<odd>"),
    "Broken()": typed("object", "<unprintable Broken object>"),
    "pathlib.PurePosixPath('a')": typed("object", "PurePosixPath('a')"),
    "fractions.Fraction(1, 2)": typed("object", "Fraction(1, 2)"), "Point": typed("object", "<class 'script.Point'>"),
    "range(3)": typed("object", "range(0, 3)"),
    # keys
    "{1: 1, 2.5: 2, None: 3, True and 'x': 4}": {"1": 1, "2.5": 2, "null": 3, "x": 4},
    "{(1, 2): 1, datetime.date(2026, 1, 2): 2, b'a': 3, NaN: 4, Color.RED: 5}":
        {"(1, 2)": 1, "2026-01-02": 2, "YQ==": 3, "nan": 4, "<Color.RED: 1>": 5},
    "{np.int64(1): 1, np.float32(0.5): 2}": {"1": 1, "0.5": 2},
    # numpy
    "np.arange(6).reshape(2, 3)": {"$type": "ndarray", "dtype": "int64", "shape": [2, 3],
                                   "data": [[0, 1, 2], [3, 4, 5]]},
    "np.array([1, NaN, np.inf], dtype='f4')": {"$type": "ndarray", "dtype": "float32", "shape": [3],
                                               "data": [1.0, None, None]},
    "np.array(5)": {"$type": "ndarray", "dtype": "int64", "shape": [], "data": 5},
    "np.zeros((0, 2), dtype=bool)": {"$type": "ndarray", "dtype": "bool", "shape": [0, 2], "data": []},
    "np.array(['2026-01-02', 'NaT'], dtype='M8[D]')": {
        "$type": "ndarray", "dtype": "datetime64[D]", "shape": [2], "data": ["2026-01-02", None]},
    "np.array([90, 'NaT'], dtype='m8[s]')": {
        "$type": "ndarray", "dtype": "timedelta64[s]", "shape": [2], "data": [90.0, None]},
    "np.array([[1 + 2j]])": {"$type": "ndarray", "dtype": "complex128", "shape": [1, 1], "data": [[[1.0, 2.0]]]},
    "np.array(['a', 'b'])": {"$type": "ndarray", "dtype": "<U1", "shape": [2], "data": ["a", "b"]},
    "np.array([{1}, None], dtype=object)": {
        "$type": "ndarray", "dtype": "object", "shape": [2], "data": [typed("set", [1]), None]},
    "np.ma.array([1, 2], mask=[0, 1])": {"$type": "ndarray", "dtype": "int64", "shape": [2], "data": [1, None]},
    "[np.float32(1.5), np.int8(3), np.bool_(True), np.float64(NaN), np.longdouble(2)]":
        [1.5, 3, True, None, 2.0],
    "np.complex64(1j)": typed("complex", [0.0, 1.0]),
    "np.datetime64('2026-01-02T03:04')": typed("datetime", "2026-01-02T03:04"),
    "np.timedelta64(5, 'm')": typed("timedelta", 300.0), "np.datetime64('NaT')": None,
    # pandas
    "pd.DataFrame({'x': [1, 2], 'y': [1.5, NaN], 'z': ['a', None]})": {
        "$type": "dataframe", "columns": ["x", "y", "z"], "index": [0, 1],
        "data": [[1, 1.5, "a"], [2, None, None]], "dtypes": ["int64", "float64", "object"]},
    "pd.DataFrame({'t': pd.to_datetime(['2026-01-02', None]), 'd': pd.to_timedelta(['90s', None])})": {
        "$type": "dataframe", "columns": ["t", "d"], "index": [0, 1],
        "data": [["2026-01-02T00:00:00", 90.0], [None, None]],
        "dtypes": ["datetime64[ns]", "timedelta64[ns]"]},
    "pd.DataFrame({('a', 'b'): [1]}, index=pd.date_range('2026-01-02', periods=1, tz='UTC'))": {
        "$type": "dataframe", "columns": [["a", "b"]], "index": ["2026-01-02T00:00:00+00:00"],
        "data": [[1]], "dtypes": ["int64"]},
    "pd.DataFrame([[1, 2]], columns=['a', 'a'])": {
        "$type": "dataframe", "columns": ["a", "a"], "index": [0], "data": [[1, 2]],
        "dtypes": ["int64", "int64"]},
    "pd.DataFrame()": {"$type": "dataframe", "columns": [], "index": [], "data": [], "dtypes": []},
    "pd.DataFrame({'c': pd.Categorical(['a', 'b']), 'i': pd.array([1, None], dtype='Int64')})": {
        "$type": "dataframe", "columns": ["c", "i"], "index": [0, 1], "data": [["a", 1], ["b", None]],
        "dtypes": ["category", "Int64"]},
    "pd.Series([1, 2], name='n', index=['a', 'b'])": {
        "$type": "series", "name": "n", "index": ["a", "b"], "data": [1, 2], "dtype": "int64"},
    "pd.Series([b'a', 1j], dtype=object)": {
        "$type": "series", "name": None, "index": [0, 1],
        "data": [typed("bytes", "YQ=="), typed("complex", [0.0, 1.0])], "dtype": "object"},
    "[pd.NaT, pd.NA, pd.Timestamp(2026, 1, 2), pd.Timedelta('1h')]":
        [None, None, typed("datetime", "2026-01-02T00:00:00"), typed("timedelta", 3600.0)],
}


def values(service, expressions, encode):
    """One run for all of them: a list of results."""
    script = IMPORTS + "def main():\n    return [\n" + "".join(f"        {e},\n" for e in expressions) + "    ]"
    return result(service.execute(script, encode=encode, timeout=60))


def test_each_type(service):
    """As the table in docs/API.md says."""
    for expression, value in zip(PLAIN, values(service, PLAIN, "rich")):
        assert value == PLAIN[expression], expression


STRICT = ["None", "[1, 2.5, 'h\\xe9']", "{'b': 1, 'a': {'c': ()}}", "{1: 2, None: 3}", "10 ** 40",
          "-0.0", "1e16", "'\\u2028\\U0001f600/<>\\x7f'", "[[], {}]", "{'$type': 'set'}", "Level.LOW"]


@pytest.mark.parametrize("encode", ["strict", "rich"])
def test_what_json_has_is_the_same(service, encode):
    """Byte for byte what json.dumps gives, in either encoding."""
    import enum
    level = enum.IntEnum("Level", {"LOW": 2})
    for expression in STRICT:
        answer = service.execute(IMPORTS + f"def main(): return {expression}", encode=encode)
        check_text(answer, eval(expression, {"Level": level}))


def test_strict_refuses_what_rich_takes(service):
    """Unless it is asked for nothing gets a $type."""
    for expression in ("{1}", "b''", "1j", "datetime.date(2026, 1, 1)", "decimal.Decimal(1)", "NaN",
                       "Point(1)", "np.arange(2)", "pd.Series([1])", "Odd()", "{(1, 2): 3}"):
        failed(service.execute(IMPORTS + f"def main(): return {expression}"), "not_json")


@pytest.mark.parametrize("lines, words", [
    ("a = []; a.append(a); return a", "Circular reference"),
    ("a = {}; a['a'] = [a]; return a", "Circular reference"),
    ("a = Point(1); a.y = a; return a", "Circular reference"),
    ("return {1: 0, '1': 0}", "duplicate key"),
    ("return {datetime.date(2026, 1, 2): 0, '2026-01-02': 0}", "equal in JSON"),
    ("return '\\ud800'", "lone surrogate"),
    ("return 10 ** 4300", "4300 digits")])
def test_rich_refuses_too(service, lines, words):
    """What would not be the same once it is read: circles, equal keys, halves of characters."""
    data = failed(service.execute(IMPORTS + f"def main():\n    {lines}", encode="rich"), "not_json")
    assert words in data["error"]


def test_the_same_value_twice_is_no_circle(service):
    """Only what contains itself is one."""
    assert result(service.execute("def main():\n    a = {1}\n    return [a, a, {'a': a}]", encode="rich")) == \
        [typed("set", [1]), typed("set", [1]), {"a": typed("set", [1])}]


def test_deep_values(service):
    """200 levels, as in strict."""
    script = "def main():\n    a = {1}\n    for i in range(200): a = [a] if i % 2 else {'a': a}\n    return a"
    data = ok(service.execute(script, encode="rich"))
    assert data["result"]
    failed(service.execute(script.replace("200", "5000"), encode="rich"), "not_json")


def png(value):
    assert value["$type"] == "image"
    prefix = "data:image/png;base64,"
    assert value["value"].startswith(prefix)
    return base64.b64decode(value["value"][len(prefix):], validate=True)


def test_images(service):
    """PIL's images and matplotlib's figures."""
    image, figure = result(service.execute("""
from PIL import Image
import matplotlib.pyplot as plt
def main(): return Image.new('RGB', (3, 2), 'red'), plt.figure(figsize=(1, 2), dpi=10)
""", encode="rich", visualizations=False))
    assert png(image)[16:24] == bytes([0, 0, 0, 3, 0, 0, 0, 2])
    assert png(figure)[:8] == b"\x89PNG\r\n\x1a\n"


# What rich.py asks of plotly: a base class in a module of this name, and to_json().
PLOTLY = [{"path": "plotly/__init__.py", "content": ""},
          {"path": "plotly/basedatatypes.py", "content":
           "class BaseFigure:\n    def to_json(self): return '{\"data\": [1.5], \"layout\": {}}'\n"}]


def test_plotly_figure(service):
    """Its own JSON, as it stands. The real plotly is not among what is installed by default; where
    it is, this one comes first."""
    script = ("import sys\nsys.path.insert(0, '/tmp')\n"
              "from plotly.basedatatypes import BaseFigure\nclass Figure(BaseFigure): pass\n"
              "def main(): return Figure()")
    assert result(service.execute(script, files=PLOTLY, encode="rich")) == \
        typed("figure", {"data": [1.5], "layout": {}})


def test_rich_last_expression(service):
    """Also without an entry."""
    assert result(service.execute("{1}", entry=None, encode="rich")) == typed("set", [1])


def test_large_rich_value(service):
    """The limit of the result counts what is sent."""
    answer = service.execute("def main(): return bytes(4 << 20)", encode="rich")
    assert answer.status == 400 and answer.data["cause"]["kind"] == "result_too_large"
    assert json.loads(answer.body)["cause"]["used"] > 5 << 20
