"""Where in a value that which is not JSON stands, as `["a"][3]`.

Nothing is known here of what JSON takes: the place is the innermost part that cannot be encoded by
itself. Lists and dicts are halved on the way to it, so that the search costs little more than
encoding the value a few times over.
"""

PATH_MAX = 200  # characters, about
NAME_MAX = 40


def place_of(value, check, write):
    """"": it is the value as a whole, or nobody can tell.

    check(part) raises TypeError or ValueError for what is no JSON, as it did for value; write(part)
    for less, and returns the text of the rest.
    """
    path = ""
    seen = set()
    try:
        while len(path) < PATH_MAX and id(value) not in seen:  # which is where a circle closes
            seen.add(id(value))
            name, value = _step(value, check, write)
            if name is None:
                break
            path += "[%s]" % name
    except BaseException:  # the value is a script's own, and may be anything
        pass
    return path


def _step(value, check, write):
    """The part that is wrong: its name and itself. The name None: there is none but the whole."""
    if isinstance(value, (list, tuple)):
        parts = list(value)
        at = _find(parts, list, check)
        return (None, None) if at is None else (str(at), parts[at])
    if isinstance(value, dict):
        parts = list(value.items())
        at = _find(parts, dict, check)
        if at is None:
            return _name_that_is_equal(parts, write), None
        key, part = parts[at]
        return _name(key, write), part if _is_wrong(part, check) else None
    return None, None


def _is_wrong(part, check):
    try:
        check(part)
    except (TypeError, ValueError):
        return True
    return False


def _find(parts, make, check):
    """The index of a part that is wrong by itself; None: only several together are."""
    low, high = 0, len(parts)
    while high - low > 1:
        middle = (low + high) // 2
        if _is_wrong(make(parts[low:middle]), check):
            high = middle
        elif _is_wrong(make(parts[middle:high]), check):
            low = middle
        else:
            return None
    return low if parts else None


def _name_that_is_equal(parts, write):
    """The first key that is in JSON what one before it is."""
    names = set()
    for key, _ in parts:
        name = _name(key, write)
        if name in names:
            return name
        names.add(name)
    return None


def _name(key, write):
    """A key as JSON has it; None: it cannot be one."""
    try:
        text = write({key: None})[1:-len(": null}")]
    except (TypeError, ValueError):
        return None
    return text if len(text) <= NAME_MAX else text[:NAME_MAX] + '..."'
