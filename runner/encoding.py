"""A value as JSON: strictly what json.dumps makes of it, or of what rich.py made of it before."""

import json
import sys

import _vivarium
from _vivarium_failures import (Outcome, describe_exception, message_of, script_line, traceback_of,
                                type_name_of)
from _vivarium_places import place_of
from _vivarium_rich import plain


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
    raise TypeError("Object of type %s is not JSON serializable" % type_name_of(value))


def _plain_key(key):
    try:
        return _plain_scalar(key)
    except TypeError:
        raise TypeError("keys must be str, int, float, bool or None, not "
                        + type_name_of(key)) from None


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


# What JSONEncoder(allow_nan=False, default=_plain_scalar).encode makes anew for each value.
_markers = {}
_to_chunks = json.encoder.c_make_encoder(
    _markers, _plain_scalar, json.encoder.c_encode_basestring_ascii, None, ": ", ", ",
    False, False, False)


def _encode_plain(value):
    try:
        return "".join(_to_chunks(value, 0))
    except BaseException:
        _markers.clear()  # of containers that were left half-way
        raise


def _dumps(value):
    try:
        return _encode_plain(value)
    except TypeError as error:
        if "numpy" not in sys.modules or not str(error).startswith("keys must be"):
            raise
    return _encode_plain(_plain_keys(value))


def _dumps_rich(value):
    return _dumps(plain(value))


def _checked(value, dumps):
    """The value's JSON as bytes; raises for what some reader of JSON does not take."""
    text = dumps(value).encode("ascii")
    wrong = _vivarium.scan(text)
    if wrong is not None:
        raise ValueError(wrong)
    return text


def encode(value, entry, rich):
    """The value as JSON in an Outcome, or the failure to write it."""
    dumps = _dumps_rich if rich else _dumps
    try:
        try:
            return Outcome(value=_checked(value, dumps))
        except MemoryError:  # once more, with the memory that is kept in reserve
            _vivarium.spare_memory()
            return Outcome(value=_checked(value, dumps))
    except MemoryError as error:
        return describe_exception(error)
    except BaseException as error:
        _vivarium.spare_memory()
        return _not_json(error, entry, _place(error, value, dumps))


def _place(error, value, dumps):
    if not isinstance(error, (TypeError, ValueError)):
        return ""
    place = place_of(value, lambda part: _checked(part, dumps), dumps)
    return place and ", at result" + place


def _not_json(error, entry, place):
    what = "Return value of '%s'" % entry if entry is not None else "Value of the last expression"
    return Outcome(_vivarium.NOT_JSON, type_name=type_name_of(error),
                   error="%s: %s is not JSON serializable: %s%s" % (
                       type_name_of(error), what, message_of(error), place),
                   line=script_line(error), traceback_text=traceback_of(error))
