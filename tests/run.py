"""Runs the compiled tests and pytest, and closes with one line that counts them all.

Arguments: directories or files for pytest, instead of everything. A skipped test counts as failed:
a test that could not run has not passed.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ["VIVARIUM_BUILD"])
C_TEST_SECONDS = 300
PYTEST_DIRECTORIES = ["source", "bench", "cost", "integration", "clients", "escape", "abuse", "policy",
                      "fault", "fuzz"]


def count_junit(path):
    """(passed, failed) of a JUnit file; a missing or broken one is a failure."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return 0, 1
    total = failed = 0
    for case in root.iter("testcase"):
        total += 1
        failed += any(case.find(tag) is not None for tag in ("failure", "error", "skipped"))
    return total - failed, failed


def run_c_test(program, scratch):
    results = Path(scratch) / f"{program.parent.name}-{program.name}.xml"
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="xml", CMOCKA_XML_FILE=str(results))
    try:
        done = subprocess.run([program], env=environment, cwd=TOP, timeout=C_TEST_SECONDS,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.TimeoutExpired:
        print(f"FAILED {program.name}: no end after {C_TEST_SECONDS} s")
        return 0, 1
    passed, failed = count_junit(results)
    if done.returncode != 0 or failed or not passed:
        print(done.stdout, results.read_text() if results.exists() else "", sep="\n")
        print(f"FAILED {program.name}: exit status {done.returncode}")
        failed = max(failed, 1)
    return passed, failed


def run_c_tests(scratch):
    passed = failed = 0
    for source in sorted(TOP.glob("tests/unit/test_*.c")) + sorted(TOP.glob("tests/policy/test_*.c")):
        program = BUILD / source.relative_to(TOP).with_suffix("")
        p, f = run_c_test(program, scratch)
        print(f"  {program.parent.name}/{program.name}: {p} passed, {f} failed", flush=True)
        passed, failed = passed + p, failed + f
    return passed, failed


def run_pytest(paths, scratch):
    results = Path(scratch) / "pytest.xml"
    status = subprocess.call([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                              "--durations=10", f"--junitxml={results}", *paths], cwd=TOP)
    passed, failed = count_junit(results)
    if status != 0:
        failed = max(failed, 1)
    return passed, failed


def main(arguments):
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        passed, failed = (0, 0) if arguments else run_c_tests(scratch)
        p, f = run_pytest(arguments or [f"tests/{d}" for d in PYTEST_DIRECTORIES], scratch)
    passed, failed = passed + p, failed + f
    print(f"all tests in {time.monotonic() - begun:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
