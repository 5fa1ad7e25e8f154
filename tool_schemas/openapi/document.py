"""OpenAPI documents: read from a dict, a file or a URL (JSON or YAML), and their references followed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loraloop.tool_schemas.errors import SchemaError, ToolError, file_errors
from loraloop.tool_schemas.http.client import HttpClient, Sending
from loraloop.tool_schemas.http.policy import NetworkPolicy
from loraloop.tool_schemas.http.request import HttpRequest
from loraloop.tool_schemas.schema.places import json_path, place_of, pointer
from loraloop.tool_schemas.yamltext import plain, read_yaml

Parts = tuple[str | int, ...]

MOST_NODES = 2_000_000  # values in a document; YAML's aliases can make more of them than there are bytes
MOST_BYTES = 32 << 20
_ACCEPT = "application/json, application/yaml, application/vnd.oai.openapi+json, */*;q=0.5"


@dataclass(frozen=True, slots=True)
class OpenApiDocument:
    """A document of OpenAPI 3.0 or 3.1.

    Attributes:
        root: The document as JSON data.
        location: The URL that it was read from; empty if from elsewhere.
        children: For each schema's reference, those that build on it with ``allOf``.
    """

    root: dict[str, Any] = field(repr=False)
    location: str = ""
    children: dict[str, list[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        version = self.root.get("openapi")
        if isinstance(version, float):  # YAML without quotes
            version = self.root["openapi"] = str(version)
        if version is None and "swagger" in self.root:
            raise SchemaError("this is a Swagger 2 document; convert it to OpenAPI 3 first", "$.swagger")
        if not isinstance(version, str) or not re.match(r"3\.[01](\.|$)", version):
            raise SchemaError(f"OpenAPI version {version!r} is not supported; 3.0 and 3.1 are", "$.openapi")
        dialect = self.root.get("jsonSchemaDialect", "")
        if dialect and "oas/3.1" not in str(dialect) and "2020-12" not in str(dialect):
            raise SchemaError(f"schemas in the dialect {dialect!r} are not supported", "$.jsonSchemaDialect")
        children: dict[str, list[str]] = {}
        schemas = self.part("components", "schemas")
        for name, schema in schemas.items():
            members = schema.get("allOf") if isinstance(schema, dict) else None
            for member in members if isinstance(members, list) else ():
                if isinstance(member, dict) and isinstance(member.get("$ref"), str):
                    children.setdefault(member["$ref"], []).append(pointer(("components", "schemas", name)))
        object.__setattr__(self, "children", children)

    @property
    def old(self) -> bool:
        """Whether its schemas are those of 3.0, which are not JSON Schema."""
        return str(self.root["openapi"]).startswith("3.0")

    def part(self, *keys: str) -> dict[str, Any]:
        """The object under these keys; empty if there is none.

        Raises:
            SchemaError: If something else is there.
        """
        place: Any = self.root
        for index, key in enumerate(keys):
            place = place.get(key)
            if place is None:
                return {}
            if not isinstance(place, dict):
                raise SchemaError("must be an object", json_path(keys[: index + 1]))
        return dict(place)

    def target(self, reference: Any, parts: Parts) -> tuple[Any, Parts]:
        """What a reference leads to, and the path to it.

        Raises:
            SchemaError: If it leads out of the document, or nowhere.
        """
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaError(
                f"{reference!r} lies in another document; bundle the documents into one", json_path((*parts, "$ref"))
            )
        found = place_of(self.root, reference)
        if found is None:
            raise SchemaError(f"{reference!r} is not in the document; correct it", json_path((*parts, "$ref")))
        there, node = found
        return node, there

    def followed(self, node: Any, parts: Parts) -> tuple[dict[str, Any], Parts]:
        """A parameter, body, response … with its reference, if it is one, followed.

        Raises:
            SchemaError: If it is no object, or the references go round in a circle.
        """
        for each, there in self.chain(node, parts):
            if not isinstance(each, dict):
                raise SchemaError("must be an object", json_path(there))
            if "$ref" not in each:
                return each, there
        raise SchemaError("references lead in a circle", json_path(there))

    def chain(self, node: Any, parts: Parts) -> Iterator[tuple[Any, Parts]]:
        """A node, what it refers to, what that refers to …, each with the path to it; 32 of them at most.

        Raises:
            SchemaError: See `target`.
        """
        for _ in range(32):
            yield node, parts
            if not isinstance(node, dict) or "$ref" not in node:
                return
            node, parts = self.target(node["$ref"], parts)


def load_document(source: Mapping[str, Any] | str | Path, policy: NetworkPolicy | None = None) -> OpenApiDocument:
    """Reads a document.

    Args:
        source: The document, a path, or an ``http(s)://`` URL, which is fetched under the policy (its own host is
            allowed).
        policy: See `source`.

    Raises:
        SchemaError: If it cannot be read, or is no OpenAPI document of a known version.
        ToolError: If the policy refuses, or the server does not answer.
    """
    if isinstance(source, Mapping):
        try:
            copy = json.loads(json.dumps(source, default=str))
        except (TypeError, ValueError, RecursionError) as error:
            raise SchemaError(f"the document is no JSON data: {error}") from None
        return OpenApiDocument(_bounded(copy, "the document"))
    if isinstance(source, str) and re.match(r"https?://", source):
        return OpenApiDocument(_bounded(_parsed(_fetched(source, policy or NetworkPolicy()), source), source), source)
    file = Path(source)
    with file_errors(f"cannot read the OpenAPI document {file}", kind=SchemaError):
        if file.stat().st_size > MOST_BYTES:
            raise SchemaError(f"{file} is larger than {MOST_BYTES >> 20} MiB; split it, or leave operations out")
        content = file.read_bytes()
    return OpenApiDocument(_bounded(_parsed(content, str(file)), str(file)))


def _fetched(url: str, policy: NetworkPolicy) -> bytes:
    with HttpClient(policy.allowing(url)) as client:
        answer = client.send(HttpRequest("GET", url, (("Accept", _ACCEPT),)), Sending(max_bytes=MOST_BYTES))
    if answer.status != 200:
        raise ToolError(f"cannot fetch the OpenAPI document {url}: HTTP {answer.status}")
    return answer.content


def _parsed(content: bytes, name: str) -> Any:
    text = content.decode("utf-8-sig", "replace")
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SchemaError(f"{name} is not valid JSON: {error}") from None
    return read_yaml(text, name)


def _bounded(document: Any, name: str) -> dict[str, Any]:
    """The document; see `plain`.

    Raises:
        SchemaError: If not.
    """
    if not isinstance(document, dict):
        raise SchemaError(f"{name} is no OpenAPI document: it has to be an object with 'openapi' and 'paths'")
    return dict(plain(document, MOST_NODES, f"{name} holds more than {MOST_NODES} values; leave operations out"))
