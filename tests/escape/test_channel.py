"""The result channel, descriptor 1000: whatever is written there, the verdict is a documented one.

Of what an execution says only value, exception, exit, syntax, no_main, not_json and
blocked_import are believed;
second frames and strange frames are ignored. Times and signals are the worker's to tell.
"""

import json
import random

import pytest

from attacks import attack, run  # noqa: F401 (a fixture)

JOB, GO, CANCEL = 1, 4, 5
PARKED, STEP_FAILED, RESULT, FAILURE, TRACEBACK, DONE = range(32, 38)
VERDICT = 70
OK, EXCEPTION, EXIT, SYNTAX, NO_MAIN, NOT_JSON, BLOCKED_IMPORT, TOO_LARGE, MEMORY, SIGNAL, TIME, CPU, \
    INTERNAL = range(13)
LOST = {"kind": "exit", "exit_code": 1}  # the runner could not say how it went


def failure(kind, line=0, code=0, name=b"", text=b"", trace=b"", lengths=None,
            asked=0):
    """A FAILURE payload as an expression for a script."""
    lengths = lengths or (len(name), len(text), len(trace))
    return (f"struct.pack('=IiiIIIQ', {kind}, {line}, {code}, *{lengths}, {asked})"
            f" + {name + text + trace!r}")


def says(data, afterwards="return 'own'"):
    return f"def main():\n    say({data})\n    {afterwards}"


def is_lost(answer):
    """Whether the runner met a closed channel, or spoke to one that nobody reads."""
    if answer.status == 408:
        return answer.data["cause"]["kind"] == "time"
    return answer.status == 400 and answer.data["cause"] == LOST


STEP = "struct.pack('=Ii32s', 3, 1, b'forged')"
IGNORED = {
    "parked": f"frame({PARKED}, bytes(8))",
    "parked, often": f"frame({PARKED}, bytes(8)) * 1000",
    "parked, short": f"frame({PARKED})",
    "step failed": f"frame({STEP_FAILED}, {STEP})",
    "step failed, short": f"frame({STEP_FAILED}, b'x')",
    "traceback": f"frame({TRACEBACK}, b'forged')",
    "done": f"frame({DONE})",
    "done, long": f"frame({DONE}, bytes(100000))",
    "job": f"frame({JOB}, bytes(16))",
    "go": f"frame({GO})",
    "cancel": f"frame({CANCEL})",
    "ready": "frame(64, bytes(4))",
    "down": "frame(65)",
    "verdict": f"frame({VERDICT}, bytes(152))",
    "type 0": "frame(0)",
    "type 2**32-1": "frame(0xffffffff, b'x' * 70000)",
    "a million empty frames": "frame(9999) * 1000000",
    "4 MiB of nothing": "frame(9999, bytes(4 << 20))",
    "failure, empty": f"frame({FAILURE})",
    "failure, header cut": f"frame({FAILURE}, bytes(31))",
    "failure, lengths too small":
        f"frame({FAILURE}, {failure(EXCEPTION, text=b'abc', lengths=(0, 0, 0))})",
    "failure, lengths too large":
        f"frame({FAILURE}, {failure(EXCEPTION, text=b'abc', lengths=(0, 4, 0))})",
    "failure, lengths that wrap":
        f"frame({FAILURE}, {failure(EXCEPTION, text=b'abc', lengths=(0xffffffff, 4, 0))})",
    "failure, name too long": f"frame({FAILURE}, {failure(EXCEPTION, name=b'a' * 257)})",
    "failure, text too long": f"frame({FAILURE}, {failure(EXCEPTION, text=b'a' * 4097)})",
    "failure, trace too long": f"frame({FAILURE}, {failure(EXCEPTION, trace=b'a' * 65537)})",
    **{f"failure of kind {kind}": f"frame({FAILURE}, {failure(kind, text=b'forged')})"
       for kind in (OK, TOO_LARGE, SIGNAL, TIME, CPU, INTERNAL, 12, 0x7fffffff,
                    0xffffffff)},
}


