"""python_venv: an operator's virtual environment in the jail. Its packages are made here."""

import errno
import os
import re
import subprocess

import pytest

from answers import failed, result
from measures import mounts_of
from supervision import Tree
from venvs import add_packages, make_venv, open_path, site_packages  # noqa: F401 (a fixture)

PACKAGE = {"vessel/__init__.py": "from .inner import answer\n",
           "vessel/inner.py": "answer = 42\n",
           "vessel-1.5.dist-info/METADATA":
               "Metadata-Version: 2.1\nName: vessel\nVersion: 1.5\nSummary: Holds something\n"
               "Project-URL: Homepage, https://example.com/vessel\n"}
MARKER = "executed_a_pth_file"


def start(make_service, venv, **settings):
    """With a catalogue of its own: importing all that may be installed takes its time."""
    catalogue = venv.parent / "libraries.json"
    catalogue.write_text('{"c": {"title": "C", "libraries": {"vessel": {"import": "import vessel",'
                         ' "example": "pass", "description": "d"}}}}')
    return make_service(python_venv=venv, **{"library_sets": "base", "workers": 1,
                                             "library_catalogue": catalogue, **settings})


def test_packages_can_be_imported(make_service, open_path):
    """With submodules and metadata; /libraries lists them; Debian's are there as well."""
    service = start(make_service, make_venv(open_path, PACKAGE))
    assert result(service.execute(
        "import vessel, numpy, importlib.metadata as m\n"
        "def main(): return [vessel.answer, m.version('vessel'), int(numpy.int8(7))]")) == [
            42, "1.5", 7]
    listed = service.get("/libraries").data["installed_packages"]
    assert listed["vessel"] == {"name": "vessel", "version": "1.5", "summary": "Holds something",
                                "homepage": "https://example.com/vessel"}
    assert "numpy" in listed


def test_its_packages_win(make_service, open_path):
    """Before Debian's, behind the standard library: as in the environment itself."""
    venv = make_venv(open_path, {"dateutil/__init__.py": "__version__ = 'ours'\n",
                                "json/__init__.py": "never = True\n",
                                "python_dateutil-99.dist-info/METADATA":
                                    "Metadata-Version: 2.1\nName: python-dateutil\nVersion: 99\n"})
    service = start(make_service, venv)
    script = ("import dateutil, json, sys, importlib.metadata as m\ndef main(): return ["
              "dateutil.__version__, hasattr(json, 'never'), m.version('python-dateutil'),"
              " sys.path, sys.prefix]")
    ours, never, version, path, prefix = result(service.execute(script))
    assert (ours, never, version) == ("ours", False, "99")
    packages = f"/venv/lib/{site_packages(venv).parent.name}/site-packages"
    assert path[-3:] == [packages, "/usr/lib/python3/dist-packages", "/tmp"]
    assert prefix == "/venv"
    listed = service.get("/libraries").data["installed_packages"]
    assert listed["python-dateutil"]["version"] == "99"


def test_without_the_systems_packages(make_service, open_path):
    """One that was made to stand alone does: its scripts see its own packages and no others."""
    venv = make_venv(open_path, PACKAGE)
    settings = venv / "pyvenv.cfg"
    settings.write_text(settings.read_text().replace("= true", "= false"))
    service = start(make_service, venv, library_sets="base numpy:base:numpy")
    assert result(service.execute("import vessel\ndef main(): return vessel.answer")) == 42
    failed(service.execute("import numpy\ndef main(): pass"), "exception")
    assert "library set numpy" in service.log()


def test_library_set(make_service, open_path):
    """A set may keep its modules warm; /libraries says so."""
    service = start(make_service, make_venv(open_path, PACKAGE),
                    library_sets="base vessel:base:vessel.inner")
    usage = service.execute("import vessel\ndef main(): pass").data["usage"]
    assert usage["template"] == "vessel"
    vessel = service.get("/libraries").data["categories"]["c"]["libraries"]["vessel"]
    assert vessel["installed"] and vessel["warm"] and vessel["version"] == "1.5"


def test_it_cannot_be_changed(make_service, open_path):
    """Read-only, no set-uid programs, no devices; nothing of it is written to at the start."""
    venv = make_venv(open_path, PACKAGE)
    before = sorted(venv.rglob("*"))
    service = start(make_service, venv)
    errors = result(service.execute("""
import os
def main():
    def attempt(call, *arguments):
        try:
            call(*arguments)
        except OSError as error:
            return error.errno
    import vessel
    path = os.path.dirname(vessel.__file__)
    return [attempt(open, path + "/x", "w"),
            attempt(open, vessel.__file__, "a"), attempt(os.unlink, vessel.__file__),
            attempt(os.chmod, vessel.__file__, 0o777), attempt(os.rmdir, path)]
"""))
    assert {"ro", "nosuid", "nodev"} <= mounts_of(Tree(service).wardens[0].pid)["/venv"]
    assert set(errors) <= {errno.EROFS, errno.EACCES}
    assert sorted(venv.rglob("*")) == before


