"""Clients of earlier services with the same POST /execute, each acted as it is: what they send, how
they read it, and the texts that they look for."""

import gzip
import http.client
import json
import re
import subprocess

import pytest

from conftest import TOP
from powershell import CONVERT, invoke_rest_method

SCRIPT = "def main():\n    print('Processing...')\n    return {'answer': 42}"
TEXTS = [
    ("", 400, "script must be a non-empty string"),
    ("print('x')", 400, "Script must contain a main() function"),
    ("def main(:", 400, "Syntax error in script: "),
    ("def main(): raise ValueError('bad input')", 400, "ValueError: bad input"),
    ("def main(): return {1}", 400, "is not JSON serializable"),
    ("import sys\ndef main(): sys.exit(1)", 400, "SystemExit: 1"),
]


# --- curl scripts ---------------------------------------------------------------------------------


def curl(service, *arguments, path="/execute"):
    """What a shell script sees of curl's answer."""
    return subprocess.run(["curl", "-s", *arguments, f"http://{service.host}:{service.port}{path}"],
                          capture_output=True, text=True, timeout=30, check=True).stdout


def test_curl_script(service):
    """-d, and a look for a text in the answer."""
    printed = curl(service, "-X", "POST", "-H", "Content-Type: application/json", "-d",
                   json.dumps({"script": SCRIPT}))
    assert '"success": true' in printed and '"result": {"answer": 42}' in printed
    assert json.loads(printed)["stdout"] == "Processing...\n"


def test_curl_with_a_large_file(service, tmp_path):
    """Over a mebibyte curl asks to be told to continue; the status comes by -w."""
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"script": SCRIPT + "\n#" + "x" * 1000000, "stdin": "y" * 500000}))
    printed = curl(service, "-H", "content-type:application/json", "--data-binary", f"@{body}",
                   "-w", "\n%{http_code}")
    answer, status = printed.rsplit("\n", 1)
    assert status == "200" and json.loads(answer)["result"] == {"answer": 42}


def test_curl_without_the_header(service):
    """curl's own content type is a form's: that is told."""
    data = json.loads(curl(service, "-d", json.dumps({"script": SCRIPT})))
    assert data["success"] is False and "Content-Type must be application/json" in data["error"]


def test_curl_health_check(service):
    """Two texts that scripts wait for."""
    printed = curl(service, path="/health")
    assert '"status": "healthy"' in printed and '"nsjail_config_exists": true' in printed


# --- PowerShell -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [5, 7])
def test_powershell_string(service, version):
    """An ASCII body may be a string."""
    body = CONVERT[version]({"script": SCRIPT.replace("'", '"')})
    status, text = invoke_rest_method(service, version, body)
    data = json.loads(text)
    assert status == 200 and data["success"] is True
    assert (data["result"]["answer"], data["stdout"]) == (42, "Processing...\n")


@pytest.mark.parametrize("version", [5, 7])
def test_powershell_reads_what_is_not_ascii(service, version):
    """Answers are escaped: even 5.1 reads them rightly."""
    script = "def main(): return 'h\u00e9llo \u65e5\u672c \U0001f600 <b>&'"
    body = CONVERT[version]({"script": script}).encode()
    status, text = invoke_rest_method(service, version, body)
    assert status == 200 and json.loads(text)["result"] == "h\u00e9llo \u65e5\u672c \U0001f600 <b>&"


def test_powershell_5_string_that_is_not_ascii(service):
    """Latin-1 is no UTF-8: that is refused and told, and not run as something else."""
    body = CONVERT[5]({"script": "def main(): return 'h\u00e9'"})
    status, text = invoke_rest_method(service, 5, body)
    data = json.loads(text)
    assert status == 400 and data["cause"]["kind"] == "invalid_request"
    assert "UTF-8" in data["error"]


@pytest.mark.parametrize("version", [5, 7])
def test_powershell_error(service, version):
    """The text of a status over 399 is what ErrorDetails has."""
    status, text = invoke_rest_method(service, version, '{"script": "x = 1"}')
    assert status == 400
    assert json.loads(text)["error"].startswith("Script must contain a main() function")


