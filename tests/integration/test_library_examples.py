"""Every example of the catalogue runs in the jail, as its page says: the import, then main().

Of libraries that are not installed the import fails and /libraries says so. After `make libraries`,
`make test-libraries` has all of them installed.
"""

import json
import os

import pytest

from answers import result
from conftest import TOP, Service

VENV = os.environ.get("VIVARIUM_LIBRARIES")
CATALOGUE = {name: library
             for category in json.loads((TOP / "conf" / "libraries.json").read_text()).values()
             for name, library in category["libraries"].items()}
SECONDS = 120  # machines that run tests are busy


@pytest.fixture(scope="module")
def equipped(service):
    """With the virtual environment of `make libraries`, if that is asked for."""
    if not VENV:
        yield service
        return
    with Service(python_venv=VENV) as instance:
        yield instance


@pytest.fixture(scope="module")
def listed(equipped):
    categories = equipped.get("/libraries", timeout=300).data["categories"]
    return {name: library for category in categories.values()
            for name, library in category["libraries"].items()}


def script(library, body):
    return "".join([library["import"], "\n\ndef main():\n",
                    *("    " + line + "\n" for line in body.split("\n"))])


@pytest.mark.parametrize("name", CATALOGUE)
def test_example(equipped, listed, name):
    """Within the default memory. It shows something: output, or a figure."""
    library = CATALOGUE[name]
    if not listed[name]["installed"]:
        assert not VENV, "make libraries has installed all"
        answer = equipped.execute(script(library, "pass"), timeout=SECONDS, http_timeout=SECONDS)
        assert answer.status == 400 and answer.data["cause"]["kind"] == "exception", answer
        return
    answer = equipped.execute(script(library, library["example"]), timeout=SECONDS,
                              http_timeout=SECONDS)
    assert result(answer) is None
    assert answer.data["stdout"] or answer.data["visualizations"]
    assert "Traceback" not in answer.data["stderr"], answer
    assert listed[name]["version"], name
