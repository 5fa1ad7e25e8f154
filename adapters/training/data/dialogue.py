"""Dialogues of other tools' data: OpenAI's messages and ShareGPT's conversations, as turns and as steps to learn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loraloop.adapters.skill.contracts import calls_of
from loraloop.adapters.training.data.record import RecordError
from loraloop.tool_schemas.jsontext import loads_or

SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "calls",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}
"""ShareGPT's speakers and our roles; `calls` is an assistant's turn that only calls."""


@dataclass(frozen=True, slots=True)
class DialogueTurn:
    """A turn of a dialogue; `calls` is None where it is text. One that is not `learnt` has OpenAI's `weight` 0."""

    role: str
    content: str
    calls: tuple[dict[str, Any], ...] | None = None
    learnt: bool = True


def openai_turns(messages: Any) -> list[DialogueTurn]:
    """The turns of a list of OpenAI chat messages.

    Raises:
        RecordError: the roles are wrong, or a message is not of that form.
    """
    if isinstance(messages, str):
        messages = json.loads(messages)
    if not isinstance(messages, list) or not messages:
        raise RecordError("wrong roles", "messages are a list of at least one {role, content}")
    turns: list[DialogueTurn] = []
    named: dict[Any, str] = {}
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise RecordError("wrong form", f"message {index} is not an object")
        role, content = message.get("role"), _content(message.get("content"), index)
        role = {"function": "tool", "developer": "system"}.get(str(role), role)
        learnt = message.get("weight", 1) != 0
        calls = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else None)
        if role == "assistant" and calls:
            read = tuple(_call(call) for call in calls)
            named.update((call.get("id"), parsed["name"]) for call, parsed in zip(calls, read, strict=True))
            if content.strip():  # beside the calls: later steps see it, none learns it
                turns.append(DialogueTurn("assistant", content))
            turns.append(DialogueTurn("assistant", _written(read), read, learnt))
            continue
        if role == "assistant" and _answers(messages[index + 1 : index + 2]) and (written := calls_of(content)):
            turns.append(DialogueTurn("assistant", content, tuple(written), learnt))  # as a transcript keeps calls
            continue
        if role == "tool":
            content = _result(content, str(message.get("name") or named.get(message.get("tool_call_id")) or ""), turns)
        if role not in ("system", "user", "assistant", "tool"):
            raise RecordError(
                "wrong roles", f"message {index} has the role {role!r}: use system, user, assistant or tool"
            )
        if not content.strip() and role != "tool":
            kind = "empty completion" if role == "assistant" else "empty message"
            raise RecordError(kind, f"message {index} ({role}) is empty")
        turns.append(DialogueTurn(str(role), content, learnt=learnt))
    _ordered(turns)
    return turns


def sharegpt_turns(conversation: Any, system: str = "") -> list[DialogueTurn]:
    """The turns of a ShareGPT conversation: `from` and `value`, or `role` and `content`.

    Raises:
        RecordError: as `openai_turns`.
    """
    if isinstance(conversation, str):
        conversation = json.loads(conversation)
    if not isinstance(conversation, list) or not conversation:
        raise RecordError("wrong roles", "conversations are a list of at least one {from, value}")
    turns: list[DialogueTurn] = [DialogueTurn("system", system)] if system else []
    for index, entry in enumerate(conversation):
        speaker = entry.get("from", entry.get("role"))
        value = entry.get("value", entry.get("content"))
        if speaker not in SPEAKERS:
            raise RecordError("wrong roles", f"turn {index} is from {speaker!r}: use one of {', '.join(SPEAKERS)}")
        role, text = SPEAKERS[speaker], _content(value, index)
        if role == "calls":
            read = json.loads(text)
            calls = tuple(_call(call) for call in (read if isinstance(read, list) else [read]))
            turns.append(DialogueTurn("assistant", _written(calls), calls))
            continue
        if not text.strip() and role != "tool":
            kind = "empty completion" if role == "assistant" else "empty message"
            raise RecordError(kind, f"turn {index} ({speaker}) is empty")
        turns.append(DialogueTurn(role, _result(text, "", turns) if role == "tool" else text))
    _ordered(turns)
    return turns


