"""What becomes of each keyword of a schema: enforced, checked, an annotation, or refused."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.grammar.prepare import prepared
from loraloop.tool_schemas.schema.findings import OnUnsupported, SchemaFinding, findings
from loraloop.tool_schemas.schema.keywords import ENFORCED
from loraloop.tool_schemas.schema.normal import normalised
from loraloop.tool_schemas.schema.places import applied, json_path
from loraloop.tool_schemas.schema.validation import check_schema


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

    enforced: tuple[Note, ...] = ()
    checked: tuple[Note, ...] = ()
    annotations: tuple[Note, ...] = ()
    refused: tuple[Note, ...] = ()


def survey(schema: dict[str, Any], on_unsupported: OnUnsupported = "check") -> Survey:
    """What becomes of each keyword of a schema. Never raises because of what it finds.

    Args:
        schema: JSON data; any part of it may be wrong.
        on_unsupported: Whether what can be checked is refused.
    """
    refused: list[SchemaError] = []
    normal: dict[str, Any] | None = None
    found: tuple[SchemaFinding, ...] = ()
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
    for parts, place in applied(normal) if normal is not None else ():
        for keyword in place:
            if (parts, keyword) not in seen:
                into = enforced if keyword in ENFORCED else annotations
                into.append(Note(json_path((*parts, keyword)), ""))
    notes = {Note(error.path, error.reason): None for error in refused}
    return Survey(tuple(enforced), tuple(checked), tuple(annotations), tuple(notes))
