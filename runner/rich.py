"""Rich encoding: what JSON lacks becomes an object with "$type" (docs/API.md has the table).

Libraries are looked up where they are loaded already: a value of theirs cannot be there otherwise.
"""

import base64
import datetime
import io
import math
import sys

from _vivarium_failures import type_name_of

_PLAIN_TYPES = (str, int, bool, type(None))
_MISSING = object()


def plain(value):
    """The value as dicts, lists, strings, numbers, booleans and None. Raises on a circle."""
    return _plain(value, set())


def _typed(name, value):
    return {"$type": name, "value": value}


def _float(value):
    return value if math.isfinite(value) else None


def _pair(number):
    return [_float(number.real), _float(number.imag)]


def _plain(value, open_ids):
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, (str, int)):
        return value
    if id(value) in open_ids:
        raise ValueError("Circular reference detected")
    open_ids.add(id(value))
    try:
        return _container(value, open_ids)
    finally:
        open_ids.discard(id(value))


def _container(value, open_ids):
    if isinstance(value, dict):
        return _object(value.items(), open_ids)
    if isinstance(value, (list, tuple)):
        return [_plain(item, open_ids) for item in value]
    if isinstance(value, (set, frozenset)):
        return _typed("set", [_plain(item, open_ids) for item in _in_order(value)])
    for convert in _CONVERTERS:
        found = convert(value, open_ids)
        if found is not _MISSING:
            return found
    return _typed("object", _repr(value))


def _in_order(values):
    """Sorted where that is possible: the order of a set says nothing, and differs between runs."""
    try:
        return sorted(values)
    except Exception:
        return list(values)


def _repr(value):
    try:
        return repr(value).encode("utf-8", "backslashreplace").decode()
    except Exception:
        return "<unprintable %s object>" % type_name_of(value)


def _object(items, open_ids):
    copy = {}
    for key, item in items:
        key = _key(key)
        if key in copy:
            raise ValueError("keys that are equal in JSON: %r" % (key,))
        copy[key] = _plain(item, open_ids)
    return copy


def _key(key):
    """A key that json.dumps writes by itself, or that of a typed value, or a repr."""
    if isinstance(key, float) and not math.isfinite(key):
        return repr(key)
    if isinstance(key, (str, int, float, type(None))):
        return key
    value = _plain(key, set())
    if isinstance(value, dict):
        value = value.get("value")
    return value if isinstance(value, (str, int, float, type(None))) else _repr(key)


# --- the standard library -------------------------------------------------------------------------

def _bytes(value, open_ids):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _typed("bytes", base64.b64encode(value).decode())
    return _MISSING


def _time(value, open_ids):
    pandas = sys.modules.get("pandas")
    if pandas and (value is pandas.NaT or value is pandas.NA):
        return None
    if isinstance(value, datetime.datetime):
        return _typed("datetime", value.isoformat())
    if isinstance(value, datetime.date):
        return _typed("date", value.isoformat())
    if isinstance(value, datetime.time):
        return _typed("time", value.isoformat())
    if isinstance(value, datetime.timedelta):
        return _typed("timedelta", value.total_seconds())
    return _MISSING


def _number(value, open_ids):
    if isinstance(value, complex):
        return _typed("complex", _pair(value))
    decimal = sys.modules.get("decimal")
    if decimal and isinstance(value, decimal.Decimal):
        return _typed("decimal", str(value))
    return _MISSING


def _dataclass(value, open_ids):
    dataclasses = sys.modules.get("dataclasses")
    if not dataclasses or not hasattr(type(value), "__dataclass_fields__"):
        return _MISSING
    return _object(((field.name, getattr(value, field.name))
                    for field in dataclasses.fields(value)), open_ids)


# --- numpy and pandas -----------------------------------------------------------------------------

