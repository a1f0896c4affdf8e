"""API keys: who comes in, who is told what, and what the operator does about it."""

import fcntl
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from answers import check_envelope
from conftest import BUILD, CONF, Answer, Service
from keyring import KeyFile
from supervision import Tree, eventually

SCRIPT = json.dumps({"script": "def main():\n    return 'in'"})
OWN = "A-key.of~one's_own+/==".replace("'", "-")
REQUIRED = 'An API key is required, as "Authorization: Bearer KEY" or "X-Api-Key: KEY"'


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    ring = KeyFile(tmp_path_factory.mktemp("keys") / "keys")
    for name in ("plain", "other", "revoked"):
        ring.add(name)
    ring.add("slow", "--rate", "2/s", "--burst", "3")
    ring.add("hourly", "--rate", "1/h")
    ring.add("single", "--concurrent", "1")
    ring.add("small", "--max-timeout", "0.5", "--max-memory", "64")
    ring.write_line("own", OWN)
    ring.write_line("expired", "old-key", "expires=2026-01-01")
    ring.write_line("expiring", "young-key", "expires=2999-01-01T00:00:00Z")
    return ring


@pytest.fixture(scope="module")
def guarded(ring):
    """A service with a key file."""
    with Service(workers=1, cells_per_worker=2, library_sets="base", key_file=ring.path,
                 log_requests="on") as service:
        yield service
        log = service.log()
    for name in ("plain", "single", "slow", "expired"):
        assert re.search(f'"key": *"{name}"|{name}@127.0.0.1', log), log
    for key in ring.keys.values():
        assert key not in log


