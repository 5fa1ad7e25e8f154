"""Schemas of OpenAPI 3.0 and 3.1 as JSON Schema 2020-12, each with the definitions that it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.openapi.document import OpenApiDocument, Parts
from loraloop.tool_schemas.schema.formats import ENGINE, FREE, NUMERIC, PATTERNS
from loraloop.tool_schemas.schema.places import json_path

_MAPS = ("properties", "patternProperties", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLES = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedProperties", "unevaluatedItems"),
)
_DROPPED = frozenset(
    {
        *("xml", "externalDocs", "discriminator", "example", "examples", "nullable", "readOnly", "writeOnly"),
        *("deprecated", "$schema", "$comment", "$defs", "definitions", "contentSchema", "contentMediaType"),
        *("contentEncoding", "$vocabulary"),
    }
)
_REFUSED = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef")
_FORMATS = PATTERNS.keys() | ENGINE | FREE | NUMERIC
_FORMATS |= {"uri-reference", "iri", "iri-reference", "idn-email", "idn-hostname", "uri-template", "json-pointer"}
_FORMATS |= {"relative-json-pointer", "regex"}
_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_COMPONENT = "#/components/schemas/"
_EXAMPLE = 60  # characters of an example that is kept
_MOST_MERGES = 5_000

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Flat:
    """An object schema without alternatives: what its ``allOf`` members say, put together.

    Attributes:
        properties: Each with its schema in the document and the path to it.
        required: Names.
        extra: ``additionalProperties`` of the schema; None where it says nothing.
        description: The schema's own description.
    """

    properties: dict[str, tuple[Any, Parts]]
    required: tuple[str, ...]
    extra: Any
    description: str


class SchemaWriter:
    """Writes the schemas of requests of one document; ``readOnly`` properties are left out."""

    def __init__(self, document: OpenApiDocument) -> None:
        self.document = document
        self._names: dict[tuple[str, bool, frozenset[str]], str] = {}
        self._pending: list[tuple[str, str, bool, frozenset[str]]] = []
        self._written: dict[str, Any] = {}
        self._merges = 0

    def write(self, node: Any, parts: Parts) -> Any:
        """The schema; references lead to `definitions`.

        Raises:
            SchemaError: With the path of what has no counterpart in JSON Schema.
        """
        return self._schema(node, parts, False, frozenset())

    def definitions(self) -> dict[str, Any]:
        """What the schemas written so far refer to, and what that refers to."""
        while self._pending:
            name, reference, plain, hidden = self._pending.pop()
            node, parts = self.document.target(reference, ())
            heirs = () if plain else self._heirs(reference, node)
            if heirs:
                self._written[name] = {"oneOf": [self._branch(node, heir, parts) for heir in heirs]}
            else:
                self._written[name] = self._schema(node, parts, plain, hidden)
        return self._written

    def hides(self, node: Any, parts: Parts) -> bool:
        """Whether a property with this schema does not exist in this direction."""
        chain = self.document.chain(node, parts)
        return any(isinstance(each, dict) and each.get("readOnly") is True for each, _ in chain)

    def has_heirs(self, node: Any, parts: Parts) -> bool:
        """Whether a schema, or what it refers to, stands for those that build on it (by its discriminator)."""
        chain = self.document.chain(node, parts)
        return any(self._heirs(link["$ref"], target) for (link, _), (target, _) in pairwise(chain))

    def flat(self, node: Any, parts: Parts, ignored: str = "", seen: tuple[str, ...] = ()) -> Flat | None:
        """The schema as one plain object, or None if it is none.

        Args:
            node: In the document.
            parts: The path to it.
            ignored: A property about which the members of ``allOf`` may differ.
            seen: References that are being followed.
        """
        self._merges += 1
        if self._merges > _MOST_MERGES:
            raise SchemaError("'allOf' is nested too often; flatten the schema", json_path(parts))
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            siblings = set(node) - {"$ref", "description", "summary"}
            if node["$ref"] in seen or (siblings and not self.document.old):
                return None
            target, there = self.document.target(node["$ref"], parts)
            return self.flat(target, there, ignored, (*seen, node["$ref"]))
        if not isinstance(node, dict) or node.get("type", "object") != "object" or node.get("nullable") is True:
            return None
        says = {key for key in node if key not in _DROPPED and not key.startswith("x-")}
        if says - {
            "type",
            "properties",
            "required",
            "additionalProperties",
            "allOf",
            "title",
            "description",
            "default",
        }:
            return None
        if not says & {"properties", "allOf"} or (says & {"additionalProperties"} and says & {"allOf"}):
            return None
        own = _checked(node.get("properties", {}), dict, (*parts, "properties"))
        properties = {name: (inner, (*parts, "properties", name)) for name, inner in own.items()}
        required = list(_names(node.get("required", []), (*parts, "required")))
        description = node.get("description", "")
        for index, member in enumerate(_checked(node.get("allOf", []), list, (*parts, "allOf"))):
            other = self.flat(member, (*parts, "allOf", index), ignored, seen)
            if other is None or other.extra is not None:
                return None
            for name, (inner, there) in other.properties.items():
                if name in properties and name != ignored and properties[name][0] != inner:
                    return None
                properties.setdefault(name, (inner, there))
            required += other.required
            description = description or (other.description if not own else "")
        unique = tuple(dict.fromkeys(required))
        return Flat(properties, unique, node.get("additionalProperties"), str(description or ""))

    def write_flat(self, flat: Flat, fixed: dict[str, Any]) -> dict[str, Any]:
        """A plain object written as a schema; `fixed` replaces properties and makes them required."""
        unseen = {name for name, (inner, parts) in flat.properties.items() if self.hides(inner, parts)} - fixed.keys()
        written = {
            name: fixed[name] if name in fixed else self.write(inner, parts)
            for name, (inner, parts) in flat.properties.items()
            if name not in unseen
        }
        out: dict[str, Any] = {"type": "object", "properties": fixed | written}
        required = dict.fromkeys((*flat.required, *fixed))
        if kept := [name for name in required if name not in unseen]:
            out["required"] = kept
        if flat.extra is not None:
            out["additionalProperties"] = self.write(flat.extra, ())
        if flat.description:
            out["description"] = flat.description
        return out

    # --- one schema ------------------------------------------------------------------------------------------------

    def _schema(self, node: Any, parts: Parts, plain: bool, hidden: frozenset[str]) -> Any:
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            raise SchemaError("must be a schema, that is, an object", json_path(parts))
        if "$ref" in node:
            link = {"$ref": f"#/$defs/{self._name(node['$ref'], parts, plain, hidden)}"}
            rest = {key: value for key, value in node.items() if key not in ("$ref", "summary")}
            return link if self.document.old or not rest else self._schema(rest, parts, plain, hidden) | link
        if self.document.old:
            node = _modern(node)
        unseen = self._hidden(node, parts)
        hidden |= unseen
        discriminator = node.get("discriminator")
        out: dict[str, Any] = {}
        for key, value in node.items():
            if key in _REFUSED:
                raise SchemaError(
                    f"{key!r} is not supported; refer to '#/components/schemas/…'", json_path((*parts, key))
                )
            if key in _DROPPED or key.startswith("x-"):
                continue
            where = (*parts, key)
            if key in ("oneOf", "anyOf") and isinstance(discriminator, dict):
                listed = enumerate(_checked(value, list, where))
                out[key] = [self._branch(node, each, parts, (*where, index)) for index, each in listed]
            elif key in _MAPS:
                kept = {
                    name: self._schema(inner, (*where, name), False, frozenset())
                    for name, inner in _checked(value, dict, where).items()
                    if key != "properties" or name not in unseen
                }
                if kept or key == "properties":
                    out[key] = kept
            elif key in _LISTS:
                inside = hidden if key == "allOf" else frozenset[str]()
                out[key] = [
                    self._schema(inner, (*where, index), key == "allOf", inside)
                    for index, inner in enumerate(_checked(value, list, where))
                ]
            elif key in _SINGLES:
                out[key] = self._schema(value, where, False, frozenset())
            elif key == "required":
                if kept_names := [name for name in _names(value, where) if name not in hidden]:
                    out[key] = kept_names
            elif key == "format":
                out |= _format(value, node)
            else:
                out[key] = value
        return out | _examples(node)

    def _hidden(self, node: dict[str, Any], parts: Parts, seen: tuple[str, ...] = ()) -> frozenset[str]:
        """Names of properties, those of ``allOf`` members too, that do not exist in this direction."""
        found = set()
        if isinstance(node.get("properties"), dict):
            for name, inner in node["properties"].items():
                if self.hides(inner, (*parts, "properties", name)):
                    found.add(name)
        for member in node.get("allOf", ()) if isinstance(node.get("allOf"), list) else ():
            reference = member.get("$ref") if isinstance(member, dict) else None
            if reference in seen:
                continue
            self._merges += 1
            if self._merges > _MOST_MERGES:
                raise SchemaError("'allOf' is nested too often; flatten the schema", json_path(parts))
            inner, there = self.document.target(reference, parts) if reference is not None else (member, parts)
            if isinstance(inner, dict):
                found |= self._hidden(inner, there, (*seen, str(reference)))
        return frozenset(found)

    def _name(self, reference: Any, parts: Parts, plain: bool, hidden: frozenset[str]) -> str:
        target, _ = self.document.target(reference, parts)
        heirs = self._heirs(reference, target)
        key = (reference, plain and bool(heirs), hidden)
        if key not in self._names:
            stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", reference.rsplit("/", 1)[-1]).strip("_") or "schema"
            stem += "_itself" if key[1] else ""
            name, number = stem, 1
            while name in self._names.values():
                number += 1
                name = f"{stem}_{number}"
            self._names[key] = name
            self._pending.append((name, reference, plain, hidden))
        return self._names[key]

    # --- discriminators --------------------------------------------------------------------------------------------

    def _heirs(self, reference: str, node: Any) -> tuple[dict[str, Any], ...]:
        """For a schema with a discriminator and without alternatives: those that build on it, as references."""
        discriminator = node.get("discriminator") if isinstance(node, dict) else None
        if not isinstance(discriminator, dict) or "oneOf" in node or "anyOf" in node:
            return ()
        found: dict[str, None] = {}
        pending = [reference]
        while pending:
            for child in self.document.children.get(pending.pop(), ()):
                if child not in found and child != reference:
                    found[child] = None
                    pending.append(child)
        if found and reference in self._mapped(discriminator).values():
            found[reference] = None
        return tuple({"$ref": each} for each in found)

    def _branch(self, union: dict[str, Any], branch: Any, parts: Parts, where: Parts | None = None) -> Any:
        """An alternative of a discriminated union, its discriminating property fixed to the values that mean it."""
        where = parts if where is None else where
        discriminator = union["discriminator"]
        name = discriminator.get("propertyName")
        if not isinstance(name, str):
            raise SchemaError("a discriminator needs a 'propertyName'", json_path((*parts, "discriminator")))
        reference = branch.get("$ref") if isinstance(branch, dict) else None
        if not isinstance(reference, str):
            return self._schema(branch, where, False, frozenset())
        values = [value for value, target in self._mapped(discriminator, parts).items() if target == reference]
        if not values and reference.startswith(_COMPONENT):
            values = [reference.removeprefix(_COMPONENT)]
        flat = self.flat(branch, where, name)
        if flat is not None and name in flat.properties:
            own = flat.properties[name][0]
            own_values = own.get("enum", [own["const"]] if "const" in own else None) if isinstance(own, dict) else None
            if isinstance(own_values, list):
                values = [value for value in values if value in own_values] or own_values
        fixed = {"const": values[0]} if len(values) == 1 else {"enum": values}
        if not values:
            return self._schema(branch, where, True, frozenset())
        if flat is not None:
            return self.write_flat(flat, {name: fixed})
        marked = {"type": "object", "properties": {name: fixed}, "required": [name]}
        return {"allOf": [self._schema(branch, where, True, frozenset()), marked]}

    def _mapped(self, discriminator: dict[str, Any], parts: Parts = ()) -> dict[str, str]:
        """The discriminator's values, each with the reference that it means."""
        mapping = discriminator.get("mapping", {})
        found = {}
        for value, target in mapping.items() if isinstance(mapping, dict) else ():
            reference = target if "#" in str(target) or "/" in str(target) else f"{_COMPONENT}{target}"
            self.document.target(reference, (*parts, "discriminator", "mapping", value))
            found[value] = reference
        return found


