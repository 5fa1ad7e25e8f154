"""Tools: define, import, validate, render and decode them under their schemas."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loraloop.tool_schemas.grammar.grammar import (
        Choice,
        Grammar,
        GrammarCompiler,
        JsonSchema,
        Lark,
        Regex,
        State,
        Term,
    )
    from loraloop.tool_schemas.grammar.terms import term_of
    from loraloop.tool_schemas.http.auth import ApiKey, Basic, Bearer
    from loraloop.tool_schemas.http.client import HttpClient, Retries, Sending
    from loraloop.tool_schemas.http.endpoint import HttpError, http_tool
    from loraloop.tool_schemas.http.places import Place
    from loraloop.tool_schemas.http.policy import NetworkPolicy
    from loraloop.tool_schemas.jsontext import dumps
    from loraloop.tool_schemas.mcp.server import McpServer, mcp_tools
    from loraloop.tool_schemas.openapi.service import OpenApiTools, load_openapi, tools_from_openapi
    from loraloop.tool_schemas.schema.dialect import Bounds
    from loraloop.tool_schemas.tools.calls import Ask, Call, calls_schema, parse_calls, parse_step
    from loraloop.tool_schemas.tools.loading import load_tools, python_tools
    from loraloop.tool_schemas.tools.render import render_tools
    from loraloop.tool_schemas.tools.tool import Tool, tool
    from loraloop.tool_schemas.tools.tool_lists import openai_tools

_HOMES = {
    "tools.calls": ("Ask", "Call", "calls_schema", "parse_calls", "parse_step"),
    "schema.dialect": ("Bounds",),
    "grammar.grammar": ("Choice", "Grammar", "GrammarCompiler", "JsonSchema", "Lark", "Regex", "State", "Term"),
    "http.auth": ("ApiKey", "Basic", "Bearer"),
    "http.client": ("HttpClient", "Retries", "Sending"),
    "http.places": ("Place",),
    "http.policy": ("NetworkPolicy",),
    "http.endpoint": ("HttpError", "http_tool"),
    "jsontext": ("dumps",),
    "tools.loading": ("load_tools", "python_tools"),
    "mcp.server": ("McpServer", "mcp_tools"),
    "openapi.service": ("OpenApiTools", "load_openapi", "tools_from_openapi"),
    "tools.render": ("render_tools",),
    "grammar.terms": ("term_of",),
    "tools.tool_lists": ("openai_tools",),
    "tools.tool": ("Tool", "tool"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ApiKey",
    "Ask",
    "Basic",
    "Bearer",
    "Bounds",
    "Call",
    "Choice",
    "Grammar",
    "GrammarCompiler",
    "HttpClient",
    "HttpError",
    "JsonSchema",
    "Lark",
    "McpServer",
    "NetworkPolicy",
    "OpenApiTools",
    "Place",
    "Regex",
    "Retries",
    "Sending",
    "State",
    "Term",
    "Tool",
    "calls_schema",
    "dumps",
    "http_tool",
    "load_openapi",
    "load_tools",
    "mcp_tools",
    "openai_tools",
    "parse_calls",
    "parse_step",
    "python_tools",
    "render_tools",
    "term_of",
    "tool",
    "tools_from_openapi",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
