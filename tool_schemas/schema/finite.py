"""Schemas that require themselves without end, which no text could fit."""

from __future__ import annotations

from typing import Any

from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.schema.references import resolve
from loraloop.tool_schemas.schema.validation import json_path


def check_finite(root: dict[str, Any]) -> None:
    """Checks that a value can come to an end.

    Raises:
        SchemaError: With the JSON path of a definition that requires itself.
    """
    finite: dict[str, bool] = {}

    def ends(schema: Any) -> bool:
        if not isinstance(schema, dict):
            return schema is not False
        if isinstance(schema.get("$ref"), str) and not finite.setdefault(schema["$ref"], False):
            return False
        if "const" in schema or "enum" in schema:
            return True
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema and not any(ends(member) for member in schema[keyword]):
                return False
        if not all(ends(member) for member in schema.get("allOf", ())):
            return False
        if schema.get("type") == "object":
            properties = schema.get("properties", {})
            return all(ends(properties[name]) for name in schema.get("required", ()) if name in properties)
        if schema.get("type") == "array" and schema.get("minItems", 0):
            items = schema.get("prefixItems", []) or [schema.get("items", True)]
            return all(ends(item) for item in items[: schema["minItems"]])
        return True

    before: dict[str, bool] | None = None
    while finite != before:
        before = dict(finite)
        complete = ends(root)
        for reference in before:
            target = resolve(root, reference)
            finite[reference] = target is not None and ends(target[0])
    if not complete:
        stuck = next((reference for reference, done in finite.items() if not done), "#")
        raise SchemaError(
            f"{stuck!r} requires itself without end (or nothing fits it); make the property optional",
            json_path(stuck.split("/")[1:]),
        )
