"""What a script leaves behind: figures that are open, and files that the client asked for."""

import errno
import gc
import io
import os
import sys

import _vivarium
import _vivarium_failures as failures
from _vivarium_failures import clip, message_of, named, one_line

NAMED_MAX = 10  # of the figures, and of the files, left out: they get a warning of their own
# What opening a link, a socket, or something that turned into one meanwhile comes to.
NOT_REGULAR = (errno.EINVAL, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EXDEV)


def _warn(text):
    _vivarium.send(_vivarium.FRAME_WARNING, clip(one_line(text), _vivarium.WARNING_MAX_BYTES))


def _send_each(what, most, most_bytes, things, send):
    """Sends what is within the limits; what is left out is named, or counted where it is much.

    things: pairs of a name and a thing. send(thing, left) sends one of at most so many bytes, and
    returns its size and the reason why it cannot be sent, or None.
    """
    sent = left_out = 0
    left = most_bytes
    for name, thing in things:
        size, reason = 0, "over the limit of %d %ss" % (most, what)
        if sent < most:
            size, reason = send(thing, left)
        if size > left:
            reason = "%d bytes, over the limit of %d bytes together" % (size, most_bytes)
        if not reason:
            sent += 1
            left -= size
            continue
        left_out += 1
        if left_out <= NAMED_MAX:
            _warn("%s %s left out: %s" % (what, name, reason))
    if left_out > NAMED_MAX:
        _warn("%d more %ss left out" % (left_out - NAMED_MAX, what))


# --- figures --------------------------------------------------------------------------------------

def send_figures():
    """Sends matplotlib's open figures as PNG. A figure that cannot be drawn is a warning."""
    try:
        managers = sorted(sys.modules["matplotlib._pylab_helpers"].Gcf.figs.items())
    except BaseException as error:
        _warn("figures left out: " + named(error))
        return
    figures = ((_clipped(message_of(number)), (number, manager)) for number, manager in managers)
    _send_each("figure", _vivarium.FIGURES_MAX, _vivarium.FIGURES_MAX_BYTES, figures, _send_figure)


def _send_figure(numbered, left):
    number, manager = numbered
    try:
        header = int(number).to_bytes(8, sys.byteorder, signed=True)
        data = draw(manager.canvas.figure)
    except BaseException as error:
        return 0, named(error)
    if len(data) <= left:
        _vivarium.send(_vivarium.FRAME_FIGURE, header)
        for start in range(0, len(data), _vivarium.CONTENT_MAX_BYTES):
            _vivarium.send(_vivarium.FRAME_CONTENT,
                           data[start:start + _vivarium.CONTENT_MAX_BYTES])
    return len(data), None


def draw(figure):
    """A matplotlib figure as PNG."""
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


# --- files ----------------------------------------------------------------------------------------

def send_files(outputs):
    """Sends the files that the globs (bytes, see sandbox/globs.h) match, sorted by their paths."""
    try:
        _vivarium.send(_vivarium.FRAME_FILES, b"")
        _flush_open_files()
        _send_matching(outputs)
    except BaseException as error:  # the script may have replaced anything in here
        _warn("files left out: " + named(error))


def _flush_open_files():
    """What the end of a process does for files that nobody closed."""
    for thing in gc.get_objects():
        if type(thing) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
            try:
                thing.flush()
            except BaseException:
                pass  # closed, or of a full disk: the file is what it is


def _send_matching(outputs):
    paths = [path for path in _walk() if _vivarium.globs_match(outputs, os.fsencode(path))]
    paths.sort(key=os.fsencode)
    _send_each("file", _vivarium.FILES_MAX, _vivarium.FILES_MAX_BYTES,
               ((_clipped(path), path) for path in paths), _send_file)


def _send_file(path, left):
    try:
        return _vivarium.send_file(os.fsencode(path), left), None
    except OSError as error:
        return 0, "not a regular file" if error.errno in NOT_REGULAR else error.strerror


def _clipped(path):
    return path if len(path) <= 200 else path[:200] + "..."


def _walk():
    """The paths of all that is no directory, below the working directory; follows no link."""
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir("%s/%s" % (failures.working_directory, prefix)) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(prefix + entry.name + "/")
                    else:
                        yield prefix + entry.name
        except OSError:
            if not prefix:
                raise
            # else gone meanwhile, closed to us, or deeper than any path goes
