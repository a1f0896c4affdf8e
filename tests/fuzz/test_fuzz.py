"""A short run of every fuzz target: the corpus, and two seconds of what grows out of it.

`make fuzz FUZZ_SECONDS=600` looks for longer. An input that made a target fail belongs into its
corpus; it is tried here from then on.
"""

import subprocess
from pathlib import Path

import pytest

from conftest import BUILD, TOP

FUZZ = TOP / "tests" / "fuzz"
TARGETS = sorted(path.stem for path in FUZZ.glob("fuzz_*.c"))


@pytest.fixture(scope="module")
def programs():
    """The directory with the targets, built with clang, ASan and UBSan."""
    build = BUILD / "fuzz"
    done = subprocess.run(["make", "--no-print-directory", "-j2", "MODE=fuzz", f"BUILD={build}",
                           "fuzz-programs"], cwd=TOP, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return build


@pytest.mark.parametrize("target", TARGETS)
def test_short_run(programs, target, tmp_path):
    """No crash, no failed check, no leak, and the corpus is not empty."""
    corpus = FUZZ / "corpus" / target.removeprefix("fuzz_")
    assert any(corpus.iterdir())
    found = tmp_path / "found"
    found.mkdir()
    done = subprocess.run([programs / target, "-max_total_time=2", "-seed=1", "-timeout=10",
                           f"-artifact_prefix={tmp_path}/", found, corpus],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                          errors="replace")
    crashes = {path.name: path.read_bytes() for path in Path(tmp_path).iterdir() if path.is_file()}
    assert done.returncode == 0, (crashes, done.stdout[-4000:])
