"""JSON Schemas of skills as tools: what each contract's function takes, and what it gives."""

from __future__ import annotations

from typing import Any

from loraloop.adapters.skill.contracts import CATEGORIES

_TEXT = {"type": "string", "minLength": 1}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        "additionalProperties": False,
    }


def _text(description: str) -> dict[str, Any]:
    return {**_TEXT, "description": description}


_PASSAGE = _object(
    {
        "id": {**_TEXT, "description": "What the answer cites it by; its place in the list if left out"},
        "title": {"type": "string"},
        "text": _TEXT,
    },
    "text",
)
_TOOL = _object(
    {
        "name": _TEXT,
        "description": {"type": "string"},
        "parameters": {"type": "object", "description": "JSON Schema of the arguments"},
    },
    "name",
    "parameters",
)
PARAMETERS: dict[str, dict[str, Any]] = {
    "answer": _object(
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
    "calls": _object(
        {
            "request": _text("What the user wants"),
            "tools": {"type": "array", "items": _TOOL, "minItems": 1, "description": "Tools that may be called"},
        }
    ),
    "code": _object({"request": _text("What the program has to do")}),
    "verdict": _object({"text": _text("The text to judge")}),
    "text": _object({"prompt": _text("What is asked")}),
}
"""What the tool of each contract takes."""
RETURNS: dict[str, dict[str, Any]] = {
    "answer": _object(
        {
            "answerable": {"type": "boolean", "description": "Whether the passages hold the answer"},
            "answer": {"type": "string"},
            "citations": {"type": "array", "items": {"type": "string"}, "description": "Ids of the passages cited"},
        }
    ),
    "calls": _object(
        {
            "calls": {
                "type": "array",
                "items": _object({"name": {"type": "string"}, "arguments": {"type": "object"}}),
                "description": "Valid under the tools' schemas; empty if no tool fits or something is missing",
            }
        }
    ),
    "code": _object({"code": {"type": "string", "description": "A Python program; it was not run"}}),
    "verdict": _object(
        {
            "unsafe": {"type": "boolean"},
            "category": {"type": "string", "enum": ["", *CATEGORIES]},
            "probability": {"type": "number", "minimum": 0, "maximum": 1, "description": "That it is unsafe"},
        }
    ),
    "text": _object({"text": {"type": "string"}}),
}
"""What the tool of each contract gives."""
