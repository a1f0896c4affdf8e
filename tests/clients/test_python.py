"""clients/python/vivarium.py: both clients against a service, and against servers that misbehave."""

import asyncio
import email.utils
import inspect
import json
import socket
import ssl
import subprocess
import sys
import time

import pytest

from certificates import make_self_signed
from conftest import PYPI, TOP
from keyring import KeyFile
from servers import SUCCESS, event, events, refusal, told

CLIENT = TOP / "clients" / "python" / "vivarium.py"
sys.path.insert(0, str(CLIENT.parent))
import vivarium  # noqa: E402


class Both:
    """AsyncClient behind the methods of Client: each test is for both."""

    def __init__(self, *arguments, **options):
        self.client = vivarium.AsyncClient(*arguments, **options)

    def __getattr__(self, name):
        def call(*arguments, **options):
            return asyncio.run(getattr(self.client, name)(*arguments, **options))
        return call

    def stream(self, *arguments, **options):
        """All events, gathered; what was raised in the end is raised again."""
        async def gather():
            async for each in self.client.stream(*arguments, **options):
                found.append(each)
        found = []
        asyncio.run(gather())
        return iter(found)


@pytest.fixture(params=[vivarium.Client, Both], ids=["threads", "asyncio"])
def make_client(request):
    return request.param


@pytest.fixture
def client(make_client, service):
    return make_client(f"http://{service.host}:{service.port}")


# --- Against a service ----------------------------------------------------------------------------


def test_value(client):
    """All that an answer has."""
    answer = client.execute("import sys\ndef main(a, b=0):\n    print('hi')\n"
                            "    print('oh', file=sys.stderr)\n    return [a, b, 'h\u00e9']",
                            args=[1], kwargs={"b": 2}, request_id="mine")
    assert (answer.result, answer.stdout, answer.stderr) == ([1, 2, "h\u00e9"], "hi\n", "oh\n")
    assert answer.request_id == "mine" and answer.usage["wall_ms"] > 0
    assert (answer.files, answer.figures, answer.warnings, answer.truncated) == ({}, [], [], {})
    assert answer.data["success"] is True and answer.timestamp.endswith("+00:00")


def test_fields(client):
    """Every field reaches the script."""
    answer = client.execute(
        "import os, sys\ndef f():\n    return [sys.argv[1:], os.environ['A'], input(),\n"
        "        open('t').read(), open('d/b', 'rb').read().hex(), {1}]", entry="f", timeout=5,
        memory=64, argv=["x"], env={"A": "b"}, stdin="in\n", encode="rich", visualizations=False,
        files={"t": "text \u00e9", "d/b": b"\0\xff"}, outputs=["**/*"])
    assert answer.result == [["x"], "b", "in", "text \u00e9", "00ff", {"$type": "set", "value": [1]}]
    assert answer.files == {"d/b": b"\0\xff", "t": "text \u00e9".encode()}
    assert client.execute("6 * 7", entry=None).result == 42


def test_figures(client):
    """As PNG."""
    answer = client.execute("import matplotlib.pyplot as plt\ndef main():\n    plt.figure(3)")
    assert [figure.number for figure in answer.figures] == [3]
    assert answer.figures[0].png.startswith(b"\x89PNG\r\n")


def test_large_bodies(client):
    """Both ways, whole."""
    answer = client.execute("def main(x): return x[::-1]", args=["ab" * 1000000])
    assert answer.result == "ba" * 1000000


def test_script_error(client):
    """With all that is known of it."""
    with pytest.raises(vivarium.ScriptError) as caught:
        client.execute("def main():\n    print('so far')\n    open('f', 'w').write('x')\n    1 / 0",
                       outputs=["f"])
    error = caught.value
    assert str(error) == "ZeroDivisionError: division by zero"
    assert (error.kind, error.status, error.cause["line"]) == ("exception", 400, 4)
    assert (error.stdout, error.files, error.stderr) == ("so far\n", {"f": b"x"}, "")
    assert 'File "script.py", line 4' in error.traceback and error.request_id


def test_timeout_is_not_sent_again(client):
    """408 is a verdict."""
    begun = time.monotonic()
    with pytest.raises(vivarium.ScriptError) as caught:
        client.execute("while True: pass", timeout=0.3)
    assert (caught.value.kind, caught.value.status) == ("time", 408)
    assert time.monotonic() - begun < 2


def test_request_error(client):
    """Refused, with the field."""
    with pytest.raises(vivarium.RequestError) as caught:
        client.execute(" ")
    assert (caught.value.kind, caught.value.cause["field"]) == ("invalid_request", "script")
    with pytest.raises(vivarium.RequestError) as caught:
        client.execute("x", stdin="x" * (21 << 20))
    assert caught.value.kind == "payload_too_large"


