"""What scripts can import: the body of GET /libraries, made where scripts run.

The dispatcher has this executed like any script (fcgi-app/libraries.c). Whether a library can be
imported is found out by importing it, in a process of its own: one that breaks takes none along.
That takes seconds where there is much, so what worked is handed back with the answer, and given
again the next time; it holds for as long as the same packages are installed.
"""

import ast
import hashlib
import importlib
import importlib.util
import os
import re
import signal
import sys
from importlib import metadata

from _vivarium_harness import allows_import

TEXT_MAX = 500  # characters of one summary or address
AT_ONCE = 2
IMPORT_SECONDS = 60


def main(catalogue, warm, known):
    """catalogue: the operator's file; warm: names of the modules that library sets keep imported;
    known: what an earlier run has found out."""
    packages = installed_packages()
    libraries = [(name, library) for category in catalogue.values()
                 for name, library in category["libraries"].items()]
    modules = {name: top_module(name, library["import"]) for name, library in libraries}
    warm = {name.partition(".")[0] for name in warm}
    warm = {name for name, module in modules.items() if module in warm}
    state = fingerprint(packages, libraries)
    importable = warm.union(known["importable"] if known.get("state") == state else ())
    importable |= find_importable([(name, library["import"]) for name, library in libraries
                                   if name not in importable
                                   and importlib.util.find_spec(modules[name])])
    refused = {name for name, library in libraries if not allows_import(library["import"])}
    versions = {normal_name(name): package["version"] for name, package in packages.items()}

    def describe(name, library):
        installed = name in importable and name not in refused
        return {**{member: library[member] for member in ("import", "example", "description")},
                "installed": installed,
                "version": version(library.get("distributions", [name]), versions, modules[name])
                           if installed else None,
                "warm": installed and name in warm}

    answer = {"categories": {key: {"title": category["title"],
                                   "libraries": {name: describe(name, library) for name, library
                                                 in category["libraries"].items()}}
                             for key, category in catalogue.items()},
              "installed_packages": packages,
              "total_libraries": len(libraries)}
    return {"answer": answer, "known": {"state": state, "importable": sorted(importable)}}


def fingerprint(packages, libraries):
    """Changes with what could change whether an import works."""
    facts = [sys.version, sys.path, packages, libraries]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def top_module(name, statement):
    """The package that an import statement begins with."""
    try:
        node, = ast.parse(statement).body
        module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        return module.partition(".")[0]
    except (SyntaxError, ValueError, AttributeError):
        raise ValueError(f"{name}: not an import statement: {statement}") from None


def find_importable(untold):
    """The names of those whose import statements work."""
    running, importable = {}, set()
    for name, statement in untold:
        if len(running) == AT_ONCE:
            await_one(running, importable)
        try:
            running[start_import(statement)] = name
        except PermissionError:  # where scripts may not fork there is but one process to try in
            if works(statement):
                importable.add(name)
    while running:
        await_one(running, importable)
    return importable


def start_import(statement):
    child = os.fork()
    if child:
        return child
    signal.alarm(IMPORT_SECONDS)
    os._exit(0 if works(statement) else 1)


def works(statement):
    try:
        exec(statement, {})
    except BaseException:
        return False
    return True


def await_one(running, importable):
    child, status = os.wait()
    name = running.pop(child)
    if status == 0:
        importable.add(name)


def version(distributions, versions, module):
    """By the metadata; a module that came without any (Debian's OpenCV) is asked itself."""
    for name in distributions:
        if normal_name(name) in versions:
            return versions[normal_name(name)]
    found = getattr(importlib.import_module(module), "__version__", None)
    return found if found is None else str(found)


def normal_name(name):
    """As the packaging specifications compare names of distributions."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_packages():
    """Of several distributions of one name the first on sys.path, which is the one imported."""
    packages, seen = {}, set()
    for distribution in metadata.distributions():
        words = distribution.metadata
        name = words["Name"]
        if not name or normal_name(name) in seen:
            continue
        seen.add(normal_name(name))
        packages[name] = {"name": name,
                          "version": words["Version"],
                          "summary": text(words["Summary"]),
                          "homepage": text(words["Home-page"]) or project_page(words)}
    return dict(sorted(packages.items(), key=lambda item: item[0].lower()))


def project_page(words):
    for line in words.get_all("Project-URL", []):
        label, _, address = line.partition(",")
        if re.sub(r"[^a-z]", "", label.lower()) == "homepage":
            return text(address.strip())
    return ""


def text(words):
    """Old tools wrote UNKNOWN where there was nothing to say."""
    return "" if words in (None, "UNKNOWN") else words[:TEXT_MAX]