def here_string(block):
    return re.search(r"@'\n(.*)\n'@", block, re.S)[1]


@pytest.mark.parametrize("version", [5, 7])
def test_powershell_examples_of_the_documentation(service, version):
    """Each block by the bytes that its commands send."""
    page = (TOP / "docs" / "clients.md").read_text()
    first, second = re.findall(r"```powershell\n(.*?)```", page, re.S)
    assert "@{ script = $script; timeout = 10 } | ConvertTo-Json" in first
    assert "[Text.Encoding]::UTF8.GetBytes($json)" in first and "-Body $body" in first
    # PowerShell 5.1's files have CR LF, which here-strings keep
    script = here_string(first).replace("\n", "\r\n" if version == 5 else "\n")
    body = CONVERT[version]({"script": script, "timeout": 10}).encode()
    status, text = invoke_rest_method(service, version, body)
    assert status == 200 and json.loads(text)["result"] == {"answer": 42, "text": "\u00e9"}
    assert json.loads(text)["stdout"] == "hi\n"
    body = re.search(r"-Body '(.*?)'", second)[1]
    status, text = invoke_rest_method(service, version, body)
    assert status == 400 and json.loads(text)["error"].startswith("Script must contain a main()")
    for command in re.findall("Invoke-RestMethod.*", page)[1:]:
        assert "-Method Post -ContentType 'application/json'" in command or "`" in command


# --- Python tests ---------------------------------------------------------------------------------


REQUESTS = {"User-Agent": "python-requests/2.32.3", "Accept-Encoding": "gzip, deflate",
            "Accept": "*/*", "Connection": "keep-alive", "Content-Type": "application/json"}


def test_python_session(service):
    """Several requests over one connection, as a session of requests makes them."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    for script, status, text in TEXTS:
        connection.request("POST", "/execute", json.dumps({"script": script}), REQUESTS)
        response = connection.getresponse()
        data = json.loads(response.read())
        assert response.status == status
        assert data["success"] is False and text in data["error"]
        assert set(data) >= {"success", "error", "stdout", "timestamp"} and "result" not in data
    connection.close()


def test_python_timeout(service):
    """408 and its words."""
    answer = service.execute("import time\ndef main(): time.sleep(9)", timeout=0.2)
    assert answer.status == 408
    assert "Script execution timed out after 0.2 seconds" in answer.data["error"]


def test_python_decodes_gzip(service):
    """Large answers come compressed to those who can read that."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    connection.request("POST", "/execute", json.dumps({"script": "def main(): return 'x' * 100000"}),
                       REQUESTS)
    response = connection.getresponse()
    body = response.read()
    assert response.getheader("Content-Encoding") == "gzip" and len(body) < 10000
    assert json.loads(gzip.decompress(body))["result"] == "x" * 100000
    connection.close()


# --- A browser front end --------------------------------------------------------------------------


BROWSER = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate, br, zstd",
           "Accept-Language": "en-US,en;q=0.9", "Content-Type": "application/json",
           "Origin": "http://front.example", "Referer": "http://front.example/",
           "Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "cross-site",
           "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                         "Chrome/130.0.0.0 Safari/537.36"}


def test_browser(service):
    """fetch() with JSON; whether the page may read the answer is for cors_origins to say."""
    answer = service.request("POST", "/execute", json.dumps({"script": SCRIPT}), BROWSER)
    data = answer.data
    assert (data["success"], data["result"], data["stdout"]) == (
        True, {"answer": 42}, "Processing...\n")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", data["timestamp"])
    assert "error" not in data and answer.headers["Content-Type"] == "application/json"


def test_browser_shows_the_plot(service):
    """visualizations has data URLs for <img>."""
    script = "import matplotlib.pyplot as plt\ndef main(): plt.plot([1, 2])"
    answer = service.request("POST", "/execute", json.dumps({"script": script}),
                             {**BROWSER, "Accept-Encoding": "identity"})
    figures = answer.data["visualizations"]
    assert len(figures) == 1 and figures[0]["data"].startswith("data:image/png;base64,iVBOR")
