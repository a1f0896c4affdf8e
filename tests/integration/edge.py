"""nginx without the service: raw requests, an nginx of a test's own, stand-ins behind its sockets."""

import datetime
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

from conftest import free_port

TOP = pathlib.Path(__file__).resolve().parents[2]
BODY_LIMIT = 20 * 1024 * 1024
HOST = b"Host: vivarium.test\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


class Answer:
    def __init__(self, raw):
        while raw.startswith(b"HTTP/1.1 100"):
            raw = raw.partition(b"\r\n\r\n")[2]
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        pairs = [line.split(":", 1) for line in lines[1:]]
        self.headers = [(name.lower(), value.strip()) for name, value in pairs]

    def all(self, name):
        return [value for key, value in self.headers if key == name]

    def one(self, name):
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:500]!r}>"


def connect(where, timeout=20, source=None):
    """A connection to a service or an nginx, with TLS where that is what it speaks."""
    plain = socket.create_connection((where.host, where.port), timeout=timeout,
                                     source_address=source and (source, 0))
    if not where.tls:
        return plain
    return where.tls.context.wrap_socket(plain, server_hostname="localhost")


def talk(where, data, source=None):
    """Send data, return all that comes back until the other side closes or an answer is whole."""
    with connect(where, source=source) as connection:
        try:
            connection.sendall(data)
        except OSError:
            pass  # refused before all of it was sent: the answer is there all the same
        received = b""
        while not is_whole(received):
            try:
                piece = connection.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError):
                break
            if not piece:
                break
            received += piece
        return received


def read_until(connection, text):
    """What comes until text has come."""
    received = b""
    while text not in received:
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received


def is_whole(received):
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    if head.startswith(b"HTTP/1.1 204"):
        return bool(end)
    return bool(end and length and len(body) >= int(length[1]))


def ask(where, data, source=None):
    raw = talk(where, data, source=source)
    assert raw, "the connection was closed without an answer"
    return Answer(raw)


def check_error(answer, status, kind):
    assert answer.status == status
    assert answer.one("content-type") == "application/json"
    assert answer.one("cache-control") == "no-store"
    assert answer.one("x-content-type-options") == "nosniff"
    assert answer.body.isascii()
    body = json.loads(answer.body)
    assert body["success"] is False
    assert "result" not in body
    assert isinstance(body["error"], str) and body["error"] and "\n" not in body["error"]
    assert body["cause"]["kind"] == kind
    assert body["stdout"] == ""
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", body["request_id"])
    assert body["request_id"] == answer.one("x-request-id")
    when = datetime.datetime.fromisoformat(body["timestamp"])
    assert when.utcoffset() == datetime.timedelta(0)
    age = datetime.datetime.now(datetime.timezone.utc) - when
    assert abs(age.total_seconds()) < 60
    return body


def request(line, *headers, body=b""):
    return line + b" HTTP/1.1\r\n" + HOST + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


def post(*headers, body=b"", version=b"HTTP/1.1"):
    head = b"POST /execute " + version + b"\r\n" + HOST
    return head + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


# --- An nginx of its own, with stand-ins for the service -----------------------------------------


class StandIn:
    """Takes connections on a unix socket and does with each what it is told."""

    def __init__(self, path, handle):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        os.chmod(path, 0o666)
        self.listener.listen(16)
        self.handle = handle
        self.kept = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.kept.append(connection)
            self.handle(connection)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        for each in [self.listener, *self.kept]:
            each.close()


def hang_up(connection):
    """Read the whole request (an empty FCGI_STDIN ends it), then close without an answer."""
    end_of_body = b"\x01\x05\x00\x01\x00\x00\x00\x00"
    tail = b""
    while not tail.endswith(end_of_body):
        piece = connection.recv(1 << 20)
        if not piece:
            break
        tail = (tail + piece)[-len(end_of_body):]
    connection.close()


def say_nothing(_connection):
    pass


def say_garbage(connection):
    connection.sendall(b"this is no FastCGI\n")


