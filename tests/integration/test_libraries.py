"""GET /libraries: the catalogue, and what is really importable inside the jail."""

import concurrent.futures
import json
import re
import subprocess
import time

import pytest

from answers import failed, refused, result
from conftest import TOP
from venvs import make_venv, open_path  # noqa: F401 (a fixture)

CATEGORIES = {
    "data_science": "Data Science & Analysis",
    "machine_learning": "Machine Learning & AI",
    "data_io": "Data I/O & Databases",
    "image_processing": "Image Processing & Computer Vision",
    "nlp": "Natural Language Processing",
    "web_scraping": "Web Scraping & APIs",
    "utilities": "Utilities & Development",
}
COVERED = set("""pandas numpy scipy matplotlib seaborn plotly scikit-learn statsmodels sympy tensorflow
    torch transformers openpyxl sqlalchemy requests pillow opencv-python nltk spacy beautifulsoup4
    selenium tqdm jupyter pytest ipython black flake8""".split())
MEMBERS = {"import", "example", "description", "installed", "version", "warm"}
DEFAULT = {"numpy", "pandas", "scipy", "matplotlib"}

FIND = """
import importlib.metadata, importlib.util

def main(modules, names):
    def version(name):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None
    return [{name: importlib.util.find_spec(name) is not None for name in modules},
            {name: version(name) for name in names}]
"""


def listing(service):
    answer = service.get("/libraries")
    assert answer.status == 200, answer
    assert answer.headers.get_all("Content-Type") == ["application/json"]
    assert answer.headers.get_all("X-Request-Id")
    assert answer.body.isascii()
    return answer.data


def libraries(data):
    return {name: library for category in data["categories"].values()
            for name, library in category["libraries"].items()}


def write_catalogue(path, libraries, **category):
    path.write_text(json.dumps({"c": {"title": "C", "libraries": libraries, **category}}))
    return path


def entry(statement, **more):
    return {"import": statement, "example": "pass", "description": "d", **more}


def test_shape(service):
    """Every documented member, of its type, and no other."""
    data = listing(service)
    assert set(data) == {"categories", "installed_packages", "total_libraries"}
    assert {key: c["title"] for key, c in data["categories"].items()} == CATEGORIES
    assert list(data["categories"]) == list(CATEGORIES)
    for category in data["categories"].values():
        assert set(category) == {"title", "libraries"}
    for name, library in libraries(data).items():
        assert set(library) == MEMBERS, name
        for member in ("import", "example", "description"):
            assert isinstance(library[member], str) and library[member], name
        assert type(library["installed"]) is bool and type(library["warm"]) is bool
        assert library["installed"] or (library["version"] is None and not library["warm"]), name
    for name, package in data["installed_packages"].items():
        assert set(package) == {"name", "version", "summary", "homepage"}
        assert package["name"] == name
        assert all(isinstance(value, str) for value in package.values()), name


def test_catalogue_covers(service):
    """The libraries that were asked for; the number counts all, installed or not."""
    data = listing(service)
    assert COVERED <= set(libraries(data))
    assert data["total_libraries"] == len(libraries(data))


def test_pandas(service):
    """To the letter."""
    pandas = listing(service)["categories"]["data_science"]["libraries"]["pandas"]
    assert pandas["import"] == "import pandas as pd"
    assert pandas["example"] == ("df = pd.DataFrame({'x': [1, 2, 3], 'y': [4, 5, 6]})\n"
                                 "print(df.head())")
    assert pandas["description"] == "Powerful data manipulation and analysis library"
    assert pandas["installed"] is True and pandas["warm"] is True


def test_what_is_warm(service):
    """What library sets keep imported, and nothing else."""
    found = libraries(listing(service))
    assert {name for name, library in found.items() if library["warm"]} == DEFAULT


def test_installed_is_what_a_script_can_import(service):
    """A script finds the same modules and versions."""
    data = listing(service)
    found = libraries(data)
    modules = {name: re.match(r"(?:import|from) (\w+)", library["import"])[1]
               for name, library in found.items()}
    assert DEFAULT <= {name for name, library in found.items() if library["installed"]}
    importable, versions = result(service.execute(
        FIND, args=[list(modules.values()), list(data["installed_packages"])]))
    assert {name: library["installed"] for name, library in found.items()} == {
        name: importable[module] for name, module in modules.items()}
    assert {name: package["version"] for name, package in data["installed_packages"].items()} == (
        versions)
    for name in DEFAULT:
        assert found[name]["version"] == versions[name]


