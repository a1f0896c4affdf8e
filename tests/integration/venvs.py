"""Virtual environments for tests: with packages made on the spot, without a network."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def open_path():
    """A directory that everybody can get to; those of pytest are closed again by its next session."""
    path = Path(tempfile.mkdtemp(prefix="vivarium-open-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def make_venv(directory, files):
    """A virtual environment of the system's Python below directory, with files as its packages."""
    venv = directory / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", "--system-site-packages",
                    venv], check=True)
    add_packages(venv, files)
    return venv


def add_packages(venv, files):
    packages = site_packages(venv)
    for name, text in files.items():
        path = packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def site_packages(venv):
    return venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
