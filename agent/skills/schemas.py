"""JSON Schemas of skills as tools: what each contract's function takes, and what it gives."""

from __future__ import annotations

from typing import Any

from loraloop.adapters.skill.contracts import CATEGORIES
from loraloop.tool_schemas.schema.keywords import object_schema

_TEXT = {"type": "string", "minLength": 1}


def _text(description: str) -> dict[str, Any]:
    return {**_TEXT, "description": description}


_PASSAGE = object_schema(
    {
        "id": {**_TEXT, "description": "What the answer cites it by; its place in the list if left out"},
        "title": {"type": "string"},
        "text": _TEXT,
    },
    "text",
)
_TOOL = object_schema(
    {
        "name": _TEXT,
        "description": {"type": "string"},
        "parameters": {"type": "object", "description": "JSON Schema of the arguments"},
    },
    "name",
    "parameters",
)
PARAMETERS: dict[str, dict[str, Any]] = {
    "answer": object_schema(
        {
            "question": _text("The question"),
            "passages": {
                "type": "array",
                "items": _PASSAGE,
                "minItems": 1,
                "description": "Texts to answer from; nothing else is known",
            },
        }
    ),
    "calls": object_schema(
        {
            "request": _text("What the user wants"),
            "tools": {"type": "array", "items": _TOOL, "minItems": 1, "description": "Tools that may be called"},
        }
    ),
    "code": object_schema({"request": _text("What the program has to do")}),
    "verdict": object_schema({"text": _text("The text to judge")}),
    "text": object_schema({"prompt": _text("What is asked")}),
}
"""What the tool of each contract takes."""
RETURNS: dict[str, dict[str, Any]] = {
    "answer": object_schema(
        {
            "answerable": {"type": "boolean", "description": "Whether the passages hold the answer"},
            "answer": {"type": "string"},
            "citations": {"type": "array", "items": {"type": "string"}, "description": "Ids of the passages cited"},
        }
    ),
    "calls": object_schema(
        {
            "calls": {
                "type": "array",
                "items": object_schema({"name": {"type": "string"}, "arguments": {"type": "object"}}),
                "description": "Valid under the tools' schemas; empty if no tool fits or something is missing",
            }
        }
    ),
    "code": object_schema({"code": {"type": "string", "description": "A Python program; it was not run"}}),
    "verdict": object_schema(
        {
            "unsafe": {"type": "boolean"},
            "category": {"type": "string", "enum": ["", *CATEGORIES]},
            "probability": {"type": "number", "minimum": 0, "maximum": 1, "description": "That it is unsafe"},
        }
    ),
    "text": object_schema({"text": {"type": "string"}}),
}
"""What the tool of each contract gives."""
