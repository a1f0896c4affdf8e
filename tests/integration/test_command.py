"""The command `vivarium`: run, --check-config, --version, --help."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import BUILD, CONF, TOP

PROGRAM = BUILD / "vivarium"


def vivarium(*arguments, stdin="", timeout=60, **options):
    """Runs the command to its end."""
    return subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, capture_output=True,
                          text=True, timeout=timeout, **options)


def run(script, *options):
    """`vivarium run -` with a script on standard input."""
    return vivarium("run", "--config", CONF, *options, "-", stdin=script)


@pytest.fixture
def config(tmp_path):
    """Writes a configuration, returns what --check-config says of it."""
    path = tmp_path / "test.conf"

    def check(text, *options):
        path.write_text(text)
        return vivarium("--check-config", "--config", path, *options)

    check.path = path
    return check


# --- run ------------------------------------------------------------------------------------------


def test_value_goes_to_standard_output(tmp_path):
    """The value alone, as JSON, in a line; what was printed is on standard error."""
    script = tmp_path / "script.py"
    script.write_text("def main():\n    print('hi')\n    return {'a': [1, 2.5, 'h\xe9']}\n")
    done = vivarium("run", "--config", CONF, script)
    assert done.returncode == 0, done
    assert done.stdout == '{"a": [1, 2.5, "h\\u00e9"]}\n'
    assert done.stderr == "hi\n"


def test_script_from_standard_input():
    """- is standard input."""
    assert run("def main(): return 6 * 7").stdout == "42\n"


@pytest.mark.parametrize("script, options, status, words", [
    ("def main(): pass", [], 0, ""),
    ("def main():\n    raise ValueError('bad input')", [], 1, "ValueError: bad input"),
    ("def main(: pass", [], 1, "Syntax error in script: SyntaxError: "),
    ("x = 1", [], 1, "Script must contain a main() function"),
    ("def main(): return object()", [], 1, "is not JSON serializable"),
    ("import sys\ndef main(): sys.exit(3)", [], 1, "SystemExit: 3"),
    ("import os\ndef main(): os.abort()", [], 1, "Script was killed by SIGABRT"),
    ("def main(): bytearray(1 << 30)", ["--memory", "64"], 1, "memory limit exceeded (64 MiB)"),
    ("def main(): return 'x' * (5 << 20)", [], 1, "bytes of JSON, over the limit of 4194304"),
    ("while True: pass", ["--timeout", "0.3"], 124, "timed out after 0.3 seconds"),
])
def test_exit_status_by_verdict(script, options, status, words):
    """0 a value, 1 the script failed, 124 out of time; one line says why."""
    done = run(script, *options)
    assert done.returncode == status, done
    if status:
        assert done.stdout == ""
        last = done.stderr.splitlines()[-1]
        assert last.startswith("vivarium: ") and words in last


def test_traceback_is_shown():
    """Before the line that says why."""
    done = run("def main():\n    1 / 0\n")
    assert 'File "script.py", line 2, in main\n    1 / 0\n' in done.stderr


def test_whole_answer():
    """--json prints what /execute would have answered."""
    done = run("def main():\n    print('hi')\n    return 1", "--json")
    data = json.loads(done.stdout)
    assert done.returncode == 0 and done.stderr == ""
    assert (data["success"], data["result"], data["stdout"]) == (True, 1, "hi\n")
    assert {"usage", "timestamp", "request_id", "stderr"} <= set(data)
    done = run("def main():\n    1 / 0", "--json")
    data = json.loads(done.stdout)
    assert done.returncode == 1 and data["cause"]["kind"] == "exception"


def test_entry_options():
    """--entry names another function, --no-entry runs the script as a program."""
    assert run("def f(): return 'f'", "--entry", "f").stdout == '"f"\n'
    done = run("if __name__ == '__main__': print('guard')\n1 + 1", "--no-entry")
    assert (done.stdout, done.stderr) == ("2\n", "guard\n")


def test_same_jail_as_over_http():
    """Nobody, in an empty /tmp, without the caller's environment or files."""
    done = run("import os\ndef main(): return [os.getuid(), os.getcwd(), os.listdir('/tmp'),\n"
               "    os.path.exists('/etc/shadow'), os.path.exists('/bin/sh'), 'USER' in os.environ]")
    assert json.loads(done.stdout) == [65534, "/tmp", [], False, False, False]


