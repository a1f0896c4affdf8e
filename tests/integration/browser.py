"""A real browser, and the origins whose pages it shows."""

import http.server
import json
import os
import queue
import shutil
import subprocess
import threading


class Site:
    """One origin: serves `pages` (path: media type, text) and takes what they post to /report."""

    def __init__(self):
        self.pages = {}
        self.reports = queue.Queue()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """One request."""

            def do_GET(self):
                media, text = site.pages.get(self.path, ("text/plain", ""))
                self.send_response(200)
                self.send_header("Content-Type", media)
                self.end_headers()
                self.wfile.write(text.encode())

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(204)
                self.end_headers()
                site.reports.put(json.loads(body))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def browse(url, profile, *flags):
    """Starts a headless Chromium, which is the caller's to end."""
    command = shutil.which("chromium")
    assert command, "deploy/packages.sh ensure test installs chromium"
    flags = ["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--no-proxy-server", "--disable-background-networking", f"--user-data-dir={profile}",
             *flags]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium does not start as root with it
    return subprocess.Popen([command, *flags, url], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
