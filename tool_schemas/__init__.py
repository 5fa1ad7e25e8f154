"""Tools: define, import, validate, render and decode them under their schemas."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.tool_schemas.calls import Call, calls_schema, parse_calls
    from loraloop.tool_schemas.jsontext import dumps
    from loraloop.tool_schemas.render import render_tools
    from loraloop.tool_schemas.tools import Tool, load_tools, tool

_HOMES = {
    "Call": "calls",
    "calls_schema": "calls",
    "parse_calls": "calls",
    "dumps": "jsontext",
    "render_tools": "render",
    "Tool": "tools",
    "load_tools": "tools",
    "tool": "tools",
}

__all__ = ["Call", "Tool", "calls_schema", "dumps", "load_tools", "parse_calls", "render_tools", "tool"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
