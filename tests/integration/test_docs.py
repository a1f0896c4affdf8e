"""Runs the examples of README.md and docs/*.md against a running service. The convention:

- In a code block, fenced or indented, a line that begins with "$ " is a command; lines go on as long
  as a quote or a backslash asks for it. What follows up to the next command is what it prints.
  Commands of RUN are run, in a directory that the page's examples share; a block with any other
  command (sudo, make, systemctl, ...) is left alone.
- A fenced block of ```python or ```js that imports the client (or mcp) is run as a program. What it prints is
  in comments behind the lines that print: print(answer.result)  # 42
- Any other ```python block with a main() is a script for /execute, and must succeed.
- "..." stands for anything. White space counts as one blank, or none beside a bracket; a number
  with decimals stands for any such number, and a timestamp for any timestamp.
- http://127.0.0.1:8080 stands for the running service, build/release for the build under test.
- A comment in the line before a block says more about it (Markdown does not show it):
  <!-- not run: why -->, <!-- file: NAME --> for a block that is written there instead of run, and
  <!-- service: key=value ... --> for a service of its own with these settings; a value @NAME is the
  file of that name that the page's examples have made.
"""

import os
import re
import subprocess

import pytest

from conftest import BUILD, PYPI, TOP

PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
RUN = {"curl", "python3", "node", "printf", "echo", "cat", "base64"}
PROGRAM = "build/release/vivarium"
NOT_RUN = {"serve", "check"}  # for they take long, or do not end
NOTE = re.compile(r"<!-- (not run|file|service): (.*) -->\s*$")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")
SECONDS = 30


class Block:
    """A code block of a page: where it begins, its language, its lines, and the note on it."""

    def __init__(self, page, line, language, note):
        self.page, self.line, self.language, self.lines = page, line, language, []
        found = NOTE.match(note)
        self.note, self.argument = found.groups() if found else (None, None)

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"

    def __repr__(self):
        return f"{self.page.name}:{self.line}"


def read_blocks(page):
    """The code blocks of a page, fenced and indented ones, in their order."""
    blocks, fence, before = [], None, ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        marker = re.match(r"```(\w*)", line)
        if fence:
            if line.startswith("```"):
                fence = None
            else:
                fence.lines.append(line)
            before = ""
        elif marker:
            fence = Block(page, number, marker[1], before)
            blocks.append(fence)
        elif line.startswith("    "):
            if not (blocks and blocks[-1].language == "indented" and
                    blocks[-1].line + len(blocks[-1].lines) == number):
                blocks.append(Block(page, number, "indented", before))
            blocks[-1].lines.append(line[4:])
        elif line.strip():
            before = line
    return blocks


def is_whole(command):
    """Whether a shell would not ask for another line."""
    done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False)
    return done.returncode == 0 and not command.endswith("\\")


def read_commands(block):
    """[command, what it prints] of each command of a block."""
    commands, output = [], None
    for line in block.lines:
        if output is None and commands and not is_whole(commands[-1][0]):
            commands[-1][0] += "\n" + line
        elif line.startswith("$ "):
            commands.append([line[2:], []])
        elif commands:
            commands[-1][1].append(line)
            output = True
        output = None if line.startswith("$ ") or not (commands and commands[-1][1]) else output
    return [(command, "\n".join(printed)) for command, printed in commands]


def may_run(command):
    """Whether a command is one of those that are run."""
    words = command.split()
    if words[0] == PROGRAM:
        return not NOT_RUN & set(words[1:2])
    return words[0] in RUN


def pattern(expected):
    """What matches an expected output, as the convention has it."""
    expected = TIMESTAMP.sub("\0t", expected.strip())
    expected = re.sub(r"(?<![\w.])\d+\.\d+(?![\w.])", "\0n", expected)
    pieces = []
    for piece in re.split(r"(\.\.\.|\0[tn]|\s+)", expected):
        if piece == "...":
            pieces.append(r".*?")
        elif piece == "\0t":
            pieces.append(TIMESTAMP.pattern)
        elif piece == "\0n":
            pieces.append(r"\d+(?:\.\d+)?(?:e-\d+)?")
        elif piece.isspace():
            pieces.append(r"\s*")
        else:
            pieces.append(re.escape(piece))
    return re.compile("".join(pieces) + r"\s*", re.S)


def check_output(printed, expected, what):
    assert pattern(expected).fullmatch(printed), (
        f"{what} printed\n{printed}\nand the page has\n{expected}")


def settle(text, instance):
    """A text of a page, for the service and the programs at hand."""
    return text.replace("http://127.0.0.1:8080", f"http://{instance.host}:{instance.port}").replace(
        "build/release/", f"{BUILD}/").replace("conf/vivarium.conf", f"{TOP}/conf/vivarium.conf")


