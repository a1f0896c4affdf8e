"""What the contract says about every answer, checked in one place."""

import datetime
import json
import os
import re

BEFORE_A_RUN = {"success", "error", "cause", "stdout", "timestamp", "request_id"}
ALWAYS_AFTER = {"success", "stdout", "stderr", "usage", "timestamp", "request_id"}
SOMETIMES_AFTER = {"truncated", "warnings", "files", "visualizations"}
WITH_TRACEBACK = {"syntax", "exception", "exit", "not_json"}
MAY_HAVE_TRACEBACK = WITH_TRACEBACK | {"time", "memory"}
REQUEST_ID = r"[A-Za-z0-9._-]{1,64}"
CORES = len(os.sched_getaffinity(0))


def check_envelope(answer):
    """What every answer of /execute has, whatever became of the script. Returns the body."""
    assert answer.headers.get_all("Content-Type") == ["application/json"], answer
    assert answer.headers.get_all("Cache-Control") == ["no-store"]
    assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert answer.body.isascii()
    data = answer.data
    assert re.fullmatch(REQUEST_ID, data["request_id"])
    assert answer.headers.get_all("X-Request-Id") == [data["request_id"]]
    check_timestamp(data["timestamp"])
    assert isinstance(data["stdout"], str)
    return data


def check_timestamp(text):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", text)
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(text)
    assert abs(age.total_seconds()) < 60


def check_usage(answer, usage):
    assert set(usage) == {"queue_ms", "fork_ms", "wall_ms", "cpu_ms", "memory_mb", "template",
                          "parked"}
    for name in ("queue_ms", "fork_ms", "wall_ms", "cpu_ms", "memory_mb"):
        assert type(usage[name]) in (int, float) and usage[name] >= 0, name
    assert isinstance(usage["template"], str) and usage["template"]
    assert isinstance(usage["parked"], bool)
    timing = dict(part.strip().split(";dur=") for part in answer.headers["Server-Timing"].split(","))
    for name in ("queue", "fork", "wall", "cpu"):
        assert abs(float(timing[name]) - usage[name + "_ms"]) < 0.01, name


def check_after_a_run(answer, data, own):
    assert ALWAYS_AFTER | own <= set(data) <= ALWAYS_AFTER | own | SOMETIMES_AFTER
    assert isinstance(data["stderr"], str)
    for name in SOMETIMES_AFTER & set(data):
        assert data[name], f"{name} is there, and empty"
    check_usage(answer, data["usage"])


def ok(answer):
    """The body of an answer that must be a success."""
    assert answer.status == 200, answer
    data = check_envelope(answer)
    assert data["success"] is True
    check_after_a_run(answer, data, {"result"})
    assert "X-Should-Retry" not in answer.headers
    return data


def result(answer):
    return ok(answer)["result"]


def failed(answer, kind, status=400):
    """The body of an answer that must be the failure of a script that ran, or could not."""
    assert answer.status == status, answer
    data = check_envelope(answer)
    check_error(data, kind)
    own = {"error", "cause"}
    if kind in WITH_TRACEBACK or (kind in MAY_HAVE_TRACEBACK and "traceback" in data):
        own.add("traceback")
    check_after_a_run(answer, data, own)
    assert answer.headers.get("X-Should-Retry") == ("false" if status == 408 else None)
    assert len(data.get("traceback", "").encode()) <= 64 * 1024
    return data


def ended(answer, kind, status=400):
    """Like failed(), for an end that the script could say nothing about: there is no traceback."""
    assert answer.status == status, answer
    data = check_envelope(answer)
    check_error(data, kind)
    check_after_a_run(answer, data, {"error", "cause"})
    return data


def check_error(data, kind):
    assert data["success"] is False
    assert data["cause"]["kind"] == kind, data
    assert isinstance(data["error"], str) and data["error"]
    assert len(data["error"].encode()) <= 4096
    assert not any(ord(c) < 0x20 or 0x7f <= ord(c) < 0xa0 for c in data["error"])
    assert len(data["error"].splitlines()) == 1


def refused(answer, kind="invalid_request", status=400):
    """The body of an answer to a request that was refused before anything ran."""
    assert answer.status == status, answer
    data = check_envelope(answer)
    check_error(data, kind)
    assert set(data) == BEFORE_A_RUN
    assert data["stdout"] == ""
    return data


def check_text(answer, value, separator="stdout"):
    """The result must stand in the body exactly as json.dumps writes it."""
    text = '"result": %s, "%s": ' % (json.dumps(value), separator)
    assert text.encode() in answer.body, answer
