"""GET /openapi.json: true to the service, which is held against it with generated requests."""

import copy
import json
import subprocess

import pytest

import described
from conftest import PYPI, Answer

SECONDS = 120  # for some 15 on an idle machine; the number of requests is fixed


def document(service):
    answer = service.get("/openapi.json")
    assert answer.status == 200, answer
    return answer.data


def test_document_is_valid(service, tmp_path):
    """By the specification's own schema."""
    path = tmp_path / "openapi.json"
    path.write_bytes(service.get("/openapi.json").body)
    done = subprocess.run([PYPI / "bin" / "openapi-spec-validator", "--errors", "all", path],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def test_document_is_the_file(service):
    """But for the version and the limits in force, which are the defaults here."""
    served_document, file = document(service), json.loads(described.DOCUMENT.read_text())
    assert served_document["info"].pop("version") == service.get("/").data["version"]
    file["info"].pop("version")
    assert served_document == file


def test_limits_in_force(make_service):
    """The configuration decides, not the file."""
    service = make_service(library_sets="base", workers=1, default_timeout=2.5, max_timeout=7,
                           default_memory=64, max_memory=100)
    fields = document(service)["components"]["schemas"]["ExecuteRequest"]["properties"]
    assert (fields["timeout"]["default"], fields["timeout"]["maximum"]) == (2.5, 7)
    assert (fields["memory"]["default"], fields["memory"]["maximum"]) == (64, 100)
    assert service.execute("def main(): pass", timeout=7, memory=100).status == 200
    assert service.execute("def main(): pass", timeout=7.001).status == 400
    assert service.execute("def main(): pass", memory=101).status == 400


def test_endpoints_are_the_paths(service):
    """What GET / offers is what is described, and all of it is there."""
    paths = document(service)["paths"]
    assert sorted(service.get("/").data["endpoints"]) == sorted(
        f"{method.upper()} {path}" for path, item in paths.items() for method in item)
    for path in paths:
        assert service.request("OPTIONS", path).status == 204, path


def test_examples_of_requests_work(service):
    """Those of the document."""
    post = document(service)["paths"]["/execute"]["post"]
    examples = post["requestBody"]["content"]["application/json"]["examples"]
    assert examples
    for example in examples.values():
        assert service.post(json.dumps(example["value"])).status == 200


def generate(service, location, directory, *arguments):
    """Runs schemathesis, always with the same requests; fails with what it found."""
    service.get("/libraries", timeout=300)  # made once, which may take longer than it would wait
    command = [PYPI / "bin" / "schemathesis", "--no-color", "run", location,
               f"--url=http://{service.host}:{service.port}/", "--generation-deterministic",
               "--no-shrink", "--phases=examples,coverage,fuzzing", "--checks=all",
               *arguments]
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-8000:]


def test_generated_requests(service, tmp_path):
    """Valid ones and invalid ones, other methods too: status, headers, content type and body are as
    described, and what is invalid is refused. (That a script fails is no fault of its request.)"""
    generate(service, f"http://{service.host}:{service.port}/openapi.json", tmp_path,
             "--exclude-checks=positive_data_acceptance", "--max-examples=10")


def test_valid_requests_are_accepted(service, tmp_path):
    """Whatever the document allows runs, given a script that takes all of it. (Deep in args a key
    with a NUL would be refused, too, which the document says in words.)"""
    altered = document(service)
    fields = altered["components"]["schemas"]["ExecuteRequest"]["properties"]
    fields["script"] = {"const": "def main(*args, **kwargs): return [args, kwargs]"}
    fields["entry"]["enum"] = ["main", None]
    fields["timeout"]["minimum"] = 2
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(altered))
    generate(service, path, tmp_path, "--include-path=/execute", "--mode=positive",
             "--generation-allow-x00=false", "--max-examples=30")


# --- The checker of all other answers -------------------------------------------------------------


def wrong(answer, change):
    """An answer with something changed in its body."""
    data = copy.deepcopy(answer.data)
    change(data)
    return Answer(answer.status, answer.headers, json.dumps(data).encode())


@pytest.mark.parametrize("change", [
    lambda data: data.update(extra=1), lambda data: data.pop("stderr"),
    lambda data: data.update(error="x"), lambda data: data.update(success=False),
    lambda data: data["usage"].update(wall_ms="1"), lambda data: data["usage"].update(more=1),
    lambda data: data.update(timestamp="2026-11-20T12:00:00Z"),
    lambda data: data.update(files=[]), lambda data: data.update(warnings=[1]),
    lambda data: data.update(truncated={"stdout": 1, "stderr": 1})])
def test_checker_finds_wrong_bodies(service, change):
    """Not only what is missing: also what nobody described."""
    answer = service.execute("def main(): return 1")
    checker = described.of_the_tree()
    checker.check("POST", "/execute", answer)
    with pytest.raises(AssertionError):
        checker.check("POST", "/execute", wrong(answer, change))


@pytest.mark.parametrize("change", [
    lambda data: data["cause"].update(kind="not_found"), lambda data: data["cause"].pop("kind"),
    lambda data: data.update(result=1), lambda data: data.update(error=""),
    lambda data: data.update(error="two\nlines"), lambda data: data["cause"].update(line="1")])
def test_checker_finds_wrong_errors(service, change):
    """Kinds belong to their status."""
    answer = service.execute("def main(): 1 / 0")
    with pytest.raises(AssertionError):
        described.of_the_tree().check("POST", "/execute", wrong(answer, change))


def test_checker_finds_wrong_heads(service):
    """Status, headers and content type."""
    answer = service.execute("while True: pass", timeout=0.1)
    checker = described.of_the_tree()
    for status, headers in ((409, {}), (200, {}), (400, {}), (408, {"X-Should-Retry": None}),
                            (408, {"X-Request-Id": "a b"}), (408, {"Content-Type": "text/html"})):
        changed = {**dict(answer.headers), **headers}
        changed = {name: value for name, value in changed.items() if value is not None}
        with pytest.raises(AssertionError):
            checker.check("POST", "/execute", Answer(status, changed, answer.body))
    with pytest.raises(AssertionError):
        checker.check("GET", "/execute", answer)
