"""FastCGI by hand (1.0), in nginx's place: for what nginx cannot be made to do on demand."""

import json
import socket
import struct

BEGIN, END, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6
RESPONDER, KEEP = 1, 1


def record(kind, content=b""):
    return struct.pack("!BBHHBx", 1, kind, 1, len(content), 0) + content


def pairs(values):
    """Names and values, each of less than 64 KiB in all."""
    return b"".join(struct.pack("!LL", len(name) | 1 << 31, len(value) | 1 << 31)
                    + name.encode() + value.encode() for name, value in values.items())


class Gateway:
    """A connection to the dispatcher, which is to be kept for further requests."""

    def __init__(self, directory):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(directory / "execute.sock"))

    def ask(self, script, accept="application/json"):
        """Sends a request, and reads nothing."""
        body = json.dumps({"script": script}).encode()
        values = {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/execute", "REQUEST_ID": "by-hand",
                  "REMOTE_ADDR": "127.0.0.1", "CONTENT_TYPE": "application/json",
                  "CONTENT_LENGTH": str(len(body)), "HTTP_ACCEPT": accept}
        self.socket.sendall(record(BEGIN, struct.pack("!HB5x", RESPONDER, KEEP))
                            + record(PARAMS, pairs(values)) + record(PARAMS)
                            + record(STDIN, body) + record(STDIN))

    def await_answer(self):
        """Until some of it is there; nothing is read."""
        assert self.socket.recv(1, socket.MSG_PEEK)

    def answer(self):
        """Header and body of an answer, which has to come to its end."""
        said = b""
        while True:
            _, kind, _, length, padding = struct.unpack("!BBHHBx", self.exactly(8))
            content = self.exactly(length + padding)[:length]
            if kind == STDOUT:
                said += content
            elif kind == END:
                return said

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the connection was closed in the middle of an answer"
            data += piece
        return data

    def is_closed(self):
        """By the other end, and all of it is read."""
        self.socket.settimeout(0.2)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(20)

    def close(self):
        self.socket.close()