def test_nothing_of_the_host_is_listed(service):
    """Packages that only a Python outside of the jail has are not there."""
    host = subprocess.check_output(["/usr/bin/python3", "-c", (
        "import importlib.metadata, json\nprint(json.dumps([d.metadata['Name']"
        " for d in importlib.metadata.distributions(path=['/usr/lib/python3/dist-packages'])]))")])
    assert set(listing(service)["installed_packages"]) == set(json.loads(host))


def test_not_installed(make_service, tmp_path):
    """An entry that is not there says so; one whose metadata has another name is found by that."""
    catalogue = write_catalogue(tmp_path / "libraries.json", {
        "absent": entry("from no_such_module_here import x"),
        "array": entry("import numpy as np", distributions=["no-such-name", "NumPy"]),
        "json": entry("from json import loads"),
    })
    service = make_service(library_catalogue=catalogue, library_sets="base", workers=1)
    data = listing(service)
    found = libraries(data)
    assert data["total_libraries"] == 3
    assert found["absent"] == {**entry("from no_such_module_here import x"), "installed": False,
                               "version": None, "warm": False}
    assert found["array"]["installed"] and not found["array"]["warm"]
    assert found["array"]["version"] == data["installed_packages"]["numpy"]["version"]
    assert found["json"]["version"] == result(service.execute(
        "import json\ndef main(): return json.__version__"))


def test_installed_but_not_importable(make_service, open_path):
    """What is on the disk and breaks when it is imported is not there, however it breaks."""
    venv = make_venv(open_path, {
        "good.py": "import json\n__version__ = '1.5'\n",
        "incomplete.py": "import no_such_module_here\n",
        "faulty.py": "import ctypes\nctypes.string_at(0)\n",
        "leaving.py": "import sys\nsys.exit(0)\n",
        "part.py": "there = 1\n",
    })
    names = ["incomplete", "faulty", "leaving", "good"]
    catalogue = write_catalogue(open_path / "libraries.json", {
        **{name: entry(f"import {name}") for name in names},
        "part": entry("from part import missing")})
    service = make_service(library_catalogue=catalogue, library_sets="base", python_venv=venv)
    found = libraries(listing(service))
    assert {name for name, library in found.items() if library["installed"]} == {"good"}
    assert found["good"]["version"] == "1.5"
    assert found["faulty"]["version"] is None


def test_head_and_options(service):
    """As HTTP has it."""
    body = service.get("/libraries").body
    head = service.request("HEAD", "/libraries")
    assert head.status == 200 and head.body == b""
    assert head.headers["Content-Length"] == str(len(body))
    options = service.request("OPTIONS", "/libraries")
    assert options.status == 204 and options.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods(service, method):
    """405 with the path's own Allow."""
    answer = service.request(method, "/libraries", body=b"{}",
                             headers={"Content-Type": "application/json"})
    refused(answer, "method_not_allowed", 405)
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_query_and_request_id(service):
    """The query string is ignored, the client's id comes back."""
    answer = service.get("/libraries?x=1", headers={"X-Request-Id": "mine-1"})
    assert answer.status == 200 and answer.headers["X-Request-Id"] == "mine-1"


def test_gzip(service):
    """A large answer is compressed on request."""
    answer = service.get("/libraries", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"


def test_asking_again_costs_no_execution(make_service, open_path):
    """Many at once have one list made, and those who come later none.

    A module without metadata is asked for its version, and this one says another each time.
    """
    venv = make_venv(open_path, {"fickle/__init__.py": "import time\n__version__ = time.time_ns()\n"})
    catalogue = write_catalogue(open_path / "libraries.json", {"fickle": entry("import fickle")})
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", python_venv=venv,
                           library_catalogue=catalogue)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        # the only cell is busy while they come
        slow = pool.submit(service.execute, "import time\ndef main(): time.sleep(0.5)")
        answers = list(pool.map(lambda _: service.get("/libraries"), range(32)))
    assert slow.result().status == 200
    assert {answer.status for answer in answers} == {200}
    assert {libraries(answer.data)["fickle"]["version"] for answer in answers} == {
        libraries(listing(service))["fickle"]["version"]}