def run_program(command, directory):
    """Runs a command with the clients within reach; returns what it printed."""
    environment = dict(os.environ, PYTHONPATH=str(TOP / "clients" / "python"),
                       PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=SECONDS, check=False)
    return done


def run_commands(block, instance, directory):
    for command, expected in read_commands(block):
        done = run_program(["bash", "-c", settle(command, instance)], directory)
        if expected:
            check_output(done.stdout + done.stderr, settle(expected, instance), command)
        else:
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def said_in_comments(text, language):
    """What a program prints, by the comments behind the lines that print."""
    prints = {"python": r"\bprint\(.*\)\s+# (.*)$", "js": r"\bconsole\.log\(.*\);?\)?;?\s+// (.*)$"}
    return "\n".join(re.findall(prints[language], text, re.M))


def run_client_program(block, instance, directory):
    name, command = {"python": ("example.py", "/usr/bin/python3"),
                     "js": ("example.mjs", "node")}[block.language]
    if "from mcp import" in block.text:
        command = PYPI / "bin" / "python"
    (directory / name).write_text(settle(block.text, instance))
    done = run_program([command, name], directory)
    assert done.returncode == 0, done.stderr
    check_output(done.stdout, said_in_comments(block.text, block.language), repr(block))


def kind_of(block):
    """What is to be done with a block: file, commands, program, script, or None for nothing."""
    if block.note in ("not run", "file"):
        return block.note if block.note == "file" else None
    if block.language in ("python", "js") and re.search(
            r"\b(vivarium|mcp)\b.*\bimport\b|import .*vivarium", block.text):
        return "program"
    if block.language == "python" and "def main(" in block.text:
        return "script"
    if block.language in ("sh", "console", "indented", ""):
        commands = read_commands(block)
        if commands and all(may_run(command) for command, _ in commands):
            return "commands"
    return None


def run_block(block, kind, instance, directory):
    if kind == "file":
        (directory / block.argument).write_text(settle(block.text, instance))
    elif kind == "commands":
        run_commands(block, instance, directory)
    elif kind == "program":
        run_client_program(block, instance, directory)
    else:
        answer = instance.execute(block.text)
        assert answer.status == 200, answer


def blocks_to_run():
    return [(block, kind_of(block)) for page in PAGES for block in read_blocks(page)
            if kind_of(block)]


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """A directory for each page."""
    made = {}

    def make(page):
        if page not in made:
            made[page] = tmp_path_factory.mktemp(page.stem)
            client = TOP / "clients" / "javascript" / "vivarium.mjs"
            (made[page] / "vivarium.mjs").symlink_to(client)
        return made[page]
    return make


@pytest.mark.parametrize("block, kind", blocks_to_run(), ids=lambda item: repr(item)
                         if isinstance(item, Block) else item)
def test_example(block, kind, service, make_service, directories):
    """Each does what the page says."""
    instance = service
    if block.note == "service":
        settings = dict(pair.split("=", 1) for pair in block.argument.split())
        instance = make_service(**{key: directories(block.page) / value[1:]
                                   if value.startswith("@") else value
                                   for key, value in settings.items()})
    run_block(block, kind, instance, directories(block.page))


# --- The reader of the pages itself ---------------------------------------------------------------


PAGE = """Text
<!-- file: a.txt -->
```
content
```
    $ printf 'one
      two'
    one
      two
    $ echo \\
        three
    three
```sh
$ sudo make run
```
<!-- not run: here -->
```python
from vivarium import Client
```
```python
def main(): pass
```
"""


def test_blocks_are_found(tmp_path):
    """Fenced and indented ones, with what is to be done with them."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    blocks = read_blocks(page)
    assert [(block.line, block.language, kind_of(block)) for block in blocks] == [
        (3, "", "file"), (6, "indented", "commands"), (13, "sh", None), (17, "python", None),
        (20, "python", "script")]
    assert read_commands(blocks[1]) == [("printf 'one\n  two'", "one\n  two"),
                                        ("echo \\\n    three", "three")]


@pytest.mark.parametrize("expected, printed, same", [
    ('{"a": 1,\n "b": ...}', '{"a": 1, "b": {"c": 2}}\n', True),
    ('{"a": 1, ...', '{"a": 2}', False), ("42", "43", False), ("0.125 s", "7.5 s", True),
    ("1.5", "x", False), ("2026-11-20T12:00:00+00:00", "2027-01-02T03:04:05+00:00", True),
    ("a", "a b", False), ("version 1.2.3", "version 1.2.4", False)])
def test_outputs_are_compared(expected, printed, same):
    """What varies may vary, and nothing else."""
    assert bool(pattern(expected).fullmatch(printed)) == same


def test_comments_are_outputs():
    """Those behind a line that prints."""
    text = "x = 1  # not this\nprint(x)  # 1\nconsole.log(`# ${x}`); // # 1\n"
    assert said_in_comments(text, "python") == "1"
    assert said_in_comments(text, "js") == "# 1"
