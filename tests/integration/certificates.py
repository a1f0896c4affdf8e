"""A certificate authority of the tests' own, made by openssl."""

import pathlib
import ssl
import subprocess

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_self_signed(directory):
    """A certificate for 127.0.0.1 that nobody vouches for: its path, and a server's context with it."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    openssl("req", "-x509", *KEY, "-subj", "/CN=localhost", "-addext",
            "subjectAltName=IP:127.0.0.1", "-days", 1, "-keyout", key, "-out", certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


class Certificate:
    """Paths of certificate and key, and a client's context that trusts nothing else."""

    def __init__(self, certificate, key, authority):
        self.certificate = certificate
        self.key = key
        self.authority = authority

    @property
    def context(self):
        return ssl.create_default_context(cafile=self.authority)


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.certificate = self.directory / "ca.pem"
        openssl("req", "-x509", *KEY, "-keyout", self.directory / "ca.key", "-out",
                self.certificate, "-days", 30, "-subj", "/CN=Vivarium's tests", "-addext",
                "keyUsage=critical,keyCertSign")

    def issue(self, name, days=30, alternatives="DNS:localhost,IP:127.0.0.1,IP:::1"):
        """A server's certificate; name is the files', alternatives what it is for."""
        certificate, key, request, extensions = (
            self.directory / (name + suffix) for suffix in (".pem", ".key", ".csr", ".ext"))
        extensions.write_text(f"subjectAltName={alternatives}\nauthorityKeyIdentifier=keyid\n")
        openssl("req", *KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey",
                self.directory / "ca.key", "-days", days, "-extfile", extensions, "-out", certificate)
        return Certificate(certificate, key, self.certificate)
