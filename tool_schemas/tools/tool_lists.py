"""Lists of tools as others write them: OpenAI's chat and responses APIs, MCP, Anthropic, and our own form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from loraloop.tool_schemas.errors import InputError, SchemaError

if TYPE_CHECKING:
    from loraloop.tool_schemas.schema.findings import OnUnsupported
    from loraloop.tool_schemas.tools.tool import Tool

# What says nothing about which calls are valid, and is left out, by the field that marks the form.
_ASIDE = {
    "inputSchema": {"title", "annotations", "icons", "_meta", "execution"},
    "input_schema": {"cache_control", "input_examples", "defer_loading", "allowed_callers", "eager_input_streaming"},
}
_KINDS = ("function", "custom")


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A tool in a list.

    Attributes:
        place: Where it stands, for errors: ``tool 3``.
        body: JSON form of the tool, in any of the known forms.
        foreign: Whether it is in a form that servers publish (MCP), rather than one that is written for us.
    """

    place: str
    body: Any
    foreign: bool = False

    def mode(self, on_unsupported: OnUnsupported | None = None) -> OnUnsupported:
        """What to do about what decoding cannot enforce: as asked; else ``"check"`` if foreign, or ``"refuse"``."""
        return on_unsupported or ("check" if self.foreign else "refuse")

    def tool(self, on_unsupported: OnUnsupported | None = None) -> Tool:
        """Makes the tool.

        Args:
            on_unsupported: See `mode` and `Tool`.

        Raises:
            SchemaError, UnknownNameError: If something is wrong with it.
        """
        from loraloop.tool_schemas.tools.tool import Tool

        return Tool.from_schema(plain_form(self.body), on_unsupported=self.mode(on_unsupported))


def is_openapi(document: Any) -> bool:
    """Whether a document describes an HTTP service."""
    return isinstance(document, dict) and ("openapi" in document or "swagger" in document)


def entries(document: Any) -> list[ToolEntry]:
    """The tools of a document.

    Args:
        document: One tool, a list of tools, ``{"tools": […]}`` with anything beside it (a request to a model, the
            result of MCP's ``tools/list``), or OpenAI's older ``{"functions": […]}``.

    Raises:
        SchemaError: If it is none of these.
    """
    if isinstance(document, dict) and isinstance(document.get("result"), dict) and "tools" in document["result"]:
        document = document["result"]  # with the envelope of JSON-RPC
    if isinstance(document, dict):
        for key in ("tools", "functions"):
            if key in document and "name" not in document:
                document = document[key]
                if not isinstance(document, list):
                    raise SchemaError("must be a list of tools", f"$.{key}")
                break
    if isinstance(document, dict):
        return [ToolEntry("tool 0", document, "inputSchema" in document)]
    if not isinstance(document, list):
        raise SchemaError('holds no tools: give one tool, a list of tools, {"tools": […]} or an OpenAPI document', "$")
    return [
        ToolEntry(f"tool {index}", body, isinstance(body, dict) and "inputSchema" in body)
        for index, body in enumerate(document)
    ]


def plain_form(body: Any) -> Any:
    """A tool in the form that `Tool.from_schema` takes.

    Raises:
        SchemaError: If it is a tool that runs at the maker of a model.
    """
    if not isinstance(body, dict):
        return body
    kind = body.get("type")
    if isinstance(body.get("function"), dict):
        return body
    if kind is not None and "name" in body and kind in _KINDS:
        body = {key: value for key, value in body.items() if key != "type"}
    elif isinstance(kind, str):
        raise SchemaError(f"a tool of type {kind!r} runs at the maker of a model; it cannot be called here", "$.type")
    for mark, aside in _ASIDE.items():
        if mark in body:
            description = body.get("description") or body.get("title") or ""
            return {"description": description, **{key: value for key, value in body.items() if key not in aside}}
    return body


def openai_tools(tools: Iterable[Tool], form: Literal["chat", "responses"] = "chat") -> list[dict[str, Any]]:
    """The tools as OpenAI's APIs take them; `load_tools` reads either form back.

    Args:
        tools: In order.
        form: ``"chat"`` for chat completions, ``"responses"`` for the responses API, where a tool is flat.

    Raises:
        InputError: If there is no such form.
    """
    if form not in ("chat", "responses"):
        raise InputError(f"form={form!r}: use 'chat' or 'responses'")
    listed = [tool.to_openai() for tool in tools]
    return listed if form == "chat" else [{"type": "function", **each["function"]} for each in listed]
