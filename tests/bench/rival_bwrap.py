"""Rival "bwrap": what is usually built. Flask starts bubblewrap with a cold Python per script.

Meant to be a good one of its kind: no shell, one mount per need, the script by stdin, the result by
a memory file, matplotlib's font list made once and lent to every jail, one BLAS thread. Limits on
memory and system calls, which such services should have too, are left out: they cost time.
"""

import glob
import json
import os
import subprocess
import tempfile

from flask import Flask, jsonify, request

PYTHON = "/usr/bin/python3"
TIMEOUT_S = 15

WRAPPER = """
import json, sys
names = {"__name__": "script"}
try:
    exec(compile(sys.stdin.read(), "script.py", "exec"), names)
    answer = json.dumps({"success": True, "result": names["main"]()})
except BaseException as error:
    answer = json.dumps({"success": False, "error": f"{type(error).__name__}: {error}"})
with open(int(sys.argv[1]), "w") as result:
    result.write(answer)
"""

app = Flask(__name__)


def matplotlib_font_list():
    """matplotlib's font list, built by the first start; its path, or None without matplotlib."""
    folder = os.environ.get("BENCH_CACHE") or tempfile.mkdtemp()
    pattern = os.path.join(folder, "fontlist-*.json")
    if not glob.glob(pattern):
        subprocess.run([PYTHON, "-c", "import matplotlib.font_manager"], check=False,
                       env={**os.environ, "MPLCONFIGDIR": folder}, stderr=subprocess.DEVNULL)
    return next(iter(glob.glob(pattern)), None)


def jail_command(font_list):
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--clearenv",
               "--ro-bind", "/usr", "/usr",
               "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
               "--symlink", "usr/bin", "/bin",
               "--ro-bind", "/etc/alternatives", "/etc/alternatives",
               "--ro-bind-try", "/etc/matplotlibrc", "/etc/matplotlibrc",
               "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp",
               "--setenv", "PATH", "/usr/bin", "--setenv", "HOME", "/tmp",
               "--setenv", "LANG", "C.UTF-8", "--setenv", "OPENBLAS_NUM_THREADS", "1"]
    if font_list:
        # The folder must be writable or matplotlib ignores it: a bind of the file alone.
        command += ["--dir", "/mpl", "--setenv", "MPLCONFIGDIR", "/mpl",
                    "--ro-bind", font_list, "/mpl/" + os.path.basename(font_list)]
    return command + [PYTHON, "-I", "-c", WRAPPER]


COMMAND = jail_command(matplotlib_font_list())


def run_jailed(script):
    result_fd = os.memfd_create("result")
    try:
        done = subprocess.run(COMMAND + [str(result_fd)], input=script.encode(), timeout=TIMEOUT_S,
                              capture_output=True, pass_fds=[result_fd], check=False)
        answer = os.pread(result_fd, os.fstat(result_fd).st_size, 0)
    finally:
        os.close(result_fd)
    if not answer:
        return {"success": False, "error": done.stderr.decode(errors="replace")}
    return {**json.loads(answer), "stdout": done.stdout.decode(errors="replace")}


@app.post("/execute")
def execute():
    try:
        answer = run_jailed(request.get_json()["script"])
    except subprocess.TimeoutExpired:
        answer = {"success": False, "error": f"timeout after {TIMEOUT_S} s"}
    return jsonify(answer), 200 if answer["success"] else 400


@app.get("/health")
def health():
    return {"status": "healthy"}
