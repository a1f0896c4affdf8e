"""Vivarium's client for Python 3.9 and newer: one file that needs nothing but the standard library.

    from vivarium import Client

    client = Client("http://127.0.0.1:8080")
    answer = client.execute("def main(n):\\n    return n * 2", args=[21])
    answer.result  # 42

AsyncClient has the same methods for asyncio. A script that fails raises ScriptError, a request that
is refused RequestError; UnavailableError is for a service that has no room, ServiceError for one
that is broken or cannot be reached. All of them are VivariumError, with kind, status, cause,
request_id, stdout and traceback.

Answers 429 and 503 are waited out and tried again, a few times: no script has run then. Nothing
else is ever sent twice. Each request has a connection of its own; closing it, which leaving a
stream or cancelling a task does, ends the script.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import http.client
import json
import random
import ssl
import time
import urllib.parse
from dataclasses import dataclass
from typing import (TYPE_CHECKING, Any, AsyncIterator, Dict, Iterator, List, Mapping, Optional,
                    Sequence, Tuple, TypedDict, Union)

if TYPE_CHECKING:
    from typing_extensions import Literal, Unpack

__all__ = ["Answer", "AsyncClient", "Client", "Fields", "Figure", "Output", "Response",
           "RequestError", "ScriptError", "ServiceError", "UnavailableError", "VivariumError"]

_SCRIPT_KINDS = frozenset((
    "syntax", "no_main", "exception", "exit", "not_json", "result_too_large", "blocked_import",
    "memory", "signal", "time", "cpu"))
_RETRIED = frozenset((429, 503))
_WAIT_MAX_S = 60.0  # no longer than that between two attempts, whatever the service says
_PIECE_BYTES = 64 * 1024


class Fields(TypedDict, total=False):
    """What execute() and stream() take besides the script: the fields of a request."""

    entry: Optional[str]  # the function to call; None: run the script as a program
    timeout: float  # seconds
    memory: int  # MiB
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    argv: Sequence[str]
    env: Mapping[str, str]
    stdin: str
    files: Mapping[str, Union[str, bytes]]  # path: content
    outputs: Sequence[str]  # globs
    encode: Literal["strict", "rich"]
    visualizations: bool
    request_id: str  # up to 64 of A-Z a-z 0-9 . _ -


@dataclass(frozen=True)
class Figure:
    """A matplotlib figure that was open at the end."""

    number: int
    png: bytes


@dataclass(frozen=True)
class Answer:
    """What a script returned and left. files: by paths that the script chose, so mind where to."""

    result: Any
    stdout: str
    stderr: str
    files: Dict[str, bytes]
    figures: List[Figure]
    warnings: List[str]
    truncated: Dict[str, int]
    usage: Dict[str, Any]
    timestamp: str
    request_id: str
    data: Dict[str, Any]  # all of it, as it came


@dataclass(frozen=True)
class Output:
    """A piece of what a script printed, while it runs."""

    name: str  # "stdout" or "stderr"
    text: str


@dataclass(frozen=True)
class Response:
    """An answer as it came: names of headers in lower case."""

    status: int
    headers: Dict[str, str]
    body: bytes


class VivariumError(Exception):
    """There is no value. str() is a line for people, kind is for programs."""

    def __init__(self, message: str, *, kind: str, status: int = 0,
                 data: Optional[Dict[str, Any]] = None,
                 retry_after: Optional[float] = None) -> None:
        super().__init__(message)
        self.kind = kind  # cause.kind of the answer; "transport": there was none
        self.status = status  # of HTTP; 0: there was no answer
        self.data: Dict[str, Any] = data or {}  # the answer, as far as there was one
        self.cause: Dict[str, Any] = self.data.get("cause") or {}
        self.request_id: str = self.data.get("request_id", "")
        self.stdout: str = self.data.get("stdout", "")
        self.stderr: str = self.data.get("stderr", "")
        self.traceback: str = self.data.get("traceback", "")  # of the script
        self.files: Dict[str, bytes] = _read_files(self.data)
        self.retry_after = retry_after  # seconds


class ScriptError(VivariumError):
    """The script ran, and ended without a value: its own doing, or over a limit."""


class RequestError(VivariumError):
    """The request was refused: a wrong field, a wrong key, too large a body."""


class UnavailableError(VivariumError):
    """Too many requests, and the last attempt was no better. No script has run."""


class ServiceError(VivariumError):
    """The service failed, could not be reached, or did not answer. The script may have run."""


# --- What goes out ----------------------------------------------------------------------------


def _encode_file(path: str, content: Union[str, bytes]) -> Dict[str, str]:
    if isinstance(content, str):
        return {"path": path, "content": content}
    return {"path": path, "content_base64": base64.b64encode(content).decode("ascii")}


def _encode(script: str, fields: Mapping[str, Any]) -> bytes:
    unknown = set(fields) - set(Fields.__annotations__)
    if unknown:
        raise TypeError("unknown field: " + ", ".join(sorted(unknown)))
    request = {name: value for name, value in fields.items()
               if name not in ("files", "request_id")}
    request["script"] = script
    files = fields.get("files")
    if files:
        request["files"] = [_encode_file(path, content) for path, content in files.items()]
    return json.dumps(request, allow_nan=False).encode("ascii")


# --- What comes in ----------------------------------------------------------------------------


def _read_files(data: Mapping[str, Any]) -> Dict[str, bytes]:
    return {file["path"]: base64.b64decode(file["content_base64"])
            for file in data.get("files", [])}


def _read_answer(data: Dict[str, Any]) -> Answer:
    figures = [Figure(figure["figure_number"], base64.b64decode(figure["data"].partition(",")[2]))
               for figure in data.get("visualizations", [])]
    return Answer(result=data["result"], stdout=data["stdout"], stderr=data["stderr"],
                  files=_read_files(data), figures=figures, warnings=data.get("warnings", []),
                  truncated=data.get("truncated", {}), usage=data["usage"],
                  timestamp=data["timestamp"], request_id=data["request_id"], data=data)


def _read_retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """Seconds; a proxy may write a date (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _make_error(status: int, data: Dict[str, Any], headers: Mapping[str, str]) -> VivariumError:
    kind = data["cause"]["kind"]
    cls = (ScriptError if kind in _SCRIPT_KINDS else UnavailableError if status in _RETRIED
           else ServiceError if status >= 500 else RequestError)
    return cls(data["error"], kind=kind, status=status, data=data,
               retry_after=_read_retry_after(headers))


def _make_foreign_error(response: Response) -> VivariumError:
    """For an answer that is not Vivarium's: a proxy's, or another service's."""
    cls = UnavailableError if response.status in _RETRIED else ServiceError
    return cls(f"HTTP status {response.status} and no answer of Vivarium's", kind="transport",
               status=response.status, retry_after=_read_retry_after(response.headers))


def _parse(response: Response) -> Dict[str, Any]:
    try:
        data = json.loads(response.body)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise _make_foreign_error(response)
    return data


def _read(response: Response) -> Answer:
    data = _parse(response)
    try:
        if data["success"]:
            return _read_answer(data)
        error = _make_error(response.status, data, response.headers)
    except (KeyError, TypeError):
        error = _make_foreign_error(response)
    raise error


def _read_page(response: Response, *statuses: int) -> Dict[str, Any]:
    data = _parse(response)
    if response.status in statuses and "success" not in data:
        return data
    _read(response)
    raise _make_foreign_error(response)


def _read_event(name: str, data: str) -> Union[Output, Answer]:
    value = json.loads(data)
    if name in ("stdout", "stderr"):
        return Output(name, value)
    if name == "result":
        return _read_answer(value)
    raise _make_error(value["status"], value, {})


class _Events:
    """Takes a stream apart into events (WHATWG, server-sent events; here lines end with LF)."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: List[str] = []

    def _end_event(self) -> Iterator[Tuple[str, str]]:
        if self._data:
            yield self._name, "\n".join(self._data)
        self._name, self._data = "", []

    def feed(self, piece: bytes) -> Iterator[Tuple[str, str]]:
        """The events that are whole with this piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.rstrip(b"\r").decode().partition(":")
            value = value[1:] if value.startswith(" ") else value
            if not name and not value:
                yield from self._end_event()
            elif name == "event":
                self._name = value
            elif name == "data":
                self._data.append(value)


def _read_events(events: _Events, piece: bytes) -> Iterator[Union[Output, Answer]]:
    for name, data in events.feed(piece):
        if name in ("stdout", "stderr", "result", "error"):
            yield _read_event(name, data)


def _broken(error: BaseException, what: str) -> ServiceError:
    return ServiceError(f"{what}: {error or type(error).__name__}", kind="transport")


# --- What both clients have -------------------------------------------------------------------


class _Base:
    def __init__(self, url: str = "http://127.0.0.1:8080", *, api_key: Optional[str] = None,
                 timeout: float = 330.0, retries: int = 4,
                 ssl_context: Optional[ssl.SSLContext] = None) -> None:
        """url may have a path; timeout: seconds of silence after which the service is given up,
        longer than its longest script; retries: of 429 and 503."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http or https URL: {url}")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._tls = None
        if parts.scheme == "https":
            self._tls = ssl_context or ssl.create_default_context()
        self._api_key = api_key
        self._timeout = timeout
        self._retries = retries

    def _headers(self, accept: str, body: Optional[bytes], request_id: str) -> Dict[str, str]:
        headers = {"Host": self._authority, "Accept": accept, "User-Agent": "vivarium-python",
                   "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
            headers["Content-Length"] = str(len(body))
        if request_id:
            headers["X-Request-Id"] = request_id
        if self._api_key:
            headers["Authorization"] = "Bearer " + self._api_key
        return headers

    def _delay(self, status: int, headers: Mapping[str, str], attempt: int) -> Optional[float]:
        """Seconds to wait before the next attempt; None: there is none. Clients that were refused
        together do not come back together, and less often each time."""
        if status not in _RETRIED or attempt >= self._retries:
            return None
        wait = _read_retry_after(headers)
        wait = (1.0 if wait is None else wait) + random.random() * 2 ** min(attempt, 5)
        return wait if wait <= _WAIT_MAX_S else None


_JSON = "application/json"
_STREAM = "text/event-stream"


# --- The client for threads -------------------------------------------------------------------


class _Call:
    """One request on a connection of its own, answered as far as the end of the headers."""

    def __init__(self, connection: http.client.HTTPConnection, method: str, path: str,
                 headers: Mapping[str, str], body: Optional[bytes]) -> None:
        self._connection = connection
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(body or b"")  # refused before all of it was sent: read why
            self._response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _broken(error, "no answer") from error
        self.status = self._response.status
        self.headers = {name.lower(): value for name, value in self._response.getheaders()}

    def pieces(self) -> Iterator[bytes]:
        try:
            while True:
                piece = self._response.read1(_PIECE_BYTES)
                if not piece:
                    break
                yield piece
            if self._response.length:
                raise http.client.IncompleteRead(b"", self._response.length)
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error, "the answer broke off") from error

    def read(self) -> Response:
        return Response(self.status, self.headers, b"".join(self.pieces()))

    def close(self) -> None:
        self._connection.close()


class Client(_Base):
    """Talks to one service; may be used by several threads at once."""

    def execute(self, script: str, **fields: Unpack[Fields]) -> Answer:
        """Runs a script and returns its answer."""
        with contextlib.closing(self._submit(script, fields, _JSON)) as call:
            return _read(call.read())

    def stream(self, script: str, **fields: Unpack[Fields]) -> Iterator[Union[Output, Answer]]:
        """Runs a script; yields what it prints while it runs, and last its Answer. The script
        ends when the iterator is closed."""
        events = _Events()
        with contextlib.closing(self._submit(script, fields, _STREAM)) as call:
            if not call.headers.get("content-type", "").startswith(_STREAM):
                yield _read(call.read())
                return
            for piece in call.pieces():
                for event in _read_events(events, piece):
                    yield event
                    if isinstance(event, Answer):
                        return
        raise ServiceError("the stream ended without a verdict", kind="transport")

    def health(self) -> Dict[str, Any]:
        """GET /health; "status" is "healthy" or "unhealthy"."""
        return _read_page(self.request("GET", "/health"), 200, 503)

    def libraries(self) -> Dict[str, Any]:
        """GET /libraries."""
        return _read_page(self.request("GET", "/libraries"), 200)

    def request(self, method: str, path: str, body: Optional[bytes] = None,
                headers: Optional[Mapping[str, str]] = None) -> Response:
        """Any request, once; headers over those that the client sends by itself."""
        sent = {**self._headers(_JSON, body, ""), **(headers or {})}
        with contextlib.closing(self._open(method, path, sent, body)) as call:
            return call.read()

    def _open(self, method: str, path: str, headers: Mapping[str, str],
              body: Optional[bytes]) -> _Call:
        if self._tls:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return _Call(connection, method, self._prefix + path, headers, body)

    def _submit(self, script: str, fields: Mapping[str, Any], accept: str) -> _Call:
        body = _encode(script, fields)
        headers = self._headers(accept, body, fields.get("request_id", ""))
        attempt = 0
        while True:
            call = self._open("POST", "/execute", headers, body)
            delay = self._delay(call.status, call.headers, attempt)
            if delay is None:
                return call
            call.close()
            time.sleep(delay)
            attempt += 1


# --- The client for asyncio -------------------------------------------------------------------


class _AsyncCall:
    """As _Call. HTTP/1.1 as far as an answer on a connection that is used once needs it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                 timeout: float) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        self._has_body = True
        self.status = 0
        self.headers: Dict[str, str] = {}

    async def send(self, method: str, path: str, headers: Mapping[str, str],
                   body: Optional[bytes]) -> None:
        self._has_body = method != "HEAD"
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        self._writer.write("\r\n".join(lines).encode("latin-1") + (body or b""))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._wait(self._writer.drain())  # refused before all of it was sent: read why
        await self._read_head()

    async def _wait(self, awaitable: Any) -> Any:
        return await asyncio.wait_for(awaitable, self._timeout)

    async def _read_line(self) -> str:
        line: bytes = await self._wait(self._reader.readline())
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection was closed")
        return line.rstrip(b"\r\n").decode("latin-1")

    async def _read_head(self) -> None:
        while self.status < 200:  # 100 Continue and its like come before the answer
            version, _, status = (await self._read_line()).partition(" ")
            if not version.startswith("HTTP/1.") or not status[:3].isdigit():
                raise ConnectionError("not HTTP")
            self.status = int(status[:3])
            self.headers = {}
            while True:
                line = await self._read_line()
                if not line:
                    break
                name, _, value = line.partition(":")
                self.headers[name.lower()] = value.strip()

    async def _read_some(self, most: int) -> bytes:
        piece: bytes = await self._wait(self._reader.read(min(most, _PIECE_BYTES)))
        if not piece:
            raise ConnectionError("the connection was closed")
        return piece

    async def _span(self, length: int) -> AsyncIterator[bytes]:
        while length:
            piece = await self._read_some(length)
            length -= len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            length = int((await self._read_line()).partition(";")[0], 16)
            if not length:
                return
            async for piece in self._span(length):
                yield piece
            await self._read_line()

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            length = int(self.headers.get("content-length", "0")) if self._has_body else 0
            is_chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
            body = self._chunks() if is_chunked else self._span(length)
            async for piece in body:
                yield piece
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            raise _broken(error, "the answer broke off") from error

    async def read(self) -> Response:
        body = b"".join([piece async for piece in self.pieces()])
        return Response(self.status, self.headers, body)

    def close(self) -> None:
        self._writer.close()