FCGI_BEGIN_REQUEST, FCGI_END_REQUEST, FCGI_PARAMS, FCGI_STDIN, FCGI_STDOUT = 1, 3, 4, 5, 6
FCGI_KEEP_CONN = 1


class Responder:
    """Speaks FastCGI: handle(parameters, write) is called for each whole request."""

    def __init__(self, handle):
        self.handle = handle

    def __call__(self, connection):
        threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            try:
                while self.serve_one(connection, stream):
                    pass
            except OSError:
                pass  # nginx has hung up

    def serve_one(self, connection, stream):
        parameters, keep = b"", False
        while True:
            header = stream.read(8)
            if len(header) < 8:
                return False
            _, kind, number, length, padding, _ = struct.unpack(">BBHHBB", header)
            content = stream.read(length + padding)[:length]
            if kind == FCGI_BEGIN_REQUEST:
                keep = bool(content[2] & FCGI_KEEP_CONN)
            elif kind == FCGI_PARAMS:
                parameters += content
            elif kind == FCGI_STDIN and not content:
                break

        def write(data, record=FCGI_STDOUT):
            head = struct.pack(">BBHHBB", 1, record, number, len(data), 0, 0)
            connection.sendall(head + data)

        self.handle(fastcgi_parameters(parameters), write)
        write(b"")
        write(bytes(8), FCGI_END_REQUEST)
        return keep


def fastcgi_parameters(data):
    """Names and values, each behind a length of one byte, or of four with the first bit set."""
    def length(position):
        if data[position] < 128:
            return data[position], position + 1
        return int.from_bytes(data[position:position + 4], "big") & 0x7fffffff, position + 4

    found, position = {}, 0
    while position < len(data):
        name, position = length(position)
        value, position = length(position)
        text = data[position:position + name + value].decode("latin-1")
        found[text[:name]] = text[name:]
        position += name + value
    return found


def tell_parameters(parameters, write):
    """Answers with the parameters that nginx sent."""
    body = json.dumps(parameters).encode()
    write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


class Events:
    """Answers with two events, the second one only when `read` is set: when the first has come."""

    FIRST = b"event: stdout\ndata: \"first\"\n\n"
    LAST = b"event: result\ndata: {}\n\n"

    def __init__(self):
        self.read = threading.Event()

    def __call__(self, parameters, write):
        write(b"Content-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n\r\n")
        write(self.FIRST)
        assert self.read.wait(10)
        write(self.LAST)


def await_listening(nginx):
    deadline = time.monotonic() + 10
    while True:
        assert nginx.process.poll() is None, "nginx did not start"
        try:
            socket.create_connection((nginx.host, nginx.port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.02)


class Nginx:
    """An nginx of its own, from the template, in a directory that its workers can reach.

    tls: a certificate to speak TLS with (certificates.py); settings: keys of the configuration.
    """

    def __init__(self, tls=None, listen="127.0.0.1", **settings):
        self.port = free_port()
        self.host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)
        self.tls = tls
        self.run = pathlib.Path(tempfile.mkdtemp(prefix="vivarium-nginx."))
        os.chmod(self.run, 0o755)
        self.log = self.run / "access.log"
        self.stand_ins = []
        if tls:
            settings.update(tls_certificate=tls.certificate, tls_certificate_key=tls.key)
        variables = {name.upper(): str(value) for name, value in settings.items()}
        variables.update(RUN=str(self.run), LISTEN=listen, PORT=str(self.port), READ_TIMEOUT="1")
        variables["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
        text = subprocess.run(
            [TOP / "deploy" / "render-nginx.sh"],
            env=variables, capture_output=True, text=True, check=True,
        ).stdout
        (self.run / "nginx.conf").write_text(text)
        self.process = subprocess.Popen(
            ["nginx", "-e", "stderr", "-p", self.run, "-c", self.run / "nginx.conf"],
            env=dict(variables, TZ="UTC"), stdin=subprocess.DEVNULL,
        )
        await_listening(self)

    def stand_in(self, name, handle):
        self.stand_ins.append(StandIn(self.run / name, handle))

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=10)
        for each in self.stand_ins:
            each.close()
        shutil.rmtree(self.run)