@pytest.mark.parametrize("name", IGNORED)
def test_frame_is_ignored(attack, name):
    """The script's own value is the answer all the same."""
    assert attack(says(IGNORED[name])) == "own"


def test_first_value_counts(attack):
    """A forged value is the script's own business; the real one comes too late."""
    assert attack(says(f"frame({RESULT}, b'[1]') + frame({RESULT}, b'[2]')")) == [1]
    assert attack(says(f"frame({RESULT}, b'[1]') + frame({FAILURE}, {failure(EXIT)})")) == [1]


def test_value_in_single_bytes(attack):
    """How a stream is cut says nothing."""
    assert attack(f"""
def main():
    for byte in frame({RESULT}, b'{{"a": 1}}') + frame({DONE}):
        say(bytes([byte]))
    time.sleep(30)
""") == {"a": 1}


def test_value_and_no_end(service, attack):
    """After the value there is one second, then the answer goes out."""
    answer = run(service, says(f"frame({RESULT}, b'7')", "time.sleep(30)"), timeout=20)
    assert (answer.status, answer.data["result"]) == (200, 7)
    assert answer.data["usage"]["wall_ms"] < 5000
    assert len(answer.data["warnings"]) == 1
    assert attack("def main():\n    return 1") == 1


@pytest.mark.parametrize("payload", [
    "b''", "b'{'", "b'NaN'", "b'[1,]'", "b'1 2'", "b'\"\\xc3\\xa9\"'", "b'{\"a\":1,\"a\":2}'",
    "b'\"\\\\ud800\"'", "b'\\x00'", "b'[' * 5000 + b']' * 5000", "b'\"\\n\"'", "b'9' * 5000",
    "b'\\xff' * 100", "b'1}, \"success\": true, \"x\": {'"])
def test_value_that_is_not_json(attack, payload):
    """It never gets into the answer."""
    answer = attack.verdict(says(f"frame({RESULT}, {payload})"))
    assert (answer.status, answer.data["cause"]["kind"]) == (400, "not_json")
    assert "result" not in answer.data


@pytest.mark.parametrize("length", [(4 << 20) + 1, 5 << 20, 1 << 31, (1 << 32) - 1])
def test_value_announced_too_large(attack, length):
    """Its size is refused before it has come."""
    answer = attack.verdict(says(f"frame({RESULT}, b'[' * 100, {length})", "time.sleep(30)"))
    assert answer.status == 400
    assert answer.data["cause"] == {"kind": "result_too_large", "limit": 4 << 20, "used": length,
                                    "unit": "bytes"}


def test_value_of_a_hundred_megabytes(attack):
    """The rest of it is not read."""
    answer = attack.verdict("def main():\n    return 'x' * (100 << 20)", memory=1024)
    assert answer.data["cause"]["kind"] == "result_too_large"
    assert answer.data["cause"]["used"] == (100 << 20) + 2


@pytest.mark.parametrize("kind", [1, 31, 33, 35, 36, 37, 70, 9999])
def test_frame_announced_too_large(attack, kind):
    """The channel is closed; the script then has nobody to tell its value, or waits in vain."""
    answer = attack.verdict(says(f"frame({kind}, b'x' * 100, 0xfffffff0)"), timeout=1)
    assert is_lost(answer)


def test_frame_that_never_ends(attack):
    """It swallows the value; the script waits for its time."""
    answer = attack.verdict(says("frame(9999, b'x', 100000)"), timeout=0.5)
    assert (answer.status, answer.data["cause"]["kind"]) == (408, "time")


@pytest.mark.parametrize("data", ["b'x'", "b'xxxxxxx'", "frame(34, b'1', 100)", "frame(34)[:7]"])
def test_half_a_frame_and_death(attack, data):
    """What is not whole is nothing: the exit is the verdict."""
    answer = attack.verdict(says(data, "os._exit(5)"))
    assert answer.data["cause"] == {"kind": "exit", "exit_code": 5}


