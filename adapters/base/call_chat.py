"""Transcripts in which tools are listed, and calls written, as the base's own chat template has it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from loraloop.adapters.base.chat import Chat, ChatFormat, dated_renderer
from loraloop.adapters.base.tokenizer import Tokenizer
from loraloop.tool_schemas.errors import BaseModelError
from loraloop.tool_schemas.jsontext import loads_or
from loraloop.tool_schemas.tools.call_format import CALL_ID, CallFormat
from loraloop.tool_schemas.tools.render import DEFINITIONS

_MARK, _OTHER, _NAME = "\ue000content\ue001", "\ue000turn\ue001", "callee"
_CALLED = re.compile(_NAME + r'(?P<middle>.*?)\{"k1":(?P<key> ?)1,(?P<item> ?)"k2":(?P=key)2\}', re.DOTALL)
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Says it.",
        "parameters": {"type": "object", "properties": {"k1": {"type": "integer"}}, "required": ["k1"]},
    },
}


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A Jinja chat template and the two texts that it may ask for.

    Attributes:
        text: The template.
        bos: The token that begins a text; empty for none.
        eos: The token that ends one.
    """

    text: str
    bos: str = ""
    eos: str = ""


class CallChat(Chat):
    """A chat whose transcripts are those of a base that was trained to call tools.

    Messages are the same as in any other chat. Of a system message, the definitions of tools below the line
    `render.DEFINITIONS` are listed as the template lists them; an assistant's message that is a list of calls is
    written as the template writes calls; and a tool's message stands where the template puts results.

    Args:
        format: The template's format without tools.
        tokenizer: The tokenizer of the base.
        template: The template.

    Attributes:
        calls: The format of calls.

    Raises:
        BaseModelError: The template does not describe tools, or not in a way that can be read off.
    """

    def __init__(self, format: ChatFormat, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._render = dated_renderer(template.text, template.bos, template.eos)
        self._turn = format.around["user"][0]
        for instructions in (_MARK, ""):
            if _NAME not in "".join(self._listing(instructions, [_TOOL])):
                raise BaseModelError("the chat template does not list tools")
        head, tail = format.around["assistant"]
        calls = self._read_off(head, tail)
        special = tuple(sorted((name, id) for name, id in tokenizer.special.items() if name in calls.parts))
        self.calls: CallFormat = replace(calls, special=special)
        shown = self._render([_message("user", _MARK), _calls_message(1), _result(_OTHER)], False)
        before, _, after = shown.partition(_OTHER)
        before = before.rpartition(calls.end + tail)[2]
        if before and after and _NAME not in before + after:
            format = replace(format, around={**format.around, "tool": (before, after)})
        super().__init__(format, tokenizer)

    def message(self, role: str, content: str, first: bool = True) -> list[int]:
        """Ids of one whole message; see `Chat.message`."""
        if role == "assistant" and (calls := _calls_of(content)):
            head, tail = self.format.around[role]
            return self._encoded([(head, True), *self.calls.write(calls), (tail, True)])
        if role == "system" and first and DEFINITIONS in content:
            instructions, _, lines = content.rpartition(DEFINITIONS)
            try:
                tools = [json.loads(line) for line in lines.split("\n") if line]
                head, tail = self._listing(instructions.strip(), tools)
            except (ValueError, BaseModelError):  # somebody else's words
                return super().message(role, content, first)
            return self._encoded([*self._own(head, lines), (instructions.strip(), False), *self._own(tail, lines)])
        return super().message(role, content, first)

    def _own(self, text: str, foreign: str) -> list[tuple[str, bool]]:
        """Text of the template with definitions of tools in it: what these spell is no special token anywhere in it."""
        return [(piece, not place % 2 or piece not in foreign) for place, piece in enumerate(self._pieces(text))]

    def _listing(self, instructions: str, tools: Sequence[dict[str, Any]]) -> tuple[str, str]:
        """What stands around the instructions where a transcript begins with tools."""
        user = [_message("user", _OTHER)]
        begins = [[_message("system", _MARK), *user], user] if instructions else [user]
        for messages in begins:
            try:
                shown = self._render(messages, False, tools)
            except BaseModelError:
                continue
            turn = shown.partition(_OTHER)[0]
            before = turn.removesuffix(self._turn)
            if turn == before or (_MARK in before) != (len(messages) > 1):
                continue
            if len(messages) > 1 or not instructions:
                head, _, tail = before.partition(_MARK)
                return head, tail
            return before + self._turn, "\n\n"  # no system messages: the instructions are the beginning of a turn
        raise BaseModelError("the chat template does not list tools before the first turn")

    def _read_off(self, head: str, tail: str) -> CallFormat:
        """The format of calls, which stand between an assistant's head and tail."""
        user = _message("user", _MARK)
        texts = []
        for count in (1, 2):
            try:
                whole = self._render([user, _calls_message(count)], False)
            except BaseModelError:
                break  # some write one call at a time
            _, opened, text = whole.rpartition(head)
            if opened and text.endswith(tail):
                texts.append(text.removesuffix(tail))
        places = [list(_CALLED.finditer(text)) for text in texts]
        if not places or len(places[0]) != 1:
            raise BaseModelError("the chat template does not show a call's name before its arguments as JSON")
        only = places[0][0]
        begin, end = texts[0][: only.start()], texts[0][only.end() :]
        between = None
        if len(places) == 2 and len(places[1]) == 2:
            first, second = places[1]
            if texts[1][: first.start()] == begin and texts[1][second.end() :] == end:
                between = texts[1][first.end() : second.start()]
        return CallFormat(
            begin,
            only["middle"],
            end,
            between,
            item_separator=f",{only['item']}",
            key_separator=f":{only['key']}",
        )


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _calls_message(count: int) -> dict[str, Any]:
    """An assistant's message of so many calls."""
    function = {"name": _NAME, "arguments": {"k1": 1, "k2": 2}}
    calls = [{"id": CALL_ID, "type": "function", "function": function} for _ in range(count)]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _result(content: str) -> dict[str, Any]:
    return {"role": "tool", "name": _NAME, "tool_call_id": CALL_ID, "content": content}


def _calls_of(content: str) -> list[dict[str, Any]]:
    """The calls that an assistant's message is in the runtime's own form; none where it is something else."""
    found = loads_or(content) if content.startswith("[{") else []
    fits = isinstance(found, list) and all(
        isinstance(each, dict)
        and set(each) == {"name", "arguments"}
        and isinstance(each["name"], str)
        and isinstance(each["arguments"], dict)
        for each in found
    )
    return found if fits else []
