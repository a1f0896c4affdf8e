"""docs/http.md: what it shows is what works."""

import json
import os
import re
import subprocess

import pytest

from certificates import Certificate
from conftest import BUILD, TOP, free_port
from edge import (BODY_LIMIT, Events, Nginx, Responder, ask, await_listening, check_error, connect,
                  post, read_until, request, tell_parameters)

PAGE = (TOP / "docs" / "http.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize("text", blocks("ini"))
def test_configuration_is_accepted(text, tmp_path):
    """Each block by itself; relative paths are relative to the file."""
    path = tmp_path / "page.conf"
    path.write_text(text)
    done = subprocess.run([BUILD / "vivarium", "--check-config", "--config", path],
                          capture_output=True, text=True)
    assert done.returncode == 0, done
    for line in text.splitlines():
        key, value = line.split(" = ")
        if key.startswith("tls_certificate") and not value.startswith("/"):
            value = f"{tmp_path}/{value}"
        assert f"\n{key} = {value}\n" in "\n" + done.stdout


def test_certificate_for_trying_it_out(tmp_path):
    """The commands of the page, in their order."""
    make, ask_for = re.split(r"\n(?=curl)", blocks("sh")[0])
    subprocess.run(["sh", "-ec", make], cwd=tmp_path, check=True, capture_output=True)
    nginx = Nginx(tls=Certificate(tmp_path / "server.pem", tmp_path / "server.key",
                                  tmp_path / "server.pem"))
    nginx.stand_in("control.sock", Responder(tell_parameters))
    try:
        done = subprocess.run(["sh", "-ec", ask_for.replace(":8080", f":{nginx.port}")], cwd=tmp_path,
                              check=True, capture_output=True)
    finally:
        nginx.close()
    assert json.loads(done.stdout)["SCRIPT_NAME"] == "/health"


class Proxy:
    """An nginx as somebody else has it, with the page's location in it."""

    tls = None

    def __init__(self, directory, behind):
        self.host, self.port = "127.0.0.1", free_port()
        location = blocks("nginx")[0].replace(":8080", f":{behind.port}")
        paths = "".join(f"{name}_temp_path {directory}/{name};\n" for name in
                        ("client_body", "fastcgi", "proxy", "scgi", "uwsgi"))
        (directory / "nginx.conf").write_text(
            f"daemon off; pid {directory}/pid; error_log stderr;\n"
            f"{'user root;' if os.geteuid() == 0 else ''}\n"  # the directory is for nobody else
            f"events {{ }}\nhttp {{ access_log off; {paths}"
            f"server {{ listen {self.host}:{self.port};\n{location} }} }}\n")
        self.process = subprocess.Popen(
            ["/usr/sbin/nginx", "-e", "stderr", "-p", directory, "-c", directory / "nginx.conf"],
            stdin=subprocess.DEVNULL)
        await_listening(self)

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=10)


@pytest.fixture
def make_proxy(tmp_path_factory):
    """A factory of proxies, each before an nginx of ours with its settings and what answers there."""
    made = []

    def make(handle, **settings):
        ours = Nginx(**settings)
        made.append(ours)
        for name in ("execute.sock", "control.sock"):
            ours.stand_in(name, Responder(handle))
        made.append(Proxy(tmp_path_factory.mktemp("proxy"), ours))
        return made[-1]

    yield make
    for one in reversed(made):
        one.close()


def test_behind_an_nginx(make_proxy):
    """The path is the service's own, and the client is who asked the proxy."""
    proxy = make_proxy(tell_parameters, trusted_proxies="127.0.0.1 ::1")
    answer = ask(proxy, request(b"GET /python/health?a=b", b"X-Forwarded-For: 203.0.113.7"),
                 source="127.0.0.5")
    told = json.loads(answer.body)
    assert (told["REQUEST_URI"], told["REMOTE_ADDR"]) == ("/health?a=b", "127.0.0.5")
    large = post(b"Content-Length: %d" % (BODY_LIMIT + 1), body=b" " * (BODY_LIMIT + 1))
    answer = ask(proxy, large.replace(b"/execute", b"/python/execute"))
    check_error(answer, 413, "payload_too_large")


def test_stream_behind_an_nginx(make_proxy):
    """Events pass both as they come."""
    events = Events()
    proxy = make_proxy(events, trusted_proxies="127.0.0.1 ::1")
    with connect(proxy) as connection:
        connection.sendall(
            post(b"Content-Length: 2", body=b"{}").replace(b"/execute", b"/python/execute"))
        read_until(connection, events.FIRST)
        events.read.set()
        read_until(connection, events.LAST)
