"""The messages of docs/troubleshooting.md are those that people see."""

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"

# What provokes each message of the first table, in its order.
SCRIPTS = [
    {"script": "import socket\ndef main():\n    socket.socket()"},
    {"script": "import subprocess\ndef main():\n    subprocess.run(['ls'])"},
    {"script": "import multiprocessing as m\ndef main():\n"
               "    m.get_context('spawn').Process(target=print).start()"},
    {"script": "import multiprocessing\ndef main():\n    multiprocessing.Manager()"},
    {"script": "import no_such_module\ndef main(): pass"},
    {"script": "def main():\n    open('/etc/x', 'w')"},
    {"script": "import shutil\ndef main():\n    shutil.disk_usage('/tmp')"},
    {"script": "def main():\n    for i in range(100000):\n        open(f'{i}', 'w').close()"},
    {"script": "def main():\n    with open('x', 'wb') as f:\n        f.truncate(1 << 30)"},
    {"script": "import os\ndef main():\n    while True: os.fork()"},
    {"script": "import threading, time\ndef main():\n    while True:\n"
               "        threading.Thread(target=time.sleep, args=[9], daemon=True).start()"},
    *({"script": f"import atexit, os, time\ndef main():\n    atexit.register({late})"}
      for late in ("os.kill, os.getpid(), 9", "os._exit, 3", "time.sleep, 9")),
    {"script": "import matplotlib.pyplot as plt, os\ndef main():\n    os.mkfifo('x')\n"
               "    for i in range(17): plt.figure(figsize=(1, 1))", "outputs": ["x"]},
    {"script": "def main():\n    return bytearray(10**9)", "memory": 64},
    {"script": "def main():\n    while True: pass", "timeout": 0.1},
    {"script": "x = 1"},
    {"script": "def main():\n    return {1, 2}"},
    {"script": "def main():\n    return [{1, 2}]"},
    {"script": "import os, signal\ndef main():\n    os.kill(os.getpid(), signal.SIGSEGV)"},
    {"script": "import os\ndef main():\n    os._exit(0)"},
    {"script": "def main(): pass", "memroy": 64},
]


def messages():
    """Those in backquotes at the beginning of a row of the first table, up to the configuration's."""
    table = PAGE.read_text().partition("## In answers")[2].partition("## At the start")[0]
    rows = re.findall(r"^\| (.*?) \|", table, re.M)
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)
            if "cause" not in message and message not in ("warnings", "\\u00e4")]


@pytest.fixture(scope="module")
def seen(service):
    """Everything that the service says to such requests."""
    said = [service.post(json.dumps(request)).body for request in SCRIPTS]
    said.append(service.post("{'script': 1}").body)
    said.append(service.post("{}", Content_Type="text/plain").body)
    return "\n".join(body.decode() for body in said)


# They need a service with keys, or one that is full, restarts or fails: test_keys, test_nginx,
# test_requests and tests/fault; or one that restricts imports: test_import_policy; or a slow
# reader: test_stream.
ELSEWHERE = {"An API key is required", "The API key is not known", "The API key has expired",
             "Too many requests are waiting", "No execution became free in time",
             "The service cannot take requests right now", "Internal error",
             "The service ended before it had answered", "Script contains potentially dangerous code",
             "live output was not read in time, and is not complete"}


@pytest.mark.parametrize("message", [m for m in messages() if m not in ELSEWHERE])
def test_message(seen, message):
    pattern = re.escape(message).replace(re.escape("..."), ".*")
    assert re.search(pattern, seen), seen


@pytest.mark.parametrize("message", sorted(ELSEWHERE))
def test_message_of_another_test(message):
    """It stands in the source, word for word, and on the page."""
    top = PAGE.parents[1]
    files = [*top.glob("fcgi-app/*.c"), *top.glob("runner/*.py"), top / "nginx/vivarium.conf.in"]
    assert any(message in path.read_text() for path in files)
    assert message in messages()