def _numpy(value, open_ids):
    numpy = sys.modules.get("numpy")
    if not numpy:
        return _MISSING
    if isinstance(value, numpy.ndarray):
        return {"$type": "ndarray", "dtype": str(value.dtype), "shape": list(value.shape),
                "data": _array_data(numpy, value, open_ids)}
    if isinstance(value, (numpy.datetime64, numpy.timedelta64)):
        if numpy.isnat(value):
            return None
        if isinstance(value, numpy.datetime64):
            return _typed("datetime", str(value))
        return _typed("timedelta", _seconds(numpy, value))
    if isinstance(value, numpy.bool_):
        return bool(value)
    if isinstance(value, numpy.integer):
        return int(value)
    if isinstance(value, numpy.floating):
        return _float(float(value))
    if isinstance(value, numpy.complexfloating):
        return _typed("complex", _pair(complex(value)))
    return _MISSING


def _seconds(numpy, value):
    return value / numpy.timedelta64(1, "s")


def _array_data(numpy, array, open_ids):
    """Nested lists; of times the dtype tells what they are: ISO 8601, or seconds."""
    if array.dtype.kind == "M":
        texts = numpy.datetime_as_string(array).tolist()
        return _mapped(texts, lambda text: None if text == "NaT" else text)
    if array.dtype.kind == "m":
        return _mapped(_seconds(numpy, array).tolist(), _float)
    if array.dtype.kind == "c":
        return _mapped(array.tolist(), lambda number: None if number is None else _pair(number))
    if array.dtype.kind in "biu" and not isinstance(array, numpy.ma.MaskedArray):
        return array.tolist()
    return _plain(array.tolist(), open_ids)


def _mapped(data, convert):
    return [_mapped(item, convert) for item in data] if isinstance(data, list) else convert(data)


def _pandas(value, open_ids):
    pandas = sys.modules.get("pandas")
    if not pandas:
        return _MISSING
    if isinstance(value, pandas.DataFrame):
        columns = [_column(pandas, value.iloc[:, i], open_ids) for i in range(value.shape[1])]
        return {"$type": "dataframe",
                "columns": _labels(value.columns, open_ids),
                "index": _labels(value.index, open_ids),
                "data": [list(row) for row in zip(*columns)] if columns
                else [[] for _ in range(len(value))],
                "dtypes": [str(dtype) for dtype in value.dtypes]}
    if isinstance(value, pandas.Series):
        return {"$type": "series", "name": _label(value.name, open_ids),
                "index": _labels(value.index, open_ids),
                "data": _column(pandas, value, open_ids), "dtype": str(value.dtype)}
    return _MISSING


def _column(pandas, series, open_ids):
    """The values of a column; its dtype tells what they are, so that times need no "$type"."""
    if pandas.api.types.is_timedelta64_dtype(series.dtype):
        return [_float(seconds) for seconds in series.dt.total_seconds().tolist()]
    times = (datetime.datetime,) if series.dtype.kind == "M" else ()
    return [None if value is pandas.NaT else value.isoformat() if isinstance(value, times)
            else _plain(value, open_ids) for value in series.tolist()]


def _labels(index, open_ids):
    return [_label(label, open_ids) for label in index.tolist()]


def _label(label, open_ids):
    """A name of a row or column: times as plain ISO 8601, as pandas writes them."""
    if isinstance(label, tuple):
        return [_label(part, open_ids) for part in label]
    value = _plain(label, open_ids)
    return value["value"] if isinstance(value, dict) and "value" in value else value


# --- pictures -------------------------------------------------------------------------------------

def _picture(value, open_ids):
    """PIL's images and matplotlib's figures as PNG, plotly's figures as its own JSON."""
    pillow = sys.modules.get("PIL.Image")
    if pillow and isinstance(value, pillow.Image):
        out = io.BytesIO()
        value.save(out, format="PNG")
        return _png(out)
    matplotlib = sys.modules.get("matplotlib.figure")
    if matplotlib and isinstance(value, matplotlib.Figure):
        out = io.BytesIO()
        value.savefig(out, format="png")
        return _png(out)
    plotly = sys.modules.get("plotly.basedatatypes")
    if plotly and isinstance(value, plotly.BaseFigure):
        from json import loads
        return _typed("figure", loads(value.to_json()))
    return _MISSING


def _png(out):
    return _typed("image", "data:image/png;base64," + base64.b64encode(out.getvalue()).decode())


_CONVERTERS = (_bytes, _time, _number, _dataclass, _numpy, _pandas, _picture)
