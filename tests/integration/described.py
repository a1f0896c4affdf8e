"""Holds answers against the OpenAPI document: what it does not describe must not come."""

import copy
import functools
import gzip
import json
from pathlib import Path

import jsonschema

DOCUMENT = Path(__file__).resolve().parents[2] / "fcgi-app" / "openapi.json"
# What every path answers beside what the document has for its operations (info.description).
EVERYWHERE = {404: "NotFound", 405: "MethodNotAllowed"}


def close(schema):
    """The schema with every object limited to the properties that are named."""
    if isinstance(schema, list):
        return [close(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(value) for key, value in schema.items()}
    if closed.get("type") == "object" and "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


class Described:
    """The document, and a validator for each schema of an answer."""

    def __init__(self, document):
        self.document = document
        self.components = close(copy.deepcopy(document["components"]))
        self.validator = functools.lru_cache(maxsize=None)(self._make_validator)

    def resolve(self, item):
        """What a reference into the document stands for."""
        while "$ref" in item:
            name = item["$ref"].split("/")[1:]
            item = functools.reduce(lambda found, key: found[key], name, self.document)
        return item

    def response(self, method, path, status):
        """What is described for a status; None where a path does not have it."""
        operation = self.document["paths"].get(path, {}).get(method.lower())
        if operation and str(status) in operation["responses"]:
            return self.resolve(operation["responses"][str(status)])
        if status in EVERYWHERE and not operation:
            return self.document["components"]["responses"][EVERYWHERE[status]]
        return None

    def _make_validator(self, text):
        schema = {"components": self.components, **close(json.loads(text))}
        return jsonschema.Draft202012Validator(schema)

    def check_value(self, schema, value, what):
        """A value against a schema of the document."""
        error = next(self.validator(json.dumps(schema)).iter_errors(value), None)
        if error:
            raise AssertionError(f"{what}: {list(error.absolute_path)}: {error.message[:400]}")

    def check_headers(self, response, headers, what):
        """Those that must be there are, and all are as they are described."""
        for name, header in response.get("headers", {}).items():
            header = self.resolve(header)
            schema = self.resolve(header["schema"])
            value = headers.get(name)
            if value is None:
                assert not header.get("required"), f"{what}: no {name}"
                continue
            if schema.get("type") == "integer":
                value = int(value)
            self.check_value(schema, value, f"{what}: {name}")

    def check(self, method, path, answer):
        """An answer: status, headers, content type and body."""
        path = path.partition("?")[0]
        what = f"{method} {path}: {answer.status}"
        if method == "OPTIONS":
            assert answer.status in (204, 404), what
            return
        if method == "HEAD" and "get" in self.document["paths"].get(path, {}):
            method = "GET"
        response = self.response(method, path, answer.status)
        assert response, f"{what} is not described"
        self.check_headers(response, answer.headers, what)
        if not answer.body:
            return
        media = answer.headers.get("Content-Type", "").partition(";")[0]
        assert media in response["content"], f"{what}: {media} is not described"
        body = answer.body
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if media == "application/json":
            self.check_value(response["content"][media]["schema"], json.loads(body), what)


@functools.lru_cache(maxsize=None)
def of_the_tree():
    """The document as it is in the source tree."""
    return Described(json.loads(DOCUMENT.read_text()))