def ask(service, *lines, body=SCRIPT, method="POST", path="/execute",
        content_type="application/json"):
    """A request with header lines exactly as they are given."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=60)
    data = body if isinstance(body, bytes) else body.encode()
    connection.putrequest(method, path)
    for name, value in [("Content-Type", content_type), ("Content-Length", str(len(data))), *lines]:
        connection.putheader(name, value)
    connection.endheaders(data)
    response = connection.getresponse()
    answer = Answer(response.status, response.headers, response.read())
    connection.close()
    return answer


def bearer(key):
    return "Authorization", f"Bearer {key}"


def assert_in(answer):
    assert answer.status == 200 and answer.data["result"] == "in", answer


def assert_refused(answer, error, code=None):
    """401 as RFC 6750 has it."""
    data = check_envelope(answer)
    assert answer.status == 401, answer
    assert data["error"] == error
    assert data["cause"] == {"kind": "unauthorized"} and data["success"] is False
    challenge = 'Bearer realm="vivarium"'
    if code:
        challenge += f', error="{code}", error_description="{error}"'
    assert answer.headers.get_all("WWW-Authenticate") == [challenge]


def assert_limited(answer, error):
    data = check_envelope(answer)
    assert answer.status == 429, answer
    assert data["error"] == error and data["cause"]["kind"] == "rate_limited"
    assert re.fullmatch("[1-9][0-9]*", answer.headers["Retry-After"])
    return int(answer.headers["Retry-After"])


# --- who comes in ------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [
    [("Authorization", "Bearer {}")], [("authorization", "bearer {}")],
    [("Authorization", "BEARER   {}  ")], [("X-Api-Key", "{}")], [("x-api-key", "  {} ")],
    [("Authorization", "Bearer {}"), ("X-Api-Key", "{}")],
    [("Authorization", "Basic dTpw"), ("X-Api-Key", "{}")],  # the proxy's, perhaps
    [("Authorization", ""), ("X-Api-Key", "{}")],
], ids=str)
def test_a_key_opens(guarded, ring, lines):
    for name in ("plain", "own", "expiring"):
        assert_in(ask(guarded, *((field, value.format(ring.keys[name])) for field, value in lines)))


@pytest.mark.parametrize("lines, error, code", [
    ([], REQUIRED, None),
    ([("Authorization", "")], REQUIRED, None),
    ([("X-Api-Key", "")], REQUIRED, None),
    ([("Authorization", "Basic {plain}")], REQUIRED, None),
    ([("Authorization", "{plain}")], REQUIRED, None),
    ([("Authorization", "Bearer{plain}")], REQUIRED, None),
    ([("Cookie", "key={plain}")], REQUIRED, None),
    ([("X_Api_Key", "{plain}")], REQUIRED, None),
    ([("Authorization", "Bearer")], "The API key is malformed", "invalid_token"),
    ([("Authorization", "Bearer {plain} {plain}")], "The API key is malformed", "invalid_token"),
    ([("Authorization", "Bearer \"{plain}\"")], "The API key is malformed", "invalid_token"),
    ([("X-Api-Key", "{plain},{other}")], "The API key is malformed", "invalid_token"),
    ([("X-Api-Key", "schl\u00fcssel")], "The API key is malformed", "invalid_token"),
    ([("X-Api-Key", "a\tb")], "The API key is malformed", "invalid_token"),
    ([("X-Api-Key", "x" * 257)], "The API key is malformed", "invalid_token"),
    ([("X-Api-Key", "x" * 14000)], "The API key is malformed", "invalid_token"),
    ([("X-Api-Key", "x" * 256)], "The API key is not known", "invalid_token"),
    ([("X-Api-Key", "{plain}x")], "The API key is not known", "invalid_token"),
    ([("X-Api-Key", "viv_")], "The API key is not known", "invalid_token"),
    ([("X-Api-Key", "Bearer")], "The API key is not known", "invalid_token"),
    ([("Authorization", "Bearer {expired}")], "The API key has expired", "invalid_token"),
    ([("Authorization", "Bearer {plain}"), ("X-Api-Key", "{other}")],
     "More than one API key was sent", "invalid_request"),
    ([("Authorization", "Bearer {plain}"), ("X-Api-Key", "unknown")],
     "More than one API key was sent", "invalid_request"),
    ([("Authorization", "Bearer"), ("X-Api-Key", "{plain}")],
     "More than one API key was sent", "invalid_request"),
], ids=str)
def test_others_are_told_why_not(guarded, ring, lines, error, code):
    lines = [(name, value.format(**ring.keys)) for name, value in lines]
    assert_refused(ask(guarded, *lines), error, code)


def test_a_header_twice(guarded, ring):
    """nginx 1.23 and newer make one line of two, which is no key; before, both come through."""
    key = ring.keys["plain"]
    answer = ask(guarded, ("X-Api-Key", key), ("X-Api-Key", key))
    assert answer.status == 401 and answer.data["cause"]["kind"] == "unauthorized", answer
    answer = ask(guarded, bearer(key), bearer(key))
    assert answer.status == 400 and answer.data["cause"]["kind"] == "invalid_request", answer


def test_a_header_over_nginx_limits(guarded):
    answer = ask(guarded, ("X-Api-Key", "x" * 20000))
    assert answer.status == 431, answer


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/", 200), ("GET", "/health", 200), ("GET", "/live", 200), ("HEAD", "/health", 200),
    ("GET", "/nowhere", 404), ("GET", "/execute", 405), ("OPTIONS", "/execute", 204)])
def test_what_is_open_to_all(guarded, ring, method, path, status):
    """Health checks, preflights and mistakes need no key; a wrong one changes nothing."""
    for lines in ([], [bearer("wrong")], [bearer(ring.keys["plain"])]):
        assert ask(guarded, *lines, method=method, path=path, body="").status == status


@pytest.mark.parametrize("body, content_type", [
    (b"", "application/json"), (b"{", "application/json"), (b"x" * (19 << 20), "application/json"),
    (b"\xff" * 100, "text/plain")], ids=["empty", "broken", "large", "wrong type"])
def test_the_body_does_not_matter_without_a_key(guarded, ring, body, content_type):
    assert_refused(ask(guarded, body=body, content_type=content_type), REQUIRED)
    assert_in(ask(guarded, bearer(ring.keys["plain"])))


def test_a_key_in_the_query_is_none(guarded, ring):
    assert_refused(ask(guarded, path=f"/execute?key={ring.keys['plain']}"), REQUIRED)


# --- limits ------------------------------------------------------------------------------------


def test_rate(guarded, ring):
    """A burst, then as many as come back."""
    key = bearer(ring.keys["slow"])
    answers = [ask(guarded, key) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    begun, refused = time.monotonic(), 0
    while (answer := ask(guarded, key)).status == 429:
        assert assert_limited(answer, "The API key's limit is 2 requests per second") == 1
        refused += 1
        time.sleep(0.02)
    assert refused and 0.1 < time.monotonic() - begun < 1.5
    assert_in(answer)
    assert_in(ask(guarded, bearer(ring.keys["plain"])))  # nobody else is in its way


def test_rate_for_an_hour(guarded, ring):
    key = bearer(ring.keys["hourly"])
    assert_in(ask(guarded, key))
    wait = assert_limited(ask(guarded, key), "The API key's limit is 1 request per hour")
    assert 3500 < wait <= 3600


def test_requests_at_once(guarded, ring):
    """The second one is refused while the first runs, also when its client hung up long ago."""
    key = bearer(ring.keys["single"])
    slow = json.dumps({"script": "import time\ndef main():\n    time.sleep(1)\n    return 'in'"})
    first = []
    thread = threading.Thread(target=lambda: first.append(ask(guarded, key, body=slow)))
    thread.start()
    assert eventually(lambda: guarded.get("/health").data["workers"]["busy"] == 1, 5)
    error = "The API key's limit is 1 request at once"
    assert assert_limited(ask(guarded, key), error) == 1
    thread.join()
    assert_in(first[0])
    assert_in(ask(guarded, key))
    for body in ("{", json.dumps({"script": "def main(): 1/0"})):  # failures leave, too
        for _ in range(2):
            assert ask(guarded, key, body=body).status == 400
    connection = http.client.HTTPConnection(guarded.host, guarded.port)
    connection.request("POST", "/execute", slow, dict([key, ("Content-Type", "application/json")]))
    assert eventually(lambda: guarded.get("/health").data["workers"]["busy"] == 1, 5)
    connection.close()
    assert eventually(lambda: ask(guarded, key).status == 200, 5)


def test_maxima_of_a_key(guarded, ring):
    """They are the defaults, too, where those are larger; nobody else has them."""
    small, plain = bearer(ring.keys["small"]), bearer(ring.keys["plain"])
    sleep = {"script": "import time\ndef main():\n    time.sleep(0.8)"}
    answer = ask(guarded, small, body=json.dumps(sleep))
    assert answer.status == 408 and answer.data["cause"]["limit"] == 0.5
    assert ask(guarded, plain, body=json.dumps(sleep)).status == 200
    for field, value, allowed in (("timeout", 0.6, "a number from 0.01 to 0.5"),
                                  ("memory", 65, "an integer from 16 to 64")):
        body = json.dumps({**sleep, field: value})
        answer = ask(guarded, small, body=body)
        assert answer.status == 400, answer
        assert answer.data["cause"] == {"kind": "invalid_request", "field": field,
                                        "allowed": allowed, "got": str(value)}
        assert ask(guarded, plain, body=body).status in (200, 408)


def test_mcp_is_guarded_as_well(guarded, ring):
    """The same keys, the same answers, the same maxima: in what the tool says, and in a call."""
    listing = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert_refused(ask(guarded, path="/mcp", body=listing), REQUIRED)
    assert_refused(ask(guarded, bearer("wrong"), path="/mcp", body="{"), "The API key is not known",
                   "invalid_token")
    for name, most, memory in (("plain", 300, 2048), ("small", 0.5, 64)):
        answer = ask(guarded, bearer(ring.keys[name]), path="/mcp", body=listing)
        fields = answer.data["result"]["tools"][0]["inputSchema"]["properties"]
        assert (fields["timeout"]["maximum"], fields["memory"]["maximum"]) == (most, memory)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "run_python", "arguments": {"script": "6 * 7", "timeout": 1}}}
    plain, small = (ask(guarded, bearer(ring.keys[name]), path="/mcp", body=json.dumps(call))
                    .data["result"] for name in ("plain", "small"))
    assert plain["structuredContent"]["result"] == 42
    assert small["isError"] and small["structuredContent"]["cause"]["allowed"] == (
        "a number from 0.01 to 0.5")


# --- the operator ------------------------------------------------------------------------------


def hang_up(service):
    """As `systemctl reload` does."""
    os.kill(Tree(service).launcher.pid, signal.SIGHUP)


def test_revoked_and_added_while_it_serves(guarded, ring):
    """A changed file is noticed by itself; a hang-up has it read at once."""
    assert_in(ask(guarded, bearer(ring.keys["revoked"])))
    ring.revoke("revoked")
    assert eventually(lambda: ask(guarded, bearer(ring.keys["revoked"])).status == 401, 5)
    key = bearer(ring.add("new"))
    assert eventually(lambda: ask(guarded, key).status == 200, 5)
    time.sleep(1.5)  # until it has seen all changes, and looks in vain
    reads = guarded.log().count("was read again")
    hang_up(guarded)
    assert eventually(lambda: guarded.log().count("was read again") > reads, 5)


def test_a_bad_file_changes_nothing(guarded, ring):
    """The former keys stay in force, and the log names the line, without what stands in it."""
    text = ring.path.read_text()
    ring.path.write_text(text + "nonsense viv_secretsecret\n")
    hang_up(guarded)
    line = text.count("\n") + 1
    reason = (f"key file {ring.path}: line {line}: the second word is not sha256: and 64 of the "
              "digits 0 to 9 and a to f: Invalid argument: the keys stay as they were")
    assert eventually(lambda: reason in guarded.log(), 5), guarded.log()
    assert "secretsecret" not in guarded.log()
    assert_in(ask(guarded, bearer(ring.keys["plain"])))
    done = ring.command("add", "more")
    assert done.returncode == 1 and f"line {line}:" in done.stderr
    ring.path.unlink()
    assert eventually(lambda: "No such file or directory: the keys stay" in guarded.log(), 5)
    assert_in(ask(guarded, bearer(ring.keys["plain"])))
    ring.path.write_text(text)
    ring.path.chmod(0o600)
    assert_in(ask(guarded, bearer(ring.keys["plain"])))


def test_what_was_used_stays_used(guarded, ring):
    """Reading the file again gives nobody a second burst."""
    key = bearer(ring.add("bursting", "--rate", "3/h"))
    hang_up(guarded)
    assert eventually(lambda: ask(guarded, key).status == 200, 5)
    assert [ask(guarded, key).status for _ in range(2)] == [200, 200]
    ring.add("unrelated")
    before = guarded.log().count("was read again")
    hang_up(guarded)
    assert eventually(lambda: guarded.log().count("was read again") > before, 5)
    assert ask(guarded, key).status == 429


@pytest.mark.parametrize("line, reason", [
    ("just-a-name\n", "line 1: the second word is not sha256:"),
    ("# fine\n\nx sha256:12\n", "line 3: the second word is not sha256:"),
    ("a/b sha256:" + "0" * 64 + "\n", "line 1: the first word is no name"),
    ("a sha256:" + "0" * 64 + " rate=fast\n", "line 1: rate takes a number from 1 to 1000000 and"),
    ("a sha256:" + "0" * 64 + " size=3\n", "line 1: word 3 is no setting of a key"),
    ("a sha256:" + "0" * 64 + "\nb sha256:" + "0" * 64 + "\n", "line 2: a digest that an earlier"),
    ("a sha256:" + "0" * 64 + "\na sha256:" + "1" * 64 + "\n", "line 2: a name that an earlier"),
    (None, "No such file or directory"),
], ids=str)
def test_a_bad_file_at_the_start(tmp_path, line, reason):
    """No start; --check-config says the same."""
    path = tmp_path / "keys"
    if line is not None:
        path.write_text(line)
        path.chmod(0o600)
    for command in (["serve"], ["--check-config"]):
        done = subprocess.run([BUILD / "vivarium", *command, "--config", CONF, "--set",
                               f"key_file={path}", "--set", f"runtime_dir={tmp_path}"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
        assert done.returncode in (1, 2), done
        assert f"key file {path}: " in done.stderr and reason in done.stderr, done.stderr
        assert "0" * 8 not in done.stderr


def test_a_file_that_others_can_write(tmp_path):
    path = tmp_path / "keys"
    path.touch()
    path.chmod(0o620)
    done = subprocess.run([BUILD / "vivarium", "--check-config", "--config", CONF, "--set",
                           f"key_file={path}"], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "others than its owner can write it" in done.stderr


@pytest.mark.parametrize("former, kept", [(0o600, 0o600), (0o640, 0o640), (0o440, 0o440),
                                          (0o644, 0o640), (0o750, 0o640)], ids=oct)
def test_who_may_read_the_file(tmp_path, former, kept):
    """A service in its group goes on reading it, whatever group new files would have here."""
    ring = KeyFile(tmp_path / "keys")
    ring.add("ci")
    user, group = (4001, 4002) if os.getuid() == 0 else (os.getuid(), os.getgid())
    if os.getuid() == 0:
        os.chown(tmp_path, 0, 4003)
        tmp_path.chmod(0o2755)
    os.chown(ring.path, user, group)
    ring.path.chmod(former)
    ring.revoke("ci")
    status = ring.path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (user, group, kept)
    assert "ci" not in ring.path.read_text()
    assert os.listdir(tmp_path) == ["keys"]


def test_a_new_file(tmp_path):
    """Is its owner's alone, whatever the umask."""
    ring = KeyFile(tmp_path / "keys")
    ring.path.unlink()
    former = os.umask(0)
    ring.add("ci")
    os.umask(former)
    assert ring.path.stat().st_mode & 0o7777 == 0o600