def _modern(node: dict[str, Any]) -> dict[str, Any]:
    """A schema object of 3.0 with the keywords of JSON Schema 2020-12."""
    out = dict(node)
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(out.get(exclusive), bool) and out.pop(exclusive) and bound in out:
            out[exclusive] = out.pop(bound)
    kind = out.get("type")
    if out.get("nullable") is True and isinstance(kind, str):  # without a type it says nothing (3.0.3)
        out["type"] = [kind, "null"]
    return out


def _format(form: Any, node: dict[str, Any]) -> dict[str, Any]:
    """The format, if it is one that says what a value must be; OpenAPI allows any word there."""
    if form == "byte" and "pattern" not in node:
        return {"pattern": _BASE64}
    return {"format": form} if isinstance(form, str) and form in _FORMATS else {}


def _examples(node: dict[str, Any]) -> dict[str, Any]:
    examples = node.get("examples") if isinstance(node.get("examples"), list) else []
    found = [*(examples or []), *([node["example"]] if "example" in node else [])]
    short = [each for each in found if not isinstance(each, dict | list) and len(dumps(each)) <= _EXAMPLE]
    return {"examples": short[:2]} if short else {}


def _checked(value: Any, kind: type[V], parts: Parts) -> V:
    """A value of a document that has to be an object or a list."""
    if not isinstance(value, kind):
        raise SchemaError(f"must be {'an object' if kind is dict else 'a list'}", json_path(parts))
    return value


def _names(value: Any, parts: Parts) -> Iterable[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SchemaError("must be a list of property names", json_path(parts))
    return value