def test_failing_list_is_an_error(make_service, tmp_path):
    """Nothing half is told; the log has the reason; the next request tries again."""
    catalogue = write_catalogue(tmp_path / "libraries.json", {"bad": entry("no import at all")})
    service = make_service(library_catalogue=catalogue, library_sets="base", workers=1)
    for _ in range(2):
        refused(service.get("/libraries"), "internal", 500)
    assert service.log().count(
        "the list of libraries: ValueError: bad: not an import statement: no import at all") == 2
    assert service.execute("def main(): return 1").status == 200


def test_no_cell_for_the_list(make_service, tmp_path):
    """Where nothing gets free in time the answer is 503, and later the list."""
    catalogue = write_catalogue(tmp_path / "libraries.json", {"json": entry("import json")})
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", queue_timeout=0.2,
                           library_catalogue=catalogue)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(service.execute, "import time\ndef main(): time.sleep(1.5)")
        while not service.get("/health").data["workers"]["busy"]:
            pass
        answer = service.get("/libraries")
        refused(answer, "overloaded", 503)
        assert answer.headers["Retry-After"] == "1"
        assert slow.result().status == 200
    assert listing(service)["total_libraries"] == 1


def test_a_list_that_takes_long(make_service, open_path):
    """Who only waits for it is told to come back, whoever has it made gets it, and so do all then."""
    venv = make_venv(open_path, {"slow.py": "import time\ntime.sleep(2)\n"})
    catalogue = write_catalogue(open_path / "libraries.json", {"slow": entry("import slow")})
    service = make_service(workers=1, cells_per_worker=1, library_sets="base", queue_timeout=0.3,
                           python_venv=venv, library_catalogue=catalogue)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(service.get, "/libraries")
        while not service.get("/health").data["workers"]["busy"]:
            pass
        begun = time.monotonic()
        answer = service.get("/libraries")
        assert 0.3 <= time.monotonic() - begun < 1.5
        refused(answer, "overloaded", 503)
        assert answer.headers["Retry-After"] == "1"
        assert not first.done() and first.result().status == 200
    assert libraries(listing(service))["slow"]["installed"]


@pytest.mark.parametrize("text, reason", [
    ("{", "libraries.json: "),
    ('{"a": {"title": "A"}}', 'libraries.json: "a": lacks libraries'),
])
def test_bad_catalogue_is_refused_at_the_start(make_service, tmp_path, text, reason):
    """With its place; the check of the configuration says the same."""
    catalogue = tmp_path / "libraries.json"
    catalogue.write_text(text)
    with pytest.raises(RuntimeError, match=re.escape(reason)):
        make_service(library_catalogue=catalogue)


def test_missing_catalogue_is_refused_at_the_start(make_service, tmp_path):
    """The file is named."""
    with pytest.raises(RuntimeError, match="open .*/none.json: No such file"):
        make_service(library_catalogue=tmp_path / "none.json")


def test_import_lists(make_service, tmp_path):
    """The operator's lists do not stand in the way of the list, and what they refuse is not in it."""
    catalogue = write_catalogue(tmp_path / "libraries.json", {
        "json": entry("import json"), "os": entry("import os"), "csv": entry("import csv")})
    service = make_service(library_catalogue=catalogue, library_sets="base", workers=1,
                           import_denylist="os importlib", import_allowlist="json os")
    found = libraries(listing(service))
    assert {name for name, library in found.items() if library["installed"]} == {"json"}
    failed(service.execute("import os\ndef main(): pass"), "blocked_import")


def test_modules_that_newer_pythons_dropped(service):
    """docs/libraries.md names exactly those of Python 3.10 that are not there any more."""
    rows = re.findall(r"^\| 3\.(\d+) \| (.*) \|$", (TOP / "docs" / "libraries.md").read_text(), re.M)
    assert [minor for minor, _ in rows] == ["11", "12", "13"]
    minor, known = result(service.execute(
        "import sys\ndef main(): return [sys.version_info.minor, sorted(sys.stdlib_module_names)]"))
    for since, names in rows:
        names = set(re.findall(r"`(\w+)`", names))
        assert names and (names.isdisjoint(known) if minor >= int(since) else names <= set(known))


def test_documented_entry(make_service, tmp_path):
    """The entry that docs/libraries.md adds to the catalogue is one."""
    text = (TOP / "docs" / "libraries.md").read_text()
    lines = re.search(r'^    "lxml": \{\n(?:    .*\n)+?    \}\n', text, re.M)[0]
    catalogue = write_catalogue(tmp_path / "libraries.json", json.loads("{" + lines + "}"))
    service = make_service(library_catalogue=catalogue, library_sets="base", workers=1)
    assert set(libraries(listing(service))) == {"lxml"}
