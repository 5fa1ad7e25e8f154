"""Which JSON Schema keywords decoding enforces exactly, which it can check, and which say nothing about values."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.schema.normal import LISTS, Parts, normalised
from loraloop.tool_schemas.schema.references import place_of
from loraloop.tool_schemas.schema.validation import json_path

if TYPE_CHECKING:
    from loraloop.tool_schemas.grammar.grammar import OnUnsupported

# fmt: off
ENFORCED = frozenset({
    "type", "const", "enum", "anyOf", "oneOf", "allOf", "$ref",
    "items", "prefixItems", "minItems", "maxItems",
    "properties", "additionalProperties", "patternProperties", "required", "minProperties", "maxProperties",
    "minLength", "maxLength", "pattern", "format",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
})
"""Keywords that the engine enforces; some of their values it does not (see `unsupported`)."""

CHECKED = frozenset({
    "uniqueItems", "contains", "minContains", "maxContains", "not", "if", "then", "else", "propertyNames",
    "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems",
    "$dynamicRef", "$recursiveRef",
})
"""Keywords that no engine enforces: refused, or checked as soon as the value closes."""

ANNOTATIONS = frozenset({
    "$defs", "definitions", "$schema", "$id", "$comment", "$anchor", "$dynamicAnchor", "$recursiveAnchor",
    "$vocabulary", "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly",
    "contentMediaType", "contentEncoding", "contentSchema", "discriminator", "nullable", "xml", "externalDocs",
})
"""Keywords that make no value invalid."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Finding:
    """A keyword, or a value of one, that an engine cannot enforce.

    Attributes:
        parts: The keys that lead to the schema object that says it.
        keyword: The keyword.
        reason: Why, and what to do.
        checkable: Whether a schema that says it can be used in check mode.
        checked: Whether jsonschema then checks it; if not, it is an annotation, such as an unknown format.
        instead: Keywords that stand for it in the grammar, which then allows all that it allows, and more.
    """

    parts: Parts
    keyword: str
    reason: str
    checkable: bool = True
    checked: bool = True
    instead: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The JSON path of the keyword."""
        return json_path((*self.parts, self.keyword))

    def error(self) -> SchemaError:
        """The refusal."""
        return SchemaError(self.reason, self.path)


class Note(NamedTuple):
    """A JSON path, and what is to be said about it."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What becomes of each keyword of a schema.

    Attributes:
        enforced: No token that breaks them can be decoded.
        checked: Checked by jsonschema as soon as the value they govern closes.
        annotations: They make no value invalid.
        refused: Why the schema cannot be used; a schema with any is refused.
    """

    enforced: tuple[Note, ...]
    checked: tuple[Note, ...]
    annotations: tuple[Note, ...]
    refused: tuple[Note, ...]


def judged(schema: dict[str, Any]) -> Iterator[tuple[Parts, Any]]:
    """The sub-schemas of a normalised schema that its value, or a part of it, has to fit under the grammar."""
    for key, value in schema.items():
        if key in ("properties", "patternProperties") and isinstance(value, dict):
            for name, inner in value.items():
                yield (key, name), inner
        elif key in LISTS and isinstance(value, list):
            for index, inner in enumerate(value):
                yield (key, index), inner
        elif key in ("items", "additionalProperties"):
            yield (key,), value


def places(root: dict[str, Any]) -> Iterator[tuple[Parts, Any]]:
    """Every sub-schema that a value can be judged by, with the keys that lead to it; each referenced one once.

    Args:
        root: A normalised schema.
    """
    pending: list[tuple[Parts, Any]] = [((), root)]
    seen: set[int] = set()
    while pending:
        parts, schema = pending.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        yield parts, schema
        found = [((*parts, *steps), inner) for steps, inner in judged(schema)]
        if isinstance(schema.get("$ref"), str):
            target = place_of(root, schema["$ref"])
            found += [] if target is None else [target]
        pending += reversed(found)


def findings(schema: dict[str, Any], enforced: Collection[str] = ENFORCED) -> Iterator[Finding]:
    """What an engine cannot enforce of a normalised schema.

    Args:
        schema: The schema.
        enforced: The keywords that the engine enforces.
    """
    from loraloop.tool_schemas.schema.unsupported import findings_at

    for parts, place in places(schema):
        yield from findings_at(schema, place, parts, enforced)


def relaxed(schema: dict[str, Any], found: Iterable[Finding]) -> dict[str, Any]:
    """A copy of a normalised schema that leaves out what was found."""
    out = copy.deepcopy(schema)
    for each in found:
        place: Any = out
        for part in each.parts:
            place = place[part]
        place.pop(each.keyword, None)
        place.update(copy.deepcopy(each.instead))
    return out


def survey(schema: dict[str, Any], on_unsupported: OnUnsupported = "check") -> Survey:
    """What becomes of each keyword of a schema under the default engine. Never raises because of what it finds.

    Args:
        schema: JSON data; any part of it may be wrong.
        on_unsupported: Whether what can be checked is refused.
    """
    from loraloop.tool_schemas.schema.prepare import prepared
    from loraloop.tool_schemas.schema.validation import check_schema

    refused: list[SchemaError] = []
    normal: dict[str, Any] | None = None
    found: tuple[Finding, ...] = ()
    try:
        plan = prepared(schema, "check")
        normal, found = plan.normal, plan.findings
    except SchemaError as error:
        refused.append(error)
        with contextlib.suppress(SchemaError):  # what can still be said of it
            check_schema(schema)
            normal = normalised(schema)
            found = tuple(findings(normal))
    enforced: list[Note] = []
    checked: list[Note] = []
    annotations: list[Note] = []
    seen = {(each.parts, each.keyword) for each in found}
    for each in found:
        if on_unsupported == "refuse" or not each.checkable:
            refused.append(each.error())
        else:
            (checked if each.checked else annotations).append(Note(each.path, each.reason))
    if normal is not None:
        for parts, place in places(normal):
            for keyword in place:
                if (parts, keyword) not in seen:
                    into = enforced if keyword in ENFORCED else annotations
                    into.append(Note(json_path((*parts, keyword)), ""))
    notes = {Note(error.path, error.reason): None for error in refused}
    return Survey(tuple(enforced), tuple(checked), tuple(annotations), tuple(notes))