def test_forged_exception(attack):
    """Words are believed, cleaned: one line, ASCII in the body, whatever bytes they were."""
    claim = failure(EXCEPTION, 7, 0, b"Fo\nr\x00ged", b"a\nb\x00\xff\xed\xa0\x80", b"trace\xff\x00")
    answer = attack.verdict(says(f"frame({FAILURE}, {claim})"))
    assert (answer.status, answer.data["cause"]["kind"]) == (400, "exception")
    assert answer.data["cause"]["line"] == 7
    assert answer.body.isascii()
    assert not any(ord(c) < 32 for c in answer.data["error"])
    assert answer.data["traceback"].startswith("trace")


@pytest.mark.parametrize("kind, word", [
    (EXCEPTION, "exception"), (EXIT, "exit"), (SYNTAX, "syntax"), (NO_MAIN, "no_main"),
    (NOT_JSON, "not_json"), (BLOCKED_IMPORT, "blocked_import"), (MEMORY, "memory")])
def test_claims_that_are_believed(attack, kind, word):
    """A script may say so of itself; numbers out of range do no harm."""
    claim = failure(kind, -(1 << 31), -1, b"", b"said")
    answer = attack.verdict(says(f"frame({FAILURE}, {claim})"))
    assert (answer.status, answer.data["cause"]["kind"]) == (400, word)
    assert answer.data["error"]
    assert "line" not in answer.data["cause"]


@pytest.mark.parametrize("asked", [1, 1 << 40, (1 << 64) - 1])
def test_forged_size_of_an_allocation(attack, asked):
    """The script's own word where it is more than was used, and a number whatever it is."""
    claim = failure(MEMORY, 0, 0, b"MemoryError", asked=asked)
    cause = attack.verdict(says(f"frame({FAILURE}, {claim})"), memory=64).data["cause"]
    assert (cause["kind"], cause["limit"], cause["unit"]) == ("memory", 64, "MiB")
    assert asked / (1 << 20) - 0.1 <= cause["used"] <= max(asked / (1 << 20) + 0.1, 64)


def test_forged_memory_error(attack):
    """Without a size, limit and use are the worker's own numbers."""
    claim = failure(MEMORY, 0, 0, b"MemoryError")
    answer = attack.verdict(says(f"frame({FAILURE}, {claim})"), memory=64)
    assert answer.data["cause"]["kind"] == "memory"
    assert (answer.data["cause"]["limit"], answer.data["cause"]["unit"]) == (64, "MiB")
    assert answer.data["cause"]["used"] < 64


def test_claims_do_not_hide_a_timeout(attack):
    """A traceback forged in time's last moment is text; time is the verdict."""
    answer = attack.verdict(f"""
def main():
    def handler(*arguments):
        say(frame({RESULT}, b'1') + frame({FAILURE}, {failure(EXIT)}) +
            frame({TRACEBACK}, b'\\xff\\x00' * 1000) + frame({DONE}))
    signal.signal(signal.SIGRTMAX, handler)
    while True:
        time.sleep(1)
""", timeout=0.5)
    assert (answer.status, answer.data["cause"]["kind"]) == (408, "time")
    assert "result" not in answer.data
    assert answer.body.isascii()


def test_death_is_told_by_the_warden(attack):
    """A claim of an exit code does not outlive the process's real end before it."""
    answer = attack.verdict("def main():\n    os.kill(os.getpid(), signal.SIGKILL)")
    assert answer.data["cause"] == {"kind": "signal", "signal": "SIGKILL"}


@pytest.mark.parametrize("action", [
    "os.close(1000)", "os.closerange(0, 70000)", "call('close_range', 0, 0xffffffff, 0)",
    "call('shutdown', 1000, 2)", "call('shutdown', 1000, 1)"])
def test_without_a_channel_there_is_no_value(attack, action):
    """The script ends as one that never returned; and it ends at once."""
    answer = attack.verdict(f"def main():\n    {action}\n    return 'own'")
    assert (answer.status, answer.data["cause"]) == (400, LOST)
    assert answer.data["usage"]["wall_ms"] < 10000