def test_wrong_arguments(client):
    """What cannot be sent is told before it is."""
    with pytest.raises(TypeError, match="timeot"):
        client.execute("x", timeot=3)
    with pytest.raises(ValueError):
        client.execute("x", args=[float("nan")])


def test_health_and_other_requests(client):
    """Objects, and answers as they come."""
    assert client.health()["status"] == "healthy"
    response = client.request("HEAD", "/health")
    assert (response.status, response.body) == (200, b"")
    response = client.request("POST", "/execute", b"{}", {"X-Request-Id": "mine"})
    assert response.status == 400 and response.headers["x-request-id"] == "mine"
    with pytest.raises(vivarium.RequestError) as caught:
        vivarium._read_page(client.request("GET", "/nowhere"), 200)
    assert caught.value.kind == "not_found"


def test_many_at_once(service):
    """One client of either kind, many requests."""
    async def gather():
        client = vivarium.AsyncClient(f"http://{service.host}:{service.port}")
        return await asyncio.gather(*(client.execute("def main(n): return n", args=[n])
                                      for n in range(40)))
    assert [answer.result for answer in asyncio.run(gather())] == list(range(40))


def test_cancelled_task_ends_its_script(service):
    """The connection is closed at once, and the service kills what ran for it."""
    async def cancel():
        client = vivarium.AsyncClient(f"http://{service.host}:{service.port}")
        task = asyncio.ensure_future(client.execute("import time\ndef main(): time.sleep(30)"))
        await asyncio.sleep(0.3)
        assert (await client.health())["workers"]["busy"] == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        deadline = time.monotonic() + 5
        while (await client.health())["workers"]["busy"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    asyncio.run(cancel())


def test_live_key(make_client, make_service, tmp_path):
    """A service that wants keys lets the right one in, and says why not the others."""
    ring = KeyFile(tmp_path / "keys")
    key = ring.add("client", "--rate", "1/h")
    service = make_service(key_file=ring.path, workers=1, library_sets="base")
    url = f"http://{service.host}:{service.port}"
    for wrong in (None, "wrong"):
        with pytest.raises(vivarium.RequestError) as caught:
            make_client(url, api_key=wrong).execute("x")
        assert (caught.value.kind, caught.value.status) == ("unauthorized", 401)
    assert make_client(url, api_key=key).execute("def main(): return 1").result == 1
    with pytest.raises(vivarium.UnavailableError) as caught:
        make_client(url, api_key=key).execute("def main(): return 1")
    assert caught.value.kind == "rate_limited" and caught.value.retry_after > 3000


# --- Streams --------------------------------------------------------------------------------------


def test_live_stream(make_client, service):
    """Output comes when it is printed, in both streams, and the answer last."""
    times = []
    client = make_client(f"http://{service.host}:{service.port}")
    for event in client.stream("import sys, time\ndef main(n):\n    print('one')\n"
                               "    time.sleep(0.5)\n    print('two', file=sys.stderr)\n"
                               "    return n", args=[7]):
        times.append((time.monotonic(), event))
    found = [event for _, event in times]
    assert found[:-1] == [vivarium.Output("stdout", "one\n"), vivarium.Output("stderr", "two\n")]
    assert (found[-1].result, found[-1].stdout, found[-1].stderr) == (7, "one\n", "two\n")
    if make_client is vivarium.Client:  # the other one's events are gathered before they are shown
        assert times[1][0] - times[0][0] > 0.3


def test_live_stream_that_fails(make_client, service):
    """What was printed comes before the error; a refusal is none of a stream's."""
    stream = make_client(f"http://{service.host}:{service.port}").stream
    with pytest.raises(vivarium.ScriptError) as caught:
        list(stream("def main():\n    print('so far')\n    1 / 0"))
    assert (caught.value.kind, caught.value.status, caught.value.stdout) == (
        "exception", 400, "so far\n")
    with pytest.raises(vivarium.ScriptError) as caught:
        list(stream("while True: pass", timeout=0.2))
    assert (caught.value.kind, caught.value.status) == ("time", 408)
    with pytest.raises(vivarium.RequestError):
        list(stream(" "))


def test_leaving_a_live_stream_ends_its_script(service):
    """The service kills what ran for it."""
    client = vivarium.Client(f"http://{service.host}:{service.port}")
    stream = client.stream("import time\nprint('up')\ntime.sleep(30)")
    assert next(stream) == vivarium.Output("stdout", "up\n")
    assert client.health()["workers"]["busy"] == 1
    stream.close()
    deadline = time.monotonic() + 5
    while client.health()["workers"]["busy"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


STREAM = (b": hello\n\n", event("stdout", "one\n"), b"event: stderr\nda", b'ta: "t\\u00e9"\r\n\r\n',
          event("future", 1), event("result", {**SUCCESS, "status": 200}))


def test_stream(make_client):
    """Events however they are cut, comments and unknown ones left out, the answer last."""
    with told(events(*STREAM)) as server:
        found = list(make_client(server.url).stream("x", timeout=3))
    assert found[:2] == [vivarium.Output("stdout", "one\n"), vivarium.Output("stderr", "t\u00e9")]
    assert [event.result for event in found[2:]] == [42]
    _, path, headers, body = server.requests[0]
    assert path == "/execute" and headers["Accept"] == "text/event-stream"
    assert json.loads(body) == {"script": "x", "timeout": 3}


def test_stream_that_fails(make_client):
    """An error event is raised; so is an ordinary answer before the stream."""
    failure = {**refusal("exception", type="ValueError"), "status": 400}
    with told(events(event("error", failure)), (400, {}, refusal("invalid_request"))) as server:
        with pytest.raises(vivarium.ScriptError) as caught:
            list(make_client(server.url).stream("x"))
        assert (caught.value.kind, caught.value.status) == ("exception", 400)
        with pytest.raises(vivarium.RequestError):
            list(make_client(server.url).stream("x"))


def test_stream_without_a_stream(make_client):
    """A service that answers at once is answer enough."""
    with told((200, {}, SUCCESS)) as server:
        assert [event.result for event in make_client(server.url).stream("x")] == [42]


def test_stream_that_breaks_off(make_client):
    """No verdict, or the connection is cut."""
    def cut(handler):
        handler.connection.shutdown(socket.SHUT_RDWR)
    with told(events(*STREAM[:2]), events(*STREAM[:2], then=cut)) as server:
        for _ in range(2):
            with pytest.raises(vivarium.ServiceError) as caught:
                list(make_client(server.url).stream("x"))
            assert caught.value.kind == "transport"


def hold(handler):
    """Writes comments until the client has gone."""
    for _ in range(500):
        time.sleep(0.01)
        handler.wfile.write(b"3\r\n:\n\n\r\n")
        handler.wfile.flush()


def test_leaving_a_stream_hangs_up():
    """The connection is closed."""
    with told(events(*STREAM[:2], then=hold)) as server:
        stream = vivarium.Client(server.url).stream("x")
        assert next(stream) == vivarium.Output("stdout", "one\n")
        stream.close()
        assert server.gone.wait(5)


def test_leaving_an_async_stream_hangs_up():
    """Likewise."""
    async def leave(url):
        stream = vivarium.AsyncClient(url).stream("x")
        assert await stream.__anext__() == vivarium.Output("stdout", "one\n")
        await stream.aclose()
        assert await asyncio.get_running_loop().run_in_executor(None, server.gone.wait, 5)
    with told(events(*STREAM[:2], then=hold)) as server:
        asyncio.run(leave(server.url))


# --- Retries --------------------------------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch):
    """What clients waited, without the wait."""
    found = []

    async def sleep(seconds):
        found.append(seconds)
    monkeypatch.setattr(vivarium.time, "sleep", found.append)
    monkeypatch.setattr(vivarium.asyncio, "sleep", sleep)
    monkeypatch.setattr(vivarium.random, "random", lambda: 0.5)
    return found


BUSY = (503, {"Retry-After": "2"}, refusal("overloaded"))
LIMITED = (429, {"Retry-After": "1"}, refusal("rate_limited"))


def test_busy_service_is_tried_again(make_client, waits):
    """After what it says, and more each time."""
    with told(BUSY, LIMITED, (503, {}, b"proxy"), (200, {}, SUCCESS)) as server:
        assert make_client(server.url).execute("x").result == 42
    assert waits == [2.5, 2.0, 3.0]
    assert len({request[3] for request in server.requests}) == 1 and len(server.requests) == 4


def test_retries_are_bounded(make_client, waits):
    """Four at first; none where none are wanted, or where the wait is too long."""
    with told(*[BUSY] * 5) as server:
        with pytest.raises(vivarium.UnavailableError) as caught:
            make_client(server.url).execute("x")
        assert (caught.value.kind, caught.value.status) == ("overloaded", 503)
        assert caught.value.retry_after == 2.0 and len(server.requests) == 5
    assert len(waits) == 4
    with told(LIMITED) as server:
        with pytest.raises(vivarium.UnavailableError):
            make_client(server.url, retries=0).execute("x")
    with told((503, {"Retry-After": "3600"}, refusal("overloaded"))) as server:
        with pytest.raises(vivarium.UnavailableError):
            make_client(server.url).execute("x")
    assert len(waits) == 4


def test_retry_after_as_a_date(make_client, waits):
    """As proxies may write it."""
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    with told((503, {"Retry-After": date}, b""), (200, {}, SUCCESS)) as server:
        make_client(server.url).execute("x")
    assert 18 < waits[0] < 21


@pytest.mark.parametrize("status, kind, error", [
    (400, "invalid_request", vivarium.RequestError), (401, "unauthorized", vivarium.RequestError),
    (408, "time", vivarium.ScriptError), (500, "internal", vivarium.ServiceError),
    (502, "internal", vivarium.ServiceError), (504, "internal", vivarium.ServiceError)])
def test_nothing_else_is_sent_again(make_client, waits, status, kind, error):
    """Not even where Retry-After asks for it."""
    with told((status, {"Retry-After": "1"}, refusal(kind))) as server:
        with pytest.raises(error):
            make_client(server.url).execute("x")
        assert len(server.requests) == 1 and not waits


# --- Strange answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("status, body", [
    (200, b""), (200, b"<html>"), (200, b"[]"), (200, b"{}"), (200, b'{"success": true}'),
    (404, b"not here"), (502, b"Bad Gateway"), (400, b'{"success": false, "error": "x"}')])
