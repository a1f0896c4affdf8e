"""Rival "exec": no isolation. exec() in the web server's own process, libraries loaded.

Nobody may offer this to strangers; it is here as the price of nothing but HTTP and Python.
"""

import contextlib
import io

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot    # noqa: E402, F401 - loaded before gunicorn forks its workers
import numpy                # noqa: E402, F401
import pandas               # noqa: E402, F401
from flask import Flask, jsonify, request  # noqa: E402

app = Flask(__name__)


def run_here(script):
    stdout = io.StringIO()
    names = {"__name__": "script"}
    try:
        with contextlib.redirect_stdout(stdout):
            exec(compile(script, "script.py", "exec"), names)
            answer = {"success": True, "result": names["main"]()}
    except BaseException as error:
        answer = {"success": False, "error": f"{type(error).__name__}: {error}"}
    return {**answer, "stdout": stdout.getvalue()}


@app.post("/execute")
def execute():
    answer = run_here(request.get_json()["script"])
    return jsonify(answer), 200 if answer["success"] else 400


@app.get("/health")
def health():
    return {"status": "healthy"}