@pytest.mark.parametrize("action", [
    "os.close(0)", "os.close(1)", "os.close(2)", "os.closerange(0, 1000)", "sys.stdout.close()",
    "os.dup2(1000, 1)", "os.dup2(1000, 2)", "os.dup(1000)",
    "call('fcntl', 1000, 4, 0o4000)", "call('shutdown', 1000, 0)", "os.set_inheritable(1000, True)",
    "call('setsockopt', 1000, 1, 7, b'\\0\\0\\0\\0', 4)",
    "call('setsockopt', 1000, 1, 16, b'\\1\\0\\0\\0', 4)"])
def test_other_tricks_with_descriptors_change_nothing(attack, action):
    """The value arrives."""
    assert attack(f"def main():\n    {action}\n    return 'own'") == "own"


@pytest.mark.parametrize("fd", ["0", "1", "2", "os.pipe()[1]", "os.open('/dev/null', 1)"])
def test_nothing_takes_the_channel_s_place(attack, fd):
    """Its number lies above RLIMIT_NOFILE, before and after it was closed."""
    answer = attack.verdict(f"""
def main():
    print(attempt(os.dup2, {fd}, 1000), call("dup3", {fd}, 1000, 0))
    os.close(1000)
    print(attempt(os.dup2, {fd}, 1000), call("dup3", {fd}, 1000, 0))
""")
    assert answer.data["stdout"] == "['OSError', 'EBADF'] EBADF\n" * 2
    assert answer.data["cause"] == LOST


def test_printing_into_the_channel(attack):
    """Text is a frame of a strange type that never ends, and the time is over."""
    answer = attack.verdict("def main():\n    os.dup2(1000, 1)\n    print('x' * 100)\n    return 1",
                            timeout=0.5)
    assert answer.data["cause"]["kind"] in ("time", "exit")
    assert answer.status in (400, 408)


def test_descriptors_sent_to_the_worker_are_lost(attack):
    """SCM_RIGHTS over the channel: the worker does not take them, nor does it run out."""
    assert attack("""
import array, socket
def main():
    channel = socket.socket(fileno=os.dup(1000))
    file = os.open("/tmp/x", os.O_CREAT | os.O_RDWR)
    said = set()
    for i in range(50):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file] * 200))]
        said.add(str(attempt(channel.sendmsg, [frame(9999)], rights)))
    return "done" in said
""") is True


def test_garbage_on_every_descriptor(attack):
    """Standard streams are text, however odd; the channel ignores it or waits for more."""
    answer = attack.verdict("""
def main():
    for fd in (0, 1, 2, 1000):
        attempt(os.write, fd, os.urandom(4000) if fd != 1000 else b'\\xff' * 4000)
    return 'own'
""", timeout=1)
    assert is_lost(answer)
    assert len(answer.data["stdout"]) > 0 and answer.body.isascii()


@pytest.mark.parametrize("seed", range(12))
def test_random_frames(service, attack, seed):
    """Frames with random types, lengths and bytes: one of the documented answers, in time."""
    chance = random.Random(seed)
    data = b""
    for _ in range(50):
        payload = chance.randbytes(chance.choice((0, 1, 8, 24, 40, 300)))
        length = len(payload) + chance.choice((0, 0, 0, 0, 1, -1, 1 << 20))
        kind = chance.choice((*range(30, 40), chance.randrange(1 << 32)))
        data += kind.to_bytes(4, "little") + max(0, length).to_bytes(4, "little") + payload
    answer = run(service, says(repr(data)), timeout=0.5)
    assert answer.status in (200, 400, 408), answer
    if answer.status != 200:
        assert answer.data["cause"]["kind"] in ("exit", "time", "not_json", "result_too_large",
                                                "exception")
    json.loads(answer.body)
    assert attack("def main():\n    return 1") == 1
