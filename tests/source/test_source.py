"""The rules of the source tree that a compiler does not check."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
# Who may include whom: one way only.
MAY_INCLUDE = {"sandbox": {"sandbox"}, "runner": {"runner", "sandbox"},
               "fcgi-app": {"fcgi-app", "sandbox"}}
# A third party's interface is behind one file, or one folder.
BEHIND = {"fcgiapp.h": "fcgi-app/fcgi.c", "json-c/json.h": "fcgi-app/json_in.c",
          "json-c/json_pointer.h": "fcgi-app/json_in.c", "seccomp.h": "sandbox/seccomp.c",
          "Python.h": "runner/",
          "nettle/sha2.h": "fcgi-app/key_digest.c", "nettle/memops.h": "fcgi-app/key_digest.c",
          "zlib.h": "fcgi-app/gzip.c"}
# Whose texts are scanned without a secret seed: their author would slow down nobody but himself.
OWN_TEXTS = {"catalogue.c": "the operator's", "run_request.c": "the command line's",
             "python_module.c": "the script's, by its own process"}
INCLUDE = re.compile(r'^#include ([<"])([^>"]+)[>"]', re.M)


def sources(*suffixes):
    return [path for folder in MAY_INCLUDE for path in sorted((TOP / folder).iterdir())
            if path.suffix in suffixes]


@pytest.mark.parametrize("path", sources(".c", ".h"), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_includes_go_one_way(path):
    """sandbox/ knows nothing of FastCGI or Python, runner/ and fcgi-app/ nothing of each other."""
    for kind, name in INCLUDE.findall(path.read_text()):
        if kind == '"':
            assert name.split("/")[0] in MAY_INCLUDE[path.parent.name], name
        elif name in BEHIND:
            assert f"{path.parent.name}/{path.name}".startswith(BEHIND[name]), name


def test_scans_of_strange_texts_are_seeded():
    """Keys that collide by design must not keep a process busy for all others."""
    seen = set()
    for path in sources(".c"):
        for options in re.findall(r"struct json_scan_options \w+ = {(.*?)\bjson_scan\(",
                                  path.read_text(), re.S):
            seen.add(path.name)
            assert ("hash_seed" in options) == (path.name not in OWN_TEXTS), path
    assert seen > set(OWN_TEXTS) and "request_inputs.c" in seen


def compile_only(compiler, path, *more):
    multiarch = subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()
    flags = subprocess.check_output(
        ["env", f"PKG_CONFIG_LIBDIR=/usr/lib/{multiarch}/pkgconfig:/usr/share/pkgconfig",
         "pkg-config", "--cflags", "fcgi", "json-c", "nettle", "zlib", "python3-embed"], text=True).split()
    return subprocess.run(
        [compiler, "-std=c17", "-D_GNU_SOURCE", f'-DVIVARIUM_MULTIARCH="{multiarch}"', f"-I{TOP}",
         *flags, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *more, str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("path", sources(".h"), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_header_compiles_alone(path, tmp_path):
    """Each header brings along what it needs."""
    unit = tmp_path / "unit.c"
    unit.write_text(f'#include "{path.parent.name}/{path.name}"\nint unit;\n')
    done = compile_only("gcc", unit)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sources(".c"), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_compiles_with_clang(path):
    """gcc builds the programs; clang must not find fault with them either."""
    assert shutil.which("clang"), "deploy/packages.sh ensure test installs clang"
    done = compile_only("clang", path)
    assert done.returncode == 0, done.stdout


def test_policy_of_the_package_is_the_default():
    """The configuration shows every key with its default behind a #."""
    text = (TOP / "conf" / "vivarium.conf").read_text()
    shown = set(re.findall(r"^#(\w+) =", text, re.M))
    known = set(re.findall(r"KEY(?:_AS|_WORD)?\((\w+), ", (TOP / "fcgi-app" / "config.c").read_text()))
    known -= {"name"}
    assert shown == known


def test_every_route_is_described():
    """fcgi-app/openapi.json has the paths that the dispatcher has, with their methods."""
    table = (TOP / "fcgi-app/dispatcher.c").read_text().partition("} routes[] = {\n")[2]
    routes = re.findall(r'^\t\{"(/[^"]*)", "([A-Z]+)"', table, re.M)
    paths = json.loads((TOP / "fcgi-app/openapi.json").read_text())["paths"]
    assert sorted(routes) == sorted((path, method.upper()) for path, item in paths.items()
                                    for method in item)


@pytest.mark.parametrize("folder", MAY_INCLUDE)
def test_structure_is_told(folder):
    """docs/structure.md names every module of a folder, and none that is not there."""
    page = (TOP / "docs/structure.md").read_text()
    section = page.partition(f"## `{folder}/`")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"`(\w+)`", " ".join(rows))
    modules = {path.stem for path in sources(".c", ".h", ".py")}
    there = {path.stem for path in sources(".c", ".h", ".py") if path.parent.name == folder}
    assert modules and sorted(named) == sorted(there)
