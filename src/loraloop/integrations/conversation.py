"""Another framework's conversation in the form that the base and its skills know: our calls, our results of tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.agent.tools.observation import observation
from loraloop.agent.values.calls import CallRecord, call_key
from loraloop.agent.values.step import plain
from loraloop.tool_schemas.jsontext import dumps
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool


class ConversationBuilder:
    """Messages, as they are added.

    Attributes:
        system: Parts of the system message.
        answered: Keys of the calls since the user's last message that have a result.
        retry: Whether one of the results at the end wants its call to be made once more.
    """

    def __init__(self) -> None:
        self.system: list[str] = []
        self._spoken: list[tuple[str, list[str]]] = []
        self.answered: set[str] = set()
        self.retry = False

    @property
    def messages(self) -> list[Message]:
        """The other messages."""
        return [Message(role, "\n\n".join(parts)) for role, parts in self._spoken]

    def user(self, text: str) -> None:
        """Adds a message of the user; several in a row are one message."""
        self.answered.clear()
        self._add("user", text)

    def assistant(self, text: str) -> None:
        """Adds a message of the assistant."""
        self._add("assistant", text)

    def calls(self, calls: Sequence[Call]) -> None:
        """Calls that the assistant made in one step."""
        if calls:
            self.retry = False
            self._spoken.append(("assistant", [dumps(plain(tuple(calls)))]))

    def result(self, call: Call, result: Any = None, error: str | None = None, retry: bool = False) -> None:
        """What a call gave: a result, an error, or the wish that it be made once more.

        Args:
            call: The call as the assistant made it.
            result: What it gave; any data that JSON can hold, or that can be made into such.
            error: What went wrong; None where the call succeeded. A call with an error counts as unanswered.
            retry: Whether the tool asks for the call to be made once more.
        """
        if error is None:
            self.answered.add(call_key(call))
        self.retry |= retry
        record = CallRecord(call.name, call.arguments, plain(result), error, retry=retry)
        self._spoken.append(("tool", [observation(record)]))

    def _add(self, role: str, text: str) -> None:
        if not text.strip():
            return
        self.retry = False
        if self._spoken and self._spoken[-1][0] == role:
            self._spoken[-1][1].append(text)
        else:
            self._spoken.append((role, [text]))


def tool_of(name: str, description: str, parameters: dict[str, Any]) -> Tool:
    """A tool that its framework calls; the same one for the same fields, so that its grammar is compiled once.

    Args:
        name: What the model calls it by.
        description: When to use it.
        parameters: JSON Schema of the arguments.

    Raises:
        SchemaError: The parameters cannot be enforced or checked while decoding; with the JSON path.
    """
    return _tool(name, description, json.dumps(parameters))


@lru_cache(maxsize=128)  # a grammar may take ten megabytes
def _tool(name: str, description: str, parameters: str) -> Tool:
    schema = json.loads(parameters)
    if "type" not in schema:
        schema = {"type": "object", **schema}
    return Tool(name, description, schema, on_unsupported="check")
