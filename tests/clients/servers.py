"""A server of the tests' own, which answers as it is told: what a good service cannot be made to do."""

import contextlib
import http.server
import json
import threading


class Told(http.server.ThreadingHTTPServer):
    """Answers each request with the next of `answers`: (status, headers, body), where body may be
    bytes, an object that becomes JSON, or a function that writes to the connection itself. Requests
    are kept as (method, path, headers, body)."""

    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.requests = []
        self.gone = threading.Event()  # a client has hung up

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        self.server.requests.append((self.command, self.path, self.headers, body))
        status, headers, content = self.server.answers.pop(0)
        if isinstance(content, (dict, list)):
            content = json.dumps(content).encode()
            headers = {"Content-Type": "application/json", **headers}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not callable(content):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            if callable(content):
                content(self)
                self.close_connection = True
            else:
                self.wfile.write(content)
        except OSError:
            self.server.gone.set()

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *_arguments):
        """Quiet."""


@contextlib.contextmanager
def told(*answers):
    """Runs such a server."""
    server = Told(answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


USAGE = {"queue_ms": 0.1, "fork_ms": 0.0, "wall_ms": 1.0, "cpu_ms": 1.0, "memory_mb": 1.0,
         "template": "base", "parked": True}
SUCCESS = {"success": True, "result": 42, "stdout": "", "stderr": "", "usage": USAGE,
           "timestamp": "2026-11-20T12:00:00+00:00", "request_id": "told"}


def refusal(kind, **cause):
    """The body for a request that was refused."""
    return {"success": False, "error": kind, "cause": {"kind": kind, **cause}, "stdout": "",
            "timestamp": "2026-11-20T12:00:00+00:00", "request_id": "told"}


def event(name, value):
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


def events(*pieces, then=lambda handler: None):
    """A stream of pieces as chunks, and its head; then: what to do before the end."""
    def write(handler):
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.flush()
        then(handler)
        handler.wfile.write(b"0\r\n\r\n")
    return 200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}, write
