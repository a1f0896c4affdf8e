"""What PowerShell's Invoke-RestMethod sends, and how it reads what comes back; there is none here.

Windows PowerShell 5.1 (HttpWebRequest): a string is sent as ISO-8859-1 unless the content type has a
charset, bytes as they are; with a body it asks to be told to continue before it sends that; text
without a charset is read as ISO-8859-1. PowerShell 7 (HttpClient): UTF-8 from 7.4 on, ISO-8859-1
before; it does not wait; JSON is read as UTF-8.
"""

import json
import re
import socket

AGENTS = {5: "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1682",
          7: "Mozilla/5.0 (Windows NT 10.0; Microsoft Windows 10.0.19045; en-US) PowerShell/7.4.2"}


def convert_to_json_5(value):
    """ConvertTo-Json of 5.1: two blanks behind a colon, and some signs of HTML escaped, no others."""
    if not isinstance(value, dict):
        text = json.dumps(value, ensure_ascii=False)
        return re.sub("[<>&']", lambda sign: f"\\u{ord(sign[0]):04x}", text)
    members = (f'    {json.dumps(key)}:  {convert_to_json_5(item)}' for key, item in value.items())
    return "{\r\n" + ",\r\n".join(members) + "\r\n}"


def convert_to_json_7(value):
    """ConvertTo-Json of 7."""
    return json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\r\n")


CONVERT = {5: convert_to_json_5, 7: convert_to_json_7}


def head(version, host, length):
    """The request's head for Invoke-RestMethod -Method Post -ContentType 'application/json'."""
    if version == 5:
        lines = ["POST /execute HTTP/1.1", f"User-Agent: {AGENTS[5]}",
                 "Content-Type: application/json", f"Host: {host}", f"Content-Length: {length}",
                 "Expect: 100-continue", "Connection: Keep-Alive"]
    else:
        lines = ["POST /execute HTTP/1.1", f"Host: {host}", f"User-Agent: {AGENTS[7]}",
                 "Accept-Encoding: gzip, deflate, br", "Content-Type: application/json",
                 f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def receive_head(connection):
    """Status and headers of one answer, interim ones too."""
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        assert piece, "the connection was closed"
        received += piece
    status, *lines = received[:-4].decode("latin-1").split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines)


def encode_body(version, body):
    """A string as the version sends it; bytes stay."""
    if isinstance(body, bytes):
        return body
    return body.encode("latin-1", "replace") if version == 5 else body.encode()


def invoke_rest_method(service, version, body):
    """Returns the status and the text of the answer as the version reads it."""
    content = encode_body(version, body)
    with socket.create_connection((service.host, service.port), timeout=30) as connection:
        connection.sendall(head(version, f"{service.host}:{service.port}", len(content)))
        if version == 5:
            assert receive_head(connection)[0] == 100
        connection.sendall(content)
        status, headers = receive_head(connection)
        received = b""
        while len(received) < int(headers["content-length"]):
            received += connection.recv(65536)
    assert headers["content-type"] == "application/json"
    return status, received.decode("latin-1" if version == 5 else "utf-8")
