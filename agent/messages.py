"""The messages of a run: made of what a caller gives, and the words in them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin, PassageSpan
from loraloop.adapters.skill.contracts import PASSAGES, Passage, passage_line, user_content
from loraloop.agent.values.limits import check_list, check_messages
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools.render import HEADER, render_tools
from loraloop.tool_schemas.tools.tool import Tool, check_names
from loraloop.tool_schemas.tools.tool_lists import ToolEntry

log = logging.getLogger("loraloop.agent")
_undescribed: set[str] = set()  # tools that were warned of
LEFT_OUT = re.compile(r"\A\[(\d{1,9}) earlier messages are left out here\.\]\n\n")
"""The note that stands before a message of which the ones before it are left out."""
DATES = "Dates: "
"""The beginning of a note on what calendar words mean."""


def as_tools(sources: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]]) -> tuple[Tool, ...]:
    """Tools, typed functions, pydantic models and JSON forms of tools, as tools.

    Raises:
        SchemaError: if one is unusable, or two share a name.
        InputError: if a value is something else.
    """
    if hasattr(sources, "tools"):  # a service's
        raise InputError(f"tools is a {type(sources).__name__}: give the list in its tools")
    check_list("tools", sources)
    tools: list[Tool] = []
    for each in sources:
        if isinstance(each, Tool):
            tools.append(each)
        elif isinstance(each, Mapping):
            tools.append(ToolEntry("", dict(each), "inputSchema" in each).tool())
        elif callable(each):
            tools.append(Tool.from_function(each))
        else:
            raise InputError(
                f"{_shown(each)} is not a tool: give a Tool, a typed function, a JSON form, or load_tools('FILE')"
            )
    check_names(tools)
    for tool in tools:
        if not tool.description.strip() and tool.name not in _undescribed:
            _undescribed.add(tool.name)
            log.warning("the tool %s has no description: write a docstring that says when to use it", tool.name)
    return tuple(tools)


def _shown(value: object) -> str:
    """A short form for an error message of something that is no tool: a text, else its kind."""
    return repr(value) if isinstance(value, str) else f"a {type(value).__name__}"


def as_passages(sources: Sequence[Passage | Mapping[str, Any] | str]) -> tuple[Passage, ...]:
    """Passages, dictionaries with id, text and title, or plain texts (numbered from 1), as passages.

    Raises:
        InputError: if one is unusable, or two share an id.
    """
    check_list("passages", sources)
    passages: list[Passage] = []
    for number, each in enumerate(sources, start=1):
        try:
            if isinstance(each, Passage):
                passages.append(each)
            elif isinstance(each, str):
                passages.append(Passage(str(number), each))
            else:
                fields = {name: value for name, value in {**each}.items() if value is not None}
                passages.append(Passage(**{"id": str(number), **fields}))
        except (TypeError, ValueError) as error:
            raise InputError(f"passage {number} is unusable ({error}): give id, text and maybe title") from None
    if len({passage.id for passage in passages}) != len(passages):
        raise InputError("passage ids must differ: rename the repeated one")
    return tuple(passages)


def system_content(instructions: str, tools: Sequence[Tool], header: str = HEADER) -> str:
    """The system message's content; empty where there are neither instructions nor tools."""
    return "\n\n".join(part for part in (instructions.strip(), render_tools(tools, header)) if part)


def passage_spans(passages: Sequence[Passage], trusted: bool) -> tuple[PassageSpan, ...]:
    """Where passages stand in the user's message that `user_content` makes of them.

    Args:
        passages: In their order.
        trusted: Whether they may be followed.
    """
    spans, at = [], len(PASSAGES)
    for passage in passages:
        end = at + len(passage_line(passage))
        spans.append(PassageSpan(passage.id, passage.source, at, end, trusted))
        at = end + 1
    return tuple(spans)


def user_message(prompt: str, passages: Sequence[Passage], trusted: bool) -> Message:
    """The user's prompt, with its passages, which may be followed where they are trusted."""
    content = user_content(prompt, passages)
    return Message("user", content, Origin("user", passages=passage_spans(passages, trusted)))


def check_prompt(prompt: object) -> None:
    """Checks that a prompt is a text; raises InputError."""
    if not isinstance(prompt, str):
        raise InputError(f"the prompt is {prompt!r}: give a text")


def is_date_note(message: Message) -> bool:
    """Whether a message is a note on the next one's calendar words, also where its origin was lost on the way."""
    return message.role == "system" and message.content.startswith(DATES) and "\n" not in message.content


def without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without the system message that they begin with."""
    begun = bool(messages) and messages[0].role == "system" and not is_date_note(messages[0])
    return tuple(messages[begun:])


def words_of(message: Message) -> str:
    """The words of a message: no passages, and no note of what was left out before it."""
    if message.role != "user":
        return message.content
    spans = message.origin.passages if message.origin is not None else ()
    words = message.content[spans[-1].end :].strip() if spans else message.content
    return LEFT_OUT.sub("", words, count=1)


def request(
    prompt: str, passages: Sequence[Passage], history: Sequence[Message], system: str, trust_passages: bool = False
) -> tuple[Message, ...]:
    """The messages of a run: system, history, and the prompt with its passages.

    An agent's own system message takes the place of the history's. An empty prompt is allowed only where the history
    ends with a tool's result, which then is what the run goes on from.

    Args:
        prompt: What the user says. May be empty only where the history ends with a tool's result and there are no
            passages.
        passages: Texts that stand before the prompt in the user's message.
        history: The transcript so far; its system message stays only where `system` is empty.
        system: Content of the agent's own system message; where empty, none is added.
        trust_passages: Whether the passages may be followed like the user's own words, which the message's origin
            notes.

    Raises:
        InputError: for an empty prompt, passages without one, or a prompt or a history of another type.
    """
    check_prompt(prompt)
    check_messages(history)
    messages = list(without_system(history) if system else history)
    if system:
        messages.insert(0, Message("system", system, Origin("system")))
    if prompt.strip():
        messages.append(user_message(prompt, passages, trust_passages))
    elif not messages or messages[-1].role != "tool":
        raise InputError("the prompt is empty: say what the agent should do")
    elif passages:
        raise InputError("passages need a question: give a prompt with them")
    return tuple(messages)
