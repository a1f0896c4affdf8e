"""Makes key files, by the command and by hand."""

import hashlib
import os
import subprocess

from conftest import BUILD


class KeyFile:
    """A key file that is edited as an operator does; remembers the keys by their names."""

    def __init__(self, path):
        self.path = path
        self.keys = {}
        path.touch(mode=0o600)

    def command(self, *words):
        return subprocess.run([BUILD / "vivarium", "key", *words, "--key-file", self.path],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def add(self, name, *options):
        done = self.command("add", name, *options)
        assert done.returncode == 0, done.stderr
        self.keys[name] = done.stdout.strip()
        return self.keys[name]

    def revoke(self, name):
        assert self.command("revoke", name).returncode == 0

    def write_line(self, name, key, settings=""):
        """What no command would write: a key of one's own, an expiry that has passed."""
        with open(self.path, "a") as file:
            file.write(f"{name} sha256:{hashlib.sha256(key.encode()).hexdigest()} {settings}\n")
        os.chmod(self.path, 0o600)
        self.keys[name] = key