def test_pth_files_are_not_read(make_service, open_path):
    """Neither their code nor their paths: the interpreter that all scripts come from runs neither."""
    venv = make_venv(open_path, {**PACKAGE, "hook.pth": f"import sys; sys.{MARKER} = True\n",
                                "more.pth": "deeper\n", "deeper/hidden.py": ""})
    service = start(make_service, venv)
    assert result(service.execute(
        "import sys, importlib.util as u\ndef main(): return "
        f"[hasattr(sys, '{MARKER}'), u.find_spec('hidden')]")) == [False, None]


def test_the_hosts_path_is_not_told(make_service, open_path):
    """Where it lies on the host is no business of scripts."""
    service = start(make_service, make_venv(open_path, PACKAGE))
    script = ("import vessel, sys\ndef main(): return [vessel.__file__, sys.path, sys.prefix,"
              " open('/venv/lib64/%s/site-packages/vessel/inner.py').read()]"
              % site_packages(open_path / "venv").parent.name)
    assert str(open_path) not in str(result(service.execute(script)))


def test_links_within_and_out_of_it(make_service, open_path):
    """A link that stays inside leads on, one to the host leads nowhere."""
    (open_path / "outside.py").write_text("x = 1\n")
    venv = make_venv(open_path, PACKAGE)
    packages = site_packages(venv)
    (packages / "alias.py").symlink_to("vessel/inner.py")
    (packages / "outside.py").symlink_to(open_path / "outside.py")
    service = start(make_service, venv)
    assert result(service.execute("import alias\ndef main(): return alias.answer")) == 42
    failed(service.execute("import outside\ndef main(): pass"), "exception")


def test_new_packages_need_no_restart(make_service, open_path):
    """What is installed while it serves is seen by the next script."""
    venv = make_venv(open_path, {})
    service = start(make_service, venv)
    failed(service.execute("import vessel\ndef main(): pass"), "exception")
    add_packages(venv, PACKAGE)
    assert result(service.execute("import vessel\ndef main(): return vessel.answer")) == 42


@pytest.mark.parametrize("isolation", ["full", "available"])
def test_in_every_arrangement(make_service, open_path, isolation):
    """Also where not every layer is asked for."""
    service = start(make_service, make_venv(open_path, PACKAGE), isolation=isolation)
    assert result(service.execute("import vessel\ndef main(): return vessel.answer")) == 42


def refuse(make_service, venv, reason):
    with pytest.raises(RuntimeError, match=reason):
        start(make_service, venv)


def test_of_another_python_is_refused(make_service, open_path):
    """At the start, with both versions and what to do."""
    venv = make_venv(open_path, {})
    settings = venv / "pyvenv.cfg"
    settings.write_text(re.sub(r"version = .*", "version = 3.6.1", settings.read_text()))
    refuse(make_service, venv, "python_venv was made for Python 3.6.1, and this is Python 3"
                               r"\.\d+: make it anew, with /usr/bin/python3 -m venv")
    settings.write_text(re.sub(r"version = .*", "version_info = 3.1.0.final.0",
                               settings.read_text()))
    refuse(make_service, venv, "made for Python 3.1.0.final.0, and")


def test_without_packages_of_this_python_is_refused(make_service, open_path):
    """A version that is not told shows in the directory."""
    venv = make_venv(open_path, {})
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    site_packages(venv).parent.rename(venv / "lib" / "python3.6")
    refuse(make_service, venv, "python_venv: open lib/python3.*/site-packages: No such file")


def test_no_virtual_environment_is_refused(make_service, open_path):
    """A directory of another kind, a file, and nothing at all."""
    refuse(make_service, open_path, "python_venv: no virtual environment in .*: pyvenv.cfg: No such")
    refuse(make_service, open_path / "none", "python_venv .*/none: No such file")
    (open_path / "file").write_text("")
    refuse(make_service, open_path / "file", "python_venv: open .*/file: Not a directory")


def test_one_that_nobody_else_can_read_is_refused(make_service, open_path):
    """Scripts are nobody; the error says what is needed."""
    venv = make_venv(open_path, {})
    venv.chmod(0o700)
    refuse(make_service, venv, "python_venv: open .*, which everybody has to be able to read: "
                               "Permission denied")


def test_run_has_it_too(open_path):
    """The shell and HTTP behave alike."""
    from conftest import BUILD, CONF
    venv = make_venv(open_path, PACKAGE)
    done = subprocess.run([BUILD / "vivarium", "run", "--config", CONF, "--set",
                           f"python_venv={venv}", "-"], capture_output=True, text=True,
                          input="import vessel\ndef main(): return vessel.answer")
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