def test_libraries_are_there():
    """Those that the script asks for."""
    done = run("import pandas as pd\ndef main(): return int(pd.Series([1, 2]).sum())")
    assert done.stdout == "3\n", done


def own_processes():
    """Those of `vivarium run`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [bytes(PROGRAM), b"run"]:
            found.append(path)
    return found


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1"])
def test_signals_that_were_ignored(name):
    """What nohup or a shell's background does to the command is not the script's to inherit."""
    done = vivarium(
        "run", "--config", CONF, "--json", "-",
        stdin=f"import os, signal\ndef main(): os.kill(os.getpid(), signal.{name})",
        preexec_fn=lambda: signal.signal(getattr(signal, name), signal.SIG_IGN))
    cause = json.loads(done.stdout)["cause"]
    if name == "SIGINT":  # Python makes an exception of it
        assert cause["type"] == "KeyboardInterrupt"
    else:
        assert cause == {"kind": "signal", "signal": name}


def test_nothing_remains():
    """The command leaves no process behind; who removes its control groups takes a moment."""
    done = run("import os, time\ndef main():\n    if not os.fork(): time.sleep(77.25)\n    return 1")
    assert done.returncode == 0
    deadline = time.monotonic() + 5
    while own_processes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert own_processes() == []


@pytest.mark.parametrize("options, words", [
    (["--timeout", "0"], "timeout must be a number of seconds from 0.01 to 300"),
    (["--timeout", "x"], ""), (["--timeout", "301"], "timeout"), (["--memory", "15"], "memory"),
    (["--memory", "1, \"entry\": \"x"], ""), (["--entry", ""], "entry"),
    (["--timeout", '5, "entry": "f"'], "timeout"), (["--entry", "x" * 256], "entry"), (["--nonsense"], ""),
    (["--set", "nonsense=1"], "nonsense"), (["--set", "workers"], ""), (["--config"], ""),
    (["--set", "workers=1000"], "workers"),
], ids=range(13))
def test_wrong_options(options, words):
    """Status 2, a line that says why, and nothing runs."""
    done = run("print('ran')\ndef main(): return 1", *options)
    assert done.returncode == 2, done
    assert done.stdout == "" and done.stderr and "ran" not in done.stderr
    assert words in done.stderr


def test_warnings_are_printed(tmp_path):
    """All of them, and none of a script's can move the cursor."""
    done = run("import os, threading, time\ndef main():\n    os.mkfifo('\xe9\\033[2J\\x9b')\n"
               "    threading.Thread(target=time.sleep, args=(30,)).start()", "--output", "*",
               "--output-dir", tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 0 and len(lines) == 2, done
    assert lines[0] == "vivarium: file \xe9 [2J  left out: not a regular file"
    assert lines[1].startswith("vivarium: threads or atexit handlers were still running")


@pytest.mark.parametrize("options, line", [
    (["--timeout", "999"], "--timeout: timeout must be a number of seconds from 0.01 to 300, not 999"),
    (["--memory", "1"], "--memory: memory must be an integer of MiB from 16 to 2048, not 1"),
    (["--timeout", "x"], '--timeout takes a number, not "x"'),
    (["--kwarg", "x"], '--kwarg takes NAME=VALUE, not "x"'),
    (["--encode", "no"], '--encode: encode must be "strict" or "rich", not "no"'),
    (["--arg", "1", "--no-entry"],
     "--arg: args and kwargs are for the entry, and entry is null, not [1]"),
    (["--output", "*"], "--output needs --output-dir, or --json"),
])
def test_wrong_options_are_named(options, line):
    """The option, what it takes, and what it was: all in one line."""
    done = run("def main(): pass", *options)
    assert done.returncode == 2 and done.stderr == f"{PROGRAM}: {line}\n", done


@pytest.mark.parametrize("script", ["", " \n\t\n", "x" * ((1 << 20) + 1)], ids=range(3))
def test_wrong_scripts(script):
    """Blank or too large: refused as over HTTP."""
    done = run(script)
    assert done.returncode == 2 and done.stdout == "" and done.stderr


def test_script_that_is_no_utf_8(tmp_path):
    """Wrong bytes are refused with a line, not with a crash."""
    path = tmp_path / "latin.py"
    path.write_bytes(b"def main(): return '\xe9'")
    done = vivarium("run", "--config", CONF, path)
    assert done.returncode == 2 and done.stdout == "", done
    assert "UTF-8" in done.stderr


def test_missing_scripts(tmp_path):
    """A file that is not there, a directory, none, two."""
    for arguments in ([tmp_path / "missing.py"], [tmp_path], [], ["a", "b"]):
        done = vivarium("run", "--config", CONF, *arguments)
        assert done.returncode == 2 and done.stderr, done


# --- --check-config -------------------------------------------------------------------------------


def test_shipped_configuration():
    """It is right, its comments show the defaults, and every key is in it."""
    done = vivarium("--check-config", "--config", CONF)
    assert done.returncode == 0, done
    in_force = dict(line.split(" = ", 1) if " = " in line else (line.rstrip(" ="), "")
                    for line in done.stdout.splitlines())
    text = CONF.read_text()
    shown = dict(re.findall(r"^#?([a-z_]+) *=[ \t]*(.*)$", text, re.MULTILINE))
    assert set(shown) == set(in_force)
    for key, value in shown.items():
        if not key.endswith(("_dir", "_program", "_policy", "_catalogue")):
            assert in_force[key].strip() == value.strip(), key


def test_policy_is_counted(config, tmp_path):
    """How many system calls a script may make, beside the configuration; a wrong policy is one."""
    done = vivarium("--check-config", "--config", CONF)
    found = re.search(r"seccomp\.policy: scripts may make (\d+) system calls, (\d+) of them with "
                      r"certain arguments only\n$", done.stderr)
    assert 120 < int(found[1]) < 160 and 20 < int(found[2]) < int(found[1])
    for text, words in (("[allow]\nread\nioctl: arg7 == 1\n", "policy line 3: "),
                        ("read\n", "policy line 1: ")):
        (tmp_path / "own.policy").write_text(text)
        done = config(f"seccomp_policy = {tmp_path}/own.policy\n")
        assert done.returncode == 2 and done.stdout == "" and words in done.stderr, done
    done = config(f"seccomp_policy = {tmp_path}\n")
    assert done.returncode == 2 and "read " in done.stderr, done
    done = config(f"seccomp_policy = {tmp_path}/missing\n")
    assert done.returncode == 0 and done.stderr == "", done


def test_output_can_be_read_again(config):
    """What is printed is itself a configuration."""
    first = config("workers = 3\nmax_timeout = 60.5\n").stdout
    again = config(first)
    assert again.returncode == 0, again
    assert again.stdout == first
    assert "workers = 3\n" in first and "max_timeout = 60.5\n" in first


@pytest.mark.parametrize("text", [
    "", "# nothing\n\n", "workers=3", "  workers  =  3  ", "\tworkers\t=\t3\t\r\n",
    "workers = 3\n# comment\nqueue = 0\n"])
def test_right_configurations(config, text):
    """White space, comments, no newline at the end."""
    done = config(text)
    assert done.returncode == 0, done
    assert "3" in text or "workers = 0\n" in done.stdout
    assert "3" not in text or "workers = 3\n" in done.stdout


@pytest.mark.parametrize("text, line, words", [
    ("nonsense = 1", 1, "nonsense"), ("\n\n# x\nnonsense = 1", 4, "nonsense"),
    ("workers = 1\nqueue = 5\nworkers = 2", 3, "workers"), ("workers", 1, ""),
    ("workers 3", 1, ""), ("= 3", 1, ""), ("workers =", 1, "workers"),
    ("workers = x", 1, "workers"), ("workers = -1", 1, "workers"), ("workers = 65", 1, "workers"),
    ("workers = 3 x", 1, "workers"), ("workers = 3.5", 1, "workers"),
    ("workers = 0x3", 1, "workers"), ("workers = 3 # why", 1, "workers"),
    ("cells_per_worker = 0", 1, "cells_per_worker"), ("queue = 99999999999999999999", 1, "queue"),
    ("max_timeout = 0.001", 1, "max_timeout"), ("max_timeout = 1e9", 1, "max_timeout"),
    ("max_timeout = nan", 1, "max_timeout"), ("max_timeout = 5s", 1, "max_timeout"),
    ("max_memory = 8", 1, "max_memory"), ("Workers = 3", 1, "Workers"),
    ("x = " + "y" * 5000, 1, ""), ("runtime_dir = " + "/x" * 300, 1, "runtime_dir"),
], ids=range(24))
def test_wrong_configurations(config, text, line, words):
    """Status 2, and file and line are named."""
    done = config(text)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert f"{config.path} line {line}: " in done.stderr
    assert words in done.stderr


@pytest.mark.parametrize("text", [
    "default_timeout = 20\nmax_timeout = 10", "default_memory = 512\nmax_memory = 256",
    "library_sets = a:b:c", "library_sets = base base", "library_sets ="])
def test_contradictions(config, text):
    """Values that are right alone and wrong together."""
    done = config(text)
    assert done.returncode == 2 and done.stdout == "" and done.stderr, done


def test_set_overrides_the_file(config):
    """--set key=value comes after the file, and is as strict."""
    assert "workers = 5\n" in config("workers = 3", "--set", "workers=5").stdout
    for wrong in ("workers=x", "nonsense=1", "workers", "=", ""):
        assert config("workers = 3", "--set", wrong).returncode == 2


def test_configuration_that_is_not_there(tmp_path):
    """It is named."""
    done = vivarium("--check-config", "--config", tmp_path / "missing.conf")
    assert done.returncode == 2 and "missing.conf" in done.stderr
    assert vivarium("--check-config", "--config", tmp_path).returncode == 2


# --- the rest -------------------------------------------------------------------------------------


def test_version(service):
    """One line, the same version as over HTTP."""
    done = vivarium("--version")
    assert done.returncode == 0
    assert done.stdout == f"vivarium {service.get('/').data['version']}\n"


def test_help():
    """To standard output when asked for, to standard error otherwise."""
    done = vivarium("--help")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("serve", "run", "--check-config", "--version", "--timeout", "--json", "124"):
        assert word in done.stdout
    for arguments in ([], ["nonsense"], ["--nonsense"]):
        done = vivarium(*arguments)
        assert done.returncode == 2 and done.stdout == "" and "vivarium run" in done.stderr


@pytest.mark.parametrize("arguments", [["x"], ["--nonsense"], ["--ready-fd", "x"],
                                       ["--ready-fd", "99"], ["--set", "workers=x"]])
def test_serve_with_wrong_arguments(arguments):
    """Nothing is started."""
    done = vivarium("serve", "--config", CONF, *arguments)
    assert done.returncode == 2 and done.stderr, done


def test_serve_without_its_program(tmp_path):
    """A template that is not there is an error with its name."""
    done = vivarium("serve", "--config", CONF, "--set", f"runtime_dir={tmp_path}",
                    "--set", f"template_program={tmp_path}/missing")
    assert done.returncode == 1 and "missing" in done.stderr, done


def test_paths_in_force_are_there():
    """The shipped configuration names files that are there."""
    text = vivarium("--check-config", "--config", CONF).stdout
    for key in ("harness_dir", "seccomp_policy", "template_program"):
        path = re.search(rf"^{key} = (.*)$", text, re.MULTILINE).group(1)
        assert (TOP / path).exists(), key


# --- run: what goes in and comes out --------------------------------------------------------------

SHOW = ("import os, sys\ndef main(*args, **kwargs):\n    return [args, kwargs, sys.argv[1:],"
        " os.environ.get('A'), sys.stdin.read(), sorted(os.listdir('/tmp'))]\n")


def test_arguments_and_input(tmp_path):
    """VALUE is JSON, or else a string; the rest is text."""
    script, data = tmp_path / "script.py", tmp_path / "data"
    script.write_text(SHOW)
    data.write_bytes(bytes(range(256)))
    done = vivarium("run", "--config", CONF, "--arg", "5", "--arg", '{"a": [1e2]}', "--arg", "hello",
                    "--arg", '"5"', "--kwarg", "x=1.5", "--kwarg", "y=z=w", "--argv", "-v",
                    "--argv", "h\xe9", "--env", "A=b=c", "--stdin", "-", "--file", f"d={data}",
                    script, stdin="one\ntwo\n")
    assert done.returncode == 0, done
    assert json.loads(done.stdout) == [[5, {"a": [100.0]}, "hello", "5"], {"x": 1.5, "y": "z=w"},
                                       ["-v", "h\xe9"], "b=c", "one\ntwo\n", ["d"]]
    assert json.loads(vivarium("run", "--config", CONF, "--stdin", script, script).stdout)[4] == SHOW


def test_file_is_the_same_inside(tmp_path):
    """Byte for byte, under a path of its own."""
    data = tmp_path / "data"
    data.write_bytes(bytes(range(256)) * 100)
    done = run("def main(): return open('a/b', 'rb').read() == bytes(range(256)) * 100",
               "--file", f"a/b={data}")
    assert done.stdout == "true\n", done


def test_output_files_and_encoding():
    """Files come with the whole answer; warnings are on standard error without it."""
    done = run("def main():\n    open('a.txt', 'w').write('x')\n    return {1}", "--json",
               "--output", "*.txt", "--encode", "rich")
    data = json.loads(done.stdout)
    assert data["result"] == {"$type": "set", "value": [1]}
    assert data["files"] == [{"path": "a.txt", "size": 1, "content_base64": "eA=="}]


def test_end_after_the_value():
    """The value is on standard output, how the process ended after it on standard error."""
    done = run("import atexit, os\ndef main():\n    atexit.register(os.kill, os.getpid(), 9)\n    return 1")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert done.stderr == "vivarium: the script was killed by SIGKILL after the value was there\n"


@pytest.mark.parametrize("options, words", [
    (["--output", "*"], "--output needs --output-dir, or --json"),
    (["--output-dir", "/tmp"], "--output-dir needs --output"),
    (["--output", "*", "--output-dir", "/proc/self/status"], "open /proc/self/status"),
    (["--output", "*", "--output-dir", "/nowhere/else"], "make /nowhere/else"), (["--stdin", "-"], "standard input is the script"),
    (["--env", "A"], "--env takes NAME=VALUE"), (["--env", "a=b"], "env must be an object of strings"),
    (["--kwarg", "=1"], "--kwarg takes NAME=VALUE"), (["--file", "/nowhere"], "open /nowhere"),
    (["--file", "../x=/dev/null"], "files[0].path must be a relative path"),
    (["--encode", "poor"], "encode must be"), (["--arg", "1"] * 257, "see vivarium --help"),
    (["--no-entry", "--arg", "1"], "entry is null"), (["--stdin", "/dev/zero"], "8 MiB at the most"),
    (["--arg", "\udcff"], "not UTF-8"), (["--timeout", '1, "memory": 64'], "takes a number")])
def test_wrong_options_of_run(options, words):
    """Wrong usage, in one line."""
    done = run(SHOW, *options)
    assert done.returncode == 2 and done.stdout == ""
    assert words in done.stderr and len(done.stderr.splitlines()) <= 2


# --- run: live output -----------------------------------------------------------------------------


def read_lines(script, *options):
    """The lines of standard error, each with its time, then what else there is of the command."""
    with subprocess.Popen([PROGRAM, "run", "--config", CONF, *options, "-"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdin.write(script)
        process.stdin.close()
        lines = [(time.monotonic(), line) for line in process.stderr]
        return lines, process.stdout.read(), process.wait(60)


TICKS = ("import sys, time\nprint('out')\nprint('err', file=sys.stderr)\ndef main():\n"
         "    time.sleep(0.6)\n    print('late')\n    return 1\n")


def test_live_output():
    """--stream: printed lines come while the script runs, the value when it has ended."""
    lines, output, status = read_lines(TICKS, "--stream")
    assert sorted(line for _, line in lines[:2]) == ["err\n", "out\n"]
    assert [line for _, line in lines[2:]] == ["late\n"]
    assert lines[2][0] - lines[1][0] > 0.3
    assert (output, status) == ("1\n", 0)
    lines, _, _ = read_lines(TICKS)
    assert lines[2][0] - lines[0][0] < 0.3


def test_live_output_and_the_whole_answer():
    """--json --stream: lines on standard error, the answer on standard output, with all of them."""
    lines, output, _ = read_lines(TICKS, "--stream", "--json")
    assert [line for _, line in lines[2:]] == ["late\n"]
    assert json.loads(output)["stdout"] == "out\nlate\n"


def test_live_output_of_a_failure():
    """What was printed comes once, the reason behind it."""
    lines, output, status = read_lines("print('on')\nwhile True: pass", "--stream", "--timeout", "0.5")
    assert [line for _, line in lines[:1]] == ["on\n"] and output == "" and status == 124
    assert lines[-1][1] == "vivarium: Script execution timed out after 0.5 seconds\n"
    assert [line for _, line in lines].count("on\n") == 1


@pytest.mark.parametrize("options, shown", [([], 1 << 19), (["--stream"], 1 << 20)])
@pytest.mark.parametrize("lines", [140000, 200000, 400000])
def test_more_output_than_is_kept(options, shown, lines):
    """Nothing is shown twice, and where some is missing it says how much."""
    whole = "".join(f"{i:07}\n" for i in range(lines))
    done = run(f"def main():\n    for i in range({lines}): print(f'{{i:07}}')", *options)
    head, tail = whole[:shown], whole[len(whole) - (1 << 19):]
    missing = len(whole) - shown - len(tail)
    if missing <= 0:
        assert done.stderr == whole
    else:
        assert done.stderr == f"{head}\nvivarium: {missing} bytes are left out here\n{tail}"


# --- run: output files ----------------------------------------------------------------------------

MAKES = ("import os\ndef main():\n    os.makedirs('d/e')\n    for i, path in enumerate(['a.bin', 'd/b', "
         "'d/e/c', 'empty']):\n        open(path, 'wb').write(bytes(range(256)) * 1000 * (i < 3))\n"
         "    return 1\n")


def test_output_files_are_written(tmp_path):
    """--output-dir: what matches lies beneath it, byte for byte; it is made if it is not there."""
    done = run(MAKES, "--output", "**", "--output-dir", tmp_path / "new")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    content = bytes(range(256)) * 1000
    found = {str(p.relative_to(tmp_path / "new")): p.read_bytes()
             for p in (tmp_path / "new").rglob("*") if p.is_file()}
    assert found == {"a.bin": content, "d/b": content, "d/e/c": content, "empty": b""}


def test_output_files_of_a_failure(tmp_path):
    """They are written also when main() raised, and the exit status is the script's."""
    done = run("def main():\n    open('a', 'w').write('x')\n    1 / 0", "--output", "a",
               "--output-dir", tmp_path, "--json")
    assert done.returncode == 1 and (tmp_path / "a").read_text() == "x"
    assert json.loads(done.stdout)["files"][0]["path"] == "a"
    done = run("def main(): open('b', 'w').write('x')\nwhile True: pass", "--output", "b",
               "--output-dir", tmp_path, "--timeout", "0.3")
    assert done.returncode == 124 and not (tmp_path / "b").exists()


def test_output_files_replace_nothing(tmp_path):
    """A file of the same name stays as it is and is named; the others are written."""
    (tmp_path / "a.bin").write_text("mine")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "other").write_text("mine")
    done = run(MAKES, "--output", "**", "--output-dir", tmp_path)
    assert (done.returncode, done.stdout) == (125, "1\n")
    assert done.stderr == "vivarium: a.bin was not written: there is something of that name\n"
    assert (tmp_path / "a.bin").read_text() == (tmp_path / "d" / "other").read_text() == "mine"
    assert len((tmp_path / "d" / "b").read_bytes()) == len((tmp_path / "d" / "e" / "c").read_bytes()) == 256000
    again = run(MAKES, "--output", "d/e/*", "--output-dir", tmp_path)
    assert again.returncode == 125 and "vivarium: d/e/c was not written" in again.stderr


FORGES = """
import os, struct, time
def frame(kind, payload=b""): return struct.pack("<II", kind, len(payload)) + payload
def file(path, content): return frame(24, path) + frame(25, content)
def main():
    os.write(1000, frame(50) + file(b".git/config", b"evil") + file(b"Makefile", b"evil")
             + file(b"new", b"evil") + file(b"result.csv", b"its own") + frame(34, b"1") + frame(35))
    time.sleep(10)
"""


def test_output_files_nobody_asked_for(tmp_path):
    """A script that speaks on its own channel: nothing but what was asked for comes to be."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("mine")
    (tmp_path / "Makefile").write_text("mine")
    script = tmp_path / "forge.py"
    script.write_text(FORGES)
    done = vivarium("run", "--config", CONF, "--output", "result.csv", "--output-dir", ".", script,
                    cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert (tmp_path / "Makefile").read_text() == (tmp_path / ".git" / "config").read_text() == "mine"
    assert (tmp_path / "result.csv").read_text() == "its own"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".git", "Makefile", "forge.py", "result.csv"]
    done = run(FORGES, "--output", "result.csv", "--json")
    assert [file["path"] for file in json.loads(done.stdout)["files"]] == ["result.csv"]


@pytest.mark.parametrize("plant, words", [
    (lambda d, away: (d / "a.bin").symlink_to(away / "file"), "a.bin was not written: there is"),
    (lambda d, away: (d / "d").symlink_to(away), "d/b was not written: Not a dir"),
    (lambda d, away: os.mkfifo(d / "a.bin"), "a.bin was not written: there is"),
    (lambda d, away: (d / "a.bin").mkdir(), "a.bin was not written: there is"),
    (lambda d, away: (d / "d").write_text("a file"), "d/b was not written: Not a dir"),
], ids=["link", "link to a directory", "fifo", "directory", "file"])
def test_output_files_follow_nothing(tmp_path, plant, words):
    """What lies in the way stays: no link is followed, nothing but regular files is written."""
    directory, away = tmp_path / "out", tmp_path / "away"
    directory.mkdir()
    away.mkdir()
    (away / "file").write_text("keep")
    plant(directory, away)
    done = run(MAKES, "--output", "a.bin", "--output", "d/b", "--output-dir", directory)
    assert done.returncode == 125 and f"vivarium: {words}" in done.stderr
    assert sorted(p.name for p in away.iterdir()) == ["file"]
    assert (away / "file").read_text() == "keep"


def test_output_files_with_names_for_a_terminal(tmp_path):
    """The script chooses them: what is said of one steers no terminal, and is one line."""
    name = "a\x1b]0;b\x07\nvivarium: c\x7f\u009b"
    (tmp_path / name).mkdir()
    done = run(f"def main(): open({name!r}, 'w').close()", "--output", "**", "--output-dir", tmp_path)
    assert done.returncode == 125
    assert "vivarium: a?]0;b??vivarium: c??? was not written: there is something of that name\n" in done.stderr
    assert done.stderr.replace("\n", "").isprintable()


def test_output_files_as_who_asked(tmp_path):
    """They belong to whoever typed the command, root or not."""
    directory = tmp_path / "out"
    assert run(MAKES, "--output", "empty", "--output-dir", directory).returncode == 0
    assert (directory / "empty").stat().st_uid == os.getuid()
