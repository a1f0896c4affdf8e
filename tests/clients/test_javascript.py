"""clients/javascript/vivarium.mjs, by the tests beside this file and by TypeScript's compiler."""

import os
import re
import subprocess

from conftest import TOP

CLIENT = TOP / "clients" / "javascript" / "vivarium.mjs"
TSC = ["tsc", "--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--module",
       "es2022", "--lib", "es2022,dom,dom.iterable"]


def test_client(service):
    """Everything of javascript.test.mjs."""
    environment = dict(os.environ, VIVARIUM_URL=f"http://{service.host}:{service.port}")
    done = subprocess.run(["node", "--test", TOP / "tests" / "clients" / "javascript.test.mjs"],
                          env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"^\S+ pass (\d+)$", done.stdout, re.M)[1]) >= 1, done.stdout


def test_types():
    """What the comments say of types holds."""
    done = subprocess.run([*TSC, CLIENT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_types_of_callers(tmp_path):
    """Wrong fields are found where they are written."""
    (tmp_path / "vivarium.mjs").write_text(CLIENT.read_text())
    program = tmp_path / "caller.mts"
    program.write_text("import { Vivarium } from './vivarium.mjs';\nconst v = new Vivarium();\n"
                       "v.execute('x', { timeot: 1 });\nv.execute('x', { memory: '1' });\n"
                       "v.execute('x', { entry: null });\n"
                       "const n: number = (await v.execute('x')).stdout;\nexport { n };\n")
    done = subprocess.run([*TSC, "--moduleResolution", "node16", "--module", "node16", program],
                          capture_output=True, text=True, timeout=60)
    found = re.findall(r"caller\.mts\((\d+),", done.stdout)
    assert found == ["3", "4", "6"], done.stdout


def test_needs_nothing():
    """No import at all."""
    assert not re.search(r"^import |\brequire\(|\bimport\(", CLIENT.read_text(), re.M)