def test_answers_of_others(make_client, status, body):
    """A proxy's pages and half an answer are the service's fault, told with their status."""
    with told((status, {}, body)) as server:
        with pytest.raises(vivarium.ServiceError) as caught:
            make_client(server.url).execute("x")
    assert (caught.value.kind, caught.value.status) == ("transport", status)


def test_nobody_answers(make_client):
    """No listener, a name that does not exist, silence, half an answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(vivarium.ServiceError) as caught:
            make_client(f"http://127.0.0.1:{free.getsockname()[1]}").execute("x")
        assert (caught.value.kind, caught.value.status) == ("transport", 0)
        free.listen()
        with pytest.raises(vivarium.ServiceError):
            make_client(f"http://127.0.0.1:{free.getsockname()[1]}", timeout=0.2).execute("x")
    with told((200, {"Content-Length": "100"}, lambda handler: handler.wfile.write(b"{"))) as server:
        with pytest.raises(vivarium.ServiceError, match="broke off"):
            make_client(server.url).execute("x")


def test_wrong_urls(make_client):
    """Not http, no host."""
    for url in ("ftp://x", "127.0.0.1:8080", "http://"):
        with pytest.raises(ValueError):
            make_client(url)


def test_path_and_key(make_client):
    """A URL may have a path; the key goes as bearer."""
    with told((200, {}, SUCCESS)) as server:
        make_client(server.url + "/api/", api_key="secret").execute("x")
    _, path, headers, _ = server.requests[0]
    assert path == "/api/execute" and headers["Authorization"] == "Bearer secret"
    assert headers["Host"] == server.url.partition("//")[2]


def test_tls(make_client, tmp_path):
    """A certificate that nobody vouches for is not accepted; one that is trusted is."""
    certificate, context = make_self_signed(tmp_path)
    with told((200, {}, SUCCESS)) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None
        url = server.url.replace("http:", "https:")
        with pytest.raises(vivarium.ServiceError, match="certificate"):
            make_client(url).execute("x")
        trust = ssl.create_default_context(cafile=certificate)
        assert make_client(url, ssl_context=trust).execute("x").result == 42


# --- The file itself ------------------------------------------------------------------------------


def test_types():
    """mypy --strict, for the oldest Python that is promised."""
    done = subprocess.run([PYPI / "bin" / "mypy", "--strict", "--python-version=3.9",
                           "--cache-dir=/dev/null", CLIENT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_types_of_callers(tmp_path):
    """Wrong fields are found where they are written."""
    program = tmp_path / "caller.py"
    program.write_text("from vivarium import Client\nClient().execute('x', timeot=1)\n"
                       "Client().execute('x', memory='1')\nClient().execute('x', entry=None)\n"
                       "x: int = Client().execute('x').stdout\n")
    done = subprocess.run([PYPI / "bin" / "mypy", "--strict", "--cache-dir=/dev/null", program],
                          env={"MYPYPATH": str(CLIENT.parent)}, capture_output=True, text=True)
    found = [line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line]
    assert found == ["2", "3", "5"], done.stdout


def test_needs_the_standard_library_only():
    """What it imports comes with every Python."""
    names = {line.split()[1].split(".")[0] for line in CLIENT.read_text().splitlines()
             if line.startswith(("import ", "from "))}
    assert names <= set(sys.stdlib_module_names)


def test_both_clients_have_the_same_methods():
    """What one can, the other can."""
    public = [{name: inspect.signature(method) for name, method in vars(cls).items()
               if not name.startswith("_")} for cls in (vivarium.Client, vivarium.AsyncClient)]
    assert public[0].keys() == public[1].keys() and len(public[0]) == 5
    for name, signature in public[0].items():
        assert signature.parameters == public[1][name].parameters
