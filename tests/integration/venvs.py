"""Virtual environments for tests: with packages made on the spot, without a network."""

import subprocess
import sys


def make_venv(directory, files, *options):
    """A virtual environment of the system's Python below directory, with files as its packages."""
    venv = directory / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", "--system-site-packages",
                    *options, venv], check=True)
    add_packages(venv, files)
    for folder in [venv, *directory.parents[:-1], directory]:
        if str(folder).startswith("/tmp/pytest") and folder.owner() == directory.owner():
            folder.chmod(0o755)  # pytest's own are closed to others
    return venv


def add_packages(venv, files):
    packages = site_packages(venv)
    for name, text in files.items():
        path = packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def site_packages(venv):
    return venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
