"""Output files: nothing but regular files beneath /tmp, whatever a script plants in the way.

And what an execution forges on its channel: files, figures and warnings under the worker's caps.
"""

import base64

import pytest

from attacks import assert_serves, one_cell, run  # noqa: F401 (a fixture)
from streams import Stream, end

FILE, CONTENT = 24, 25
RESULT, DONE = 34, 37
FIGURE, WARNING, FILES = 48, 49, 50
MIB = 1 << 20


def contents(answer):
    return {file["path"]: base64.b64decode(file["content_base64"])
            for file in answer.data.get("files", [])}


def plant(service, lines, outputs=("**",), **fields):
    """Runs a script that plants things; its own file is there beside them."""
    answer = run(service, "def main():\n    open('/tmp/own', 'w').write('own')\n    " + lines
                 + "\n    return 1", outputs=list(outputs), **fields)
    assert answer.status == 200, answer
    assert_serves(service)
    return answer


PLANTED = {
    "link to a file of the tree": "os.symlink('/etc/passwd', 'x')",
    "link to a file of its own": "os.symlink('own', 'x')",
    "link out by the parent": "os.symlink('../etc/passwd', 'x')",
    "dangling link": "os.symlink('nowhere', 'x')",
    "link to itself": "os.symlink('x', 'x')",
    "link to a device": "os.symlink('/dev/zero', 'x')",
    "link to a descriptor": "os.symlink('/proc/self/fd/1000', 'x')",
    "FIFO": "os.mkfifo('x')",
    "FIFO with a writer": "os.mkfifo('x'); os.open('x', os.O_RDWR)",
    "file without permission": "os.close(os.open('x', os.O_CREAT, 0))",
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted(service, name):
    """Left out, with a warning that says so, and soon."""
    for outputs in (["**"], ["x", "own"]):
        answer = plant(service, PLANTED[name], outputs, timeout=5)
        assert contents(answer) == {"own": b"own"}
        reason = "Permission denied" if "permission" in name else "not a regular file"
        assert answer.data["warnings"] == [f"file x left out: {reason}"]


DIRECTORIES = {
    "link to a directory": "os.symlink('/usr/lib', 'x')",
    "link to the root": "os.symlink('/', 'x')",
    "link to its own directory": "os.symlink('.', 'x')",
}


@pytest.mark.parametrize("name", DIRECTORIES)
def test_planted_directories(service, name):
    """Nothing beneath a link is looked at; it is itself a thing that is no file."""
    assert contents(plant(service, DIRECTORIES[name], ["x/**", "**/passwd", "own"])) == {"own": b"own"}
    answer = plant(service, DIRECTORIES[name])
    assert contents(answer) == {"own": b"own"}
    assert answer.data["warnings"] == ["file x left out: not a regular file"]


def test_directory_named_like_a_file(service):
    """It is none, and what is in it is."""
    answer = plant(service, "os.mkdir('x.csv'); open('x.csv/y.csv', 'w')", ["*.csv", "*/*.csv"])
    assert contents(answer) == {"x.csv/y.csv": b""}
    assert "warnings" not in answer.data


def test_sparse_file(service):
    """A hole is not expanded over the limit; within it, it is zeros."""
    answer = plant(service, "open('x', 'w').truncate(200 << 20); open('y', 'w').truncate(1 << 20)")
    assert contents(answer) == {"own": b"own", "y": bytes(MIB)}
    assert answer.data["warnings"] == [
        "file x left out: 209715200 bytes, over the limit of 8388608 bytes together"]


def test_odd_names(service):
    """Not UTF-8, line breaks, quotes: escaped, in a JSON that is ASCII."""
    answer = plant(service, r"""for name in (b'a\xff', b'a\n\x1b"\\b', b'a\xed\xa0\x80', 'a\u202e'.encode()): """
                   "os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600))", ["a*"])
    assert list(contents(answer)) == ['a\n\x1b"\\b', "a\u202e", "a\ufffd\ufffd\ufffd", "a\ufffd"]
    assert answer.body.isascii()


def test_odd_names_in_warnings(service):
    """One line, clipped."""
    answer = plant(service, "os.symlink('x', 'a\\n\\x1bb'); os.symlink('x', 'b' * 250)", ["*"])
    assert answer.data["warnings"] == ["file a  b left out: not a regular file",
                                       "file " + "b" * 200 + "... left out: not a regular file"]


def test_deep_directories(service):
    """Deeper than a path can be: what can be named is there."""
    answer = plant(service, "for i in range(3000):\n        os.mkdir('d'); os.chdir('d')\n"
                   "    open('deepest', 'w')\n    os.chdir('/tmp'); os.makedirs('e/' * 900); "
                   "open('e/' * 900 + 'f', 'w')", ["own", "**/f", "**/deepest"], timeout=20)
    assert contents(answer) == {"own": b"own", "e/" * 900 + "f": b""}


def test_ten_thousand_files(service):
    """Named in a few warnings, not in ten thousand."""
    answer = plant(service, "for i in range(10000): open('%05d' % i, 'w')", ["[0-9]*"], timeout=30)
    assert len(contents(answer)) == 100
    assert len(answer.data["warnings"]) == 11
    assert answer.data["warnings"][-1] == "9890 more files left out"


@pytest.mark.parametrize("target", ["/etc", "/usr/lib/python3", "."])
def test_race_with_a_directory(service, target):
    """A directory that turns into a link and back while its files are collected."""
    for _ in range(3):
        answer = plant(service, f"""
    import threading
    os.mkdir('real')
    for name in ('passwd', 'group', 'own'): open('real/' + name, 'w').write('mine')
    os.symlink({target!r}, 'link')
    def swap():
        while True:
            for name in ('link', 'real'):
                os.rename(name, 'd'); os.rename('d', name)
    threading.Thread(target=swap, daemon=True).start()
    time.sleep(0.01)""", ["d/*", "real/*", "link/*"], timeout=10)
        assert set(contents(answer).values()) <= {b"mine"}


def test_race_with_a_size(service):
    """A file that grows and shrinks while it is read: no more than it had, and an end."""
    answer = plant(service, """
    import threading
    def breathe():
        while True:
            os.truncate('x', 4 << 20); os.truncate('x', 0)
    open('x', 'w')
    threading.Thread(target=breathe, daemon=True).start()
    time.sleep(0.01)""", timeout=10)
    found = contents(answer)
    assert found["own"] == b"own" and len(found.get("x", b"")) <= 4 * MIB
    assert not any(found.get("x", b""))


def test_no_descriptors_left(service):
    """The script has used up all: the answer comes, with a warning."""
    answer = plant(service, "keep = []\n    while attempt(lambda: keep.append(os.open('own', 0))) == 'done': pass"
                   "\n    globals()['keep'] = keep")
    assert contents(answer) == {}
    assert answer.data["warnings"] == [
        "files left out: OSError: [Errno 24] Too many open files: '/tmp/'"]


def test_replaced_helpers(service):
    """A script that replaces what collects its files cheats itself."""
    answer = plant(service, "os.scandir = lambda *a: 1 / 0", ["own"])
    assert contents(answer) == {}
    assert answer.data["warnings"] == ["files left out: ZeroDivisionError: division by zero"]


# --- forged frames --------------------------------------------------------------------------------

def says(service, data, outputs=("**",), **fields):
    """An execution that speaks for itself, then sends a value."""
    answer = run(service, f"def main():\n    say({data})\n    say(frame({RESULT}, b'7') + frame({DONE}))\n"
                 "    time.sleep(30)", timeout=20, outputs=list(outputs), **fields)
    assert answer.status == 200 and answer.data["result"] == 7, answer
    assert_serves(service)
    return answer


def files(*pairs):
    return f"frame({FILES}) + " + " + ".join(
        f"frame({FILE}, {path!r}) + frame({CONTENT}, {content!r})" for path, content in pairs)


def test_forged_files_are_files(service):
    """Whoever speaks may send what it likes, in the way of the contract."""
    answer = says(service, files((b"a", b"1"), (b"b/c", b"2")))
    assert contents(answer) == {"a": b"1", "b/c": b"2"}


HARMFUL = ((b".git/config", b"[core]"), (b"Makefile", b"all:"), (b"d/result.csv", b"evil"))


@pytest.mark.parametrize("outputs, expected", [
    ([], []), (["result.csv"], []), (["**/.git/HEAD", "make*", "*/*/*"], []),
    (["*"], ["Makefile"]), (["**"], ["Makefile", "d/result.csv"]), ([".git/*"], [".git/config"])])
def test_forged_files_that_nobody_asked_for(service, outputs, expected):
    """Whoever unpacks the answer where a .git or a Makefile is gets what it asked for, no more."""
    answer = says(service, files(*HARMFUL), outputs)
    assert list(contents(answer)) == expected
    assert ("files" in answer.data) == bool(expected) and "warnings" not in answer.data


def test_forged_files_in_a_stream(service):
    """The same at the end of a stream, and where the script failed."""
    forged = " + ".join(f"struct.pack('<II', {kind}, {len(data)}) + {data!r}" for pair in HARMFUL
                        for kind, data in zip((FILE, CONTENT), pair))
    script = (f"import os, struct\ndef main():\n    os.write(1000, struct.pack('<II', {FILES}, 0) + {forged})\n"
              "    raise ValueError")
    for outputs in [], ["result.csv"]:
        data = end(Stream(service, script, outputs=outputs).events(), "error")
        assert data["cause"]["kind"] == "exception" and "files" not in data
        assert "files" not in run(service, script, outputs=outputs).data


def test_globs_that_backtrack(service):
    """A hundred of the worst, a hundred of the longest paths: no time that anybody would notice."""
    globs = [f"*{'a' * 250}{i:02d}*b" for i in range(100)]
    answer = says(service, f"frame({FILES}) + b''.join(frame({FILE}, b'%03d' % i + b'a' * 4000) for i in range(100))",
                  globs)
    assert contents(answer) == {}


@pytest.mark.parametrize("path", [b"", b"/a", b"../a", b"a/../../b", b"a//b", b"a/", b".", b"a/.", b"a\0",
                                  b"a" * 4096])
def test_forged_paths(service, path):
    """No path leads out of where a client unpacks it; its content is nobody's."""
    assert contents(says(service, files((b"0", b"ok"), (path, b"evil")))) == {"0": b"ok"}


def test_forged_order(service):
    """Sorted, and none twice."""
    answer = says(service, files((b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"ba", b"4"), (b"b", b"5")))
    assert contents(answer) == {"b": b"1", "ba": b"4"}


def test_forged_sizes(service):
    """8 MiB and 100 files, in frames of any size; what belongs to nothing is dropped."""
    answer = says(service, f"frame({CONTENT}, b'x') + frame({FILES}) + frame({CONTENT}, b'x')"
                  f" + frame({FILE}, b'a') + frame({CONTENT}, bytes(3 << 20)) * 3")
    assert {path: len(data) for path, data in contents(answer).items()} == {"a": 6 * MIB}
    answer = says(service, f"frame({FILES}) + b''.join(frame({FILE}, b'%04d' % i) for i in range(5000))")
    assert len(contents(answer)) == 100
    answer = says(service, f"frame({FILES}) + frame({FILE}, b'a') + frame({CONTENT}, b'x') * 300000"
                  f" + frame({CONTENT}) * 100000")
    assert contents(answer) == {"a": b"x" * 300000}


def test_forged_figures_and_warnings(service):
    """Counted and clipped; text is escaped."""
    answer = says(service, f"frame({FIGURE}, bytes(7)) + frame({CONTENT}, b'x')"
                  f" + (frame({FIGURE}, struct.pack('=q', -(1 << 63))) + frame({CONTENT}, b'x')) * 40"
                  f" + frame({WARNING}, b'a\\n\\xff\\0\"') * 40 + frame({WARNING}, b'x' * 513)")
    assert [(f["figure_number"], f["data"]) for f in answer.data["visualizations"]] == \
        [(-(1 << 63), "data:image/png;base64,eA==")] * 16
    assert answer.data["warnings"] == ['a \ufffd "'] * 24
    answer = says(service, f"frame({WARNING}, b'figures') + frame({FILES}) + frame({WARNING}, b'files')")
    assert answer.data["warnings"] == ["figures", "files"]


@pytest.mark.parametrize("frames", [
    f"b''.join(frame({FILE}, b'%03d' % i) + frame({CONTENT}, b'x') for i in range(100))",
    f"(frame({FIGURE}, bytes(8)) + frame({CONTENT}, b'x')) * 16",
    f"frame({WARNING}, b'w') * 24",
])
def test_parts_do_not_add_up(service, frames):
    """What is within its cap before the announcement and again after it is not twice the cap."""
    cells = service.get("/health").data["workers"]["total"]
    for _ in range(cells + 1):
        answer = says(service, f"{frames} + frame({FILES}) + {frames}", outputs=["*"])
        assert len(contents(answer)) in (0, 100)
        assert len(answer.data.get("visualizations", [])) in (0, 16)
        assert len(answer.data.get("warnings", [])) in (0, 48)


def test_files_announced_often(service):
    """The second announcement replaces what came before, the third is no other one."""
    answer = says(service, files((b"a", b"1")) + " + " + files((b"b", b"2")) + " + " + files((b"c", b"3")))
    assert contents(answer) == {"b": b"2", "c": b"3"}


def test_nothing_is_left_for_the_next(one_cell):
    """What an execution sent and was not answered is not in the next one's answer."""
    answer = run(one_cell, f"def main():\n    say({files((b'a', b'1'))} + frame({WARNING}, b'w'))\n    os.abort()")
    assert answer.data["cause"]["kind"] == "signal" and "files" not in answer.data
    data = one_cell.execute("def main(): return 1").data
    assert not {"files", "warnings", "visualizations"} & set(data)
