"""Starts the whole service, nginx included, once for a test session, as `make run` does."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
# What one directory of tests has to help itself helps the others, too.
sys.path += [str(TOP / "tests" / name) for name in ("escape", "fault", "integration")]
BUILD = Path(os.environ.get("VIVARIUM_BUILD", TOP / "build" / "release"))
CONF = TOP / "conf" / "vivarium.conf"
# What the tests need from PyPI (tests/requirements.txt), made by `make packages-pypi`.
PYPI = Path(os.environ.get("VIVARIUM_PYPI", TOP / "build" / "pypi"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Answer:
    """Status, headers and body of one HTTP answer; `data` is the parsed body."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def data(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:2000]!r}>"


def heed_hangups():
    """Also where the tests themselves ignore them (nohup)."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Service:
    """A running instance, started by deploy/run.sh; keyword arguments become --set key=value.

    Its first templates stay, as tests count processes; await_placed() is for those that need others.
    """

    check = None  # what all answers of request() are shown to: method, path, answer
    tls = None  # a certificate of tests/integration/certificates.py, to speak HTTPS with

    def __init__(self, tls=None, **settings):
        if tls:
            self.tls = tls
            settings.update(tls_certificate=tls.certificate, tls_certificate_key=tls.key)
        settings.setdefault("template_quick_age", 0)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.log_path = tempfile.NamedTemporaryFile(prefix="vivarium-test-", delete=False).name
        sets = [f"--set={key}={value}" for key, value in settings.items()]
        sets = [part for item in sets for part in item.split("=", 1)]
        command = [str(TOP / "deploy" / "run.sh"), *sets]
        environment = dict(os.environ, PORT=str(self.port), LISTEN=self.host, CONF=str(CONF),
                           BUILD=str(BUILD), ACCESS_LOG="off")
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=open(self.log_path, "w"), stderr=subprocess.STDOUT,
                                        start_new_session=True, preexec_fn=heed_hangups)
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            os.unlink(self.log_path)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        """It has to end well."""
        status = self.stop()
        log = self.log()
        os.unlink(self.log_path)
        assert status == 0, log

    def _await_ready(self):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError("the service did not start:\n" + self.log())
            if "Ready on" in self.log():
                return
            time.sleep(0.05)
        raise RuntimeError("the service is not ready:\n" + self.log())

    def await_placed(self):
        """Until the quick templates have made way to those that place what scripts touch."""
        deadline = time.monotonic() + 60
        while "is replaced after" not in self.log():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def log(self):
        return Path(self.log_path).read_text()

    def connection(self, timeout=60):
        """One that keeps itself open between requests."""
        if not self.tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout,
                                           context=self.tls.context)

    def request(self, method, path, body=None, headers=None, timeout=60):
        connection = self.connection(timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
            if self.check:
                self.check(method, path, answer)
            return answer
        finally:
            connection.close()

    def get(self, path, **arguments):
        return self.request("GET", path, **arguments)

    def post(self, body, timeout=60, **headers):
        """POST /execute with a body as it is; header names with _ for -."""
        fields = {"Content-Type": "application/json"}
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        return self.request("POST", "/execute", body=body, headers=fields, timeout=timeout)

    def execute(self, script, http_timeout=60, **fields):
        """POST /execute with a script and further fields of the request."""
        return self.post(json.dumps({"script": script, **fields}), timeout=http_timeout)

    def pids(self):
        """All processes below deploy/run.sh, itself included."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except OSError:
                    continue
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        found = {self.process.pid}
        while True:
            more = {pid for pid, parent in parents.items() if parent in found} - found
            if not more:
                return found
            found |= more

    def stop(self, number=signal.SIGTERM, timeout=30):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            # a process that a sanitizer ended was started again, and its test may have passed
            log = self.log()
            assert "Sanitizer" not in log and "runtime error:" not in log, log


@pytest.fixture(autouse=True, scope="module")
def answers_as_described(request):
    """Tests of the interface get no answer that the OpenAPI document does not describe."""
    if request.path.parent.name != "integration":
        yield
        return
    import described  # needs jsonschema, which other directories do without
    Service.check = staticmethod(described.of_the_tree().check)
    yield
    Service.check = None


@pytest.fixture(scope="session")
def service():
    with Service(log_requests="on", template_quick_age=0.1) as instance:
        instance.await_placed()
        yield instance


@pytest.fixture
def make_service():
    """A factory of instances of a test's own."""
    made = []

    def make(**arguments):
        made.append(Service(**arguments))
        return made[-1]

    yield make
    for instance in made:
        instance.stop()
        os.unlink(instance.log_path)
