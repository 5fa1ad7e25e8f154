"""The JSON Schema of a trace, with what the classes say of their fields."""

from __future__ import annotations

from typing import Any

from loraloop.agent.tracing.trace import SCHEMA, Trace
from loraloop.tool_schemas.jsontext import adapter
from loraloop.tool_schemas.schema.untitled import untitled_schema


def trace_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that every trace of this version fits."""
    made = untitled_schema(adapter(Trace).json_schema, mode="serialization")
    for name, schema in {**made["$defs"], "Trace": made}.items():
        _describe(schema, name)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **made}


def _describe(schema: dict[str, Any], name: str) -> None:
    """Puts a class's docstring where it belongs: the first line to the schema, the attributes to the properties."""
    from docstring_parser.google import parse

    docstring = parse(schema.get("description", ""))
    schema["description"] = docstring.short_description or name
    for each in docstring.params:
        if each.arg_name in schema.get("properties", {}):
            schema["properties"][each.arg_name]["description"] = " ".join((each.description or "").split())
