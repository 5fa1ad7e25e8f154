"""Messages and tools of smolagents as a conversation and tools that the base and its skills know."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from smolagents.models import MessageRole, get_tool_json_schema  # type: ignore[import-untyped]

from loraloop.integrations.conversation import ConversationBuilder, tool_of
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

_CALLING = "Calling tools:\n"
_OBSERVED = "Observation:\n"
_FAILED = re.compile(r"(?:Call id: .*\n)?Error:\n(.*?)(?:\nNow let's retry:.*)?", re.DOTALL)
_OBJECTS = {"image": "string", "audio": "string"}  # are passed by the names under which an agent keeps them


def conversation_of(messages: Sequence[Any], calls: bool) -> ConversationBuilder:
    """The conversation of a request.

    Args:
        messages: `ChatMessage`s, or dictionaries with `role` and `content`.
        calls: Whether tools may be called. Steps in the history are then read as our calls and results; else they stay
            texts, as smolagents writes them.

    Raises:
        InputError: A message holds what is no text, or has no known role.
    """
    talk = ConversationBuilder()
    made: list[Call] = []
    for message in messages:
        role = message["role"] if isinstance(message, dict) else message.role
        text = _text(message["content"] if isinstance(message, dict) else message.content)
        if role == MessageRole.SYSTEM:
            talk.system.append(text)
        elif role == MessageRole.USER:
            talk.user(text)
        elif role == MessageRole.ASSISTANT:
            talk.assistant(text)
        elif role == MessageRole.TOOL_CALL:
            made = _calls(text) if calls else []
            talk.calls(made)
            if not made:
                talk.assistant(text)
        elif role == MessageRole.TOOL_RESPONSE:
            _add_result(talk, text, made)
            made = []
        else:
            raise InputError(f"a message has the role {role!r}: use one of {', '.join(MessageRole.roles())}")
    return talk


def _add_result(talk: ConversationBuilder, text: str, made: list[Call]) -> None:
    """What a step of calls gave, which smolagents joins to one text; an error is of the whole step."""
    if not made:
        talk.user(text)
        return
    if failed := _FAILED.fullmatch(text.rstrip()):
        talk.result(made[0], error=failed[1].strip())
        return
    content = text.removeprefix(_OBSERVED).strip()
    lines = content.split("\n")
    results = lines if len(lines) == len(made) else [content] * len(made)
    for call, result in zip(made, results, strict=True):
        talk.result(call, result)


def _calls(text: str) -> list[Call]:
    """The calls of a step as its memory tells them; none where their arguments are no objects, as those of code."""
    try:
        listed = ast.literal_eval(text.removeprefix(_CALLING))
        return [Call(each["function"]["name"], dict(each["function"]["arguments"])) for each in listed]
    except (ValueError, SyntaxError, TypeError, KeyError):
        return []


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.get("type") != "text":
            raise InputError(f"a message holds {part.get('type')!r}, and this model reads text only: say it in words")
    return "\n".join(part["text"] for part in content)


def tools_of(sources: Sequence[Any]) -> tuple[Tool, ...]:
    """Tools and managed agents of smolagents, as tools that it calls.

    Raises:
        SchemaError: The inputs of one cannot be enforced; with the JSON path.
    """
    tools = []
    for each in sources:
        function = get_tool_json_schema(each)["function"]
        parameters = function["parameters"]
        parameters["properties"] = {name: _plain(schema) for name, schema in parameters["properties"].items()}
        tools.append(tool_of(function["name"], function["description"], parameters))
    return tuple(tools)


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema of an input, of which smolagents says in its own words that it may be missing, or an object."""
    schema = dict(schema)
    kinds = schema.get("type", "string")
    kinds = [_OBJECTS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    if schema.pop("nullable", False) and "null" not in kinds:
        kinds.append("null")
    return {**schema, "type": kinds if len(kinds) > 1 else kinds[0]}