class AsyncClient(_Base):
    """Talks to one service, from tasks of asyncio. Cancelling a task ends its script."""

    async def execute(self, script: str, **fields: Unpack[Fields]) -> Answer:
        """Runs a script and returns its answer."""
        with contextlib.closing(await self._submit(script, fields, _JSON)) as call:
            return _read(await call.read())

    async def stream(self, script: str,
                     **fields: Unpack[Fields]) -> AsyncIterator[Union[Output, Answer]]:
        """Runs a script; yields what it prints while it runs, and last its Answer. The script
        ends when the iterator is closed."""
        events = _Events()
        with contextlib.closing(await self._submit(script, fields, _STREAM)) as call:
            if not call.headers.get("content-type", "").startswith(_STREAM):
                yield _read(await call.read())
                return
            async for piece in call.pieces():
                for event in _read_events(events, piece):
                    yield event
                    if isinstance(event, Answer):
                        return
        raise ServiceError("the stream ended without a verdict", kind="transport")

    async def health(self) -> Dict[str, Any]:
        """GET /health; "status" is "healthy" or "unhealthy"."""
        return _read_page(await self.request("GET", "/health"), 200, 503)

    async def libraries(self) -> Dict[str, Any]:
        """GET /libraries."""
        return _read_page(await self.request("GET", "/libraries"), 200)

    async def request(self, method: str, path: str, body: Optional[bytes] = None,
                      headers: Optional[Mapping[str, str]] = None) -> Response:
        """Any request, once; headers over those that the client sends by itself."""
        sent = {**self._headers(_JSON, body, ""), **(headers or {})}
        with contextlib.closing(await self._open(method, path, sent, body)) as call:
            return await call.read()

    async def _open(self, method: str, path: str, headers: Mapping[str, str],
                    body: Optional[bytes]) -> _AsyncCall:
        writer = None
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(self._host, self._port, ssl=self._tls), self._timeout)
            call = _AsyncCall(reader, writer, self._timeout)
            await call.send(method, self._prefix + path, headers, body)
            return call
        except BaseException as error:
            if writer:
                writer.close()
            if isinstance(error, (OSError, ValueError, asyncio.TimeoutError)):
                raise _broken(error, "no answer") from error
            raise

    async def _submit(self, script: str, fields: Mapping[str, Any], accept: str) -> _AsyncCall:
        body = _encode(script, fields)
        headers = self._headers(accept, body, fields.get("request_id", ""))
        attempt = 0
        while True:
            call = await self._open("POST", "/execute", headers, body)
            delay = self._delay(call.status, call.headers, attempt)
            if delay is None:
                return call
            call.close()
            await asyncio.sleep(delay)
            attempt += 1