def lock_of(path):
    """The lock that edits of the file take: closing the descriptor gives it back."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_edits_take_turns(tmp_path):
    """One that has begun holds up the next for as long as it takes."""
    ring = KeyFile(tmp_path / "keys")
    fd = lock_of(ring.path)
    threading.Timer(0.5, os.close, [fd]).start()
    begun = time.monotonic()
    ring.add("ci")
    assert time.monotonic() - begun >= 0.5


def test_a_lock_that_somebody_keeps(tmp_path):
    """Anybody can take it who can open the directory: then it says so, and the key is still there."""
    ring = KeyFile(tmp_path / "keys")
    ring.add("ci")
    text = ring.path.read_text()
    fd = lock_of(ring.path)
    done = ring.command("revoke", "ci")
    os.close(fd)
    assert done.returncode == 1 and "revoked" not in done.stderr
    assert (f"nothing was changed: another process has held the lock (flock) of {tmp_path}/ "
            "for 10 seconds") in done.stderr
    assert ring.path.read_text() == text
    ring.revoke("ci")


@pytest.mark.parametrize("words, line", [
    ([], "key is for one of: add NAME, list, revoke NAME"),
    (["remove"], 'key knows no "remove", but add NAME, list and revoke NAME'),
    (["add"], "key add takes one NAME"), (["revoke"], "key revoke takes one NAME"),
    (["revoke", "a", "b"], "key revoke takes one NAME"), (["list", "a"], "key list takes no NAME"),
    (["list", "--rate", "5/s"], "--rate is for key add, not for key list"),
    (["add", "a", "--rate", "5"],
     '--rate takes a number from 1 to 1000000 and /s, /m or /h, not "5"'),
    (["add", "a", "--max-timeout", "x"], '--max-timeout takes seconds from 0.01 to 3600, not "x"'),
    (["add", "a", "--expires", "9"], "--expires takes a time such as 2027-01-31T12:00:00Z or "
     '2027-01-31, or from now on 90d, 12h or 30m, not "9"'),
    (["add", "a", "--expires", "2020-01-01"], "--expires: that time has passed"),
    (["add", "a", "--burst", "9"], "--burst is for a key with a --rate"),
    (["add", "/"], 'a name is 1 to 63 letters, digits, ".", "_" and "-", a letter or digit first, '
     'not "/"'),
], ids=str)
def test_words_that_make_no_sense(tmp_path, words, line):
    """Status 2 and what is right; without a file, too, which is not made."""
    for file in ([], ["--key-file", tmp_path / "keys"]):
        done = subprocess.run([BUILD / "vivarium", "key", *words, *file], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2 and done.stdout == "", done
        assert done.stderr == f"{BUILD / 'vivarium'}: {line}; see vivarium --help\n"
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_done(tmp_path):
    """Status 1: the words are right, but not this time."""
    ring = KeyFile(tmp_path / "keys")
    ring.add("ci")
    for words, reason in ((["add", "ci"], "a key named ci: File exists"),
                          (["revoke", "no"], "no key has that name: ")):
        done = ring.command(*words)
        assert done.returncode == 1 and reason in done.stderr, done


def test_no_key_at_all(make_service, tmp_path):
    """An empty file is a service for nobody, until a key is added."""
    ring = KeyFile(tmp_path / "keys")
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", key_file=ring.path)
    assert_refused(ask(service), REQUIRED)
    key = bearer(ring.add("first"))
    assert eventually(lambda: ask(service, key).status == 200, 5)


# --- fields ------------------------------------------------------------------------------------


def test_fields_that_clients_may_not_set(make_service):
    """Refused by name, with those that are allowed; unknown ones are a warning as ever."""
    service = make_service(workers=1, cells_per_worker=1, library_sets="base",
                           client_fields="args, timeout")
    answer = service.execute("def main(x):\n    return x", args=[3], timeout=5, unknown=1)
    assert answer.data["result"] == 3 and answer.data["warnings"] == ["unknown field: unknown"]
    for field, value in (("memory", 64), ("env", {}), ("entry", None), ("files", 7)):
        answer = service.execute("def main(): pass", **{field: value})
        assert answer.status == 400, answer
        assert answer.data["error"] == f"{field} is a field that clients may not set here"
        assert answer.data["cause"] == {"kind": "invalid_request", "field": field,
                                        "allowed": "script, timeout, args", "got": f'"{field}"'}
    absent = service.execute("def main(): return 1", memory=None, stdin=None, env=None)
    assert absent.data["result"] == 1 and "warnings" not in absent.data
    schemas = service.get("/openapi.json").data["components"]["schemas"]
    fields = schemas["ExecuteRequest"]["properties"]
    assert {name for name, schema in fields.items() if schema is not False} == {
        "script", "timeout", "args"}
    listing = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    tool = ask(service, path="/mcp", body=listing).data["result"]["tools"][0]
    assert set(tool["inputSchema"]["properties"]) == {"script", "timeout"}


def test_a_field_that_does_not_exist(tmp_path):
    done = subprocess.run([BUILD / "vivarium", "--check-config", "--config", CONF, "--set",
                           "client_fields=timeout timeot"], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and 'no field is called "timeot"' in done.stderr
