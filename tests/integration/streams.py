"""POST /execute as a stream of events, read by a parser that takes only what is documented."""

import http.client
import importlib.util
import json
import re
import time

from conftest import PYPI

ACCEPT = "text/event-stream"
NAMES = ("stdout", "stderr", "result", "error")


def public_client():
    """sseclient-py, somebody else's reading of such streams; alone, without what lies beside it."""
    found = next(PYPI.glob("lib/python3*/site-packages/sseclient/__init__.py"))
    spec = importlib.util.spec_from_file_location("sseclient", found)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SSEClient


class Event:
    """One event, or a comment (name None), and when its last byte came (time.monotonic)."""

    def __init__(self, name, text, at):
        self.name = name
        self.text = text
        self.at = at

    @property
    def data(self):
        return json.loads(self.text)

    def __repr__(self):
        return f"<{self.name} {self.text[:200]!r}>"


def parse(block, at):
    """One block of lines, its blank line gone: an event with one line of data, or a comment."""
    assert block.isascii() and b"\r" not in block, block[:200]
    if block.startswith(b":"):
        assert b"\n" not in block, block
        return Event(None, block.decode(), at)
    found = re.fullmatch(rb"event: (\w+)\ndata: ([^\n]+)", block)
    assert found and found[1].decode() in NAMES, block[:200]
    return Event(found[1].decode(), found[2].decode(), at)


class Stream:
    """A request whose answer is read as it comes. `raw` is all of the body that has."""

    def __init__(self, service, script, accept=ACCEPT, connection=None, headers=None, **fields):
        self.connection = connection or http.client.HTTPConnection(service.host, service.port,
                                                                   timeout=60)
        self.connection.request("POST", "/execute", json.dumps({"script": script, **fields}),
                                {"Content-Type": "application/json", "Accept": accept,
                                 **(headers or {})})
        self.response = self.connection.getresponse()
        self.status = self.response.status
        self.headers = self.response.headers
        self.raw = b""
        self.rest = b""

    def __iter__(self):
        """Events and comments, until the answer ends; it must end with a whole one."""
        while True:
            piece = self.response.read1(65536)
            if not piece:
                assert self.rest == b"", self.rest[-200:]
                return
            self.raw += piece
            *blocks, self.rest = (self.rest + piece).split(b"\n\n")
            for block in blocks:
                yield parse(block, time.monotonic())

    def next(self, name):
        """The next event, which must be of that name; comments are passed over."""
        event = next(event for event in self if event.name)
        assert event.name == name, event
        return event

    def events(self):
        """All that is left, without comments."""
        return [event for event in self if event.name]

    def close(self):
        """Hangs up."""
        self.response.close()
        self.connection.close()


def printed(events, name):
    """What came live of a stream, in one piece."""
    return "".join(event.data for event in events if event.name == name)


def end(events, name="result"):
    """The last event's object; there is one such event, and it is of that name."""
    assert [event.name in ("result", "error") for event in events].index(True) == len(events) - 1
    assert events[-1].name == name, events[-1]
    return events[-1].data