def steps(turns: Sequence[DialogueTurn], contract: str, tools: bool) -> Iterator[tuple[int, Any]]:
    """The assistant's turns that a skill of a contract learns: (turns before it, what it says).

    A skill of calls learns every turn that calls, and, where a user's message with tools was answered in words, that
    there was nothing to call. Other skills learn the turns of words; a code skill those that are one block of code.
    """
    start = 0
    for index, turn in enumerate(turns):
        if turn.role != "assistant":
            start = index + 1
        elif start == 0 or turns[start - 1].role == "system" or not turn.learnt:
            continue
        elif turn.calls is not None:
            if contract == "calls":
                yield start, list(turn.calls)
        elif any(after.role == "assistant" for after in turns[index + 1 : index + 2]):
            continue  # the text stands beside calls
        elif contract == "calls":
            if tools and turns[start - 1].role == "user":
                yield start, []
        elif contract != "code" or turn.content.lstrip().startswith("```"):
            yield start, turn.content


def record_tools(tools: Any) -> tuple[dict[str, Any], ...]:
    """Tools as `{name, description, parameters}`, from OpenAI's form or ours.

    Raises:
        RecordError: they are not of either form.
    """
    if isinstance(tools, str):
        tools = json.loads(tools) if tools.strip() else []
    found = []
    for entry in tools or ():
        tool = entry.get("function", entry) if isinstance(entry, Mapping) else None
        if not isinstance(tool, Mapping) or not isinstance(tool.get("name"), str):
            raise RecordError("invalid tool", 'a tool is {"name": …, "description": …, "parameters": {…}}')
        parameters = tool.get("parameters") or tool.get("input_schema") or {"type": "object", "properties": {}}
        found.append(
            {"name": tool["name"], "description": str(tool.get("description") or ""), "parameters": dict(parameters)}
        )
    return tuple(found)


def _answers(following: Sequence[Any]) -> bool:
    """Whether the message that follows is the result of a tool."""
    return any(isinstance(message, Mapping) and message.get("role") in ("tool", "function") for message in following)


def _call(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise RecordError("invalid call", "a call is an object with name and arguments")
    call = value.get("function", value)
    arguments = call.get("arguments", call.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise RecordError("invalid call", f"the arguments of {call.get('name')} are no JSON: {error}") from None
    if not isinstance(call.get("name"), str) or not isinstance(arguments, dict):
        raise RecordError("invalid call", 'a call is {"name": …, "arguments": {…}}')
    return {"name": call["name"], "arguments": arguments}


def _written(calls: Sequence[Mapping[str, Any]]) -> str:
    from loraloop.tool_schemas import dumps

    return dumps([dict(call) for call in calls])


def _result(content: str, name: str, turns: Sequence[DialogueTurn]) -> str:
    """A tool's result as an agent shows it: the tool's name and the value, as JSON."""
    from loraloop.tool_schemas import dumps

    value = loads_or(content, content)
    if isinstance(value, dict) and value.keys() in ({"name", "result"}, {"name", "error"}, {"name", "retry"}):
        return dumps(value)
    if not name:
        calls = next((turn.calls for turn in reversed(turns) if turn.calls), ())
        answered = sum(turn.role == "tool" for turn in turns[-len(calls) :]) if calls else 0
        name = calls[min(answered, len(calls) - 1)]["name"] if calls else ""
    return dumps({"name": name, "result": value})


def _content(value: Any, index: int) -> str:
    """Text, or the text parts of a list of parts."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in value):
        return "\n".join(str(part.get("text", "")) for part in value)
    if not isinstance(value, str):
        raise RecordError("wrong form", f"the content of message {index} must be text, not {type(value).__name__}")
    return value


def _ordered(turns: Sequence[DialogueTurn]) -> None:
    """Roles that cannot follow one another."""
    for index, turn in enumerate(turns):
        before = turns[index - 1] if index else None
        after = turns[index + 1] if index + 1 < len(turns) else None
        if turn.role == "system" and index and (after is None or after.role != "user"):
            reason = "only the first one may be, and notes that stand before a user's message"
            raise RecordError("wrong roles", f"message {index} is a system message: {reason}")
        if turn.role == "tool" and (before is None or (before.role != "tool" and before.calls is None)):
            raise RecordError("wrong roles", f"message {index} is a tool's result, but nothing was called before it")
        if before and before.role == turn.role == "assistant" and (turn.calls is None or before.calls is not None):
            raise RecordError("wrong roles", f"messages {index - 1} and {index} are both the assistant's")
